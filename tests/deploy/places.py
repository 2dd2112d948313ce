"""Where the files under test are, and how they are read."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules" / "fogbell.yml"
RULE_TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))
DASHBOARD = DEPLOY / "grafana" / "fogbell.json"
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"
REFERENCE = ROOT / "config" / "reference.md"

_HISTOGRAM_PARTS = re.compile(r"_(bucket|count|sum)$")


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text())


def all_rules() -> list[dict[str, Any]]:
    """Return every rule of the rule file, alerts and recordings, in their order."""
    return [rule for group in load_yaml(RULES)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return every alert of the rule file."""
    return [rule for rule in all_rules() if "alert" in rule]


def recorded() -> set[str]:
    """Return the names of the recorded series."""
    return {rule["record"] for rule in all_rules() if "record" in rule}


def metric_names(text: str) -> set[str]:
    """Return every metric of Fogbell named in `text`, the series of a histogram under its own name."""
    found = re.findall(r"(?<![A-Za-z0-9_:.*-])fogbell_[a-z0-9_]+(?![A-Za-z0-9:])", text)
    return {_HISTOGRAM_PARTS.sub("", name) for name in found if not name.endswith("_")}


def catalogue() -> set[str]:
    """Return the names of the metrics that the generated reference has in its tables."""
    return set(re.findall(r"^\| `(fogbell_\w+)` \|", REFERENCE.read_text(), re.MULTILINE))


def dashboard_expressions() -> list[tuple[str, str]]:
    """Return (panel title and query letter, expression) for every query of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(f"{panel['title']} {target['refId']}", target["expr"]) for panel in panels for target in panel.get("targets", ())]
