"""The agent's life: open, serve, reload, stop. Wires the parts; none of them knows the others."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent import __version__, expiry, machine, systemd
from agent.address import Address, written
from agent.config import Configuration, masked
from agent.config.budget import used
from agent.config.reload import Changes, Reloader, changes
from agent.exporter import Renderer
from agent.exporter.own import Own
from agent.litter import ONCE, Litter
from agent.origins import origins
from agent.rows import Origin
from agent.runner import of_this_machine
from agent.state import State, StateError
from agent.watch import Watch
from agent.web import Feed, LastReload, Site
from agent.web.listening import ListenError, listening
from probes.core.needs import Service
from probes.lib.credential_expiry import CredentialExpiry
from probes.lib.tenant import Tenants
from probes.lib.usage import Usage

log = logging.getLogger("fogbell.agent")

FLUSH_SECONDS = 2.0
TAKE_OVER_SECONDS = 3600.0
"""How often the agent looks at what killed runs of `fogbell once` have left."""
STOP_SECONDS = 1.0
"""How long an answer that is being sent may still take when the agent stops."""
WARNINGS_TOLD = 20
"""How many of a configuration's warnings are logged; `fogbell check` tells more."""

_UNFORESEEN = ("it failed in a way that nobody foresaw; the one before stays in force, and the agent's log has the details",)


class StartError(Exception):
    """The agent cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve. `histograms` is off at metric level basic."""

    listen: tuple[Address, ...] = (("127.0.0.1", 9655),)
    enable_reload: bool = False
    histograms: bool = True
    web_config: Path | None = None
    """web.yml: TLS and passwords of the agent's own pages."""
    reload_seconds: float = 30.0
    """How often the content of the configuration's files is compared."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A configuration with what was worked out of it, ready to be put in force."""

    configuration: Configuration
    expiries: expiry.Expiries
    used: set[tuple[str, Service]]
    origins: Mapping[str, Origin]
    changes: Changes


