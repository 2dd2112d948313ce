"""YAML as it is read: what words mean, anchors, merging, tags."""

import pytest

from agent.config.document import parse
from agent.config.mistakes import Notes, Page
from agent.config.nodes import child, plain


def read(text: str | bytes) -> object:
    notes = Notes()
    tree = parse(text.encode() if isinstance(text, str) else text, Page("f.yml", notes))
    assert notes.mistakes == []
    assert tree is not None
    return plain(tree)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("yes", True),
        ("Off", False),
        ("TRUE", True),
        ("y", "y"),
        ("0", 0),
        ("-12", -12),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b11", 3),
        ("0o17", "0o17"),
        ("0x_", "0x_"),
        ("08", "08"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1.5e+3", 1500.0),
        ("1e3", "1e3"),
        ("1.0e+999", "1.0e+999"),
        ("192.0.2.1", "192.0.2.1"),
        ("2027-01-31", "2027-01-31"),
        ("2027-01-31 12:00:00", "2027-01-31 12:00:00"),
        ("::1", "::1"),
        ('"no"', "no"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ('!!int "5"', 5),
        ("! 5", "5"),
        ("٣", "٣"),
        ("|\n  two\n  lines", "two\nlines\n"),
    ],
)
def test_a_word_means_what_it_does_in_yaml_1_1(word: str, value: object) -> None:
    read_value = read(f"a: {word}\n")
    assert read_value == {"a": value}
    assert isinstance(read_value, dict)
    assert type(read_value["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: &x [1]\nb: *x\n", {"a": [1], "b": [1]}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\n", {"a": {"p": 1, "q": 2}, "b": {"q": 3, "p": 1}}),
        ("a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y]}\n", {"a": {"p": 1}, "b": {"p": 2, "q": 2}, "c": {"p": 1, "q": 2}}),
        ("a: &x {p: 1}\nb: &y {<<: *x, q: 2}\nc: {<<: *y}\n", {"a": {"p": 1}, "b": {"q": 2, "p": 1}, "c": {"q": 2, "p": 1}}),
        ('a: {"<<": 1}\n', {"a": {"<<": 1}}),
        ("a: &x 1\nb: &x 2\nc: *x\n", {"a": 1, "b": 2, "c": 2}),
        ("&k a: 1\n*k : 2\n".replace("*k : 2", "b: *k"), {"a": 1, "b": "a"}),
        ("\ufeffa: 1\n", {"a": 1}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("%YAML 1.1\n---\na: 1\n", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    ],
    ids=[
        "alias",
        "merge",
        "merge-list",
        "merge-of-merge",
        "quoted-merge",
        "anchor-again",
        "anchor-on-key",
        "bom",
        "markers",
        "directive",
        "crlf",
    ],
)
def test_a_document_is_read_as_people_write_it(text: str, data: object) -> None:
    assert read(text) == data


def test_nodes_know_their_place() -> None:
    tree = parse("a:\n  - x\n  - {ké: v}\n".encode(), Page("f.yml", Notes()))
    assert tree is not None
    sequence = child(tree, "a")
    assert sequence is not None
    block = child(sequence, 1)
    assert block is not None
    value = child(block, "ké")
    assert value is not None
    assert [(node.line, node.column) for node in (tree, sequence, block, value)] == [(1, 1), (2, 3), (3, 5), (3, 10)]


def test_lists_of_64_levels_are_read_and_65_are_not() -> None:
    assert read("a: " + "[" * 63 + "]" * 63)
    notes = Notes()
    assert parse(b"a: " + b"[" * 64 + b"]" * 64, Page("f.yml", notes)) is None
    assert [mistake.what for mistake in notes.mistakes] == ["nested deeper than 64 levels"]
