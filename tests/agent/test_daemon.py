"""The agent's life, as far as its log tells it; the agent as a process is in tests/real."""

import asyncio
import gc
import logging
import os
import pkgutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.config import load
from agent.config.reload import Reloader
from agent.daemon import WARNINGS_TOLD, Daemon, Options
from agent.state import State
from probes.core.needs import Service
from probes.lib.tenant import Tenants
from probes.lib.usage import Usage

TENANT = (
    "{tenant_id: 00000000-0000-0000-0000-00000000000a, client_id: 00000000-0000-0000-0000-00000000000b, credential: {managed_identity: {}}}"
)
LOG = logging.getLogger("fogbell.agent")


class Told(logging.Handler):
    """What the agent logs, line by line."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        super().__init__()
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.put_nowait(record.getMessage())

    async def until(self, beginning: str) -> list[str]:
        """Return the lines up to the one that begins so."""
        lines = [await self.lines.get()]
        while not lines[-1].startswith(beginning):
            lines.append(await self.lines.get())
        return lines


@asynccontextmanager
async def agent(
    path: Path, reload_seconds: float = 30.0, kinds: str = "tests.config.kinds:KINDS"
) -> AsyncIterator[tuple[Daemon, Told, Reloader]]:
    """Run an agent on the loop of the test, with these kinds of probes."""
    told = Told()
    LOG.addHandler(told)
    before, thresholds = LOG.level, gc.get_threshold()
    LOG.setLevel(logging.INFO)
    reloader = Reloader(path, load(path, registry=pkgutil.resolve_name(kinds)), kinds=kinds)
    daemon = Daemon(reloader, Options(listen=(("127.0.0.1", 0),), reload_seconds=reload_seconds))
    life = asyncio.create_task(daemon.run())
    try:
        async with asyncio.timeout(60):
            yield daemon, told, reloader
            daemon.stop()
            await life
    finally:
        life.cancel()
        await asyncio.wait({life})
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        LOG.removeHandler(told)
        LOG.setLevel(before)


def with_secrets_in_place(path: Path, count: int) -> list[str]:
    """Write a configuration with a warning for each probe; return the lines that tell them."""
    probes = "".join(f"  - {{name: p{number}, kind: watch, host: a, password: hunter2}}\n" for number in range(count))
    path.write_text(f"probes:\n{probes}")
    words = "a secret written in place; name where it is found instead: {env: NAME} or {file: PATH}"
    column = [47 + len(str(number)) for number in range(count)]
    return [f"the configuration works, but {path}:{n + 2}:{column[n]}: probes[p{n}].password: {words}" for n in range(count)]


async def test_warnings_of_the_configuration_are_logged_at_the_start_and_after_a_reload(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    at_start = with_secrets_in_place(path, 1)
    async with agent(path) as (daemon, told, _):
        assert [line for line in await told.until("watching") if "but" in line] == at_start
        expected = with_secrets_in_place(path, WARNINGS_TOLD + 5)
        assert await daemon.reload() == []
        lines = await told.until("the configuration has more warnings")
        assert lines == [
            "configuration reloaded",
            *expected[:WARNINGS_TOLD],
            "the configuration has more warnings; `fogbell check` tells them",
        ]
        path.write_text("probes: [")
        assert len(await daemon.reload()) == 1
        assert (await told.until("the configuration has mistakes")) == ["the configuration has mistakes; the one before stays in force"]


async def test_a_hangup_reloads_and_one_during_the_end_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text("probes:\n  - {name: a, kind: watch, host: a}\n")
    async with agent(path) as (_, told, _):
        await told.until("watching")
        before = asyncio.all_tasks()
        os.kill(os.getpid(), signal.SIGHUP)
        await told.until("configuration reloaded")
        os.kill(os.getpid(), signal.SIGHUP)
    assert asyncio.all_tasks() < before


async def test_what_nobody_foresaw_leaves_the_old_configuration_whole_and_the_next_change_is_still_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(f"tenants: {{contoso: {TENANT}}}\nprobes:\n  - {{name: a, kind: watch, host: a}}\n")

    def broken(_: object) -> None:
        raise AssertionError("nobody foresaw this")

    async with agent(path, reload_seconds=0.05) as (daemon, told, reloader):
        await told.until("watching")
        with monkeypatch.context() as patched:
            patched.setattr("agent.daemon.used", broken)
            path.write_text("probes:\n  - {name: b, kind: watch, host: b}\n")
            await told.until("a round of a chore failed")
            assert (list(daemon._watch.jobs), list(daemon._shared.part(Tenants))) == (["a"], ["contoso"])
            assert ([job.name for job in reloader.configuration.jobs], daemon._last_reload.ok) == (["a"], False)
        path.write_text("probes:\n  - {name: c, kind: watch, host: c}\n")
        await told.until("configuration reloaded")
        assert (list(daemon._watch.jobs), list(daemon._shared.part(Tenants)), daemon._last_reload.ok) == (["c"], [], True)


async def test_a_state_that_fails_in_a_way_that_nobody_foresaw_is_written_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, again = tmp_path / "fogbell.yml", asyncio.Event()
    path.write_text(f"state_dir: {tmp_path / 'state'}\nprobes:\n  - {{name: a, kind: watch, host: a}}\n")
    left = [AssertionError("nobody foresaw this")]

    async def broken_once(_: State) -> None:
        if left:
            raise left.pop()
        again.set()

    monkeypatch.setattr(State, "flush", broken_once)
    monkeypatch.setattr("agent.daemon.FLUSH_SECONDS", 0.02)
    async with agent(path) as (_, told, _):
        await told.until("a round of a chore failed")
        await again.wait()


async def test_an_agent_that_has_ended_has_let_go_of_its_thread(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text("probes:\n  - {name: a, kind: watch, host: a}\n")
    async with agent(path) as (_, told, reloader):
        await told.until("watching")
        assert not await reloader.differs()
    with pytest.raises(RuntimeError, match="after shutdown"):
        await reloader.differs()


async def test_calls_to_services_count_from_nothing_and_go_with_their_tenant(tmp_path: Path) -> None:
    path, secret = tmp_path / "fogbell.yml", tmp_path / "secret"
    secret.write_text("hunter2")
    probe = "{name: b, kind: sign_in, host: a, tenant: contoso}"
    numbers = "tenant_id: 00000000-0000-0000-0000-00000000000a, client_id: 00000000-0000-0000-0000-00000000000b"
    tenant = f"{{{numbers}, credential: {{secret: {{file: {secret}}}}}}}"
    path.write_text(f"tenants: {{contoso: {tenant}}}\nprobes:\n  - {{name: a, kind: watch, host: a}}\n  - {probe}\n")

    def counted(daemon: Daemon) -> dict[str, float]:
        families = daemon._own.registry.collect()
        return {one.labels["api"]: one.value for family in families if family.name == "fogbell_api_calls" for one in family.samples}

    async with agent(path) as (daemon, told, reloader):
        await told.until("watching")
        assert counted(daemon) == {"login": 0}
        usage = daemon._shared.part(Usage)
        usage.count("contoso", reloader.configuration.tenants["contoso"], Service.TEAMS)
        assert counted(daemon) == {"login": 0, "teams": 1}
        path.write_text("probes:\n  - {name: a, kind: watch, host: a}\n")
        assert await daemon.reload() == []
        assert counted(daemon) == {}
