"""What pydantic found, in plain words and at its place in the file."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from agent.config.mistakes import Positioned, meant, meant_or_known, shown
from agent.config.nodes import Mapping, Node, Path, Scalar, child, written
from agent.config.scalars import misread, typed
from probes.core.contract import Secret

SECRET = "{env: NAME} or {file: PATH}"  # noqa: S105 - how one is written

_SHAPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list, such as [a, b]",
    "tuple_type": "a list, such as [a, b]",
    "set_type": "a list, such as [a, b]",
    "frozen_set_type": "a list, such as [a, b]",
    "dict_type": "a block of keys",
    "model_type": "a block of keys",
    "model_attributes_type": "a block of keys",
    "date_type": "a date, such as 2027-01-31",
    "date_parsing": "a date, such as 2027-01-31",
    "date_from_datetime_parsing": "a date, such as 2027-01-31",
    "datetime_type": "a time, such as 2027-01-31T12:00:00Z",
    "none_required": "left out",
}
_TEXTS = {"string_type", "literal_error", "enum", "misfit", "date_type", "datetime_type"}
# Where a text may have been meant, so that quotes would help.
_LIMITS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the regular expression {pattern}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "finite_number": "must be a finite number",
    "value_error": "{error}",
    "assertion_error": "{error}",
}


_FINDINGS = 1_000
# Most mistakes told of one block: more are never shown.


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake: the path of what is wrong, its place, and the sentence."""

    path: Path
    at: Positioned
    what: str


@dataclass(frozen=True, slots=True)
class _Trace:
    """An error of pydantic, followed into the tree. `tags` are the parts of its path that name branches, not data."""

    error: dict[str, Any]
    path: Path
    node: Node
    parent: Node
    models: frozenset[type[BaseModel]]
    tags: tuple[tuple[Path, str], ...]
    missing: str
    hidden: bool


def findings(error: ValidationError, node: Node, model: type[BaseModel], also: Iterable[str] = ()) -> list[Finding]:
    """Return what is wrong beneath a node that was read as a model; `also` are keys that the model's block has besides its own."""
    errors = error.errors(include_url=False, include_input=False)[:_FINDINGS]
    traces = _without_echoes([_trace(dict(found), node, model) for found in errors])
    return [_finding(trace, also) for trace in _best_branches(traces)]


