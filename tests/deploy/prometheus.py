"""Our configuration of Prometheus, hastened for a test."""

import re
from pathlib import Path

import yaml

from tests.deploy.places import DEPLOY, load_yaml


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
