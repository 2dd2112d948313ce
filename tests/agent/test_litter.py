"""What probes have left: cleared after runs, at the start, after changes, again and again; and told plainly where it cannot be."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import _once
from agent.config import load
from agent.job import Job
from agent.litter import FIRST_SECONDS, LONGEST_SECONDS, Litter, Standing, Sweeper, clear_now, job_of_then, origins
from agent.state import Origin, State
from probes import REGISTRY
from probes.core.context import Context, Shared
from probes.core.contract import Failed, Inconclusive, Probe, Secret, Settings, Stopped, always
from probes.core.ledger import Artefact, MemoryLedger
from probes.core.reasons import Reason
from probes.lib.cleanup import clear_each, creating
from probes.lib.tenant import Tenants, tenant_of
from tests.agent.jobs import PLACE, SHARED
from tests.agent.test_daemon import agent as whole_agent

GUID = "00000000-0000-0000-0000-00000000000"


@dataclass(slots=True)
class Service:
    """Where these probes make files: what lies in each folder, what was asked to be removed, and how that goes."""

    folders: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    heard: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    failure: str = ""
    closed_to_us: Stopped | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def remove(self, folder: str, name: str) -> bool:
        """Remove a file, once the service is open."""
        self.asked.append(name)
        self.heard.put_nowait(name)
        if self.failure:
            raise Failed(Reason.PERMISSION, self.failure)
        await self.open.wait()
        there = self.folders.get(folder, [])
        if name not in there:
            return False
        there.remove(name)
        return True

    def begin_anew(self) -> None:
        """Be empty, and answer at once."""
        self.folders, self.asked, self.failure, self.closed_to_us = {}, [], "", None
        self.heard, self.open = asyncio.Queue(), asyncio.Event()
        self.open.set()


SERVICE = Service()


class Filing(Settings):
    """Where files are made."""

    folder: str
    password: Secret | None = None


async def _run(_ctx: Context, _settings: Filing) -> None:
    raise AssertionError("no probe runs here")


async def _leave(ctx: Context, settings: Filing) -> None:
    with ctx.step("make"):
        async with creating(ctx, "file", "made") as artefact:
            SERVICE.folders.setdefault(settings.folder, []).append(artefact.id)
        raise Failed(Reason.CONTENT_MISMATCH, "not what was written")


async def _clear(ctx: Context, settings: Filing) -> None:
    tenant_of(ctx)
    if SERVICE.closed_to_us:
        raise SERVICE.closed_to_us
    await clear_each(ctx, lambda artefact: SERVICE.remove(settings.folder, artefact.id))


FILES = Probe(
    _run, Filing, place=lambda _: PLACE, steps=("make", "cleanup"), interval=60.0, timeout=5.0, tenant=lambda _: True, clear=_clear
)
KINDS: dict[str, Probe[Any]] = {
    "files": FILES,
    "barren": replace(FILES, clear=None),
    "leaving": replace(FILES, run=_leave, remembers=always),
}


async def leave(state: State, probe: str, folder: str, *names: str) -> None:
    """Leave files in a folder, and on the ledger."""
    for name in names:
        await state.record(probe, Artefact(name, "file", float(len(state.outstanding(probe))), (("folder", folder),)))
        SERVICE.folders.setdefault(folder, []).append(name)


@dataclass(slots=True)
class Probes:
    """The probes at work."""

    jobs: dict[str, Job] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def is_running(self, name: str) -> bool:
        return name in self.running

    def count_cleanup_failure(self, name: str) -> None:
        self.failures.append(name)


@dataclass(slots=True)
class World:
    """An agent's litter, its probes, its ledger, and a clock that stands still unless it is moved."""

    state: State
    shared: Shared
    probes: Probes
    litter: Litter
    now: float = 0.0

    def configure(self, folder: Path, text: str) -> None:
        """Put a configuration in force."""
        path = folder / "fogbell.yml"
        path.write_text(text)
        configuration = load(path, registry=KINDS)
        known = origins(configuration)
        for name in [*self.probes.jobs, *known]:
            self.state.serve(name, known.get(name))
        self.shared.part(Tenants).put(configuration.tenants)
        self.probes.jobs.clear()
        self.probes.jobs.update({job.name: job for job in configuration.jobs})
        self.litter.look()

    async def settled(self) -> None:
        """Let the others work until nothing is being cleared."""
        async with asyncio.timeout(10):
            while self.litter._clearing or self.litter._wake.is_set():
                if self.litter._clearing:
                    await asyncio.wait(self.litter._clearing.values())
                await asyncio.sleep(0)

    async def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.litter._wake.set()
        await self.settled()


