"""A path into a JSON document: `status`, `items[0].name`, `items[-1]`, `["a key.with dots"]`, with or without a leading `$`."""

import re
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator

_STEP = re.compile(
    r"""\.?(?P<key>[^.\[\]"'\s]+)|\[(?P<index>-?\d{1,9})\]|\[(?P<quote>["'])(?P<quoted>(?:(?!(?P=quote)).)*)(?P=quote)\]""", re.DOTALL
)

Step = str | int


def find(path: str, document: Any) -> Any:
    """Return what stands at `path`.

    Raises:
        LookupError: where nothing does, with how far the path led.

    """
    here = document
    done = "$"
    for step in steps(path):
        here = _inside(here, step, done)
        done += f"[{step}]" if isinstance(step, int) else f".{step}"
    return here


def _inside(holder: Any, step: Step, where: str) -> Any:
    """Return what `holder` has at `step`. A text has no places, although Python lets it be indexed."""
    try:
        if not isinstance(holder, str):
            return holder[step]
    except LookupError:
        raise LookupError(f"{where} has no {step!r}") from None
    except TypeError:
        pass
    raise LookupError(f"{where} is not {'a list' if isinstance(step, int) else 'an object'}")


@lru_cache(maxsize=4096)
def steps(path: str) -> tuple[Step, ...]:
    """Parse a path into keys and indexes.

    Raises:
        ValueError: where it is none.

    """
    found: list[Step] = []
    position = 1 if path.startswith("$") else 0
    while position < len(path):
        match = _STEP.match(path, position)
        # A dot stands between keys, and may stand first after `$`; without one a key may only begin the path.
        if match is None or (match["key"] and position and path[position] != "."):
            raise ValueError(f"{path!r} is no JSON path: cannot read it from {path[position:]!r} on")
        found.append(int(match["index"]) if match["index"] else match["key"] or match["quoted"] or "")
        position = match.end()
    return tuple(found)


def _checked(path: str) -> str:
    steps(path)
    return path


JsonPath = Annotated[str, AfterValidator(_checked)]
"""A setting that is a path into a JSON document."""
