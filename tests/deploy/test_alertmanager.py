"""Where alerts go, asked of a real Alertmanager and its own tool."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.places import ALERTMANAGER, alerts
from tests.processes import answers, eventually, fetch_json, free_port, running
from tests.servers import require

pytestmark = pytest.mark.real


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([require("amtool"), *map(str, arguments)], capture_output=True, text=True, check=False)


def receiver_of(labels: dict[str, str]) -> str:
    asked = amtool("config", "routes", "test", f"--config.file={ALERTMANAGER}", *(f"{name}={value}" for name, value in labels.items()))
    assert asked.returncode == 0, asked.stderr
    return asked.stdout.strip()


def test_amtool_accepts_the_configuration() -> None:
    judged = amtool("check-config", ALERTMANAGER)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_amtool_refuses_a_route_to_nowhere(tmp_path: Path) -> None:
    wrong = tmp_path / "alertmanager.yml"
    wrong.write_text(ALERTMANAGER.read_text().replace("receiver: fogbell-owners", "receiver: nobody"))
    assert amtool("check-config", wrong).returncode != 0


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_each_alert_reaches_those_who_can_act(rule: dict[str, Any]) -> None:
    expected = {
        ("page", "service"): "pager",
        ("page", "network"): "network-pager",
        ("ticket", "service"): "tickets",
        ("info", "service"): "notes",
        ("info", "network"): "notes",
        ("ticket", "fogbell"): "fogbell-owners",
        ("info", "fogbell"): "fogbell-owners",
    }
    labels = {"alertname": rule["alert"], "tenant": "contoso", "site": "hq"} | rule["labels"]
    wanted = "deadman" if rule["alert"] == "FogbellDeadman" else expected[rule["labels"]["severity"], rule["labels"]["about"]]
    assert receiver_of(labels) == wanted


def test_an_own_fault_cannot_reach_the_pager_even_if_somebody_calls_it_a_page() -> None:
    assert receiver_of({"alertname": "FogbellOwnFault", "about": "fogbell", "severity": "page"}) == "fogbell-owners"


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an Alertmanager with our configuration, whose receivers are all a closed port of the loopback."""
    program = require("prometheus-alertmanager")
    folder = tmp_path_factory.mktemp("alertmanager")
    nowhere = f"http://127.0.0.1:{free_port()}/"
    lines = ALERTMANAGER.read_text().splitlines()
    configuration = [f"{line.split('url:')[0]}url: {nowhere}" if "url: https" in line else line for line in lines]
    (folder / "alertmanager.yml").write_text("\n".join(configuration))
    address = f"http://127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address.removeprefix('http://')}",
        "--cluster.listen-address=",
    ]
    with running(command, folder / "log", lambda: answers(f"{address}/-/ready")):
        yield address


PROBE = {"alertname": "FogbellProbeFailing", "about": "service", "severity": "ticket", "role": "probe"}
CASES: dict[str, tuple[dict[str, str], dict[str, str], bool]] = {
    "control probes hold back the probes of their site": (
        {"alertname": "FogbellControlsFailing", "about": "network", "severity": "page", "site": "one"},
        PROBE | {"site": "one", "probe": "mx"},
        True,
    ),
    "control probes hold back no other site": (
        {"alertname": "FogbellControlsFailing", "about": "network", "severity": "page", "site": "two"},
        PROBE | {"site": "three", "probe": "mx"},
        False,
    ),
    "sign-in holds back the workloads of its tenant": (
        PROBE | {"site": "four", "probe": "token", "layer": "identity", "tenant": "contoso"},
        PROBE | {"site": "four", "probe": "mail", "layer": "workload", "workload": "exchange", "tenant": "contoso"},
        True,
    ),
    "sign-in holds back no other tenant": (
        PROBE | {"site": "five", "probe": "token", "layer": "identity", "tenant": "contoso"},
        PROBE | {"site": "five", "probe": "mail", "layer": "workload", "workload": "exchange", "tenant": "fabrikam"},
        False,
    ),
    "a workload holds back its features": (
        PROBE | {"site": "six", "probe": "files", "layer": "workload", "workload": "sharepoint", "tenant": "contoso"},
        PROBE | {"site": "six", "probe": "search", "layer": "feature", "workload": "sharepoint", "tenant": "contoso"},
        True,
    ),
    "a workload holds back no feature of another": (
        PROBE | {"site": "seven", "probe": "files", "layer": "workload", "workload": "sharepoint", "tenant": "contoso"},
        PROBE | {"site": "seven", "probe": "members", "layer": "feature", "workload": "teams", "tenant": "contoso"},
        False,
    ),
    "an own fault does not hide its probe, whose reasons may alternate": (
        {"alertname": "FogbellOwnFault", "about": "fogbell", "severity": "ticket", "site": "eight", "probe": "mail"},
        PROBE | {"site": "eight", "probe": "mail"},
        False,
    ),
    "probes without a tenant hold back nothing": (
        PROBE | {"site": "nine", "probe": "login-page", "layer": "identity"},
        PROBE | {"site": "nine", "probe": "shop", "layer": "workload", "workload": "network"},
        False,
    ),
}


def put(address: str, sent: list[dict[str, str]]) -> None:
    body = json.dumps([{"labels": labels} for labels in sent]).encode()
    request = urllib.request.Request(  # noqa: S310 - always http://127.0.0.1
        f"{address}/api/v2/alerts", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - the same
        pass


def states(address: str) -> dict[str, dict[str, Any]]:
    """Return each alert's status by its site, probe and name."""
    return {
        "/".join((alert["labels"]["site"], alert["labels"].get("probe", ""), alert["labels"]["alertname"])): alert["status"]
        for alert in fetch_json(f"{address}/api/v2/alerts")
    }


@pytest.mark.parametrize(("source", "held_back", "expected"), CASES.values(), ids=CASES)
def test_what_holds_back_what(alertmanager: str, source: dict[str, str], held_back: dict[str, str], expected: bool) -> None:  # noqa: FBT001 - a table's column
    put(alertmanager, [source, held_back])
    key = "/".join((held_back["site"], held_back["probe"], held_back["alertname"]))

    def as_expected() -> bool:
        """Say whether the alert was looked at with that result. What holds it back may be known a moment after it."""
        status = states(alertmanager).get(key, {"state": "unprocessed"})
        return status["state"] != "unprocessed" and bool(status["inhibitedBy"]) is expected

    eventually(as_expected, f"held back: {expected}")
