"""Processes under measurement: pinned to a core, their CPU and memory read from the kernel, ended by their id."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import processes
from tests.processes import accepts, free_port
from tests.servers import PACKAGES, find

PROBE_CORE, OTHER_CORE = 0, min(1, (os.cpu_count() or 1) - 1)
_TICK = os.sysconf("SC_CLK_TCK")


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


def program(name: str) -> str:
    """Return the path of a program.

    Raises:
        MissingError: where it is not installed.

    """
    found = find(name)
    if found is None:
        raise MissingError(f"{name} is not installed (Debian package: {PACKAGES.get(name, name)})")
    return found


@contextmanager
def running(command: Sequence[str], core: int, port: int, *, log: Path, wrap: Sequence[str] = ()) -> Iterator[Watched]:
    """Run a command pinned to a core while the block runs, from the moment its port is open; what it prints goes to `log`."""
    with processes.running([*wrap, "taskset", "-c", str(core), *command], log, lambda: accepts(port)) as started:
        yield Watched(started.process)


@contextmanager
def agent(config: Path, folder: Path, *options: str, core: int = PROBE_CORE, wrap: Sequence[str] = ()) -> Iterator[tuple[Watched, str]]:
    """Run the agent; gives the process and its address once it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "agent", "run", "--config", str(config), "--listen", f"127.0.0.1:{port}", *options]
    with running(command, core, port, log=folder / "agent.log", wrap=wrap) as watched:
        yield watched, f"http://127.0.0.1:{port}"
