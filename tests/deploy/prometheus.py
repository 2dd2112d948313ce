"""A real Prometheus with our configuration, started for a test on a free port of the loopback."""

import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.places import DEPLOY, load_yaml
from tests.servers import require

STARTED_IN = 30.0
"""Seconds a real server may take until it answers."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def get_json(url: str) -> Any:
    """Return the JSON that `url` answers with, also where the status is an error."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - always http://127.0.0.1
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    """Return when `url` answers with a status below 400.

    Raises:
        RuntimeError: where the process ends or `STARTED_IN` passes first.

    """
    deadline = time.monotonic() + STARTED_IN
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - always http://127.0.0.1
                return
        except OSError:
            if process.poll() is not None:
                break
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not answer at {url}")


@contextmanager
def running(command: list[str], url: str, log: Path) -> Iterator[None]:
    """Run a server until the block ends; its output goes to `log`."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until_it_answers(process, url)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def write_configuration(folder: Path, target: str) -> Path:
    """Write our configuration for `target` into `folder`, hastened: scraped every second, long groups evaluated like the others."""
    configuration = load_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["scrape_configs"][0]["scrape_timeout"] = "1s"
    del configuration["alerting"]
    (folder / "rules").mkdir(parents=True)
    (folder / "targets").mkdir()
    for rules in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
        (folder / "rules" / rules.name).write_text(re.sub(r"\n +interval: .*", "", rules.read_text()))
    (folder / "targets" / "fogbell.yml").write_text(yaml.safe_dump([{"targets": [target], "labels": {"site": "test"}}]))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    return path


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Run a real Prometheus that scrapes `target` (host:port) with our rules, and yield its address."""
    program = require("prometheus")
    address = f"http://127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={write_configuration(folder, target)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address.removeprefix('http://')}",
        "--log.level=warn",
    ]
    with running(command, f"{address}/-/ready", folder / "log"):
        yield address


def query(address: str, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return labels and value of each series that a Prometheus answers with just now.

    Raises:
        ValueError: where it refuses the expression.

    """
    answer = get_json(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    if answer["status"] != "success":
        raise ValueError(answer["error"])
    return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]
