"""Microsoft's description of Graph, cut to what Fogbell calls, as a judge of requests and answers.

The slice is reference data beside the repository, named by `FOGBELL_REFERENCE`; tests that need it bear the mark `needs_slice`.
Operations are named by their method and path template, as in the slice: `("GET", "/teams/{team-id}")`.
"""

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT202012

REFERENCE = os.environ.get("FOGBELL_REFERENCE")
needs_slice = pytest.mark.skipif(REFERENCE is None, reason="FOGBELL_REFERENCE does not name the folder of the reference data")

Schema = Mapping[str, Any]

_METHODS = frozenset({"get", "post", "put", "patch", "delete"})
_SLASHED = frozenset({"item-path", "relative-path"})
"""Parameters that hold a path of their own."""
_JSON = "application/json"
_SLICE = "urn:slice"
_FORMATS = jsonschema.FormatChecker(formats=())


def _is_moment(value: object) -> bool:
    """RFC 3339: a date, a time and an offset. Graph sends up to seven decimals."""
    return not isinstance(value, str) or bool(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)", value) and datetime.fromisoformat(value)
    )


def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or bool(uuid.UUID(value))


_FORMATS.checks("date-time", raises=ValueError)(_is_moment)
_FORMATS.checks("uuid", raises=ValueError)(_is_uuid)


@lru_cache(maxsize=1)
def slice_() -> Schema:
    """Read the slice, once."""
    text = (Path(str(REFERENCE)) / "graph-openapi-slice.yaml").read_bytes()
    document: Schema = yaml.load(text, yaml.CSafeLoader)  # a safe loader, in C
    return document


@lru_cache(maxsize=1)
def _registry() -> Registry[Any]:
    empty: Registry[Any] = Registry()
    filled: Registry[Any] = empty.with_resource(_SLICE, DRAFT202012.create_resource(slice_()))
    return filled


def operations() -> Iterator[tuple[str, str]]:
    """Give every operation of the slice, as (method, path template)."""
    return ((method.upper(), template) for template, item in slice_()["paths"].items() for method in item if method in _METHODS)


def _pattern(template: str) -> re.Pattern[str]:
    """Make the pattern of a template's paths; percent-decoding is left to the parameters."""
    parts = re.split(r"\{([^}]+)\}", template)
    return re.compile("".join(re.escape(part) if n % 2 == 0 else _hole(part) for n, part in enumerate(parts)), re.IGNORECASE)


def _hole(parameter: str) -> str:
    if parameter in _SLASHED:
        return "([^:]+)"
    return "([^/:]+)" if parameter == "hostname" else "([^/]+)"


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Templates with the most literal text first: `messages/delta` before `messages/{id}`."""
    templates = sorted(slice_()["paths"], key=lambda template: -len(re.sub(r"\{[^}]+\}", "", template)))
    return tuple((_pattern(template), template) for template in templates)


def template_of(url_or_path: str) -> str | None:
    """Find the path template that an address belongs to; None where the slice has none.

    The host and the version are passed over, and the namespace that Microsoft's clients write before the name of an action.
    """
    path = urlsplit(url_or_path).path.removeprefix("/v1.0").replace("/microsoft.graph.security.", "/")
    path = re.sub(r"%3[aA]", ":", path).replace("%28", "(").replace("%29", ")").replace("%27", "'")
    return next((template for pattern, template in _patterns() if pattern.fullmatch(path)), None)


def described(method: str, url_or_path: str) -> bool:
    """Whether the slice has the operation of this request."""
    template = template_of(url_or_path)
    return template is not None and _operation(method, template) is not None


def _operation(method: str, template: str) -> tuple[Schema, list[Schema]] | None:
    """Find an operation and all parameters that hold for it."""
    item = slice_()["paths"][template]
    operation = item.get(method.lower())
    if operation is None:
        return None
    return operation, [_resolved(each) for each in [*item.get("parameters", ()), *operation.get("parameters", ())]]


def _resolved(part: Schema) -> Schema:
    """Follow a `$ref` of the slice's own; anything else is given as it is."""
    while "$ref" in part:
        step: Any = slice_()
        for name in part["$ref"].removeprefix("#/").split("/"):
            step = step[name.replace("~1", "/").replace("~0", "~")]
        part = step
    return part


