"""The alert rules, judged by Prometheus's own tools, and held against what the agent exports."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.exporter.catalogue import CATALOGUE
from agent.exporter.own import Own
from probes import REGISTRY
from probes.core.reasons import BLAME, Blame
from tests.deploy.places import DEPLOY, RULE_TESTS, RULES, alerts, all_rules, catalogue, load_yaml, metric_names, recorded
from tests.servers import require

SEVERITIES = {"page", "ticket", "info"}
ABOUT = {"service", "network", "fogbell"}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([require("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.real
def test_promtool_accepts_the_rules() -> None:
    judged = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.real
def test_promtool_accepts_the_configuration() -> None:
    judged = promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.real
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_tests_say(path: Path) -> None:
    judged = promtool("test", "rules", path)
    assert judged.returncode == 0, judged.stdout + judged.stderr


WRONG = {
    "a broken expression": ("up{job=", "up{{job=", ""),
    "a broken template": ("{{ $labels.probe }} fails at", "{{ $labels.probe fails at", ""),
    "an own fault that fires as the service's": (" unless on (job, instance, probe) fogbell:probe_failing:ours", "", "failing"),
    "a stretch that is not remembered": ("unless on (job, instance, probe) fogbell:probe_failing:not_ours\n          )", ")", "failing"),
    "an alert on reasons, which flap": (
        "(fogbell_probe_success == 0 unless on (job, instance, probe) fogbell:probe_failing:ours)",
        "fogbell_probe_failed",
        "failing",
    ),
    "a mention of days ago that is taken for one of this outage": ("          > -86400\n", "", "status"),
    "a page in spite of failing control probes": ("unless on (site) (fogbell:site_controls_failing:ratio > 0.5)", "", "sites"),
}
"""What is right, what is wrong instead, and the rule test that has to notice; where none is named, reading the rules is enough."""


@pytest.mark.real
@pytest.mark.parametrize(("right", "wrong", "noticed_by"), WRONG.values(), ids=WRONG)
def test_promtool_refuses_wrong_rules(tmp_path: Path, right: str, wrong: str, noticed_by: str) -> None:
    shutil.copytree(DEPLOY / "prometheus", tmp_path, dirs_exist_ok=True)
    rules = tmp_path / "rules" / RULES.name
    assert right in rules.read_text()
    rules.write_text(rules.read_text().replace(right, wrong))
    judged = promtool("test", "rules", tmp_path / "tests" / f"{noticed_by}.yml") if noticed_by else promtool("check", "rules", rules)
    assert judged.returncode != 0, judged.stdout


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_each_alert_says_what_it_is_and_what_to_do_next(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"].keys() == {"severity", "about"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["labels"]["about"] in ABOUT
    assert rule["annotations"].keys() >= {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"deploy/runbooks.md#{rule['alert']}".lower()


def test_no_alert_about_fogbell_itself_is_a_page() -> None:
    assert [rule["alert"] for rule in alerts() if rule["labels"]["about"] == "fogbell" and rule["labels"]["severity"] == "page"] == []


def test_no_alert_stands_on_reasons_which_flap() -> None:
    assert [rule["alert"] for rule in alerts() if "fogbell_probe_failed" in rule["expr"]] == []


def test_the_runbooks_are_those_of_the_alerts() -> None:
    headings = re.findall(r"^## (Fogbell\w+)$", (DEPLOY / "runbooks.md").read_text(), re.MULTILINE)
    assert headings == list(dict.fromkeys(rule["alert"] for rule in alerts()))


def test_each_alert_has_a_rule_test_in_which_it_fires() -> None:
    tested = {
        case["alertname"]
        for path in RULE_TESTS
        for test in load_yaml(path)["tests"]
        for case in test.get("alert_rule_test", ())
        if case.get("exp_alerts")
    }
    assert tested == {rule["alert"] for rule in alerts()}


def test_the_own_reasons_of_the_alert_are_those_that_the_agent_calls_its_own() -> None:
    (rule,) = (rule for rule in alerts() if rule["alert"] == "FogbellOwnFault")
    named = re.search(r'reason=~"([^"]+)"', rule["expr"])
    assert named is not None
    assert set(named[1].split("|")) == {reason.value for reason, blame in BLAME.items() if blame is Blame.OURS}


def test_every_recorded_series_read_is_recorded() -> None:
    read = {name for rule in all_rules() for name in re.findall(r"\bfogbell:[a-z0-9_:]+", rule["expr"])}
    assert read <= recorded()


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(DEPLOY.rglob("*")) if path.suffix in {".yml", ".json", ".md"}],
    ids=lambda path: str(path.relative_to(DEPLOY)),
)
def test_every_metric_named_is_one_that_the_agent_exports(path: Path) -> None:
    assert metric_names(path.read_text()) <= catalogue()


def test_the_list_of_metrics_is_that_of_the_agent() -> None:
    of_kinds = {f"fogbell_{kind}_{measurement.name}" for kind, probe in REGISTRY.items() for measurement in probe.measurements}
    of_agent = {f"{family.name}_total" if family.type == "counter" else family.name for family in Own("1.2.3").registry.collect()}
    ours = {name for name in of_agent if name.startswith("fogbell_")}
    assert catalogue() == {family.name for family in CATALOGUE} | of_kinds | ours


def test_a_metric_that_the_agent_does_not_export_is_noticed() -> None:
    text = "rate(fogbell_probe_sucess[5m]) > fogbell_probe_latency_seconds_bucket and fogbell:probe_failing:ours"
    assert metric_names(text) - catalogue() == {"fogbell_probe_sucess"}
