"""Parts of a JSON Schema in the words of people: types, defaults."""

import json
import re
from collections.abc import Iterator
from typing import Any

from agent.config.durations import in_words
from agent.docs.schema import DURATION, SECRET, Node

_DURATION_PATTERN = DURATION["anyOf"][1]["pattern"]
_PLAIN = re.compile(r"[A-Za-z0-9_./:-]+")
_FORMATS = {"date": "date", "path": "file"}
_NOUNS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`", "null": "nothing"}


def type_of(node: Node, parts: dict[str, Node]) -> str:
    """Return what may be written at this place."""
    return " or ".join(dict.fromkeys(_types(node, parts)))


def _types(node: Node, parts: dict[str, Node]) -> Iterator[str]:
    if "$ref" in node:
        yield _named(node["$ref"].rpartition("/")[2], parts)
    elif "anyOf" in node:
        yield from _alternatives(node["anyOf"], parts)
    elif "enum" in node or "const" in node:
        yield ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]) if value is not False)
    elif "prefixItems" in node:
        kinds = dict.fromkeys(type_of(item, parts) for item in node["prefixItems"])
        yield f"list of {len(node['prefixItems'])}: {', '.join(kinds)}"
    elif node.get("type") == "array":
        yield f"list of {_grouped(type_of(node.get('items', {}), parts))}"
    elif node.get("type") == "object":
        yield f"mapping of names to {_grouped(type_of(_values(node), parts))}"
    else:
        yield _scalar(node)


def _named(name: str, parts: dict[str, Node]) -> str:
    part = parts[name]
    if part is SECRET:
        return "secret"
    return "block" if "properties" in part else type_of(part, parts)


def _alternatives(choices: list[Node], parts: dict[str, Node]) -> Iterator[str]:
    """Yield the choices without null, which means the same as leaving the key out; a number and a text for it are a duration."""
    duration = _is_duration(choices)
    for choice in choices:
        if choice.get("type") == "null" or (duration and choice.get("type") == "string"):
            continue
        if duration and choice.get("type") == "number":
            yield "duration" + (f" up to {choice['maximum']:g} s" if "maximum" in choice else "")
        else:
            yield from _types(choice, parts)


def _is_duration(choices: list[Node]) -> bool:
    return any(choice.get("pattern") == _DURATION_PATTERN for choice in choices)


def _grouped(text: str) -> str:
    return f"({text})" if " or " in text and text != _NOUNS["boolean"] else text


def _values(node: Node) -> Node:
    """Return the schema of a mapping's values."""
    patterns = list(node.get("patternProperties", {}).values())
    values: Any = node.get("additionalProperties") or next(iter(patterns), {})
    return values if isinstance(values, dict) else {}


def _scalar(node: Node) -> str:
    if "type" not in node:
        return "anything"
    if node.get("format") in _FORMATS:
        return str(_FORMATS[node["format"]])
    low, high = node.get("minimum"), node.get("maximum")
    noun = _NOUNS[node["type"]]
    if low is not None and high is not None:
        return f"{noun} from {low} to {high}"
    bounds = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"), ("exclusiveMaximum", "below"))
    return noun + "".join(f" {word} {node[key]}" for key, word in bounds if key in node)


def default_of(node: Node, *, required: bool) -> str:
    """Return the default as it would be written, `required`, or "" where leaving the key out means nothing."""
    if required:
        return "**required**"
    value = node.get("default")
    if value is None or value in ([], ""):
        return ""
    return f"`{in_words(value) if _is_duration(node.get('anyOf', [])) else _written(value)}`"


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def meaning_of(node: Node, parts: dict[str, Node]) -> str:
    """Return what a setting means: its own docstring, which pydantic leaves out where it is the same as that of its block."""
    named: Node = parts.get(node.get("$ref", "").rpartition("/")[2], {})
    text: str = node.get("description") or named.get("description", "")
    return text


def blocks_in(node: Node, parts: dict[str, Node]) -> Iterator[str]:
    """Yield the names of the blocks that may be written at this place."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if "properties" in parts[name]:
            yield name
        return
    for choice in (*node.get("anyOf", ()), node.get("items"), _values(node)):
        if choice:
            yield from blocks_in(choice, parts)
