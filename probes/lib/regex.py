"""Regular expressions that run against what strangers send: RE2, whose time is linear in the text whatever the pattern.

Python's own engine can need minutes for one unlucky text, and nothing in the agent would run meanwhile. The syntax is that of Go, so
patterns of blackbox_exporter work as they are; lookaround and back-references are not in it.
"""

from functools import lru_cache
from typing import Annotated, Any

import re2
from pydantic import AfterValidator

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


def search(pattern: str, text: bytes) -> bool:
    """Say whether `pattern` is found anywhere in `text`, which is taken for UTF-8."""
    return _compiled(pattern).search(text) is not None


def catch(pattern: str, text: bytes) -> dict[str, str] | None:
    """Return what the named groups of `pattern` caught, "" for those without a part in it; None where it is not found."""
    found = _compiled(pattern).search(text)
    if found is None:
        return None
    return {name.decode(): caught.decode(errors="backslashreplace") for name, caught in found.groupdict(default=b"").items()}


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern.encode(), _OPTIONS)


def _checked(pattern: str) -> str:
    try:
        _compiled(pattern)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise ValueError(f"not a regular expression (RE2 syntax): {why}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_checked)]
"""A setting that is a regular expression."""
