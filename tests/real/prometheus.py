"""Prometheus, which scrapes one agent every second, asked in PromQL."""

import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.processes import Program, answers, eventually, fetch_json, free_port, running
from tests.servers import require

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: fogbell
    static_configs: [{{targets: ["127.0.0.1:{agent}"]}}]
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an answer: labels without the name, and the value."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus that runs."""

    port: int
    program: Program

    def query(self, promql: str) -> list[Sample]:
        """Answer an instant query.

        Raises:
            AssertionError: where Prometheus does not like the query.

        """
        document: Any = fetch_json(f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': promql})}")
        assert document["status"] == "success", document
        return [
            Sample({name: value for name, value in series["metric"].items() if name != "__name__"}, float(series["value"][1]))
            for series in document["data"]["result"]
        ]

    def until(self, promql: str, seconds: float = 20) -> list[Sample]:
        """Ask until the query has a result, and return it."""
        return eventually(lambda: self.query(promql), f"a result of {promql}", seconds)


@contextmanager
def prometheus(folder: Path, agent_port: int) -> Iterator[Prometheus]:
    """Run Prometheus, which scrapes the agent on this port, while the block runs."""
    folder.mkdir()
    port = free_port()
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(agent=agent_port))
    command = [
        require("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, folder / "log", lambda: answers(f"http://127.0.0.1:{port}/-/ready")) as program:
        yield Prometheus(port, program)
