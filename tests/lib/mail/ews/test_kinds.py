"""The kind `mail_roundtrip` with EWS at both ends, as the agent runs it."""

from collections.abc import Iterator
from typing import Any

import pytest

from agent.drill.ews import Policy
from agent.drill.faults import Fault, Mail
from agent.drill.graph.post import Post
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from tests.fakes.exchange import RECIPIENT, SENDER, Exchange
from tests.probes.once import once

on_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def exchange(served: Exchange) -> Iterator[Exchange]:
    """Let nothing be wrong when a test begins and when it ends."""
    yield served
    served.world.faults.set()
    served.world.of(Policy).enabled = True


async def trip(exchange: Exchange, deadline: float = 30.0, **send: Any) -> Run:
    return await once(
        "mail_roundtrip",
        deadline=deadline,
        shared=exchange.shared,
        tenant="contoso",
        send={"via": "ews", "from": SENDER, **send},
        receive={"via": "ews", "mailbox": RECIPIENT},
    )


def left(exchange: Exchange) -> set[str]:
    """Return the folders that still hold something."""
    boxes = [exchange.world.of(Post).mailbox(address) for address in (SENDER, RECIPIENT)]
    return {message.folder for box in boxes if box for message in box.messages.values()} - {"recoverableitemspurges"}


@pytest.mark.parametrize("save_copy", [True, False], ids=["with a copy", "without"])
@on_one_loop
async def test_a_letter_goes_round_and_nothing_is_left(exchange: Exchange, *, save_copy: bool) -> None:
    ended = await trip(exchange, save_copy=save_copy)
    assert (ended.outcome, ended.message) == (Outcome.OK, "")
    measured = {sample.name for sample in ended.measured}
    assert {"hop_seconds", "accepted_to_delivered_seconds"} & measured
    assert (left(exchange), exchange.shared.ledger.outstanding("one")) == (set(), ())


@on_one_loop
async def test_a_letter_that_comes_back_is_bounced_and_the_report_is_removed(exchange: Exchange) -> None:
    exchange.world.faults.set(Fault(Mail("bounce")))
    ended = await trip(exchange, deadline=4.0)
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, Reason.MAIL_BOUNCED)
    assert left(exchange) == set()


@on_one_loop
async def test_ews_that_is_switched_off_fails_the_sign_in_as_a_policy(exchange: Exchange) -> None:
    exchange.world.of(Policy).enabled = False
    ended = await trip(exchange)
    assert (ended.outcome, ended.failed_step, ended.reason, ended.code) == (Outcome.FAILED, "sign_in", Reason.BLOCKED_BY_POLICY, "403")
