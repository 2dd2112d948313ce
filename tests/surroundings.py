"""Examples of configurations as documentation shows them, and what they take for granted."""

import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "config/example.yml"
_FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@cache
def _surroundings() -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    return {key: found[key] for key in ("state_dir", "tenants")}


def with_surroundings(text: str) -> str:
    """Give a document that shows nothing but probes what they take for granted: the example's tenant and its folder for what lasts."""
    document = yaml.safe_load(text)
    signs_in = any(probe.get("tenant") == "contoso" for probe in document["probes"])
    wanted = ("state_dir", "tenants") if signs_in else ("state_dir",)
    missing = {key: _surroundings()[key] for key in wanted if key not in document}
    return f"{text}\n{yaml.safe_dump(missing)}" if missing else text


def shown(kind: str) -> str:
    """Return the first configuration that the documentation of a kind shows, in its surroundings."""
    return with_surroundings(_FENCE.findall(inspect.getdoc(import_module(f"probes.{kind}")) or "")[0])
