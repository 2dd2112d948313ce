"""A real Prometheus on loopback, asked in PromQL."""

import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import Program, answers, eventually, fetch_json, free_port, running
from tests.servers import require


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
            ValueError: where Prometheus refuses it.

        """
        document: Any = fetch_json(f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': promql})}")
        if document["status"] != "success":
            raise ValueError(document["error"])
        return [
            Sample({name: value for name, value in series["metric"].items() if name != "__name__"}, float(series["value"][1]))
            for series in document["data"]["result"]
        ]

    def until(self, promql: str, seconds: float = 20) -> list[Sample]:
        """Ask until the query has a result, and return it."""
        return eventually(lambda: self.query(promql), f"a result of {promql}", seconds)


@contextmanager
def prometheus(config: Path) -> Iterator[Prometheus]:
    """Run Prometheus with this configuration while the block runs; its data and log lie beside the file."""
    folder, port = config.parent, free_port()
    command = [
        require("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, folder / "log", lambda: answers(f"http://127.0.0.1:{port}/-/ready")) as program:
        yield Prometheus(port, program)
