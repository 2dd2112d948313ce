"""What every kind of probe owes: a name, documentation, units, an example, a test. A new kind is held to it without a line added here."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent.config import load
from agent.docs.schema import Node, read_models
from agent.docs.words import meaning_of, type_of
from probes import REGISTRY
from probes.core.contract import Measurement, Probe, Settings, always
from probes.lib.tls import EXPIRY
from tests.surroundings import shown

ROOT = Path(__file__).parent.parent
NOT_BASE = re.compile(r"(ms|us|ns|millis\w*|micros\w*|nanos\w*|minutes|hours|days|kb|kib|mb|mib|gb|bits|percent|pct|fahrenheit)")
RESERVED = {"total", "count", "sum", "bucket", "info", "created"}
"""Endings that mean something to Prometheus."""
UNIT_OF = {
    **dict.fromkeys(("duration", "latency", "time", "timestamp", "age", "rtt", "ttl", "expiry", "skew", "delay"), "seconds"),
    **dict.fromkeys(("size", "length", "memory"), "bytes"),
}
TAKEN_LABELS = {"probe", "job", "instance", "le", "quantile", "type", "service", "env"}

every_kind = pytest.mark.parametrize("kind", sorted(REGISTRY))


def module_of(kind: str) -> ModuleType:
    return import_module(f"probes.{kind}")


def wrong_with_name(name: str, *, counter: bool = False) -> str:
    """Return what is wrong with the name of a measurement: it ends in its base unit, or counts, or is a ratio or a flag."""
    if counter != name.endswith("_total"):
        return "ends in total, which only a counter does, and each"
    words = name.removesuffix("_total").split("_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        return "is not lower case with single underscores"
    if words[-1] in RESERVED:
        return f"ends in {words[-1]}, which Prometheus keeps for itself"
    if any(NOT_BASE.fullmatch(word) for word in words):
        return "is in a unit that is no base unit"
    units = {UNIT_OF[word] for word in words if word in UNIT_OF}
    return f"ends in none of its units, {', '.join(units)}" if units - {words[-1]} else ""


def wrong_with(measurement: Measurement) -> Iterator[str]:
    """Yield everything that is wrong with a measurement."""
    name = wrong_with_name(measurement.name, counter=measurement.counter)
    if name:
        yield f"{measurement.name} {name}"
    if not re.fullmatch(r"[A-Z].*[^.]\.", measurement.help):
        yield f"{measurement.name}: its help is no sentence that ends with a period"
    yield from (f"{measurement.name}: the label {label} is taken" for label in measurement.labels if label in TAKEN_LABELS)


def literals(module: ModuleType, method: str) -> set[str]:
    """Return the words that the module hands to `ctx.<method>`, as far as they stand there in letters."""
    calls = (node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call))
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == method
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def undocumented(name: str, parts: dict[str, Node]) -> Iterator[str]:
    """Yield what lacks its docstring in a settings model, or has one that is no sentence."""
    part = parts[name]
    texts = {name: part.get("description", "")}
    texts |= {f"{name}.{key}": meaning_of(setting, parts) for key, setting in part.get("properties", {}).items()}
    yield from (where for where, text in texts.items() if not text.endswith("."))


def loose_files(name: str, parts: dict[str, Node]) -> Iterator[str]:
    """Yield the settings of a model whose words say that they name a file, and whose type does not."""
    for key, setting in parts[name].get("properties", {}).items():
        if re.search(r"(^|_)file(_|$)", key) or re.match(r"(PEM f|F)ile ", meaning_of(setting, parts)):
            yield from [] if type_of(setting, parts) in {"file", "list of file", "secret"} else [f"{name}.{key}"]


def test_every_setting_that_names_a_file_takes_it_from_the_folder_of_the_configuration() -> None:
    parts = read_models().parts
    assert "ca_file" in parts["Trust"]["properties"]
    assert [found for name in parts if name != "Secret" for found in loose_files(name, parts)] == []


def test_every_file_of_a_kind_is_registered_in_order() -> None:
    files = sorted(path.stem for path in (ROOT / "probes").glob("*.py") if path.stem != "__init__")
    assert list(REGISTRY) == files


@every_kind
def test_a_kind_is_named_like_its_module(kind: str) -> None:
    assert module_of(kind).PROBE is REGISTRY[kind]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", kind)


@every_kind
def test_a_kind_begins_with_a_sentence_and_shows_how_it_is_written(kind: str) -> None:
    documentation = inspect.getdoc(module_of(kind)) or ""
    assert re.match(r"[A-Z].*[.:]$", documentation.split("\n\n")[0], flags=re.DOTALL)
    assert re.search(rf"^```yaml$.*?^ +kind: {kind}$.*?^```$", documentation, flags=re.DOTALL | re.MULTILINE)
    assert "permission" in documentation, "say which permission it needs, or that it needs none"


def test_every_setting_is_documented() -> None:
    parts = read_models().parts
    assert [where for name in parts for where in undocumented(name, parts)] == []


def test_a_setting_without_a_docstring_is_found() -> None:
    part: dict[str, Any] = {"description": "A block.", "properties": {"told": {"description": "What."}, "silent": {"type": "string"}}}
    assert list(undocumented("Block", {"Block": part})) == ["Block.silent"]


@every_kind
def test_measurements_say_their_unit_and_what_they_are(kind: str) -> None:
    assert [problem for measurement in REGISTRY[kind].measurements for problem in wrong_with(measurement)] == []


def example(kind: str, folder: Path) -> Settings:
    """Load the first example in the documentation of a kind."""
    path = folder / "example.yml"
    path.write_text(shown(kind), encoding="utf-8")
    return next(job.settings for job in load(path, secrets=False).jobs if job.kind == kind)


@every_kind
def test_blocks_that_nobody_wrote_are_the_same_in_all_probes(kind: str, tmp_path: Path) -> None:
    one, other = (example(kind, tmp_path) for _ in range(2))
    silent = set(type(one).model_fields) - one.model_fields_set
    blocks = {name for name in silent if isinstance(getattr(one, name), Settings)}
    assert [name for name in sorted(blocks) if getattr(one, name) is not getattr(other, name)] == []


@pytest.mark.parametrize(
    ("measurement", "problem"),
    [
        (Measurement("rtt_ms", "Round trip."), "no base unit"),
        (Measurement("duration", "How long."), "none of its units, seconds"),
        (Measurement("body_size", "How large."), "none of its units, bytes"),
        (Measurement("hits_total", "Hits."), "total, which only a counter does"),
        (Measurement("Hits", "Hits."), "not lower case"),
        (Measurement("hits", "hits"), "no sentence"),
        (Measurement("hits", "Hits.", ("job",)), "the label job is taken"),
    ],
    ids=lambda value: value.name if isinstance(value, Measurement) else "",
)
def test_a_measurement_that_is_not_as_it_should_be_is_found(measurement: Measurement, problem: str) -> None:
    assert [found for found in wrong_with(measurement) if problem in found]


def test_no_two_metrics_share_a_name() -> None:
    names = [f"fogbell_{kind}_{measurement.name}" for kind, probe in REGISTRY.items() for measurement in probe.measurements]
    assert sorted(set(names)) == sorted(names)
    assert not [name for name in names if name.startswith(("fogbell_probe_", "fogbell_config_", "fogbell_loop_", "fogbell_schedule_"))]


@every_kind
def test_steps_and_measurements_that_a_kind_uses_are_declared(kind: str) -> None:
    module, probe = module_of(kind), REGISTRY[kind]
    assert probe.steps
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", step) for step in probe.steps)
    assert len(set(probe.steps)) == len(probe.steps)
    assert literals(module, "step") <= set(probe.steps)
    assert literals(module, "measure") <= {measurement.name for measurement in probe.measurements}


def test_an_undeclared_step_is_found() -> None:
    assert literals(module_of("http"), "step") - {"request"}


@every_kind
def test_a_kind_that_signs_in_declares_what_every_connection_with_tls_measures(kind: str) -> None:
    names = {measurement.name for measurement in REGISTRY[kind].measurements}
    assert EXPIRY in names or REGISTRY[kind].tenant is not always


@every_kind
def test_defaults_of_a_kind_fit_together(kind: str) -> None:
    probe: Probe[Any] = REGISTRY[kind]
    assert 0 < probe.floor <= probe.interval
    assert 0 < probe.timeout <= probe.interval


@every_kind
def test_a_kind_has_tests_of_its_own(kind: str) -> None:
    tests = ROOT / f"tests/probes/test_{kind}.py"
    assert tests.is_file(), f"the kind {kind} owes tests of its own: write tests/probes/test_{kind}.py"
    assert re.search(r"^(async )?def test_", tests.read_text(encoding="utf-8"), flags=re.MULTILINE)
