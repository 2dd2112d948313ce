"""Processes under measurement: pinned to a core, their CPU and memory read from the kernel, ended by their id."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROBE_CORE, OTHER_CORE = 0, min(1, (os.cpu_count() or 1) - 1)
_TICK = os.sysconf("SC_CLK_TCK")
_READY_SECONDS = 30.0


class MissingError(Exception):
    """A program the bench needs is not installed."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A running process."""

    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """Return the user and system time spent so far, threads included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def rss_bytes(self) -> int:
        """Return the resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that is free on 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def program(name: str) -> str:
    """Return the path of a program.

    Raises:
        MissingError: where it is not installed.

    """
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise MissingError(f"{name} is not installed; the bench needs Debian's prometheus-blackbox-exporter, nginx-light, nsd and curl")
    return found


@contextmanager
def running(command: Sequence[str], core: int, *, log: Path, wrap: Sequence[str] = ()) -> Iterator[Watched]:
    """Run a command pinned to a core while the block runs; what it prints goes to `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen([*wrap, "taskset", "-c", str(core), *command], stdout=out, stderr=out)
    try:
        yield Watched(process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def agent(config: Path, folder: Path, *options: str, core: int = PROBE_CORE, wrap: Sequence[str] = ()) -> Iterator[tuple[Watched, str]]:
    """Run the agent; gives the process and its address once it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "agent", "run", "--config", str(config), "--listen", f"127.0.0.1:{port}", *options]
    log = folder / "agent.log"
    with running(command, core, log=log, wrap=wrap) as watched:
        until_open(port, watched, log)
        yield watched, f"http://127.0.0.1:{port}"


def until_open(port: int, watched: Watched | None = None, log: Path | None = None) -> None:
    """Wait until something listens on the port."""
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        if watched is not None and watched.process.poll() is not None:
            break
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    said = log.read_text(errors="replace")[-2000:] if log is not None else ""
    raise RuntimeError(f"nothing listens on port {port}\n{said}")
