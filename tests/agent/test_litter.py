"""What probes have left: cleared after runs, at the start, after changes, again and again; and told plainly where it cannot be."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.litter import FIRST_SECONDS, LONGEST_SECONDS, Standing
from agent.rows import Origin
from probes.core.contract import Inconclusive
from probes.core.ledger import Artefact, MemoryLedger
from probes.core.reasons import Reason
from tests.agent.litter import GUID, IN_PLACE, NOBODY, OTHER, SERVICE, agent, files, leave, said, tenants
from tests.agent.test_daemon import agent as whole_agent

Told = Callable[[], list[dict[str, str]]]


@pytest.fixture(autouse=True)
def service() -> None:
    """Begin with an empty service that answers at once."""
    SERVICE.begin_anew()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """Return what the log says."""
    return said(caplog)


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


async def test_what_cannot_be_removed_is_tried_again_ever_more_seldom_counted_and_told_once(tmp_path: Path, told: Told) -> None:
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


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (files(), f"{tenants(2)}probes:\n{OTHER}", f"its tenant contoso ({GUID}1) is not configured any more"),
        (IN_PLACE, NOBODY, "a secret was written in place in its settings, and such settings are not kept"),
    ],
    ids=["tenant gone", "secret in place"],
)
async def test_what_cannot_be_cleared_is_told_once_with_where_it_is(tmp_path: Path, told: Told, before: str, after: str, why: str) -> None:
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
    tmp_path: Path, told: Told, origin: Origin | None, why: str
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


async def test_a_reload_that_renames_a_probe_clears_away_what_it_left(tmp_path: Path) -> None:
    path, begin = tmp_path / "fogbell.yml", f"state_dir: {tmp_path / 'state'}\n{tenants()}probes:\n"
    path.write_text(f"{begin}{files(more=', interval: 7d')}")
    async with whole_agent(path, kinds="tests.agent.litter:KINDS") as (daemon, told, _):
        await told.until("watching")
        assert daemon._state is not None
        await leave(daemon._state, "files", "reports", "a")
        path.write_text(f"{begin}{files('renamed', more=', interval: 7d')}")
        assert await daemon.reload() == []
        assert await SERVICE.heard.get() == "a"
        assert daemon._litter is not None
        await asyncio.gather(*daemon._litter._clearing.values())
        assert (SERVICE.folders["reports"], daemon._state.names(), daemon._state.origin("files")) == ([], (), None)