def tenants(number: int = 1, name: str = "contoso") -> str:
    return f"tenants: {{{name}: {{tenant_id: {GUID}{number}, client_id: {GUID}b, credential: {{managed_identity: {{}}}}}}}}\n"


def files(name: str = "files", folder: str = "reports", more: str = "", kind: str = "files") -> str:
    return f"  - {{name: {name}, kind: {kind}, folder: {folder}{more}}}\n"


CONFIGURED = f"{tenants()}probes:\n{files()}"


@asynccontextmanager
async def agent(folder: Path, text: str = CONFIGURED) -> AsyncIterator[World]:
    """Let an agent's litter work."""
    state = State(folder / "state")
    await state.open()
    shared, probes = replace(SHARED, ledger=state, parts={}), Probes()
    world = World(state, shared, probes, Litter(shared, state, KINDS, probes, lambda: world.now))
    world.configure(folder, text)
    work = asyncio.create_task(world.litter.work())
    try:
        yield world
    finally:
        work.cancel()
        await asyncio.wait({work})
        await state.close()


@pytest.fixture(autouse=True)
def service() -> None:
    """Begin with an empty service that answers at once."""
    SERVICE.begin_anew()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, str]]]:
    """Return what the log says, with its facts."""
    caplog.set_level(logging.INFO, "fogbell.litter")

    def lines() -> list[dict[str, str]]:
        facts = ("probe", "kind", "left", "why", "where")
        found = [record for record in caplog.records if record.name == "fogbell.litter"]
        return [{"says": one.message} | {name: vars(one)[name] for name in facts if name in vars(one)} for one in found]

    return lines


async def test_what_an_earlier_process_left_is_cleared_at_the_start_before_any_run(tmp_path: Path) -> None:
    async with agent(tmp_path) as world:
        await leave(world.state, "files", "reports", "a", "b")
    async with agent(tmp_path) as world:
        await world.settled()
        assert (SERVICE.folders["reports"], world.state.names()) == ([], ())


async def test_what_a_run_left_is_cleared_right_after_it_and_not_while_it_runs(tmp_path: Path) -> None:
    async with agent(tmp_path) as world:
        world.probes.running.add("files")
        await leave(world.state, "files", "reports", "a")
        await world.later(10_000)
        assert SERVICE.asked == []
        world.probes.running.clear()
        world.litter.ended("files", 0.0)
        await world.settled()
        assert (SERVICE.folders["reports"], world.state.names()) == ([], ())


async def test_a_clearing_sees_only_what_was_there_when_it_began() -> None:
    ledger = MemoryLedger()
    old, new = (Artefact(name, "file", 0.0) for name in ("old", "new"))
    await ledger.record("files", old)
    standing = Standing(ledger, frozenset({"old"}))
    await ledger.record("files", new)
    assert standing.outstanding("files") == (old,)
    await standing.record("files", replace(old, facts=(("folder", "reports"),)))
    assert [one.fact("folder") for one in standing.outstanding("files")] == ["reports"]
    await standing.strike("files", "old")
    assert (standing.outstanding("files"), ledger.outstanding("files")) == ((), (new,))


async def test_what_is_left_while_the_rest_is_being_cleared_comes_next_and_never_at_the_same_time(tmp_path: Path) -> None:
    async with agent(tmp_path) as world:
        SERVICE.open.clear()
        await leave(world.state, "files", "reports", "a")
        world.litter.ended("files", 0.0)
        assert await SERVICE.heard.get() == "a"
        await leave(world.state, "files", "reports", "new")
        for _ in range(3):
            world.litter.ended("files", 0.0)
            await asyncio.sleep(0)
        assert SERVICE.asked == ["a"]
        SERVICE.open.set()
        await world.settled()
        assert (SERVICE.folders["reports"], SERVICE.asked) == ([], ["a", "new"])


