"""The dashboard: every query of it must return data from a real Prometheus that scrapes an agent with our rules loaded."""

import json
import math
import os
import re
from collections.abc import Iterator

import pytest

from tests.deploy.places import DASHBOARD, DEPLOY, RULES, catalogue, dashboard_expressions, load_yaml, metric_names, recorded
from tests.deploy.prometheus import write_configuration
from tests.deploy.sample import exposition, sample_agent
from tests.prometheus import Prometheus, prometheus

VARIABLES = {"site": ".*", "tenant": ".*", "workload": ".*", "kind": ".*", "probe": ".+", "__rate_interval": "1m"}
"""What Grafana puts in place of each variable when All is chosen."""

ROUNDS = ("ratio_1h", "ratio_24h", "p50_1h", "p95_1h")
"""Recorded figures that each group brings once a counter has been seen twice."""


def substituted(expression: str) -> str:
    """Return an expression as Grafana sends it.

    Raises:
        KeyError: where it uses a variable that the dashboard does not have.

    """
    return re.sub(r"\$(\w+)", lambda found: VARIABLES[found[1]], expression)


def complaint(scraper: Prometheus, expression: str) -> str:
    """Return what is wrong with an expression's answer, or nothing."""
    try:
        answer = scraper.query(substituted(expression))
    except ValueError as error:
        return str(error)
    return "" if any(not math.isnan(sample.value) for sample in answer) else f"no data: {answer}"


@pytest.fixture(scope="module")
def scraped_target() -> Iterator[str]:
    """Address (host:port) that the Prometheus of these tests scrapes: that of FOGBELL_SCRAPED_TARGET, else the sample's.

    An agent given here needs probes of every kind, one of which fails by the service and one by its own fault.
    """
    if given := os.environ.get("FOGBELL_SCRAPED_TARGET"):
        yield given
        return
    with sample_agent() as address:
        yield address


@pytest.fixture(scope="module")
def scraper(scraped_target: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run a real Prometheus until it has scraped the target more than once."""
    with prometheus(write_configuration(tmp_path_factory.mktemp("prometheus"), scraped_target)) as found:
        for name in recorded():
            if name.endswith(ROUNDS):
                found.until(name, 30)
        yield found


@pytest.mark.real
@pytest.mark.parametrize(("title", "expression"), dashboard_expressions(), ids=lambda value: value if len(value) < 70 else "")
def test_every_query_returns_data(scraper: Prometheus, title: str, expression: str) -> None:
    assert complaint(scraper, expression) == "", title


@pytest.mark.real
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("fogbell_probe_sucess", "no data", id="a misspelt metric"),
        pytest.param("sum(fogbell_probe_success", "parse error", id="a missing bracket"),
        pytest.param('fogbell_probe_success{kind="http"}', "no data", id="a label that only the info series has"),
        pytest.param("0 * fogbell_probe_success / 0", "no data", id="nothing but NaN"),
    ],
)
def test_a_broken_query_is_caught(scraper: Prometheus, expression: str, expected: str) -> None:
    assert expected in complaint(scraper, expression)


@pytest.mark.real
def test_the_rules_fire_for_what_the_sample_shows(scraper: Prometheus, scraped_target: str) -> None:
    if scraped_target == os.environ.get("FOGBELL_SCRAPED_TARGET"):
        pytest.skip("another target than the sample is scraped")
    firing = scraper.until('count by (alertname, probe) (ALERTS{alertname=~"FogbellProbeFailing|FogbellOwnFault"})')
    assert {(sample.labels["alertname"], sample.labels["probe"]) for sample in firing} == {
        ("FogbellProbeFailing", "files"),
        ("FogbellProbeFailing", "expired"),
        ("FogbellOwnFault", "submission"),
    }


def test_the_sample_holds_every_metric_that_is_read_and_none_that_is_not_exported() -> None:
    read = {name for path in (DASHBOARD, RULES) for name in metric_names(path.read_text())}
    assert read <= metric_names(exposition(1).decode()) <= catalogue()


def test_every_recorded_series_on_the_dashboard_is_recorded() -> None:
    read = {name for _, expression in dashboard_expressions() for name in re.findall(r"\bfogbell:[a-z0-9_:]+", expression)}
    assert read <= recorded()


def test_every_variable_used_is_one_of_the_dashboard() -> None:
    has = {variable["name"] for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]}
    used = {name for _, expression in dashboard_expressions() for name in re.findall(r"\$(\w+)", expression)}
    assert used - {"__rate_interval"} <= has
    assert VARIABLES.keys() - {"__rate_interval"} <= has


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_grafana_is_told_where_dashboard_and_prometheus_are() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = load_yaml(provisioning / "datasources" / "prometheus.yml")["datasources"]
    (provider,) = load_yaml(provisioning / "dashboards" / "fogbell.yml")["providers"]
    mounts = [mount.split(":")[:2] for mount in load_yaml(DEPLOY / "compose.yml")["services"]["grafana"]["volumes"]]
    chosen = next(variable for variable in json.loads(DASHBOARD.read_text())["templating"]["list"] if variable["name"] == "datasource")
    assert source["uid"] == chosen["current"]["value"]
    assert ["./grafana/fogbell.json", f"{provider['options']['path']}/fogbell.json"] in mounts
