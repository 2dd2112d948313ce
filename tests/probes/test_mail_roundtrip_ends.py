"""Ways of sending and ways of receiving, through all of the simulated tenant: each letter arrives, and nothing of it is left."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import pytest
import pytest_asyncio

from agent.drill import tenant as drill
from agent.drill.faults import Fault, Http, Smtp, Where
from agent.drill.graph.post import Post
from agent.drill.graph.throttle import Limit, Throttle
from agent.drill.mail_login import MailPolicy
from agent.drill.world import World
from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Outcome, Run, Secret
from probes.core.reasons import Reason
from probes.lib.mail import graph
from probes.lib.mail.ews import ends
from probes.lib.tenant import Credential, Hosts, Tenant
from probes.lib.tls import Trust
from probes.mail_roundtrip import PROBE, MailRoundtrip
from tests.fakes.exchange import workers
from tests.lib.mail.roundtrips import STEPS, measured
from tests.probes.tenants import among

FROM, TO = "alex@contoso.example", "adele@contoso.example"
RECOVERABLE = "recoverableitemsdeletions"

on_one_loop = pytest.mark.asyncio(loop_scope="module")


class Here:
    """The whole of a tenant, and an agent's life there."""

    def __init__(self, tenant: drill.Tenant, shared: Shared) -> None:
        self.tenant, self.shared = tenant, shared
        self.trust = {"ca_file": str(tenant.ca_file)}

    def imap(self, who: str, **more: Any) -> dict[str, Any]:
        return {"via": "imap", "host": "127.0.0.1", "port": self.tenant.imap, "username": who, "oauth": True, "tls": self.trust, **more}

    def sending(self, way: str) -> dict[str, Any]:
        at = {"via": "smtp", "host": "127.0.0.1", "tls": self.trust}
        ways: dict[str, dict[str, Any]] = {
            "graph": {"via": "graph", "from": FROM},
            "submission": {**at, "port": self.tenant.submission, "from": FROM, "oauth": True},
            "direct": {**at, "port": self.tenant.mx, "from": "probe@control.example", "direct": True},
            "ews": {"via": "ews", "from": FROM},
        }
        return ways[way]

    def receiving(self, way: str) -> dict[str, Any]:
        ways = {"graph": {"via": "graph", "mailbox": TO}, "ews": {"via": "ews", "mailbox": TO}}
        return {**ways, "imap": self.imap(TO), "imap and purge": self.imap(TO, purge=True)}[way]

    async def once(self, **settings: Any) -> Run:
        checked = MailRoundtrip.model_validate(settings)
        job = Job("mail", "mail_roundtrip", PROBE, checked, 300.0, 30.0, PROBE.place(checked), tenant="contoso")
        return await run_once(job, self.shared)

    def left(self) -> set[str]:
        """Return the folders in which anything lies that people or their administrator would see, and empty them."""
        boxes = [box for address in (FROM, TO) if (box := self.tenant.world.of(Post).mailbox(address))]
        found = {each.folder for box in boxes for each in box.messages.values()} & set(graph.FOLDERS.values())
        for box in boxes:
            box.messages.clear()
        return found


