"""A process that speaks EWS, as the agent sees it: started and reaped in a thread, talked to in lines, killed in an instant."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from probes.core.contract import Inconclusive
from probes.core.reasons import Reason

Carry = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Makes one HTTP request of the process and returns its answer."""

MOST_CALLS = 20
"""HTTP requests that one operation may make: a server that sends exchangelib from version to version or page to page comes to an end."""
_LINE_BYTES = 8 << 20
_STDERR_BYTES = 4096
_START = """
import sys, types
probes = sys.modules["probes"] = types.ModuleType("probes")
probes.__path__ = [sys.argv[1]]
from probes.lib.mail.ews.worker import main
main()
"""
# The package of the kinds, without the kinds: they would double its memory and the time it takes to start.
_NEEDED = ("PATH", "LD_LIBRARY_PATH", "PYTHON", "COVERAGE")
# Beginnings of names: what else is in the agent's environment may be a secret.
_EXCEPTION = re.compile(rb"^(?:\w+\.)*(\w+(?:Error|Exception|Exit|Interrupt))\b", re.MULTILINE)


class _Tail(asyncio.Protocol):
    """Keeps the end of what the process writes about its own death."""

    def __init__(self) -> None:
        self.tail = b""

    def data_received(self, data: bytes) -> None:
        """Forget what is too long ago."""
        self.tail = (self.tail + data)[-_STDERR_BYTES:]


class Process:
    """One running process. `runs` counts what it did, `kib` is its memory after the last of them."""

    def __init__(self, popen: Popen[bytes], thread: ThreadPoolExecutor) -> None:
        self.runs = 0
        self.kib = 0
        self.free = True
        """Whether it waits for something to do."""
        self._popen, self._thread = popen, thread
        self._tail = _Tail()
        self._reader = asyncio.StreamReader(_LINE_BYTES)
        self._transports: list[asyncio.BaseTransport] = []
        self._writer: asyncio.WriteTransport | None = None
        self._killed = False

    @property
    def pid(self) -> int:
        """Its process id, also that of its group."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self._killed and not self._reader.at_eof() and self._popen.poll() is None

    async def begin(self, who: Mapping[str, object]) -> None:
        """Tell it who it is, and wait until it is ready.

        Raises:
            Inconclusive: AGENT_RESOURCES, where it ended instead.

        """
        loop, popen = asyncio.get_running_loop(), self._popen
        writer, _ = await loop.connect_write_pipe(asyncio.Protocol, popen.stdin)
        self._writer = writer
        reader, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), popen.stdout)
        errors, _ = await loop.connect_read_pipe(lambda: self._tail, popen.stderr)
        self._transports = [writer, reader, errors]
        self._say(who)
        await self._line()

    async def ask(
        self, do: str, seconds: float, given: Mapping[str, object], carry: Carry, on_step: Callable[[str], None]
    ) -> dict[str, Any]:
        """Have it do one thing within so many seconds, and return how it ended: `done`, or `error` with `message` and `back_off`.

        Raises:
            Inconclusive: AGENT_RESOURCES, where the process ended.
            Failed, Inconclusive: whatever `carry` raises; the process is free again then.

        """
        self.runs, self.free = self.runs + 1, False
        self._say({"id": self.runs, "do": do, "seconds": seconds, **given})
        calls = 0
        while True:
            line = await self._line()
            if "http" in line and calls < MOST_CALLS:
                calls += 1
                self._say(await carry(line["http"]))
            elif "http" in line:
                self._say({})
            elif "step" in line:
                on_step(line["step"])
            else:
                self.kib, self.free = line["kib"], True
                return line

    async def unwind(self) -> None:
        """Tell it that there will be no answer, and read until it is free."""
        self._say({})
        while "kib" not in (line := await self._line()):
            if "http" in line:
                self._say({})
        self.free = True

    def kill(self) -> None:
        """End it at once with all that it may have started, and have a thread reap it. Never raises; may be called twice."""
        if self._killed:
            return
        self._killed = True
        with contextlib.suppress(ProcessLookupError):  # it is gone already
            os.killpg(self._popen.pid, signal.SIGKILL)
        for transport in self._transports:
            transport.close()
        self._thread.submit(self._popen.wait)

    def _say(self, fields: Mapping[str, object]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(fields).encode() + b"\n")

    async def _line(self) -> dict[str, Any]:
        try:
            line = await self._reader.readline()
        except ValueError as error:
            raise self._ended("said more than it may") from error
        if not line.endswith(b"\n"):
            raise self._ended("ended by itself")
        found: dict[str, Any] = json.loads(line)
        return found

    def _ended(self, how: str) -> Inconclusive:
        """Say how it went down: the name of the exception, but none of its words, which may quote what was sent."""
        self.kill()
        names = _EXCEPTION.findall(self._tail.tail)
        why = f" ({names[-1].decode()})" if names else ""
        return Inconclusive(Reason.AGENT_RESOURCES, f"the process that speaks EWS {how}{why}")


async def start(who: Mapping[str, object], thread: ThreadPoolExecutor) -> Process:
    """Start a process for one mailbox. It is forked in a thread: uvloop would do it in the loop, which stands still meanwhile.

    Raises:
        Inconclusive: AGENT_RESOURCES, where the machine cannot.

    """
    started = asyncio.get_running_loop().run_in_executor(thread, _forked)
    try:
        process = Process(await asyncio.shield(started), thread)
    except OSError as error:
        raise Inconclusive(Reason.AGENT_RESOURCES, f"no process could be started to speak EWS: {error.strerror}") from error
    except asyncio.CancelledError:
        started.add_done_callback(lambda done: _stillborn(done, thread))
        raise
    try:
        await process.begin(who)
    except BaseException:
        process.kill()
        raise
    return process


def _stillborn(started: "asyncio.Future[Popen[bytes]]", thread: ThreadPoolExecutor) -> None:
    """End a process that came after nobody wanted it any more."""
    if not started.cancelled() and started.exception() is None:
        Process(started.result(), thread).kill()


def _forked() -> Popen[bytes]:
    """Start it in a session of its own: a signal meant for the agent's terminal is not meant for it, and its group dies as one."""
    environ = {name: value for name, value in os.environ.items() if name.startswith(_NEEDED)}
    environ["PYTHONPATH"] = os.pathsep.join(folder or "." for folder in sys.path)
    command = (sys.executable, "-P", "-c", _START, str(Path(__file__).parents[3]))
    return Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environ, start_new_session=True)  # noqa: S603 - ourselves