async def test_a_clearing_that_is_told_to_stay_away_does(tmp_path: Path) -> None:
    async with agent(tmp_path) as world:
        SERVICE.closed_to_us = Inconclusive(Reason.THROTTLED, "too much", retry_after=7200)
        await leave(world.state, "files", "reports", "a")
        world.litter.ended("files", 0.0)
        await world.settled()
        SERVICE.closed_to_us = None
        await world.later(7199)
        assert (SERVICE.asked, world.probes.failures) == ([], ["files"])
        await world.later(2)
        assert SERVICE.folders["reports"] == []


async def test_who_asked_to_be_left_alone_is(tmp_path: Path) -> None:
    async with agent(tmp_path) as world:
        await leave(world.state, "files", "reports", "a")
        world.litter.ended("files", 60.0)
        await world.later(59)
        assert SERVICE.asked == []
        await world.later(2)
        assert SERVICE.folders["reports"] == []


async def test_what_cannot_be_removed_is_tried_again_ever_more_seldom_counted_and_told_once(
    tmp_path: Path, told: Callable[[], list[dict[str, str]]]
) -> None:
    async with agent(tmp_path) as world:
        SERVICE.failure = "the folder is locked"
        await leave(world.state, "files", "reports", "a", "b")
        world.litter.ended("files", 0.0)
        await world.settled()
        waits: list[float] = []
        for _ in range(6):
            begun = world.now
            while len(SERVICE.asked) == 2 * (len(waits) + 1):
                await world.later(FIRST_SECONDS)
            waits.append(world.now - begun)
        assert waits == [FIRST_SECONDS * each for each in (1, 2, 4, 8, 12, 12)]
        assert LONGEST_SECONDS == 12 * FIRST_SECONDS
        assert world.probes.failures == ["files"] * 7
        SERVICE.failure = ""
        await world.later(LONGEST_SECONDS)
        assert (SERVICE.folders["reports"], world.state.names()) == ([], ())
    assert told() == [
        {
            "says": "what a probe left could not be removed; it is tried again",
            "probe": "files",
            "kind": "files",
            "left": "2 file",
            "why": "the folder is locked",
            "where": f"tenant contoso ({GUID}1); file a folder=reports; file b folder=reports",
        },
        {"says": "what a probe left is gone", "probe": "files"},
    ]


async def test_a_run_that_leaves_nothing_new_does_not_hurry_the_next_attempt(tmp_path: Path) -> None:
    async with agent(tmp_path) as world:
        SERVICE.failure = "locked"
        await leave(world.state, "files", "reports", "a")
        world.litter.ended("files", 0.0)
        await world.settled()
        for _ in range(3):
            world.litter.ended("files", 0.0)
            await world.settled()
        assert SERVICE.asked == ["a"]
        await leave(world.state, "files", "reports", "b")
        world.litter.ended("files", 0.0)
        await world.settled()
        assert SERVICE.asked == ["a", "b", "a"]


OTHER = files("other", "other")
NOBODY = f"{tenants()}probes:\n{OTHER}"


@pytest.mark.parametrize(
    "after",
    [
        f"{tenants()}probes:\n{files('renamed')}",
        f"{tenants()}probes:\n{files(folder='elsewhere')}",
        f"{tenants()}probes:\n{files(kind='barren')}",
        f"{tenants(name='another-name')}probes:\n{files('renamed')}",
        NOBODY,
    ],
    ids=["renamed", "changed", "of another kind", "tenant renamed too", "removed"],
)
@pytest.mark.parametrize("how", ["reload", "restart"])
async def test_what_a_probe_left_that_is_no_longer_so_is_cleared_with_its_settings_of_then(tmp_path: Path, after: str, how: str) -> None:
    async with agent(tmp_path) as world:
        world.probes.running.add("files")
        await leave(world.state, "files", "reports", "a", "b")
        if how == "reload":
            world.configure(tmp_path, after)
            await world.settled()
            assert SERVICE.asked == []
            world.probes.running.clear()
            world.litter.ended("files", 0.0)
            await world.settled()
            assert (SERVICE.folders["reports"], world.state.names()) == ([], ())
    if how == "restart":
        async with agent(tmp_path, after) as world:
            await world.settled()
            assert (SERVICE.folders["reports"], world.state.names()) == ([], ())


