"""Parts of what a caller sent as JSON, read with distrust: another type than the one described is the caller's mistake."""

from typing import Any

from agent.drill.graph.frame import GraphError


def members(value: object) -> dict[str, Any]:
    """Give the members of an object; none where nothing was sent.

    Raises:
        GraphError: 400 where it is something else.

    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong("An object")
    return value


def entries(value: object) -> list[dict[str, Any]]:
    """Give the objects of an array; none where nothing was sent.

    Raises:
        GraphError: 400 where it is something else.

    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong("An array")
    return [members(each) for each in value]


def count(value: object, default: int) -> int:
    """Give a number of things, or the default where nothing was sent.

    Raises:
        GraphError: 400 where it is something else.

    """
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong("A whole number")
    return value


def _wrong(wanted: str) -> GraphError:
    return GraphError(400, "BadRequest", f"Cannot read the request payload: {wanted} was expected.")
