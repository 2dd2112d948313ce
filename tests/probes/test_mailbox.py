"""A mailbox used as people do: against the simulated tenant, which checks what it is told, and against answers no tenant should give."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent.drill.entra.directory import Directory
from agent.drill.faults import Drip, Fault, Http, Where
from agent.drill.graph.calendar import Calendars, Event
from agent.drill.graph.post import Post
from agent.drill.world import World
from probes import REGISTRY
from probes.core.context import Shared
from probes.core.contract import Inconclusive, Outcome, Run
from probes.core.ledger import Artefact, MemoryLedger
from probes.core.reasons import Reason
from probes.lib.mail.desk import subject_of
from tests.fakes.exchange import Exchange
from tests.fakes.exchange import simulated as exchanging
from tests.fakes.graph import Asked, answer, run_kind, scripted
from tests.fakes.graph import shared as sharing
from tests.probes.once import once
from tests.probes.tenants import among, simulated

ALL = ["sign_in", "open", "list", "free_busy", "event", "cancel"]
LOGIN = {"username": "a@b.example", "password": {"env": "PASSWORD"}}
PROBE1 = {"via": "graph", "mailbox": "probe1@contoso.example"}
TAG = "0123456789abcdef" * 2
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Here:
    """A tenant, and what the runs of one agent share."""

    world: World
    shared: Shared

    async def run(self, *, deadline: float = 10.0, shared: Shared | None = None, **settings: Any) -> Run:
        account = {"via": "graph", "mailbox": self.world.people[0].mail}
        return await once("mailbox", deadline=deadline, shared=shared or self.shared, tenant="contoso", account=account, **settings)

    @property
    def calendar(self) -> list[Event]:
        box = self.world.of(Post).mailbox(self.world.people[0].mail)
        return self.world.of(Calendars).of(box) if box else []

    @property
    def outstanding(self) -> list[str]:
        return [one.id for one in self.shared.ledger.outstanding("one")]

    def put(self, subject: str, age: float = 0.0) -> None:
        """Put an event into the calendar that was made `age` seconds ago."""
        now = self.world.now()
        number = str(len(self.calendar))
        self.calendar.append(Event(f"A{number}", f"L{number}", subject, "", now, now + 900, now - age))

    async def know(self, tag: str, age: float = 0.0) -> None:
        """Put an event on the ledger."""
        await self.shared.ledger.record("one", Artefact(tag, "event", time.time() - age))

    def fail(self, effect: Any, operation: str) -> None:
        self.world.faults.set(Fault(effect, Where(operations=frozenset({operation}))))


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    async with simulated(tmp_path) as (world, tenant):
        yield Here(world, among(tenant))


def steps(run: Run) -> list[str]:
    return [step.name for step in run.steps]


async def test_a_healthy_mailbox_is_used_in_all_its_parts_and_left_as_it_was(here: Here) -> None:
    first, second = await here.run(), await here.run()
    assert [(run.outcome, run.message) for run in (first, second)] == [(Outcome.OK, "")] * 2
    assert steps(first) == [*ALL, "cleanup"]
    assert steps(second) == ALL
    assert {sample.name: sample.value for sample in second.measured if sample.name == "inbox_messages"} == {"inbox_messages": 0}
    assert set(dict(second.evidence)["availability"]) == {"0"}
    assert (here.calendar, here.outstanding) == ([], [])


@pytest.mark.parametrize(
    ("parts", "ran"),
    [([], ["sign_in", "open"]), (["list"], ["sign_in", "open", "list"]), (["free_busy"], ["sign_in", "open", "free_busy"])],
    ids=["none", "list", "free_busy"],
)
async def test_parts_can_be_left_out(here: Here, parts: list[str], ran: list[str]) -> None:
    assert steps(await here.run(parts=parts)) == ran


@pytest.mark.parametrize(
    ("operation", "step"),
    [("mail_folder", "open"), ("mail_list", "list"), ("free_busy", "free_busy"), ("event_create", "event"), ("event_read", "event")],
)
async def test_what_fails_is_told_by_its_step_and_nothing_is_left(here: Here, operation: str, step: str) -> None:
    here.fail(Http((503,)), operation)
    run = await here.run()
    assert (run.outcome, run.failed_step, run.reason, run.code) == (Outcome.FAILED, step, Reason.HTTP_5XX, "ServiceUnavailable")
    assert (here.calendar, here.outstanding, run.cleanup_failed) == ([], [], False)


async def test_an_event_that_cannot_be_removed_is_removed_by_the_next_run(here: Here) -> None:
    here.fail(Http((503,)), "event_delete")
    run = await here.run()
    assert (run.failed_step, run.reason, run.cleanup_failed) == ("cancel", Reason.HTTP_5XX, True)
    assert (len(here.calendar), len(here.outstanding)) == (1, 1)
    here.world.faults.set()
    assert (await here.run()).outcome is Outcome.OK
    assert (here.calendar, here.outstanding) == ([], [])


async def test_an_event_of_which_nobody_knows_whether_it_was_made_stays_on_the_ledger_until_it_is_clear(here: Here) -> None:
    here.fail(Http((504,)), "event_create")
    run = await here.run()
    assert (run.failed_step, run.reason) == ("event", Reason.HTTP_5XX)
    assert len(here.outstanding) == 1
    here.put(subject_of(here.outstanding[0]))
    here.world.faults.set()
    await here.run()
    assert (here.calendar, here.outstanding) == ([], [])


async def test_what_a_killed_run_left_is_removed_and_what_it_never_made_is_forgotten(here: Here) -> None:
    await here.know(TAG, age=600)
    await here.know(TAG[::-1], age=600)
    here.put(subject_of(TAG), age=600)
    run = await here.run()
    assert (run.outcome, dict(run.evidence)["cleared"]) == (Outcome.OK, "1 events of earlier runs")
    assert (here.calendar, here.outstanding) == ([], [])


async def test_what_is_left_is_removed_also_when_events_are_wanted_no_longer(here: Here) -> None:
    await here.know(TAG, age=600)
    here.put(subject_of(TAG), age=600)
    assert steps(await here.run(parts=[])) == ["sign_in", "open", "cleanup"]
    assert (here.calendar, here.outstanding) == ([], [])


async def test_only_what_is_ours_and_a_day_old_is_litter_without_a_ledger(here: Here) -> None:
    old, young = subject_of(TAG), subject_of(TAG[::-1])
    kept = [young, f"Re: {old}", f"{old}0", "Lunch", "Fogbell calendar probe of the month"]
    for subject in kept[1:]:
        here.put(subject, age=2 * DAY)
    here.put(young, age=DAY / 2)
    here.put(old, age=2 * DAY)
    await here.run()
    assert sorted(event.subject for event in here.calendar) == sorted(kept)


async def test_litter_is_looked_for_once_a_day_and_not_in_each_run(here: Here) -> None:
    await here.run()
    here.put(subject_of(TAG), age=2 * DAY)
    assert steps(await here.run()) == ALL
    assert len(here.calendar) == 1


class Full(MemoryLedger):
    """A ledger that cannot be written."""

    async def record(self, probe: str, artefact: Artefact) -> None:
        raise Inconclusive(Reason.AGENT_RESOURCES, f"{artefact.kind} of {probe}: no space left on device")


async def test_where_the_ledger_cannot_be_written_no_event_is_made(here: Here) -> None:
    run = await here.run(shared=replace(here.shared, ledger=Full()))
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.INCONCLUSIVE, "event", Reason.AGENT_RESOURCES)
    assert here.calendar == []


@pytest.mark.parametrize(
    ("granted", "step", "missing"),
    [
        (["Calendars.ReadWrite"], "open", "Mail.ReadBasic.All"),
        (["Mail.ReadBasic.All"], "free_busy", "Calendars.ReadWrite"),
        (["Mail.ReadBasic.All", "Calendars.Read"], "event", "Calendars.ReadWrite"),
    ],
)
async def test_a_permission_that_lacks_is_named(here: Here, granted: list[str], step: str, missing: str) -> None:
    here.world.of(Directory).grant(here.world.app_id, granted)
    run = await here.run()
    assert (run.failed_step, run.reason, run.code) == (step, Reason.PERMISSION, "ErrorAccessDenied")
    assert dict(run.evidence)["missing_permissions"] == missing
    assert (here.calendar, here.outstanding) == ([], [])


async def test_the_permissions_it_asks_for_are_enough_and_none_is_too_many(here: Here) -> None:
    probe, account = REGISTRY["mailbox"], {"via": "graph", "mailbox": here.world.people[0].mail}
    for parts in (["list", "free_busy", "event"], ["free_busy"], ["list"]):
        names = [need.name for need in probe.permissions(probe.settings.model_validate({"account": account, "parts": parts}))]
        here.world.of(Directory).grant(here.world.app_id, names)
        fresh = Shared(here.shared.lookup, here.shared.secret, parts=_without_tokens(here.shared))
        assert (await here.run(shared=fresh, parts=parts)).message == ""


def _without_tokens(shared: Shared) -> dict[type[Any], Any]:
    return {kind: part for kind, part in shared.parts.items() if kind.__name__ == "Tenants"}


async def test_the_deadline_ends_a_step_that_hangs(here: Here) -> None:
    here.fail(Drip(0), "free_busy")
    run = await here.run(deadline=1.5)
    assert (run.failed_step, run.reason) == ("free_busy", Reason.TIMEOUT)


@pytest.mark.parametrize(
    ("said", "reason", "code"),
    [
        ({"value": []}, Reason.CONTENT_MISMATCH, ""),
        ({"value": [{}, {}]}, Reason.CONTENT_MISMATCH, ""),
        ({"value": [{"availabilityView": ""}]}, Reason.CONTENT_MISMATCH, ""),
        ({"value": [{"availabilityView": 7}]}, Reason.CONTENT_MISMATCH, ""),
        ({"value": [{"error": "no"}]}, Reason.CONTENT_MISMATCH, ""),
        ({"value": [{"error": {"responseCode": "ErrorMailRecipientNotFound"}}]}, Reason.NOT_FOUND, "ErrorMailRecipientNotFound"),
        ({"value": [{"error": {"responseCode": "ErrorServerBusy"}}]}, Reason.CONTENT_MISMATCH, "ErrorServerBusy"),
    ],
    ids=["none", "two", "empty view", "number", "words", "unknown person", "busy"],
)
async def test_free_and_busy_times_that_are_none_are_a_failure(said: object, reason: Reason, code: str) -> None:
    async def graph(asked: Asked) -> bytes:
        return answer(said if asked.path.endswith("/getSchedule") else {"id": "x", "totalItemCount": 0})

    run = await _by_script(graph, ["free_busy"])
    assert (run.failed_step, run.reason, run.code) == ("free_busy", reason, code)


@pytest.mark.parametrize("said", [None, [], {}, {"totalItemCount": None}, {"totalItemCount": "7"}])
async def test_an_inbox_that_tells_nothing_is_a_failure(said: object) -> None:
    async def graph(_: Asked) -> bytes:
        return answer(said)

    run = await _by_script(graph, [])
    assert (run.failed_step, run.reason) == ("open", Reason.CONTENT_MISMATCH)


@pytest.mark.parametrize(
    ("made", "read"),
    [({}, {}), ({"id": ""}, {}), ([], {}), ({"id": "A1"}, []), ({"id": "A1"}, {"subject": None}), ({"id": "A1"}, {"subject": "Lunch"})],
    ids=["no id", "empty id", "a list", "read as a list", "read without subject", "read as another"],
)
async def test_an_event_that_is_not_what_was_made_is_a_failure(made: object, read: object) -> None:
    async def graph(asked: Asked) -> bytes:
        if asked.path.endswith("/events"):
            return answer(made, 201) if asked.method == "POST" else answer({"value": [7]})
        return answer(read if "/events/" in asked.path else {"id": "x", "totalItemCount": 0})

    run = await _by_script(graph, ["event"])
    assert (run.failed_step, run.reason, run.cleanup_failed) == ("event", Reason.CONTENT_MISMATCH, True)


async def test_an_event_that_was_made_and_not_named_is_not_forgotten() -> None:
    async def graph(asked: Asked) -> bytes:
        if asked.path.endswith("/events"):
            return answer({}, 201) if asked.method == "POST" else answer({"value": []})
        return answer({"id": "x", "totalItemCount": 0})

    async with scripted(graph) as script:
        parts = sharing(script.tenant)
        await run_kind("mailbox", parts, account=PROBE1, parts=["event"])
    assert len(parts.ledger.outstanding("probe")) == 1


async def _by_script(graph: Any, parts: list[str]) -> Run:
    async with scripted(graph) as script:
        return await run_kind("mailbox", script.tenant, account=PROBE1, parts=parts)


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchanging(tmp_path) as running:
        yield running


async def by_ews(exchange: Exchange, **settings: Any) -> Run:
    account = {"via": "ews", "mailbox": exchange.world.people[0].mail}
    return await once("mailbox", deadline=20.0, shared=exchange.shared, tenant="contoso", account=account, **settings)


def events(exchange: Exchange) -> list[Event]:
    box = exchange.world.of(Post).mailbox(exchange.world.people[0].mail)
    return exchange.world.of(Calendars).of(box) if box else []


def left(exchange: Exchange) -> list[str]:
    """Return the subjects of events that are not gone for good."""
    return [event.subject for event in events(exchange) if event.folder != "recoverableitemspurges"]


async def test_ews_does_the_same_and_leaves_as_little(exchange: Exchange) -> None:
    run, again = await by_ews(exchange), await by_ews(exchange)
    assert (run.outcome, run.message, again.message) == (Outcome.OK, "", "")
    assert (steps(run), steps(again)) == ([*ALL, "cleanup"], ALL)
    assert (left(exchange), exchange.shared.ledger.outstanding("one")) == ([], ())


async def test_by_ews_too_what_a_killed_run_left_is_removed_and_nothing_else(exchange: Exchange) -> None:
    await exchange.shared.ledger.record("one", Artefact(TAG, "event", time.time() - 600))
    now = exchange.world.now()
    for number, subject in enumerate((subject_of(TAG), subject_of(TAG[::-1]), "Lunch")):
        events(exchange).append(Event(f"A{number}", f"L{number}", subject, "", now, now + 900, now - 600))
    assert (await by_ews(exchange, parts=["event"])).message == ""
    assert left(exchange) == [subject_of(TAG[::-1]), "Lunch"]
    assert exchange.shared.ledger.outstanding("one") == ()


async def test_autodiscover_is_a_step_of_its_own_before_the_rest_and_only_by_ews(exchange: Exchange) -> None:
    run = await by_ews(exchange, parts=["autodiscover"])
    assert (run.message, steps(run)) == ("", ["autodiscover", "sign_in", "open"])
    with pytest.raises(ValueError, match="via ews"):
        REGISTRY["mailbox"].settings.model_validate(
            {"account": {"via": "graph", "mailbox": "a@contoso.example"}, "parts": ["autodiscover"]}
        )


def test_who_signs_in_to_a_tenant_and_what_for_depends_on_the_way() -> None:
    probe = REGISTRY["mailbox"]
    ways = {
        "graph": {"via": "graph", "mailbox": "a@contoso.example"},
        "token": {"via": "ews", "mailbox": "a@contoso.example"},
        "password": {"via": "ews", "url": "https://mail.example/EWS/Exchange.asmx", "mailbox": "a@b.example", **LOGIN},
    }
    made = {name: probe.settings.model_validate({"account": account}) for name, account in ways.items()}
    assert {name: probe.tenant(settings) for name, settings in made.items()} == {"graph": True, "token": True, "password": False}
    assert [need.name for need in probe.permissions(made["token"])] == ["full_access_as_app"]
    assert (probe.permissions(made["password"]), probe.costs(made["password"])) == ((), ())
    assert [cost.calls for cost in probe.costs(made["graph"])] == [6]
