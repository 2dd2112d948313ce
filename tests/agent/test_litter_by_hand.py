"""What runs by hand have left: the command itself clears it away, or the agent takes it over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.__main__ import _once
from agent.config import load
from agent.litter import Sweeper, clear_now
from agent.origins import origins
from agent.state import State
from probes.core.reasons import Reason
from tests.agent.litter import CONFIGURED, IN_PLACE, KINDS, NOBODY, SERVICE, agent, files, leave, said, tenants

Told = Callable[[], list[dict[str, str]]]


@pytest.fixture(autouse=True)
def service() -> None:
    """Begin with an empty service that answers at once."""
    SERVICE.begin_anew()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """Return what the log says."""
    return said(caplog)


async def test_a_command_clears_once_and_stops_at_the_first_that_fails(tmp_path: Path, told: Told) -> None:
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


@pytest.mark.parametrize("failure", ["", "locked"])
async def test_a_run_by_hand_clears_away_what_it_left_or_says_what_is_left(tmp_path: Path, told: Told, failure: str) -> None:
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
