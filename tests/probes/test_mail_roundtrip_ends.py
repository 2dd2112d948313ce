"""Ways of sending and ways of receiving, through all of the simulated tenant: each letter arrives, and nothing of it is left."""

from pathlib import Path
from typing import Any

import pytest

from agent.drill import tenant as drill
from agent.drill.graph.post import Post
from agent.job import Job
from agent.runner import run_once
from probes.core.contract import Outcome, Secret
from probes.lib.mail import graph
from probes.lib.tenant import Credential, Hosts, Tenant
from probes.lib.tls import Trust
from probes.mail_roundtrip import PROBE, MailRoundtrip
from tests.fakes.exchange import workers
from tests.lib.mail.roundtrips import STEPS, measured
from tests.probes.tenants import among

FROM, TO = "alex@contoso.example", "adele@contoso.example"


def sending(way: str, here: drill.Tenant) -> dict[str, Any]:
    trust = {"ca_file": str(here.ca_file)}
    ways: dict[str, dict[str, Any]] = {
        "graph": {"send": {"via": "graph", "from": FROM}},
        "submission": {"send": {"via": "smtp", "host": "127.0.0.1", "port": here.submission, "from": FROM, "oauth": True, "tls": trust}},
        "ews": {"send": {"via": "ews", "from": FROM}},
        "direct": {
            "send": {"via": "smtp", "direct": True, "host": "127.0.0.1", "port": here.mx, "from": "probe@control.example", "tls": trust}
        },
    }
    return ways[way]


def receiving(way: str, here: drill.Tenant) -> dict[str, Any]:
    trust = {"ca_file": str(here.ca_file)}
    ways: dict[str, dict[str, Any]] = {
        "graph": {"receive": {"via": "graph", "mailbox": TO}},
        "ews": {"receive": {"via": "ews", "mailbox": TO}},
        "imap": {"receive": {"via": "imap", "host": "127.0.0.1", "port": here.imap, "username": TO, "oauth": True, "tls": trust}},
    }
    return ways[way]


def as_configured(here: drill.Tenant) -> Tenant:
    world = here.world
    return Tenant(
        tenant_id=world.tenant_id,
        client_id=world.app_id,
        hosts=Hosts(login=world.address("login"), graph=world.address("graph"), exchange=world.address("exchange")),
        credential=Credential(secret=Secret(inline=world.secret)),
        tls=Trust(ca_file=str(here.ca_file)),
    )


@pytest.mark.parametrize(
    ("send", "receive"),
    [
        ("graph", "graph"),
        ("graph", "ews"),
        ("submission", "graph"),
        ("submission", "imap"),
        ("direct", "imap"),
        ("direct", "ews"),
        ("ews", "imap"),
        ("ews", "ews"),
    ],
)
async def test_a_letter_arrives_and_nothing_of_it_is_left_that_its_ends_could_reach(tmp_path: Path, send: str, receive: str) -> None:
    async with drill.tenant(tmp_path) as here, workers(shared := among(as_configured(here))):
        checked = MailRoundtrip.model_validate(sending(send, here) | receiving(receive, here))
        run = await run_once(Job("mail", "mail_roundtrip", PROBE, checked, 300.0, 30.0, PROBE.place(checked), tenant="contoso"), shared)
        assert (run.outcome, run.message, run.cleanup_failed) == (Outcome.OK, "", False)
        assert tuple(step.name for step in run.steps) == STEPS
        found = measured(run)
        assert (found["look_granularity_seconds"] == 0.0) is (receive == "imap"), "IMAP's server tells by itself"
        assert {"hop_seconds delivery", "accepted_to_delivered_seconds", "delivered_to_visible_seconds"} <= found.keys()
        boxes = [here.world.of(Post).mailbox(address) for address in (FROM, TO)]
        left = {each.folder for box in boxes if box for each in box.messages.values()} & set(graph.FOLDERS.values())
        # What IMAP expunges Exchange keeps among the recoverable items, which IMAP does not show.
        assert left == ({"recoverableitemsdeletions"} if receive == "imap" else set())
        assert shared.ledger.outstanding("mail") == ()
