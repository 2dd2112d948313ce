"""Two agents on one tenant, and two probes of one agent on the same file, chat or team, at the same moment: none disturbs another."""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from agent.config import Configuration, Secrets, load
from agent.drill.tenant import tenant
from agent.drill.world import World
from agent.job import Job
from agent.runner import of_this_machine, run_once
from agent.state import State
from probes.core.context import Shared
from probes.core.contract import Outcome, Run
from probes.core.needs import Service
from probes.core.reasons import Reason
from tests.creating import creating, inventory


def shared(configuration: Configuration, state_dir: Path) -> Shared:
    """Return what the runs of one of the agents share."""
    return of_this_machine(Secrets(configuration.secrets), configuration.tenants, str(state_dir), State(state_dir))


def shares(job: Job) -> bool:
    """Say whether agents with one application may run this at the same moment.

    Outlook takes four calls of an application at once, so that agents that share one do throttle each other.
    """
    return not any(cost.service is Service.OUTLOOK for cost in job.probe.costs(job.settings))


def twins(jobs: tuple[Job, ...]) -> Iterator[Job]:
    """Yield each probe and another with the same settings."""
    for job in filter(shares, jobs):
        yield from (job, replace(job, name=f"{job.name}-again"))


def wrong(run: Run) -> str:
    return f"{run.probe}: {run.failed_step} {run.reason} {run.message}{' cleanup failed' if run.cleanup_failed else ''}"


async def test_probes_at_the_same_place_at_the_same_moment_do_not_disturb_each_other(tmp_path: Path) -> None:
    world = World()
    async with tenant(tmp_path, world) as running, asyncio.timeout(50):
        before = inventory(world)
        creating(running.config, "", "1m")
        configuration = load(running.config)
        first, second = tmp_path / "state", tmp_path / "other"
        shutil.copytree(first, second)
        agents = [shared(configuration, first), shared(configuration, second)]
        for agent in agents:
            assert isinstance(agent.ledger, State)
            await agent.ledger.open()
        at_work = [(agents[0], job) for job in twins(configuration.jobs)] + [(agents[1], job) for job in configuration.jobs if shares(job)]
        runs = await asyncio.gather(*(run_once(job, agent) for agent, job in at_work))
        # A team takes four calls in a second: where the neighbours together ask for more, that is no failure either.
        assert [wrong(run) for run in runs if run.outcome is Outcome.FAILED or run.cleanup_failed] == []
        assert {run.reason for run in runs} <= {None, Reason.THROTTLED}
        assert {run.probe.removesuffix("-again") for run in runs if run.outcome is Outcome.OK} == {
            job.name.removesuffix("-again") for job in twins(configuration.jobs)
        }
        for agent in agents:
            assert isinstance(agent.ledger, State)
            await agent.ledger.close()
        left = {what: set(names) - set(before[what]) for what, names in inventory(world).items()}
        assert {what for what, names in left.items() if names} <= {"files"}