@cache
def models_in(annotation: Any) -> frozenset[type[BaseModel]]:
    """Return the models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return frozenset({annotation})
    return frozenset[type[BaseModel]]().union(*(models_in(part) for part in get_args(annotation) if not isinstance(part, str | list)))


def keys_of(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Return each key of a model as it is written, and its annotation."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field.annotation


def _without_echoes(traces: list[_Trace]) -> list[_Trace]:
    """Leave out that a list is too short where that is because entries of it are wrong: pydantic counts the right ones."""
    wrong = {trace.path[:-1] for trace in traces if trace.path}
    return [trace for trace in traces if not (trace.error["type"] == "too_short" and trace.path in wrong)]


def _trace(error: dict[str, Any], node: Node, model: type[BaseModel]) -> _Trace:
    path: Path = ()
    parent: Node = node
    models, hidden = frozenset({model}), False
    tags: list[tuple[Path, str]] = []
    location = list(error["loc"])
    missing = str(location.pop()) if error["type"] == "missing" else ""
    for step in location:
        below = child(node, step)
        if hidden:
            break
        if below is None:
            tags.append((path, str(step)))
            hidden = step == Secret.__name__
            models = frozenset(known for known in models if known.__name__ == step) or models
            continue
        parent, node, path = node, below, (*path, step)
        models, hidden = _beneath(models, step)
    is_word = error["type"] == "model_type"
    return _Trace(error, path, node, parent, models, tuple(tags), missing, hidden and not is_word)


def _beneath(models: frozenset[type[BaseModel]], step: str | int) -> tuple[frozenset[type[BaseModel]], bool]:
    """Return the models one step on, and whether a secret stands there."""
    if isinstance(step, int):
        return models, False
    annotations = [annotation for model in models for key, annotation in keys_of(model) if key == step]
    found = frozenset[type[BaseModel]]().union(*map(models_in, annotations))
    return (found if annotations else models), any(set(get_args(one) or (one,)) <= {Secret, type(None)} for one in annotations)


def _best_branches(traces: list[_Trace]) -> list[_Trace]:
    """Of the branches of a union, keep the one that was probably meant: its shape fits, and it has the fewest mistakes."""
    unions: dict[Path, dict[str, list[_Trace]]] = defaultdict(lambda: defaultdict(list))
    kept = []
    for trace in traces:
        if trace.tags:
            point, tag = trace.tags[0]
            unions[point][tag].append(trace)
        else:
            kept.append(trace)
    for point, branches in unions.items():
        kept += _chosen(point, branches)
    return kept


def _chosen(point: Path, branches: dict[str, list[_Trace]]) -> list[_Trace]:
    fitting = [found for found in branches.values() if not any(_is_misfit(trace, point) for trace in found)]
    if fitting:
        return min(fitting, key=len)
    misfits = [trace for found in branches.values() for trace in found if _is_misfit(trace, point)]
    wanted = " or ".join(dict.fromkeys(_shape(trace.error) for trace in misfits))
    return [replace(misfits[0], error={"type": "misfit", "ctx": {"wanted": wanted}}, tags=(), hidden=False)]


def _is_misfit(trace: _Trace, point: Path) -> bool:
    return trace.path == point and not trace.missing and bool(_shape(trace.error))


def _shape(error: dict[str, Any]) -> str:
    kind = error["type"]
    if error.get("ctx", {}).get("class_name") == Secret.__name__:
        return SECRET
    if kind in {"literal_error", "enum"}:
        return "one of " + str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
    return str(error["ctx"]["wanted"]) if kind == "misfit" else _SHAPES.get(kind, "")


def _finding(trace: _Trace, also: Iterable[str]) -> Finding:
    if trace.hidden:
        return Finding(trace.path, trace.node, f"must be {SECRET}")
    if trace.error["type"] == "extra_forbidden":
        return Finding(trace.path, _key(trace), _unknown(trace, also))
    if trace.missing:
        what = "an entry" if isinstance(trace.error["loc"][-1], int) else f"the key {shown(trace.missing)}"
        return Finding(trace.path, trace.node, f"{what} is missing")
    if trace.error.get("loc", ())[-1:] == ("[key]",):
        return Finding(trace.path, _key(trace), _sentence(trace))
    if trace.error["type"].startswith("union_tag"):
        return _tag_finding(trace)
    return Finding(trace.path, trace.node, _sentence(trace))


def _key(trace: _Trace) -> Positioned:
    key = trace.path[-1]
    return trace.parent.keys[key] if isinstance(trace.parent, Mapping) and isinstance(key, str) else trace.node


def _unknown(trace: _Trace, also: Iterable[str]) -> str:
    # An unknown key is a field of no model, so the models stayed those of the block it stands in.
    known = {key for model in trace.models for key, _ in keys_of(model)} | (set(also) if len(trace.path) == 1 else set())
    taken = trace.parent.keys if isinstance(trace.parent, Mapping) else {}
    return "unknown key" + meant_or_known(str(trace.path[-1]), {key for key in known if key not in taken})


def _tag_finding(trace: _Trace) -> Finding:
    context = trace.error["ctx"]
    discriminator = str(context["discriminator"]).strip("'")
    expected = str(context.get("expected_tags", "")).replace("'", "").split(", ")
    node = child(trace.node, discriminator)
    if node is None:
        return Finding(trace.path, trace.node, f"the key {shown(discriminator)} is missing")
    return Finding((*trace.path, discriminator), node, f"must be one of {', '.join(expected)}" + _near(node, expected))


def _sentence(trace: _Trace) -> str:
    error = trace.error
    wanted = _shape(error)
    if wanted == SECRET:
        return f"must be {SECRET}"
    if wanted:
        expected = wanted.removeprefix("one of ").split(", ") if error["type"] in {"literal_error", "enum"} else []
        return f"must be {wanted}" + _near(trace.node, expected) + _quoting(trace.node, error["type"])
    limit = _LIMITS.get(error["type"])
    if limit is not None:
        return _limited(limit, error.get("ctx", {}))
    message = str(error["msg"])
    return message.replace("Input should", "must") if message.startswith("Input should") else message


def _limited(limit: str, context: dict[str, Any]) -> str:
    if context.get("min_length") == 1:
        return "must not be empty"
    return limit.format_map({key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()})


def _near(node: Node, expected: list[str]) -> str:
    if not (isinstance(node, Scalar) and isinstance(node.value, str) and expected):
        return ""
    return meant(node.text, expected)


def _quoting(node: Node, kind: str) -> str:
    if not isinstance(node, Scalar):
        return ""
    if not node.quoted and (node.value is None or kind in _TEXTS):
        return misread(node.value, node.text)
    if node.quoted and kind.startswith(("bool", "int", "float")) and not isinstance(typed(node.text)[0], str | None):
        return "; write it without quotes"
    return ""


def place(prefix: str, path: Path) -> str:
    """Return where something is, for people: a prefix and the path beneath it."""
    below = written(path)
    return f"{prefix}.{below}" if below and prefix and not below.startswith("[") else prefix + below
