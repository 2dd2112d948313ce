"""The bytes of a file to text, and libyaml's complaints to plain words."""

import re

import yaml

from agent.config.mistakes import START, Positioned, Spot

_BYTE_ORDER_16 = (b"\xff\xfe", b"\xfe\xff")
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")  # YAML 1.1, 5.1

_LINE_ENDS = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1, 4.2

_PROBLEMS = (
    (
        "cannot start any token",
        "no word can begin with this character; a tab never indents, and a text that begins with @, ` or % needs quotes",
    ),
    ("mapping values are not allowed", "a `: ` that cannot be here: wrong indentation, or a text with a colon that needs quotes"),
    ("could not find expected ':'", "a key without `: ` behind it, or a text over several lines that needs quotes"),
    ("unexpected end of stream", "a quote that is opened before is never closed"),
    ("did not find expected <document start>", "text that belongs to nothing: wrong indentation, or a quote that ends too early"),
    ("did not find expected key", "not a key: wrong indentation, or a quote or bracket that ends too early"),
    ("did not find expected '-' indicator", "not an entry of the list: wrong indentation, or a missing `- `"),
    ("did not find expected ',' or ']'", "a `[` without its `]`, or a missing comma"),
    ("did not find expected ',' or '}'", "a `{` without its `}`, or a missing comma"),
    ("did not find expected node content", "a value is missing here"),
    ("block sequence entries are not allowed", "a `- ` that cannot be here: wrong indentation, or a text that needs quotes"),
    ("found undefined tag handle", "tags are not used here; a text that begins with ! needs quotes"),
    ("alphabetic or numeric character", "a text that begins with * or & needs quotes"),
    ("alias", "a text that begins with * needs quotes"),
    ("anchor", "a text that begins with & needs quotes"),
    ("escape character", "in double quotes a backslash begins an escape; write the text in single quotes"),
)

_NAMES_ITS_BEGIN = ("a quote", "a `[`", "a `{`", "a key without")
# Sentences about something that has no end stand where it begins.


class Unreadable(Exception):  # noqa: N818 - reads as what happened
    """The rest of a file cannot be understood."""

    def __init__(self, at: Positioned, what: str) -> None:
        """`at` is where understanding ends."""
        super().__init__(what)
        self.at = at
        self.what = what


def decoded(data: bytes) -> str:
    """Return the text of a file.

    Raises:
        Unreadable: where it is not text, or not UTF-8.

    """
    if data.startswith(_BYTE_ORDER_16):
        raise Unreadable(START, "UTF-16 text; save the file with the encoding UTF-8")
    if b"\0" in data:
        raise Unreadable(at_byte(data, data.index(b"\0")), "a binary file, not text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(at_byte(data, error.start), "not UTF-8 text; save the file with the encoding UTF-8") from error
    control = _NOT_TEXT.search(text)
    if control:
        at = at_byte(data, len(text[: control.start()].encode()))
        raise Unreadable(at, f"a control character (number {ord(control.group())}) that text does not have")
    return text


def at_byte(data: bytes, offset: int) -> Spot:
    """Return the place of a byte."""
    return _end_of(data[:offset].decode("utf-8", "replace"))


def within(text: str, mark: yaml.Mark | None) -> Spot:
    """Return the place of a mark; libyaml puts the end of a file one line behind it."""
    if mark is None:
        return START
    end = _end_of(text)
    return Spot(mark.line + 1, mark.column + 1) if mark.line < end.line else end


def _end_of(text: str) -> Spot:
    lines = _LINE_ENDS.split(text)
    return Spot(len(lines), len(lines[-1]) + 1)


def in_words(error: yaml.MarkedYAMLError) -> tuple[str, yaml.Mark | None]:
    """Return what is wrong and what usually was meant, and where. Never quotes the file, which may hold a secret."""
    problem = f"{error.problem or ''}"
    for part, words in _PROBLEMS:
        if part in problem:
            begins = words.startswith(_NAMES_ITS_BEGIN)
            return words, error.context_mark if begins else error.problem_mark
    return f"not YAML: {problem}", error.problem_mark or error.context_mark
