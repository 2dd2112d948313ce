"""Secrets that a stranger says back, found in whatever spelling and taken out.

A server may repeat what it was sent: as it is, cut off, percent-encoded once or more, in HTML's or JSON's escapes, in base64 with
something before it. Each text is read in all these ways, and where any reading holds a secret, or a piece of one, that is not shown.
"""

import re
from base64 import b64decode
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from urllib.parse import quote, quote_plus, unquote

SHORTEST = 6
"""Characters of a secret that is masked: what is shorter stands in many a harmless word."""
PIECE = 12
"""Characters of a piece of a secret that is masked: what is shorter may be there by chance."""
MASK = "***"
ALL = "*** (it repeats a secret)"
"""What is left where a secret is hidden in a text."""

_STRIDE = PIECE // 2
# A piece holds a whole stretch of half its length, wherever it begins.
_DEEPEST = 3
_KEPT = 64
_LONGEST = 1 << 16
_ESCAPED = re.compile(r"[%&\\]")
_HALF = re.compile(r"\\u00([0-9a-fA-F]{2})")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A secret as it is commonly written, and bare of what spellings add or leave out."""

    written: tuple[str, ...] = field(repr=False)
    bare: str = field(repr=False)


def masked(text: str, secrets: Collection[str]) -> str:
    """Return the text without the secrets: `***` where one stands plainly, `ALL` alone where one is hidden."""
    found = [hidden for secret in secrets if len((hidden := _hidden(secret)).bare) >= SHORTEST]
    for hidden in found:
        for written in hidden.written:
            text = text.replace(written, MASK)
    return ALL if _are_in(text, found) else text


@lru_cache(maxsize=_KEPT)
def _hidden(secret: str) -> _Hidden:
    secret = secret[:_LONGEST]
    sound = secret.encode("utf-8", "replace").decode()
    written = {secret, secret.strip(), quote_plus(sound), quote(sound, safe="")}
    return _Hidden(tuple(sorted(written - {""}, key=len, reverse=True)), _bare(secret))


def _bare(text: str) -> str:
    """Return the text without what spellings add, leave out, change, or write for a space."""
    text = "".join(text.lower().split()).replace("+", "").replace("\\", "")
    return text if text.isprintable() else _CONTROLS.sub("", text)


def _are_in(text: str, secrets: Collection[_Hidden]) -> bool:
    return bool(secrets) and any(_is_in(bare, hidden.bare) for bare in map(_bare, _readings(text)) for hidden in secrets)


def _is_in(text: str, secret: str) -> bool:
    if len(secret) < PIECE:
        return secret in text
    starts = range(0, len(text) - _STRIDE + 1, _STRIDE)
    return any(_begins_near(text, at, secret) for at in starts if text[at : at + _STRIDE] in secret)


def _begins_near(text: str, at: int, secret: str) -> bool:
    """Say whether a piece of the secret holds the stretch of the text that begins there."""
    starts = range(max(at - _STRIDE, 0), min(at, len(text) - PIECE) + 1)
    return any(text[start : start + PIECE] in secret for start in starts)


def _readings(text: str) -> Iterator[str]:
    yield text
    for _ in range(_DEEPEST):
        if not _ESCAPED.search(text):
            break
        text = _HALF.sub(_half, unescape(unquote(text)))
        yield text
    for run in _BASE64.findall(text):
        for skipped in range(4):
            packed = run[skipped:].replace("-", "+").replace("_", "/")
            whole = packed[:-1] if len(packed) % 4 == 1 else packed
            yield b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1")


def _half(escaped: re.Match[str]) -> str:
    return chr(int(escaped.group(1), 16))
