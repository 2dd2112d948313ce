"""A configuration read anew under a running agent: in a process of its own, and only what changed is built here.

The child reads, judges and prints plain data. Here a probe whose line is the one it had keeps its job, so a reload that changes one of a
thousand probes costs this process a thousand look-ups. Whatever a file does to the child, the agent only hears that it ended badly.
"""

import asyncio
import json
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from time import perf_counter
from typing import Any, TypeVar, TypeVarTuple, Unpack

from agent.config.configuration import Built, Configuration
from agent.config.entries import Registry, rebuilt
from agent.config.files import digest, read_all
from agent.config.mistakes import ConfigurationError, Mistake, Notes
from agent.config.models import secrets_in
from agent.config.secrets import Secrets
from agent.job import Job
from probes.core.contract import Secret
from probes.lib.tenant import Tenant

KINDS = "probes:REGISTRY"
"""Where the kinds are found, as module:name; both processes look there."""

_START = """
import os
try:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
except (AttributeError, OSError):
    pass
from agent.config.child import main
main()
"""
# It runs when nothing else wants the processor, from its first import on: it must not be seen in what probes measure.

_Given = TypeVarTuple("_Given")
_Result = TypeVar("_Result")

_SLICE_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use."""

    seconds: float = 120.0
    answer_bytes: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """What the child found: plain data, not yet built."""

    head: dict[str, Any]
    lines: tuple[bytes, ...]
    shown: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """What distinguishes two configurations: names removed, jobs added, jobs changed."""

    removed: tuple[str, ...]
    added: tuple[Job, ...]
    changed: tuple[Job, ...]


async def load_in_child(path: Path, *, kinds: str = KINDS, limits: Limits | None = None) -> Found:
    """Read and judge a configuration in a process of its own.

    Raises:
        ConfigurationError: with the mistakes, or with the one that the child did not come to an end.

    """
    answer = await _answer(path, kinds, limits or Limits())
    head, _, rest = answer.partition(b"\n")
    found: dict[str, Any] = json.loads(head)
    if "mistakes" in found:
        secrets = tuple(Secret(env=env, file=file) for env, file in found["secrets"])
        raise ConfigurationError(tuple(Mistake(*mistake) for mistake in found["mistakes"]), found["more"], secrets)
    *lines, shown = rest.split(b"\n", found["probes"])
    return Found(found, tuple(lines), shown)


async def assembled(found: Found, known: Iterable[Built], registry: Registry) -> Configuration:
    """Build what is not known yet, in slices that give way to the loop."""
    before = {built.line: built for built in known}
    built: list[Built] = []
    sliced = perf_counter()
    for line in found.lines:
        built.append(before.get(line) or _build(line, registry))
        if perf_counter() - sliced > _SLICE_SECONDS:
            await asyncio.sleep(0)
            sliced = perf_counter()
    return _configuration(found, tuple(built))


def changes(old: Iterable[Job], new: Iterable[Job]) -> Changes:
    """Compare two sets of jobs by name."""
    before = {job.name: job for job in old}
    after = {job.name: job for job in new}
    added = tuple(job for name, job in after.items() if name not in before)
    changed = tuple(job for name, job in after.items() if name in before and before[name] is not job and before[name] != job)
    return Changes(tuple(name for name in before if name not in after), added, changed)


class Reloader:
    """The configuration in force, the values of its secrets, and how another one takes its place: whole, or not at all."""

    def __init__(self, path: Path, configuration: Configuration, *, kinds: str = KINDS) -> None:
        """Begin with a configuration that was loaded from the path; `kinds` names the registry it was judged by."""
        self.configuration = configuration
        self.secrets = Secrets(configuration.secrets)
        self._path = path
        self._kinds = kinds
        self._seen = configuration.digest
        self._looked_at = configuration.secrets
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="configuration")

    @property
    def registry(self) -> Registry:
        """The kinds that configurations are judged by."""
        found: Registry = pkgutil.resolve_name(self._kinds)
        return found

    async def load(self, prepare: Callable[[Configuration], None] = lambda _: None) -> list[str]:
        """Read anew; return the mistakes, one a line, in which case the configuration in force stays.

        `prepare` gets the new one, its secrets read, before it comes into force: where it raises, it never does.
        """
        try:
            found = await load_in_child(self._path, kinds=self._kinds)
        except ConfigurationError as error:
            await self._stay(error)
            return str(error).splitlines()
        configuration = await assembled(found, self.configuration.built, self.registry)
        await self._apart(self.secrets.refresh, configuration.secrets)
        prepare(configuration)
        self._seen, self._looked_at = configuration.digest, configuration.secrets
        self.configuration = configuration
        return []

    async def _stay(self, error: ConfigurationError) -> None:
        """Keep what is in force, take in its rotated secrets all the same, and look out for secrets that the new one lacks."""
        await self._apart(self.secrets.refresh, self.configuration.secrets)
        self._looked_at = (*self.configuration.secrets, *error.secrets)
        self._seen = await self._apart(content, self._path, self._looked_at)

    async def differs(self) -> bool:
        """Tell whether the content of the files, or of the secrets they name, has changed since this was last asked or loaded."""
        before, self._seen = self._seen, await self._apart(content, self._path, self._looked_at)
        return self._seen != before

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _apart(self, work: Callable[[Unpack[_Given]], _Result], *arguments: *_Given) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def content(path: Path, secrets: Iterable[Secret]) -> str:
    """Return the digest of the files at a path and of the secrets. Blocks; it is for a thread."""
    return digest(read_all(path, Notes()), secrets)


def _build(line: bytes, registry: Registry) -> Built:
    job = rebuilt(line, registry)
    return Built(line, job, tuple(secret for _, secret in secrets_in(job.settings)))


def _configuration(found: Found, built: tuple[Built, ...]) -> Configuration:
    head = found.head
    tenants = {name: Tenant.model_validate_json(text, strict=True) for name, text in head["tenants"].items()}
    return Configuration(
        built,
        tuple(one.job for one in built),
        tenants,
        head["state_dir"],
        tuple(Mistake(*warning) for warning in head["warnings"]),
        tuple(map(Path, head["sources"])),
        _secrets(tenants, built),
        head["digest"],
        found.shown.decode(),
    )


def _secrets(tenants: Mapping[str, Tenant], built: Iterable[Built]) -> tuple[Secret, ...]:
    """Return all secrets in the order in which `load` meets them."""
    named = {secret: None for tenant in tenants.values() for _, secret in secrets_in(tenant)}
    return tuple(named | {secret: None for one in built for secret in one.secrets})


async def _answer(path: Path, kinds: str, limits: Limits) -> bytes:
    child, thread = _Child(), ThreadPoolExecutor(1, thread_name_prefix="reload")
    work = asyncio.get_running_loop().run_in_executor(thread, child.answer, path, kinds, limits.answer_bytes)
    try:
        async with asyncio.timeout(limits.seconds):
            answer, status = await asyncio.shield(work)
    except TimeoutError as error:
        raise _ended(path, f"reading it took more than {limits.seconds:g} seconds and was given up") from error
    except OSError as error:
        raise _ended(path, f"no process could be started to read it: {error.strerror or 'no reason given'}") from error
    finally:
        child.give_up()
        await asyncio.wait({work})
        thread.shutdown(wait=False)
    if status != 0 or not answer:
        raise _ended(path, f"the process that reads it ended badly (status {status})")
    return answer


@dataclass(slots=True)
class _Child:
    """The process that reads, started and heard from a thread: uvloop would fork in the loop, which takes 12 ms at 200 MB of memory."""

    process: Popen[bytes] | None = None
    given_up: bool = False

    def answer(self, path: Path, kinds: str, most: int) -> tuple[bytes, int]:
        """Return what the process printed and its status; -9 where it printed more than that."""
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(folder or "." for folder in sys.path)}
        command = (sys.executable, "-P", "-c", _START, str(path), kinds)
        with Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=environ) as process:  # noqa: S603 - ourselves
            self.process = process
            if self.given_up:
                process.kill()
            heard = b"" if process.stdout is None else process.stdout.read(most + 1)
            if len(heard) > most:
                process.kill()
        return heard, process.returncode

    def give_up(self) -> None:
        """End the process, also one that is only being started."""
        self.given_up = True
        if self.process is not None:
            self.process.kill()


def _ended(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError((Mistake(str(path), 1, 1, "file", what),))