IN_PLACE = files(more=", password: canary-secret")


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (files(), f"{tenants(2)}probes:\n{OTHER}", f"its tenant contoso ({GUID}1) is not configured any more"),
        (IN_PLACE, NOBODY, "a secret was written in place in its settings, and such settings are not kept"),
    ],
    ids=["tenant gone", "secret in place"],
)
async def test_what_cannot_be_cleared_is_told_once_with_where_it_is(
    tmp_path: Path, told: Callable[[], list[dict[str, str]]], before: str, after: str, why: str
) -> None:
    async with agent(tmp_path, f"{tenants()}probes:\n{before}") as world:
        await leave(world.state, "files", "reports", *"abcdefg")
    assert b"canary-secret" not in (tmp_path / "state" / "fogbell.sqlite").read_bytes()
    async with agent(tmp_path, after) as world:
        for _ in range(3):
            await world.later(LONGEST_SECONDS)
            world.litter.look()
            await world.settled()
    listed = "; ".join(f"file {name} folder=reports" for name in "abcde")
    assert told() == [
        {
            "says": "what a probe left cannot be removed",
            "probe": "files",
            "kind": "files",
            "left": "7 file",
            "why": why,
            "where": f"tenant contoso ({GUID}1); {listed}; and 2 more",
        }
    ]
    async with agent(tmp_path, f"{tenants()}probes:\n{before}") as world:
        await world.settled()
        assert (SERVICE.folders["reports"], world.state.names()) == ([], ())


@pytest.mark.parametrize(
    ("origin", "why"),
    [
        (None, "an older version recorded it, without the settings that it takes"),
        (Origin("gone", "", "", "{}", "{}"), "there is no kind gone any more that would know how"),
        (Origin("barren", "", "", "{}", "{}"), "there is no kind barren any more that would know how"),
        (Origin("files", "", "", '{"path":"reports"}', "{}"), "its settings of then are valid no more"),
    ],
    ids=["of an older version", "kind gone", "kind creates nothing", "settings no longer valid"],
)
async def test_what_nobody_knows_how_to_remove_stays_on_the_ledger_and_is_told(
    tmp_path: Path, told: Callable[[], list[dict[str, str]]], origin: Origin | None, why: str
) -> None:
    async with agent(tmp_path, NOBODY) as world:
        world.state.serve("old", origin)
        await leave(world.state, "old", "reports", "a")
        world.state.serve("old", None)
        world.litter.look()
        await world.settled()
        assert world.state.names() == ("old",)
    assert [line["why"] for line in told()] == [why]


async def test_the_end_of_the_agent_ends_a_clearing_and_loses_nothing(tmp_path: Path) -> None:
    async with agent(tmp_path) as world:
        SERVICE.open.clear()
        await leave(world.state, "files", "reports", "a")
        world.litter.ended("files", 0.0)
        assert await SERVICE.heard.get() == "a"
    SERVICE.open.set()
    async with agent(tmp_path) as world:
        await world.settled()
        assert (SERVICE.folders["reports"], world.state.names()) == ([], ())


async def test_some_that_hang_do_not_keep_the_rest_waiting(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(6)]
    async with agent(tmp_path, f"{tenants()}probes:\n{''.join(files(name, name) for name in names)}") as world:
        SERVICE.open.clear()
        for name in names:
            await leave(world.state, name, name, f"of-{name}")
        world.litter.look()
        assert {await SERVICE.heard.get() for _ in range(4)} <= {f"of-{name}" for name in names}
        assert SERVICE.heard.empty()
        SERVICE.open.set()
        await world.settled()
        assert world.state.names() == ()


async def test_a_command_clears_once_and_stops_at_the_first_that_fails(tmp_path: Path, told: Callable[[], list[dict[str, str]]]) -> None:
    async with agent(tmp_path) as world:
        pass
    state = State(tmp_path / "once")
    await state.open()
    await leave(state, "unknown", "reports", "u")
    await leave(state, "files", "reports", "a")
    sweeper = Sweeper(world.shared, state, KINDS, world.probes.jobs)
    SERVICE.failure = "locked"
    await clear_now(sweeper)
    assert [line["says"] for line in told()] == ["what a probe left cannot be removed", "what a probe left could not be removed now"]
    SERVICE.failure = ""
    await clear_now(sweeper)
    assert (SERVICE.folders["reports"], state.names()) == (["u"], ("unknown",))
    await state.close()