class Daemon:
    """One agent, between its start and its end."""

    def __init__(self, reloader: Reloader, options: Options) -> None:
        self._options = options
        self._reloader = reloader
        self._own = Own(__version__)
        self._feed = Feed()
        state_dir = reloader.configuration.state_dir
        self._state = State(Path(state_dir), self._own.state_write_failures.inc) if state_dir else None
        self._shared = of_this_machine(reloader.secrets, reloader.configuration.tenants, state_dir, self._state)
        self._expiries = expiry.known(reloader.configuration.tenants, reloader.secrets)
        self._own.credential_expiries.read = self._known_expiries
        self._own.api_calls.read = self._shared.part(Usage).calls
        self._own.outstanding.read = self._outstanding
        self._shared.part(Usage).expect(used(reloader.configuration.jobs))
        self._watch = Watch(self._shared, self._own, self._state, self._feed, histograms=options.histograms, ended=self._run_ended)
        self._litter = Litter(self._shared, self._state, reloader.registry, self._watch) if self._state is not None else None
        self._renderer = Renderer(self._watch.exporter, self._own.registry)
        self._stopping = asyncio.Event()
        self._hangup = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._jobs = reloader.configuration.jobs
        self._last_reload = LastReload(ok=True, when=time.time())
        self._ready = False

    async def run(self) -> None:
        """Serve until a signal says stop.

        Raises:
            StartError: where the state or an address cannot be used.

        """
        async with AsyncExitStack() as stack:
            stack.callback(self._reloader.close)
            await stack.enter_async_context(self._web())
            await stack.enter_async_context(self._work())
            self._note_reload(())
            self._listen_to_signals()
            for chore in self._chores():
                await stack.enter_async_context(_going(chore))
            self._ready = True
            machine.settle_garbage()
            systemd.notify("READY=1")
            _tell_warnings(self._reloader.configuration)
            log.info(
                "watching %d probe%s",
                len(self._jobs),
                "" if len(self._jobs) == 1 else "s",
                extra={"listen": " ".join(map(written, self._options.listen)), "version": __version__},
            )
            await self._stopping.wait()
            self._ready = False
            systemd.notify("STOPPING=1")
            log.info("stopping")

    def _chores(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield self._flush()
        yield self._look_at_clocks()
        yield self._feed_watchdog()
        yield self._follow_files()
        yield self._heed_hangups()
        if self._litter is not None:
            yield self._litter.work()
            yield self._take_over_from_once(self._litter)

    def _outstanding(self) -> Iterator[str]:
        """Kinds of what probes have left to remove."""
        return (artefact.kind for _, artefact in self._state.artefacts()) if self._state is not None else iter(())

    def stop(self) -> None:
        """Let `run` come to its end."""
        self._stopping.set()

    async def reload(self) -> list[str]:
        """Load the configuration anew; return its mistakes, in which case nothing has changed."""
        async with self._reloading:
            systemd.notify("RELOADING=1")
            mistakes: Sequence[str] = _UNFORESEEN
            try:
                mistakes = await self._load()
            finally:
                self._note_reload(mistakes)
                systemd.notify("READY=1")
            return list(mistakes)

    async def _load(self) -> Sequence[str]:
        ready: list[_Ready] = []
        mistakes = await self._reloader.load(lambda configuration: ready.append(self._prepared(configuration)))
        if mistakes:
            log.error("the configuration has mistakes; the one before stays in force", extra={"mistakes": "; ".join(mistakes)})
        for one in ready:
            await self._apply(one)
        return mistakes

    def _prepared(self, configuration: Configuration) -> "_Ready":
        """Work out all that may go wrong, before anything of the configuration is in force."""
        expiries = expiry.known(configuration.tenants, self._reloader.secrets)
        return _Ready(configuration, expiries, used(configuration.jobs), origins(configuration), changes(self._jobs, configuration.jobs))

    async def _apply(self, ready: "_Ready") -> None:
        configuration, difference = ready.configuration, ready.changes
        self._shared.part(Tenants).put(configuration.tenants)
        self._shared.part(Usage).expect(ready.used)
        self._expiries = ready.expiries
        for name in difference.removed:
            self._watch.remove(name)
            self._serve((name,), {})
            await asyncio.sleep(0)
        for job in difference.changed:
            self._watch.change(job)
            self._serve((job.name,), ready.origins)
            await asyncio.sleep(0)
        for job in difference.added:
            self._watch.add(job)
            await asyncio.sleep(0)
        self._serve(ready.origins, ready.origins)
        if self._litter is not None:
            self._litter.look()
        self._jobs = configuration.jobs
        counts = {"added": len(difference.added), "changed": len(difference.changed), "removed": len(difference.removed)}
        log.info("configuration reloaded", extra=counts)
        _tell_warnings(configuration)

    def _serve(self, names: Iterable[str], known: Mapping[str, Origin]) -> None:
        """Tell the ledger who creates under these names from now on."""
        if self._state is not None:
            for name in names:
                self._state.serve(name, known.get(name))

    def _run_ended(self, name: str, seconds: float) -> None:
        if self._litter is not None:
            self._litter.ended(name, seconds)

    async def _take_over_from_once(self, litter: Litter) -> None:
        folder = Path(self._reloader.configuration.state_dir or "") / ONCE
        while True:
            if folder.is_dir():
                await _round(litter.take_over(folder))
            await asyncio.sleep(TAKE_OVER_SECONDS)

    def _known_expiries(self) -> expiry.Expiries:
        told = self._shared.part(CredentialExpiry).known
        return expiry.together(self._expiries, {(name, str(kind)): end for (name, kind), end in told.items()}, self._shared.part(Tenants))

    def _note_reload(self, mistakes: Sequence[str]) -> None:
        now = time.time()
        self._last_reload = LastReload(ok=not mistakes, when=now, mistakes=tuple(mistakes))
        self._own.reload_successful.set(0 if mistakes else 1)
        if not mistakes:
            self._own.reload_success_timestamp.set(now)

    @asynccontextmanager
    async def _work(self) -> AsyncIterator[None]:
        try:
            remembered = await self._state.open() if self._state is not None else ()
        except StateError as error:
            raise StartError(str(error)) from error
        if self._state is None:
            log.info("no state_dir is set: a restart forgets since when probes fail")
        known = origins(self._reloader.configuration)
        self._serve(known, known)
        self._watch.describe(self._jobs, remembered)
        self._watch.start(self._state.identity if self._state is not None else "")
        try:
            yield
        finally:
            await self._watch.stop()
            if self._state is not None:
                await self._state.close()

    @asynccontextmanager
    async def _web(self) -> AsyncIterator[None]:
        site = Site(
            history=self._watch.history,
            jobs=lambda: self._jobs,
            metrics=self._renderer,
            config_text=lambda: masked(self._reloader.configuration),
            ready=lambda: self._ready,
            last_reload=lambda: self._last_reload,
            reload=self.reload if self._options.enable_reload else None,
            feed=self._feed,
            started=time.time(),
            version=__version__,
            clock=time.time,
        )
        try:
            async with listening(site, self._options.listen, self._options.web_config, stop_seconds=STOP_SECONDS):
                yield
        except ListenError as error:
            raise StartError(str(error)) from error
        finally:
            self._renderer.close()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGINT"):
            _on_signal(loop, name, self.stop)
        _on_signal(loop, "SIGHUP", self._hangup.set)

    async def _heed_hangups(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            await _round(self.reload())

    async def _flush(self) -> None:
        while self._state is not None:
            await asyncio.sleep(FLUSH_SECONDS)
            await _round(self._state.flush())

    async def _look_at_clocks(self) -> None:
        clocks = machine.Clocks()
        while True:
            await asyncio.sleep(1.0)
            clocks.look()

    async def _feed_watchdog(self) -> None:
        seconds = systemd.watchdog_seconds()
        while seconds is not None:
            systemd.notify("WATCHDOG=1")
            await asyncio.sleep(seconds)

    async def _follow_files(self) -> None:
        while True:
            await asyncio.sleep(self._options.reload_seconds)
            await _round(self._look_at_files())

    async def _look_at_files(self) -> None:
        if await self._reloader.differs():
            log.info("the configuration's files have changed")
            await self.reload()


def _tell_warnings(configuration: Configuration) -> None:
    for warning in configuration.warnings[:WARNINGS_TOLD]:
        log.warning("the configuration works, but %s", warning)
    if len(configuration.warnings) > WARNINGS_TOLD:
        log.warning("the configuration has more warnings; `fogbell check` tells them")


async def _round(work: Coroutine[Any, Any, object]) -> None:
    """Do one round of a chore as a task of its own: what nobody foresaw ends the round, and not the chore."""
    async with _going(work, "a round of a chore failed; the next one comes all the same") as task:
        await asyncio.wait({task})


@asynccontextmanager
async def _going(chore: Coroutine[Any, Any, object], epitaph: str = "a chore of the agent died") -> AsyncIterator[asyncio.Task[object]]:
    task = asyncio.get_running_loop().create_task(chore)
    task.add_done_callback(partial(_tell, epitaph))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


def _tell(epitaph: str, task: asyncio.Task[object]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical(epitaph, exc_info=error)


def _on_signal(loop: asyncio.AbstractEventLoop, name: str, act: Callable[[], None]) -> None:
    number = getattr(signal, name, None)
    if number is None:
        return
    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))