def _against(schema: Schema, value: object, where: str) -> list[str]:
    """Say what is wrong with a value, by a schema of the slice."""
    anchored = _anchored(schema)
    judge = jsonschema.Draft202012Validator(anchored, registry=_registry(), format_checker=_FORMATS)
    return [f"{where}{error.json_path.removeprefix('$')}: {error.message[:200]}" for error in judge.iter_errors(value)]


def _anchored(schema: Any) -> Any:
    """Make the references of a schema lead into the slice from outside."""
    match schema:
        case dict():
            return {key: _SLICE + value if key == "$ref" else _anchored(value) for key, value in schema.items()}
        case list():
            return [_anchored(each) for each in schema]
        case _:
            return schema


def _typed(text: str, schema: Schema) -> object:
    """Give the value a query parameter's text stands for; the text itself where it is none of the type."""
    match schema.get("type"):
        case "integer" if re.fullmatch(r"-?\d+", text):
            return int(text)
        case "boolean" if text in {"true", "false"}:
            return text == "true"
        case _:
            return text


def _query_errors(parameters: list[Schema], query: Mapping[str, str]) -> Iterator[str]:
    known = {each["name"]: each for each in parameters if each["in"] == "query"}
    yield from (f"query: {name} is none of this operation's parameters" for name in query if name not in known)
    yield from (f"query: {name} is required" for name, each in known.items() if each.get("required") and name not in query)
    for name in known.keys() & query.keys():
        yield from _against(known[name]["schema"], _typed(query[name], known[name]["schema"]), f"query {name}")


def _path_errors(parameters: list[Schema], template: str, path: str) -> Iterator[str]:
    """Each parameter's text, decoded, against its schema."""
    found = _pattern(template).fullmatch(re.sub(r"%3[aA]", ":", path))
    values = dict(zip(re.findall(r"\{([^}]+)\}", template), found.groups() if found else (), strict=False))
    for each in parameters:
        if each["in"] == "path" and each["name"] in values:
            yield from _against(each["schema"], unquote(values[each["name"]]), f"path {each['name']}")


def _body_errors(operation: Schema, body: object) -> list[str]:
    described = operation.get("requestBody")
    if described is None:
        return [] if body is None else ["body: this operation has none"]
    if body is None:
        return ["body: required"] if described.get("required") else []
    content = described["content"]
    if isinstance(body, bytes):
        return [] if content.keys() - {_JSON} else ["body: bytes, where JSON is asked for"]
    return _against(content[_JSON]["schema"], body, "body") if _JSON in content else ["body: JSON, where bytes are asked for"]


def request_errors(method: str, url_or_path: str, query: Mapping[str, str] | None = None, body: object = None) -> list[str]:
    """Say what is wrong with a request by the slice, a line each; nothing where it is right.

    `query` holds the parameters decoded; `body` is parsed JSON, bytes of any other type, or None.
    """
    template = template_of(url_or_path)
    found = _operation(method, template) if template else None
    if template is None or found is None:
        return [f"{method} {urlsplit(url_or_path).path}: no operation of the slice"]
    operation, parameters = found
    path = urlsplit(url_or_path).path.removeprefix("/v1.0")
    return [*_path_errors(parameters, template, path), *_query_errors(parameters, query or {}), *_body_errors(operation, body)]


def answer_errors(method: str, url_or_path: str, status: int, body: object) -> list[str]:
    """Say what is wrong with an answer by the slice, a line each; nothing where it is right.

    `body` is parsed JSON, or None for an empty one.
    """
    template = template_of(url_or_path)
    found = _operation(method, template) if template else None
    if found is None:
        return [f"{method} {urlsplit(url_or_path).path}: no operation of the slice"]
    answers = found[0]["responses"]
    if str(status) not in answers and status < 400:
        return [f"status: {status} is none of {', '.join(answers)}"]
    content = _resolved(answers.get(str(status), answers["default"])).get("content", {})
    if _JSON not in content:
        return [] if body is None else [f"body: an answer of status {status} has none"]
    return _against(content[_JSON]["schema"], body, "body") if body is not None else [f"body: missing in an answer of status {status}"]