def test_every_kind_that_creates_something_can_be_cleared_with_the_settings_that_are_remembered() -> None:
    configuration = load(Path(__file__).parents[2] / "config" / "example.yml", secrets=False)
    creating = {one.kind: one for one in configuration.jobs if one.probe.clear is not None}
    assert {kind for kind, probe in REGISTRY.items() if probe.clear is not None} == creating.keys()
    known = origins(configuration)
    for job in creating.values():
        then = job_of_then("renamed", known[job.name], REGISTRY, configuration.tenants)
        assert (then.settings, then.kind, then.tenant) == (job.settings, job.kind, job.tenant)


@pytest.mark.parametrize("failure", ["", "locked"])
async def test_a_run_by_hand_clears_away_what_it_left_or_says_what_is_left(
    tmp_path: Path, told: Callable[[], list[dict[str, str]]], failure: str
) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(f"state_dir: {tmp_path}\n{tenants()}probes:\n{files(kind='leaving')}")
    configuration = load(path, registry=KINDS)
    SERVICE.failure = failure
    run = await _once(configuration.jobs[0], configuration)
    assert (run.reason, run.failed_step) == (Reason.CONTENT_MISMATCH, "make")
    assert SERVICE.folders["reports"] == (["made"] if failure else [])
    assert [(line["says"], line["left"]) for line in told()] == [("what a probe left could not be removed now", "1 file")] * bool(failure)


async def once_killed(folder: Path, text: str) -> State:
    """Return the ledger of a `fogbell once` that was killed while it had made a file."""
    async with agent(folder, text) as world:
        state = State(folder / "once")
        await state.open()
        for name, origin in origins(load(folder / "fogbell.yml", registry=KINDS)).items():
            state.serve(name, origin)
        await leave(state, "files", "reports", "a")
    assert world.state.names() == ()
    return state


@pytest.mark.parametrize(("before", "taken"), [(files(), True), (IN_PLACE, False)], ids=["known", "secret in place"])
async def test_what_a_killed_run_by_hand_left_the_agent_takes_over(tmp_path: Path, before: str, taken: bool) -> None:  # noqa: FBT001 - of the table
    await (await once_killed(tmp_path, f"{tenants()}probes:\n{before}")).close()
    async with agent(tmp_path, NOBODY) as world:
        await world.litter.take_over(tmp_path / "once")
        await world.settled()
        assert SERVICE.folders["reports"] == ([] if taken else ["a"])
        again = State(tmp_path / "once")
        await again.open()
        assert (again.names(), world.state.names()) == (() if taken else ("files",), ())
        await again.close()


async def test_a_ledger_that_somebody_is_using_is_left_to_him(tmp_path: Path) -> None:
    going = await once_killed(tmp_path, CONFIGURED)
    async with agent(tmp_path) as world:
        await world.litter.take_over(tmp_path / "once")
        await world.settled()
        assert (going.names(), SERVICE.folders["reports"], world.state.names()) == (("files",), ["a"], ())
    await going.close()


async def test_a_reload_that_renames_a_probe_clears_away_what_it_left(tmp_path: Path) -> None:
    path, begin = tmp_path / "fogbell.yml", f"state_dir: {tmp_path / 'state'}\n{tenants()}probes:\n"
    path.write_text(f"{begin}{files(more=', interval: 7d')}")
    async with whole_agent(path, kinds="tests.agent.test_litter:KINDS") as (daemon, told, _):
        await told.until("watching")
        assert daemon._state is not None
        await leave(daemon._state, "files", "reports", "a")
        path.write_text(f"{begin}{files('renamed', more=', interval: 7d')}")
        assert await daemon.reload() == []
        assert await SERVICE.heard.get() == "a"
        assert daemon._litter is not None
        await asyncio.gather(*daemon._litter._clearing.values())
        assert (SERVICE.folders["reports"], daemon._state.names(), daemon._state.origin("files")) == ([], (), None)
