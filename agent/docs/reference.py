"""config/reference.md: every setting, step, metric and reason, in the words of the code's own docstrings."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.config.durations import in_words
from agent.config.keys import Defaults, Keys
from agent.docs.metrics import own_metrics, probe_metrics
from agent.docs.schema import Models, Node, read_models, top_keys
from agent.docs.words import blocks_in, default_of, meaning_of, type_of
from probes import REGISTRY
from probes.core.contract import Measurement, Probe
from probes.core.reasons import BLAME, MEANING
from probes.lib.tenant import Tenant

_INTRODUCTION = """\
# Reference

<!-- Made by `fogbell docs` from the docstrings in the code: change those. -->

Everything that can be written in the configuration, and everything that comes out. `config/example.yml` is a configuration to begin with,
`fogbell check --config PATH` says what is wrong with yours, and `config/schema.json` lets an editor do so while you write.

- A **duration** is a number of seconds, or a text such as `500ms`, `60s`, `5m`, `1h30m`.
- A **secret** is `{env: NAME}` or `{file: PATH}`: the environment variable or file that holds it. Written in place it works, and is warned
  about.
- A **file** is a path. A relative one begins at the folder of the configuration's file, as those of secrets do.
- A **block** is a mapping with keys of its own; they have a table below the one that names it.
"""

_KINDS = """\
## Kinds

The keys of a kind stand beside the common ones. Interval and timeout are those of the probe, else of `defaults`, else the kind's own. An
interval below the kind's floor needs `allow_short_interval: true`; one of `defaults` that is below it does not count for the kind.
"""

_METRICS = """\
## Metrics

Times are in seconds, points in time are Unix time. Every series of a probe carries its name as the label `probe`; join with
`fogbell_probe_info` for kind, workload, layer, role, tenant and labels of your own. Only what ran has a sample: a phase or step that did
not run has none, which is not 0. A run is conclusive when it ended ok or failed.

### Of every probe
"""

_OWN = """\
### Of the agent itself

Beside these, `process_…` and `python_…` as of every Prometheus client in Python.
"""

_REASONS = """\
## Reasons

Every run that is not ok has exactly one. *Blame* says whose move is next, as far as one run can tell: `ours` (the agent, its configuration,
credentials, limits), `network` (between the agent and the service) or `service` (the target itself).
"""


def reference(registry: Mapping[str, Probe[Any]] = REGISTRY) -> str:
    """Return the page."""
    return "\n".join(_sections(registry))


def _sections(registry: Mapping[str, Probe[Any]]) -> Iterator[str]:
    models = read_models(registry)
    yield _INTRODUCTION
    yield "## Keys of a file\n\nKeys beginning with `x-` are free, for anchors.\n"
    yield settings_table({"properties": top_keys(models)}, {**models.parts, "probe": models.of(Keys)})
    for title, model in (("`defaults`", Defaults), ("Each of `tenants`", Tenant), ("Each of `probes`", Keys)):
        yield from _settings(f"### {title}", models.of(model), models)
    yield _KINDS
    for kind, probe in registry.items():
        yield from _kind(kind, probe, models)
    yield _METRICS
    yield table(("metric", "type", "labels", "meaning"), probe_metrics())
    yield _OWN
    yield table(("metric", "type", "meaning"), own_metrics())
    yield _REASONS
    yield table(("reason", "blame", "meaning"), ((f"`{reason}`", BLAME[reason], meaning) for reason, meaning in MEANING.items()))


def _kind(kind: str, probe: Probe[Any], models: Models) -> Iterator[str]:
    module = inspect.getmodule(probe.settings)
    yield f"### `{kind}`\n"
    yield f"{inspect.getdoc(module)}\n"
    interval, floor, timeout = map(in_words, (probe.interval, probe.floor, probe.timeout))
    patience = f" (one of `defaults` below {in_words(probe.least_timeout)} does not count)" if probe.least_timeout else ""
    yield f"Every {interval} (floor {floor}), timeout {timeout}{patience}. Steps: {', '.join(f'`{step}`' for step in probe.steps)}.\n"
    yield from _settings("", models.of(probe.settings), models)
    if probe.measurements:
        yield table(("metric", "labels", "meaning"), (_measurement(kind, one) for one in probe.measurements))


def _measurement(kind: str, one: Measurement) -> tuple[str, str, str]:
    return f"`fogbell_{kind}_{one.name}`", _labels(("probe", *one.labels)), one.help


def _labels(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _settings(heading: str, part: Node, models: Models) -> Iterator[str]:
    """Yield the table of a model's settings, and one of each block in it, in the order they are met."""
    if heading:
        yield f"{heading}\n"
    yield settings_table(part, models.parts)
    for path, name in _blocks(part, models.parts):
        block = models.parts[name]
        yield f"In `{path}`: {_begun_small(block.get('description', ''))}\n"
        yield settings_table(block, models.parts)


def _begun_small(text: str) -> str:
    return text[:1].lower() + text[1:]


def _blocks(part: Node, parts: dict[str, Node], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and name of every block below, outer ones first."""
    for key, node in part["properties"].items():
        for name in blocks_in(node, parts):
            yield f"{above}{key}", name
            yield from _blocks(parts[name], parts, f"{above}{key}.")


def settings_table(part: Node, parts: dict[str, Node]) -> str:
    """Return the table of the keys of a mapping."""
    required = part.get("required", ())
    if not part["properties"]:
        return "It has no settings of its own.\n"
    rows = (
        (f"`{key}`", type_of(node, parts), default_of(node, required=key in required), meaning_of(node, parts))
        for key, node in part["properties"].items()
    )
    return table(("key", "type", "default", "meaning"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
