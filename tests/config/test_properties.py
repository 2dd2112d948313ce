"""Whatever the bytes: a configuration or its mistakes, each at a place that exists."""

import contextlib
import tempfile
from pathlib import Path

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.config import ConfigurationError, load, masked
from agent.config.document import parse
from agent.config.mistakes import Mistake, Notes, Page
from agent.config.nodes import plain
from tests.config.kinds import KINDS

RIGHT = b"""\
defaults: {interval: 60s, timeout: 10}
x-all: &all {kind: watch, host: example.org}
probes:
  - {name: a, <<: *all, tls: {min_version: "1.2"}, labels: {team: x}}
  - name: b
    kind: watch
    host: b
    send: {via: smtp, host: c, port: 25}
    dialogue: [{send: x}, {expect: "^a"}]
    password: {env: PATH}
"""

relaxed = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def mistakes_in(data: bytes) -> tuple[Mistake, ...] | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.yml"
        path.write_bytes(data)
        try:
            load(path, registry=KINDS)
        except ConfigurationError as error:
            return error.mistakes
    return None


def judge(data: bytes) -> None:
    found = mistakes_in(data)
    assert found is None or found
    for mistake in found or ():
        assert str(mistake).isprintable()
        _is_within(data, mistake.line, mistake.column)


def _is_within(data: bytes, line: int, column: int) -> None:
    # YAML 1.1 ends a line at these as well.
    text = data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")
    for end in ("\r", "\x85", "\u2028", "\u2029"):
        text = text.replace(end, "\n")
    lines = text.split("\n")
    assert 1 <= line <= len(lines)
    assert 1 <= column <= len(lines[line - 1]) + 1


@relaxed
@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"a: \xc3")
@example(b"?")
@example(b"- ")
@example(b"\xef\xbb\xbf")
def test_any_bytes_are_a_configuration_or_mistakes(data: bytes) -> None:
    judge(data)


@relaxed
@given(st.text(alphabet=st.sampled_from("ab:-[]{}#&*!|>'\"%@`,?<~\t\n\r \x85\u2028é0.1"), max_size=60))
@example("a\r: b: c")
@example("a:\x85 b: c: d")
def test_any_punctuation_is_a_configuration_or_mistakes(text: str) -> None:
    judge(b"probes:\n- " + text.encode())


@relaxed
@given(st.data())
def test_a_right_file_with_one_part_torn_out_or_put_twice_is_judged(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(RIGHT)))
    end = data.draw(st.integers(start, min(len(RIGHT), start + 30)))
    part = data.draw(st.sampled_from([b"", RIGHT[start:end] * 2, b"null", b"[a, 1]", b"\0", b"&x ", b"*all", b"!t "]))
    judge(RIGHT[:start] + part + RIGHT[end:])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@relaxed
@given(
    st.dictionaries(st.sampled_from(["state_dir", "defaults", "tenants", "probes", "x-a"]), values, max_size=4),
    st.lists(
        st.dictionaries(st.sampled_from(["name", "kind", "host", "tls", "send", "password", "headers", "interval", "labels"]), values)
    ),
)
def test_any_shape_of_values_is_judged(top: dict[str, object], probes: list[object]) -> None:
    judge(yaml.safe_dump(top | {"probes": probes}, allow_unicode=True).encode())


@relaxed
@given(st.dictionaries(st.text(min_size=1, max_size=6), values, min_size=1, max_size=4))
def test_what_pyyaml_writes_is_read_as_pyyaml_reads_it(data: dict[str, object]) -> None:
    written = yaml.safe_dump(data, allow_unicode=True)
    notes = Notes()
    tree = parse(written.encode(), Page("f.yml", notes))
    assert notes.mistakes == []
    assert tree is not None
    assert plain(tree) == yaml.load(written, Loader=yaml.CSafeLoader)


@relaxed
@given(st.text(min_size=1, max_size=20), st.dictionaries(st.text(max_size=5), st.text(max_size=8), max_size=3))
def test_what_is_shown_loads_again_as_the_same(host: str, headers: dict[str, str]) -> None:
    probe = {"name": "a", "kind": "watch", "host": host, "headers": headers}
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ConfigurationError):
        path = Path(folder) / "f.yml"
        path.write_text(yaml.safe_dump({"probes": [probe]}), encoding="utf-8")
        first = load(path, registry=KINDS)
        path.write_text(masked(first), encoding="utf-8", newline="")
        try:
            assert "<secret>" in masked(first) or load(path, registry=KINDS).jobs == first.jobs
        except ConfigurationError as error:
            raise AssertionError(masked(first)) from error