def as_configured(here: drill.Tenant) -> Tenant:
    world = here.world
    return Tenant(
        tenant_id=world.tenant_id,
        client_id=world.app_id,
        hosts=Hosts(login=world.address("login"), graph=world.address("graph"), exchange=world.address("exchange")),
        credential=Credential(secret=Secret(inline=world.secret)),
        tls=Trust(ca_file=str(here.ca_file)),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    with pytest.MonkeyPatch.context() as patch:
        for way in (graph, ends):
            patch.setattr(way, "looks", lambda: iter([0.05 * number for number in range(1, 1000)]))
        async with drill.tenant(tmp_path_factory.mktemp("tenant")) as tenant, workers(shared := among(as_configured(tenant))):
            tenant.world.of(Post).delay = 0.0
            yield Here(tenant, shared)


@on_one_loop
@pytest.mark.parametrize(
    ("send", "receive"),
    [
        ("graph", "graph"),
        ("graph", "ews"),
        ("submission", "graph"),
        ("submission", "imap"),
        ("submission", "imap and purge"),
        ("direct", "imap"),
        ("direct", "ews"),
        ("ews", "imap and purge"),
        ("ews", "ews"),
    ],
)
async def test_a_letter_arrives_and_nothing_of_it_is_left_that_its_ends_could_reach(here: Here, send: str, receive: str) -> None:
    run = await here.once(send=here.sending(send), receive=here.receiving(receive))
    assert (run.outcome, run.message, run.cleanup_failed) == (Outcome.OK, "", False)
    assert tuple(step.name for step in run.steps) == STEPS
    found = measured(run)
    assert (found["look_granularity_seconds"] == 0.0) is receive.startswith("imap"), "IMAP's server tells by itself"
    assert {"hop_seconds delivery", "accepted_to_delivered_seconds", "delivered_to_visible_seconds"} <= found.keys()
    # What IMAP expunges Exchange keeps among the recoverable items, which IMAP does not show.
    assert here.left() == ({RECOVERABLE} if receive == "imap" else set())
    assert here.shared.ledger.outstanding("mail") == ()


def not_granted(world: World) -> None:
    world.of(MailPolicy).not_granted.add(TO)


def crowded(world: World) -> None:
    world.of(Throttle).limits["outlook"] = Limit(at_once=0)


def at_the_door(reply: str, stage: Literal["rcpt", "dot"]) -> Callable[[World], None]:
    return lambda world: world.faults.set(Fault(Smtp(reply, stage)))


@on_one_loop
@pytest.mark.parametrize(
    ("send", "receive", "wrong", "expected"),
    [
        pytest.param(
            "direct", "imap", not_granted, ("failed", "permission", "not_connected", "sign_in"), id="authenticated, not connected"
        ),
        pytest.param("graph", "imap", crowded, ("inconclusive", "throttled", "ApplicationThrottled", "submit"), id="MailboxConcurrency"),
        pytest.param(
            "direct", "imap", at_the_door("451 4.7.500 Server busy", "rcpt"), ("failed", "mail_deferred", "451 4.7.500", "submit"), id="451"
        ),
        pytest.param(
            "direct",
            "imap",
            at_the_door("451 4.3.2 Temporary server error", "dot"),
            ("failed", "mail_deferred", "451 4.3.2", "submit"),
            id="the outage of January 2026",
        ),
        pytest.param(
            "direct", "imap and purge", at_the_door("", "dot"), ("failed", "connection_reset", "uncertain", "submit"), id="uncertain"
        ),
    ],
)
async def test_what_exchange_online_says_and_other_servers_do_not_has_its_own_name(
    here: Here, send: str, receive: str, wrong: Callable[[World], None], expected: tuple[str, str, str, str]
) -> None:
    world = here.tenant.world
    limits = dict(world.of(Throttle).limits)
    wrong(world)
    run = await here.once(send=here.sending(send), receive=here.receiving(receive))
    world.faults.set()
    world.of(MailPolicy).not_granted.clear()
    world.of(Throttle).limits.update(limits)
    assert (run.outcome, run.reason, run.code, run.failed_step) == expected
    assert (await here.once(send=here.sending("direct"), receive=here.receiving("imap and purge"))).outcome is Outcome.OK
    assert (here.left(), here.shared.ledger.outstanding("mail")) == (set(), ())


@on_one_loop
async def test_where_graph_cannot_purge_the_letter_has_gone_round_all_the_same_and_it_is_counted(here: Here) -> None:
    here.tenant.world.faults.set(Fault(Http((403,)), Where(hosts=frozenset({"graph"}))))
    run = await here.once(send=here.sending("direct"), receive=here.receiving("imap and purge"))
    here.tenant.world.faults.set()
    assert (run.outcome, run.message, run.cleanup_failed) == (Outcome.OK, "", True)
    assert len(here.shared.ledger.outstanding("mail")) == 1
    run = await here.once(send=here.sending("direct"), receive=here.receiving("imap and purge"))
    assert (run.cleanup_failed, here.shared.ledger.outstanding("mail"), here.left()) == (False, (), set())


@on_one_loop
@pytest.mark.parametrize(
    ("send", "receive", "url", "reason"),
    [
        pytest.param("ews", "imap", "", None, id="the sender's"),
        pytest.param("ews", "ews", "", None, id="both"),
        pytest.param("graph", "ews", "/Exchange.asmx", Reason.CONTENT_MISMATCH, id="another address than the settings"),
    ],
)
async def test_autodiscover_is_a_step_of_its_own_before_all_others(
    here: Here, send: str, receive: str, url: str, reason: Reason | None
) -> None:
    more = {"url": f"https://{here.tenant.world.address('exchange')}{url}"} if url else {}
    run = await here.once(autodiscover=True, send=here.sending(send), receive=here.receiving(receive) | more)
    assert (run.reason, run.failed_step) == (reason, "autodiscover" if reason else "")
    assert tuple(step.name for step in run.steps) == (("autodiscover",) if reason else ("autodiscover", *STEPS))
    here.left()
