"""Start real programs on loopback, wait until they answer, and end exactly those again."""

import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

READY_SECONDS = 30.0
"""How long a program may take to answer, or a fact to become true, on a busy machine."""

_PORTS = range(20_000, 32_000)
# Linux gives those from 32,768 on to whoever connects (net.ipv4.ip_local_port_range), and to servers that take any.
_CHANCE = random.SystemRandom()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free for TCP and UDP just now. A program that takes one as a number needs it beforehand.

    It is none of those that the system gives to whoever connects somewhere, so that no other test's connection takes it meanwhile.
    """
    while True:
        port = _CHANCE.choice(_PORTS)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            suppress(OSError),
        ):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port


def accepts(port: int) -> bool:
    """Whether something on 127.0.0.1 accepts TCP connections on the port."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fetch(url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> tuple[int, bytes, Message]:
    """Status, body and headers that the URL answers with, whatever the status."""
    request = urllib.request.Request(url, method=method, headers=dict(headers or {}))  # noqa: S310 - loopback addresses of the tests
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - the same
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read(), refusal.headers


def fetch_json(url: str) -> Any:
    """Return the JSON document at the URL."""
    return json.loads(fetch(url)[1])


def answers(url: str) -> bool:
    """Whether the URL answers 200 already."""
    try:
        return fetch(url)[0] == 200
    except (OSError, urllib.error.URLError):
        return False


def eventually(look: Callable[[], T], want: str, seconds: float = READY_SECONDS, said: Callable[[], str] = str) -> T:
    """Look again and again until the answer is true in Python's sense, and return it.

    Otherwise fail with what was wanted, the last answer, and what the program in question `said`.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {want}; last seen: {seen!r}\n{said()}")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Program:
    """A program that runs, leader of a process group of its own, and the file that holds what it says."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def said(self) -> str:
        """Return the end of what it wrote so far to stdout and stderr."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.is_file() else ""

    def end(self, with_signal: signal.Signals = signal.SIGTERM, seconds: float = 10) -> int:
        """Send the signal to the program, wait until it is gone, and return its exit status. Whoever it started goes too."""
        self.process.send_signal(with_signal)
        try:
            return self.process.wait(seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(seconds)


@contextmanager
def running(command: Sequence[str], log: Path, ready: Callable[[], bool], environ: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Run a program while the block runs, from the moment it is ready."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(environ or {})}, start_new_session=True
        )
    program = Program(process, log)
    try:
        eventually(lambda: ready() or process.poll() is not None, f"{command[0]} answers", said=program.said)
        if process.poll() is not None:
            raise AssertionError(f"{command[0]} ended with {process.returncode} before it was ready: {program.said()}")
        yield program
    finally:
        if process.poll() is None:
            program.end()
