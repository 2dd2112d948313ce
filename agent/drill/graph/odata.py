"""The part of OData 4 that Graph's callers use: pages, `$select`, `$orderby` by one property, and a small `$filter`.

https://learn.microsoft.com/en-us/graph/query-parameters
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from agent.drill.graph.frame import Answer, Call, GraphError

Item = Mapping[str, Any]

_LARGEST_PAGE = 999
_COMPARISON = re.compile(r"\s*([\w/.]+)\s+(eq|ne|ge|gt|le|lt)\s+('(?:[^']|'')*'|[^\s()]+)\s*")
_FUNCTION = re.compile(r"\s*(startswith|contains)\(\s*([\w/]+)\s*,\s*'((?:[^']|'')*)'\s*\)\s*")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: bool(left == right),
    "ne": lambda left, right: bool(left != right),
    "ge": lambda left, right: left is not None and bool(left >= right),
    "gt": lambda left, right: left is not None and bool(left > right),
    "le": lambda left, right: left is not None and bool(left <= right),
    "lt": lambda left, right: left is not None and bool(left < right),
}


def context(call: Call, *, single: bool = False) -> str:
    """Make the `@odata.context` of an answer to this call."""
    root, _, rest = call.url.partition("/v1.0/")
    return f"{root}/v1.0/$metadata#{rest}{'/$entity' if single else ''}"


def entity(call: Call, item: Item, *, status: int = 200) -> Answer:
    """Answer with one entity, cut down to `$select`."""
    return Answer({"@odata.context": context(call, single=True), **select(item, call.query.get("$select", ""))}, status)


def page(call: Call, items: Sequence[Item], default_top: int = 100) -> Answer:
    """Answer with one page of the items: filtered, ordered, selected, and with `@odata.nextLink` where there are more."""
    found = [item for item in items if matches(item, call.query.get("$filter", ""))]
    found = ordered(found, call.query.get("$orderby", ""))
    size = _number(call, "$top", default_top, least=1)
    start = _number(call, "$skiptoken", _number(call, "$skip", 0))
    shown = found[start : start + min(size, _LARGEST_PAGE)]
    body: dict[str, Any] = {"@odata.context": context(call)}
    if call.query.get("$count") == "true":
        body["@odata.count"] = len(found)
    if start + len(shown) < len(found):
        query = {key: value for key, value in call.query.items() if key != "$skip"} | {"$skiptoken": str(start + len(shown))}
        body["@odata.nextLink"] = f"{call.url}?{urlencode(query)}"
    return Answer(body | {"value": [select(item, call.query.get("$select", "")) for item in shown]})


def select(item: Item, names: str) -> dict[str, Any]:
    """Keep the named properties, the id and annotations; all of them where none is named."""
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    return {key: value for key, value in item.items() if not wanted or key in wanted or key == "id" or "@" in key}


def ordered(items: list[Item], by: str) -> list[Item]:
    """Sort by one property, `name` or `name desc`; what lacks it comes first, as in OData."""
    name, _, direction = by.partition(",")[0].strip().partition(" ")
    if not name:
        return items
    return sorted(items, key=lambda item: (value(item, name) is not None, value(item, name) or ""), reverse=direction.strip() == "desc")


def value(item: Item, path: str) -> Any:
    """Give a property by its path, such as `from/emailAddress/address`; None where there is none. A type on the way changes nothing."""
    found: Any = item
    for name in path.split("/"):
        if name.startswith("microsoft.graph."):
            continue
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def matches(item: Item, text: str) -> bool:
    """Whether an item fits a `$filter` of comparisons, `startswith` and `contains` joined by `and`.

    Raises:
        GraphError: 400 where the filter says more than this.

    """
    return all(_fits(item, term) for term in re.split(r"\s+and\s+(?=(?:[^']*'[^']*')*[^']*$)", text.strip())) if text.strip() else True


def _fits(item: Item, term: str) -> bool:
    """Whether an item fits one term; parentheses around it do not matter."""
    bare = term.strip()
    while bare.startswith("(") and bare.endswith(")"):
        bare = bare[1:-1]
    if function := _FUNCTION.fullmatch(bare):
        have, want = str(value(item, function[2]) or ""), function[3].replace("''", "'")
        return have.lower().startswith(want.lower()) if function[1] == "startswith" else want.lower() in have.lower()
    if comparison := _COMPARISON.fullmatch(bare):
        return _COMPARE[comparison[2]](value(item, comparison[1]), _literal(comparison[3]))
    raise GraphError(400, "BadRequest", f"Invalid filter clause: {term.strip()}")


def _literal(text: str) -> Any:
    """Read a value of a filter: quoted text, number, true, false, null, or a date, which compares as text."""
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    known = {"true": True, "false": False, "null": None}
    if text in known:
        return known[text]
    return int(text) if text.isdecimal() else text


def _number(call: Call, name: str, default: int, *, least: int = 0) -> int:
    text = call.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < least:
        raise GraphError(400, "BadRequest", f"Invalid value '{text}' for {name} query option found.")
    return int(text)
