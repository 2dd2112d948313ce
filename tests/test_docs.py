"""What people read is true: generated pages are current, configurations in Markdown load, the schema agrees with the loader."""

import json
import re
import sys
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from agent.config import ConfigurationError, load
from agent.config.load import TOP
from agent.docs import SCHEMA, generate
from agent.docs.reference import reference
from agent.docs.schema import DURATION, Node, read_models, schema, top_keys
from agent.docs.words import type_of
from agent.exporter import CATALOGUE
from agent.runner import run_once
from probes import REGISTRY
from probes.core.reasons import Reason
from tests.agent.jobs import SHARED
from tests.fakes.scripted import plays
from tests.surroundings import with_surroundings
from tests.test_every_probe import undocumented, wrong_with

ROOT = Path(__file__).parent.parent
_CODE = re.compile(r"^````python\n(.*?)^````$", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^( *)```(ya?ml[^\n]*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """A YAML block of a Markdown file. `sort` is "yaml", or "yaml fragment" for a part of a document or another program's."""

    where: str
    sort: str
    text: str


def fences_in(text: str, where: str) -> list[Fence]:
    """Return the YAML blocks, apart from those inside a block of code."""
    text = _CODE.sub(lambda code: "\n" * code[0].count("\n"), text)
    return [
        Fence(
            f"{where}:{text[: found.start()].count(chr(10)) + 1}",
            found[2].strip(),
            re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE),
        )
        for found in _FENCE.finditer(text)
    ]


def markdown_files() -> list[Path]:
    """Return all Markdown of the repository; folders that begin with a dot hold what was installed."""
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(path for path in paths if not any(part.startswith(".") or part in {"build", "node_modules"} for part in path.parts))


FENCES = [fence for path in markdown_files() for fence in fences_in((ROOT / path).read_text(encoding="utf-8"), str(path))]
DOCUMENTS = [fence for fence in FENCES if fence.sort == "yaml"]


def configuration(folder: Path, text: str) -> Path:
    path = folder / "fogbell.yml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", list(generate()), ids=str)
def test_generated_pages_are_current(path: Path) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == generate()[path], "run `fogbell docs`"


def test_the_reference_names_every_kind_reason_and_metric() -> None:
    page = generate()[Path("config/reference.md")]
    missing = [f"### `{kind}`" for kind in REGISTRY if f"### `{kind}`\n" not in page]
    missing += [reason for reason in Reason if f"\n| `{reason}` |" not in page]
    missing += [family.name for family in CATALOGUE if f"\n| `{family.name}` | {family.kind} | `probe`" not in page]
    assert missing == []


def test_the_reference_has_tables_that_hold_together() -> None:
    rows = [line for line in generate()[Path("config/reference.md")].splitlines() if line.startswith("|")]
    heads = [index for index, row in enumerate(rows) if re.fullmatch(r"\|(?: ?-+ ?\|)+", row)]
    widths = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    for head, following in zip(heads, [*heads[1:], len(rows) + 1], strict=True):
        assert set(widths[head - 1 : following - 1]) == {widths[head]}


def test_a_kind_without_settings_says_so() -> None:
    (section,) = re.findall(r"### `purview_audit`\n(.*?)\n### ", generate()[Path("config/reference.md")], re.DOTALL)
    assert "It has no settings of its own.\n" in section
    assert "| key |" not in section


def test_a_kind_without_measurements_has_no_table_of_them() -> None:
    page = reference({"tcp": replace(REGISTRY["tcp"], measurements=())})
    assert "### `tcp`" in page
    assert "fogbell_tcp_" not in page


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({}, "anything"),
        ({"type": "integer", "minimum": 0}, "whole number at least 0"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "path"}, "file"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text"),
        ({"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}, "list of (whole number or text)"),
        ({"type": "array", "items": {"type": "boolean"}}, "list of `true` or `false`"),
        ({"type": "array", "prefixItems": [{"type": "string"}] * 2}, "list of 2: text"),
        ({"enum": ["a", "b"]}, "`a`, `b`"),
        ({"anyOf": [*DURATION["anyOf"], {"type": "null"}]}, "duration"),
    ],
)
def test_types_are_told_in_words(node: Node, words: str) -> None:
    assert type_of(node, {}) == words


@pytest.mark.parametrize("fence", DOCUMENTS, ids=lambda fence: fence.where)
def test_a_configuration_in_markdown_loads(fence: Fence, tmp_path: Path) -> None:
    assert load(configuration(tmp_path, with_surroundings(fence.text)), secrets=False).jobs


def test_yaml_in_markdown_is_a_whole_configuration_or_marked_as_a_fragment() -> None:
    assert [fence for fence in FENCES if fence.sort not in {"yaml", "yaml fragment"}] == []
    assert [fence for fence in FENCES if yaml.safe_load(fence.text) is None] == []


def test_markdown_with_a_wrong_configuration_is_found(tmp_path: Path) -> None:
    page = "Text\n\n1. A list\n\n   ```yaml\n   probes:\n     - {name: web, kind: htpp}\n   ```\n\n```yaml fragment\na: 1\n```\n"
    wrong, part = fences_in(page, "page.md")
    assert (wrong.where, wrong.text, part.sort) == ("page.md:5", "probes:\n  - {name: web, kind: htpp}\n", "yaml fragment")
    with pytest.raises(ConfigurationError, match="htpp"):
        load(configuration(tmp_path, wrong.text), secrets=False)


def test_the_example_loads_without_a_warning() -> None:
    example = load(ROOT / "config/example.yml", secrets=False)
    assert example.warnings == ()
    assert "control" in {job.role for job in example.jobs}


def test_the_example_tells_editors_where_its_schema_is() -> None:
    text = (ROOT / "config/example.yml").read_text(encoding="utf-8")
    assert text.startswith(f"# yaml-language-server: $schema=./{SCHEMA.name}\n")


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the probe in probes/README.md from a file, as any other is."""
    (code,) = _CODE.findall((ROOT / "probes/README.md").read_text(encoding="utf-8"))
    (tmp_path / "ssh.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ssh", raising=False)
    return import_module("ssh")


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [("SSH-2.0-OpenSSH_9.9", None), ("220 mail.example.org", Reason.PROTOCOL_ERROR)],
    ids=["ssh", "another protocol"],
)
async def test_the_probe_that_shows_how_to_add_one_works(greeting: str, reason: Reason | None, shown: ModuleType, tmp_path: Path) -> None:
    async with plays(f"S: {greeting}") as (host, port):
        text = f"probes: [{{name: a, kind: ssh, host: {host}, port: {port}}}]"
        (job,) = load(configuration(tmp_path, text), registry={"ssh": shown.PROBE}).jobs
        run = await run_once(job, SHARED)
    assert list(undocumented("Ssh", read_models({"ssh": shown.PROBE}).parts)) == []
    assert [problem for measurement in shown.PROBE.measurements for problem in wrong_with(measurement)] == []
    assert (run.reason, run.failed_step) == (reason, "greeting" if reason else "")
    assert [(sample.name, sample.value) for sample in run.measured] == [("greeting_bytes", len(greeting))]


@pytest.fixture(scope="module")
def judge() -> jsonschema.Draft202012Validator:
    written = json.loads((ROOT / SCHEMA).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(written)
    return jsonschema.Draft202012Validator(written)


def complaints(judge: jsonschema.Draft202012Validator, text: str) -> list[str]:
    """Return where an editor would underline what."""
    errors = judge.iter_errors(yaml.safe_load(text))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.validator}" for error in errors]


EXAMPLE = Fence("config/example.yml", "yaml", (ROOT / "config/example.yml").read_text(encoding="utf-8"))
DEPLOYED = [Fence(str(path.relative_to(ROOT)), "yaml", path.read_text(encoding="utf-8")) for path in (ROOT / "deploy/config").glob("*.yml")]


@pytest.mark.parametrize("fence", [EXAMPLE, *DEPLOYED, *DOCUMENTS], ids=lambda fence: fence.where)
def test_the_schema_accepts_what_the_loader_accepts(judge: jsonschema.Draft202012Validator, fence: Fence) -> None:
    assert complaints(judge, fence.text) == []


WRONG: dict[str, tuple[str, str]] = {
    "unknown top key": ("probe: []", ": additionalProperties"),
    "unknown kind": ("probes: [{name: a, kind: htpp}]", "probes.0.kind: enum"),
    "no name": ("probes: [{kind: http, url: 'http://x/'}]", "probes.0: required"),
    "no url": ("probes: [{name: a, kind: http}]", "probes.0: required"),
    "key of another kind": ("probes: [{name: a, kind: http, url: 'http://x/', query: x}]", "probes.0: additionalProperties"),
    "interval in words": ("probes: [{name: a, kind: http, url: 'http://x/', interval: often}]", "probes.0.interval: anyOf"),
    "role": ("probes: [{name: a, kind: http, url: 'http://x/', role: witness}]", "probes.0.role: enum"),
    "number too large": ("probes: [{name: a, kind: tcp, host: x, port: 70000}]", "probes.0.port: anyOf"),
    "limit of a duration": ("probes: [{name: a, kind: dns, query: x, query_timeout: 601}]", "probes.0.query_timeout: anyOf"),
    "secret in place": ("probes: [{name: a, kind: http, url: 'http://x/', bearer: abc}]", "probes.0.bearer: anyOf"),
    "secret from two": ("probes: [{name: a, kind: http, url: 'http://x/', bearer: {env: A, file: B}}]", "probes.0.bearer: anyOf"),
    "block": ("probes: [{name: a, kind: dns, query: x, expect: {equal: []}}]", "probes.0.expect: additionalProperties"),
    "tenant": ("tenants: {contoso: {tenant_id: x}}", "tenants.contoso.tenant_id: pattern"),
}


@pytest.mark.parametrize(("text", "complaint"), WRONG.values(), ids=WRONG)
def test_the_schema_refuses_at_the_right_place(judge: jsonschema.Draft202012Validator, text: str, complaint: str) -> None:
    assert complaint in complaints(judge, text)


RIGHT: dict[str, str] = {
    "durations": "defaults: {interval: 1h30m, timeout: 500ms}\nprobes: [{name: a, kind: dns, query: x, interval: 60, query_timeout: 2.5s}]",
    "a number for a record type": "probes: [{name: a, kind: dns, query: x, record: 65}]",
    "off without quotes": "probes: [{name: a, kind: dns_m365_domain, domain: example.org, checks: {autodiscover: off, msoid: 'off'}}]",
    "secrets": "probes: [{name: a, kind: http, url: 'http://x/', bearer: {env: A}, headers: {X-Key: {file: b}, X-Plain: c}}]",
    "anchors": "x-a: &a {host: x}\nprobes: [{<<: *a, name: a, kind: tcp, port: 1}]",
    "either a block or a flag": "probes: [{name: a, kind: tcp, host: x, port: 1, tls: {min_version: '1.3'}}]",
}


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT)
def test_the_schema_and_the_loader_accept_the_same(judge: jsonschema.Draft202012Validator, text: str, tmp_path: Path) -> None:
    assert complaints(judge, text) == []
    assert load(configuration(tmp_path, text), secrets=False).jobs


def test_the_schema_has_the_keys_that_the_loader_reads() -> None:
    assert tuple(top_keys(read_models())) == TOP
    parts = schema()["$defs"]
    keys: dict[str, Any] = {kind: parts[f"probe_{kind}"]["properties"] for kind in REGISTRY}
    assert all(set(probe.settings.model_fields) <= set(keys[kind]) for kind, probe in REGISTRY.items())
