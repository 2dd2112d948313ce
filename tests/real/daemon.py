"""The agent itself, as an administrator runs it: a process of its own."""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import Program, answers, eventually, fetch, fetch_json, free_port, running

FAST = "defaults: {interval: 1s, timeout: 900ms}\n"
"""Start of a configuration whose probes run every second."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """An agent that runs."""

    port: int
    program: Program

    def url(self, path: str) -> str:
        """Return the address of a page of the agent."""
        return f"http://127.0.0.1:{self.port}{path}"

    def metrics(self) -> str:
        """Return what a scrape without wishes gets."""
        return fetch(self.url("/metrics"))[1].decode()

    def value(self, series: str) -> float | None:
        """Value of the series written exactly so, labels included, or None where it is not exported."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.metrics(), re.MULTILINE)
        return float(found[1]) if found else None

    def until(self, series: str, value: float, seconds: float = 20) -> None:
        """Wait until the series has the value."""
        eventually(lambda: self.value(series) == value, f"{series} is {value}", seconds, self.program.said)

    def until_more(self, series: str, than: float, seconds: float = 20) -> None:
        """Wait until the series is greater than the value."""
        eventually(lambda: (self.value(series) or 0) > than, f"{series} is more than {than:g}", seconds, self.program.said)

    def runs(self) -> Any:
        """Return the document of the latest runs of all probes."""
        return fetch_json(self.url("/api/v1/runs"))["probes"]


def command(config: Path, port: int, *options: str) -> list[str]:
    """Return the command line of an agent."""
    return [sys.executable, "-m", "agent", "run", "--config", str(config), "--listen", f"127.0.0.1:{port}", *options]


@contextmanager
def daemon(
    config: Path, *options: str, environ: Mapping[str, str] | None = None, port: int = 0, before: tuple[str, ...] = ()
) -> Iterator[Daemon]:
    """Run the agent while the block runs, from the moment it is ready. `before` is a command that starts it, such as unshare."""
    port = port or free_port()
    whole = [*before, *command(config, port, *options)]
    with running(whole, config.with_name("agent.log"), lambda: answers(f"http://127.0.0.1:{port}/-/ready"), environ) as program:
        yield Daemon(port, program)
