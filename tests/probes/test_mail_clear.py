"""Letters and events that runs left: the agent clears them away between runs, whatever else of the mailbox works."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from agent.drill.faults import Fault, Http, Where
from agent.drill.graph.calendar import Calendars
from agent.drill.graph.post import Post
from agent.drill.world import World
from agent.job import Job
from agent.runner import Clearing, clear_once, run_once
from probes import REGISTRY
from probes.core.context import Context, Shared
from probes.core.contract import Failed, Run
from probes.core.ledger import Artefact, MemoryLedger
from probes.core.reasons import Reason
from probes.lib.mail import graph
from probes.lib.mail.ends import Folder
from probes.lib.mail.outstanding import Boxes, Own, clear
from tests.agent.jobs import SHARED
from tests.fakes.letterbox import Office
from tests.lib.mail.roundtrips import letter
from tests.probes.tenants import among, simulated

HOUR, DAY = 3_600.0, 86_400.0


@dataclass(slots=True)
class Here:
    """A tenant, and one probe of each kind that leaves something in mailboxes."""

    world: World
    shared: Shared

    def job(self, kind: str) -> Job:
        first, second = (person.mail for person in self.world.people[:2])
        settings: dict[str, dict[str, Any]] = {
            "mail_roundtrip": {"send": {"via": "graph", "from": first}, "receive": {"via": "graph", "mailbox": second}},
            "mailbox": {"account": {"via": "graph", "mailbox": first}, "parts": ["event"]},
        }
        probe = REGISTRY[kind]
        checked = probe.settings.model_validate(settings[kind])
        return Job(kind, kind, probe, checked, 300.0, 20.0, probe.place(checked), tenant="contoso")

    async def run(self, kind: str) -> Run:
        return await run_once(self.job(kind), self.shared)

    async def clear(self, kind: str) -> Clearing:
        return await clear_once(self.job(kind), self.shared, self.shared.ledger)

    def fail(self, *operations: str) -> None:
        """Let these operations fail, and no other."""
        self.world.faults.set(*[Fault(Http((500,)), Where(operations=frozenset({each}))) for each in operations])

    def there(self) -> list[str]:
        """Return where something of ours lies."""
        boxes = [self.world.of(Post).mailbox(person.mail) for person in self.world.people[:2]]
        letters = [each.folder for box in boxes if box for each in box.messages.values() if each.folder in graph.FOLDERS.values()]
        return letters + ["calendar" for box in boxes if box for _ in self.world.of(Calendars).of(box)]

    def artefacts(self) -> list[tuple[str, Artefact]]:
        return [(kind, kept) for kind in ("mail_roundtrip", "mailbox") for kept in self.shared.ledger.outstanding(kind)]


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Here]:
    monkeypatch.setattr(graph, "looks", lambda: iter([0.05 * number for number in range(1, 1000)]))
    async with simulated(tmp_path) as (world, tenant):
        world.of(Post).delay = 0.02
        yield Here(world, among(tenant))


@pytest.mark.parametrize(
    ("kind", "operation", "also"), [("mailbox", "event_delete", ("mail_folder",)), ("mail_roundtrip", "mail_delete", ("mail_send",))]
)
async def test_what_a_run_left_is_cleared_though_other_parts_of_the_mailbox_do_not_work(
    here: Here, kind: str, operation: str, also: tuple[str, ...]
) -> None:
    here.fail(operation)
    assert (await here.run(kind)).cleanup_failed
    assert here.there() != []
    assert (await here.clear(kind)).failure != ""
    here.fail(*also)
    assert await here.clear(kind) == Clearing()
    assert (here.there(), here.artefacts()) == ([], [])


@dataclass(slots=True)
class Left:
    """A letter that lies in a mailbox or does not, and what the ledger knows of it."""

    office: Office
    ledger: MemoryLedger

    async def clear(self, *, is_removed: bool) -> Context:
        shared = Shared(SHARED.lookup, SHARED.secret, ledger=self.ledger)
        ctx = Context("mail", shared, deadline=perf_counter() + 60, is_removed=is_removed)
        await clear(ctx, Boxes(self.office.to, Own(self.office.of, keeps_copies=True)))
        return ctx

    def states(self) -> list[str]:
        return [kept.fact("state") for kept in self.ledger.outstanding("mail")]


async def left(state: str, age: float, *, has_come: bool) -> Left:
    """Leave a letter with a copy where it was sent."""
    sent, office, ledger = letter(), Office(), MemoryLedger()
    if has_come:
        office.to.put(sent)
        office.of.put(sent, Folder.SENT)
    facts = (("state", state), ("accepted", repr(time.time() - age)))
    await ledger.record("mail", Artefact(sent.tag, "message", time.time() - age, facts))
    return Left(office, ledger)


@pytest.mark.parametrize(
    ("state", "age", "is_left"),
    [
        ("sending", HOUR, False),
        ("uncertain", HOUR, False),
        ("accepted", HOUR, False),
        ("returned", HOUR, False),
        ("late", HOUR, True),
        ("accepted", DAY + 1, True),
        ("arrived", 1.0, False),
        ("copy", 1.0, True),
        ("copy", HOUR, False),
    ],
)
async def test_a_letter_that_a_run_has_to_tell_of_is_left_to_it_while_there_is_the_probe(state: str, age: float, is_left: bool) -> None:  # noqa: FBT001 - of the table
    here = await left(state, age, has_come=True)
    await here.clear(is_removed=False)
    assert (here.states(), len(here.office.to.kept), len(here.office.of.kept)) == (([state], 1, 1) if is_left else ([], 0, 0))
    assert (here.office.to.opened > 0, here.office.to.closed > 0) == (not is_left, not is_left)
    await here.clear(is_removed=True)
    assert (here.states(), here.office.to.kept, here.office.of.kept) == ([], {}, {})


@pytest.mark.parametrize(("age", "kept"), [(HOUR, ["late"]), (DAY + 1, [])], ids=["may still come", "never comes"])
async def test_of_a_removed_probe_a_letter_that_has_not_come_is_looked_for_a_day(age: float, kept: list[str]) -> None:
    here = await left("late", age, has_come=False)
    ctx = await here.clear(is_removed=True)
    assert (here.states(), ctx.cleanup_failed) == (kept, False)


async def test_a_mailbox_that_cannot_be_looked_into_loses_no_letter() -> None:
    here = await left("late", HOUR, has_come=True)
    here.office.of.broken = Failed(Reason.HTTP_5XX, "the sender's mailbox is down")
    ctx = await here.clear(is_removed=True)
    assert (here.states(), ctx.cleanup_failed, ctx.evidence_found["cleanup"]) == (["copy"], True, "the sender's mailbox is down")
    here.office.of.broken = None
    await here.clear(is_removed=True)
    assert (here.states(), here.office.of.kept) == ([], {})
    here = await left("late", HOUR, has_come=True)
    here.office.to.broken = Failed(Reason.HTTP_5XX, "the mailbox is down")
    with pytest.raises(Failed, match="the mailbox is down"):
        await here.clear(is_removed=True)
    assert (here.states(), here.office.to.closed) == (["late"], 1)
