"""What an HTTP answer has to be like, as settings, and the judge of it."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Any

import pydantic_core
from pydantic import AfterValidator, Field

from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Settings
from probes.core.reasons import Reason
from probes.lib.http import Response
from probes.lib.jsonpath import JsonPath, find
from probes.lib.regex import Pattern, search
from probes.lib.retry_after import retry_after
from probes.lib.spelled import Sha256, Spelled

JSON_BYTES = 1 << 20
"""Longest JSON document that is parsed: parsing a longer one would hold up other probes."""

_OF_THE_WEB = """
iso-8859-1 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-6 iso-8859-7 iso-8859-8 iso-8859-9 iso-8859-10 iso-8859-11
iso-8859-13 iso-8859-14 iso-8859-15 iso-8859-16 latin1 windows-874 windows-1250 windows-1251 windows-1252 windows-1253 windows-1254
windows-1255 windows-1256 windows-1257 windows-1258 ibm866 koi8-r koi8-u macintosh tis-620 utf-16 utf-16le utf-16be utf-32
big5 big5-hkscs euc-jp euc-kr gb2312 gbk gb18030 iso-2022-jp shift_jis
"""
_CHARSETS = frozenset(_OF_THE_WEB.split())
# Python knows others that a server could name, such as punycode, for which a megabyte takes seconds.

_PYTHONS = {"windows-874": "cp874", "macintosh": "mac-roman"}

_SHOWN_CHARACTERS = 100
_LOWEST, _HIGHEST = 100, 599


def status_range(text: int | str) -> tuple[int, int]:
    """Return the lowest and highest status that 204, 2xx or 200-204 means.

    Raises:
        ValueError: where it means none.

    """
    word = str(text).lower()
    low, dash, high = word.replace("xx", "00").partition("-")
    if not (low.isdecimal() and (high.isdecimal() or not dash)):
        raise ValueError(f"{text!r} is no status: write 204, 2xx or 200-204")
    found = int(low), int(high or low) + (99 if word.endswith("xx") else 0)
    if not _LOWEST <= found[0] <= found[1] <= _HIGHEST:
        raise ValueError(f"{text!r} is no status: they go from {_LOWEST} to {_HIGHEST}")
    return found


def _checked(text: int | str) -> int | str:
    status_range(text)
    return text


def _not_empty(statuses: tuple[int | str, ...]) -> tuple[int | str, ...]:
    # Field(min_length=1) would complain a second time about a list whose only entry is wrong.
    if not statuses:
        raise ValueError("name at least one status, or leave the list out")
    return statuses


Status = Annotated[int | str, AfterValidator(_checked)]
FieldName = Annotated[
    str, Field(max_length=200), Spelled(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "the name of a header field, such as Content-Type, without a colon")
]
"""Name of a header field (RFC 9110 5.1)."""


class JsonRule(Settings):
    """What a place in a JSON body has to hold. With neither `equals` nor `regex` it only has to be there."""

    path: JsonPath
    """Where to look: `status`, `items[0].name`, `items[-1]`, `["a key.with dots"]`."""
    equals: str | int | float | bool | None = None
    """Value that must stand there."""
    regex: Pattern | None = None
    """Regular expression to be found in the value; what is no text is written as JSON first."""


class ExpectBody(Settings):
    """What a body has to be like."""

    contains: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Texts that must all be in it."""
    regex: tuple[Pattern, ...] = ()
    """Regular expressions (RE2 syntax, `(?s)` lets the dot match line ends) that must all be found in it."""
    not_regex: tuple[Pattern, ...] = ()
    """Regular expressions of which none may be found in it."""
    json_path: tuple[JsonRule, ...] = ()
    """What must stand at places of a JSON document of at most 1 MiB."""
    min_bytes: Annotated[int, Field(ge=0)] = 0
    """Least size after unpacking."""
    max_bytes: Annotated[int, Field(ge=0)] | None = None
    """Greatest size after unpacking. Unlike `body_limit` it lets the whole body come and tells its size."""
    sha256: Sha256 | None = None
    """SHA-256 of it after unpacking, in hexadecimal."""

    @property
    def reads(self) -> bool:
        """Whether the body has to be kept for these rules."""
        return bool(self.contains or self.regex or self.not_regex or self.json_path)


class Expect(Settings):
    """What an answer has to be like."""

    status: Annotated[tuple[Status, ...], AfterValidator(_not_empty)] | None = None
    """Statuses that are right, such as `[200, 3xx, 401-403]`; 2xx where nothing is said, 3xx where redirects are judged."""
    headers: dict[FieldName, Pattern] = Field(default_factory=dict)
    """Header fields that must be there, each with a regular expression to be found in its value (`""` for any)."""
    body: ExpectBody = ExpectBody()
    """What the body has to be like."""


def tell_wrong(ctx: Context, response: Response, names: Iterable[str]) -> None:
    """Put into evidence what helps to find out why an answer is wrong: header fields of these names, and how the body begins."""
    for name in names:
        value = response.header(name)
        if value is not None:
            # Addresses may carry codes and tokens behind the question mark.
            ctx.evidence(f"header_{name}", value.partition("?")[0] if name == "location" else value)
    beginning = response.body[:300].decode("utf-8", "replace")
    if beginning:
        ctx.evidence("body_begins", " ".join(beginning.split()))


def judge_status(response: Response, allowed: tuple[tuple[int, int], ...]) -> None:
    """Say no to a status that is in none of the ranges.

    Raises:
        Failed: HTTP_4XX, HTTP_5XX, HTTP_REDIRECT, CONTENT_MISMATCH.
        Inconclusive: THROTTLED, for 429: the server limits us, which says nothing about what others get.

    """
    status = response.status
    if any(low <= status <= high for low, high in allowed):
        return
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = retry_after(response.header("retry-after"))
        raise Inconclusive(Reason.THROTTLED, "the answer is 429: the server limits our own requests", code="429", retry_after=wait)
    reason = {3: Reason.HTTP_REDIRECT, 4: Reason.HTTP_4XX}.get(status // 100, Reason.CONTENT_MISMATCH)
    raise Failed(reason if status < 500 else Reason.HTTP_5XX, f"the answer is {status}", code=str(status))  # noqa: PLR2004 - 5xx and above


def judge_content(response: Response, expect: Expect) -> None:
    """Say no to header fields or a body that are not as expected.

    Raises:
        Failed: CONTENT_MISMATCH.

    """
    for name, pattern in expect.headers.items():
        _judge_header(response, name, pattern)
    body = expect.body
    _judge_size(response, body)
    if body.reads:
        _judge_text(_utf8(response), body)


def _judge_header(response: Response, name: str, pattern: str) -> None:
    value = response.header(name)
    if value is None:
        raise _mismatch(f"the answer has no header {name}")
    if not search(pattern, value.encode()):
        raise _mismatch(f"the header {name} is {_short(value)}, in which {pattern!r} is not found")


def _judge_size(response: Response, body: ExpectBody) -> None:
    size = response.body_bytes
    if size < body.min_bytes or (body.max_bytes is not None and size > body.max_bytes):
        most = "" if body.max_bytes is None else f" and at most {body.max_bytes}"
        raise _mismatch(f"the body has {size} bytes; expected at least {body.min_bytes}{most}")
    if body.sha256 is not None and response.sha256 != body.sha256.lower():
        raise _mismatch(f"the body's SHA-256 is {response.sha256}")


def _judge_text(text: bytes, body: ExpectBody) -> None:
    complaints = (
        *(f"the body does not contain {_short(wanted)}" for wanted in body.contains if wanted.encode() not in text),
        *(f"{pattern!r} is not found in the body" for pattern in body.regex if not search(pattern, text)),
        *(f"{pattern!r} is found in the body" for pattern in body.not_regex if search(pattern, text)),
    )
    if complaints:
        raise _mismatch("; ".join(complaints))
    if body.json_path:
        document = _document(text)
        for rule in body.json_path:
            _judge_value(document, rule)


def _judge_value(document: Any, rule: JsonRule) -> None:
    try:
        value = find(rule.path, document)
    except LookupError as error:
        raise _mismatch(f"JSON path {rule.path}: {_short(error)}") from error
    # In Python True equals 1; in JSON it does not.
    if rule.equals is not None and (value != rule.equals or isinstance(value, bool) is not isinstance(rule.equals, bool)):
        raise _mismatch(f"JSON path {rule.path} holds {_short(value)}, not {_short(rule.equals)}")
    text = value.encode() if isinstance(value, str) else pydantic_core.to_json(value)
    if rule.regex is not None and not search(rule.regex, text):
        raise _mismatch(f"JSON path {rule.path} holds {_short(value)}, in which {rule.regex!r} is not found")


def _document(text: bytes) -> Any:
    if len(text) > JSON_BYTES:
        raise _mismatch(f"the body has {len(text)} bytes, too many to be parsed as JSON")
    try:
        # Parses fast, and refuses deep nesting instead of overflowing.
        return pydantic_core.from_json(text)
    except ValueError as error:
        raise _mismatch(f"the body is not JSON: {_short(error)}") from error


def _utf8(response: Response) -> bytes:
    """Return the body as UTF-8, from the character set that it says it has."""
    _, _, charset = (response.header("content-type") or "").lower().partition("charset=")
    charset = charset.partition(";")[0].strip("\"' ")
    if charset not in _CHARSETS:
        return response.body
    return response.body.decode(_PYTHONS.get(charset, charset), "replace").encode("utf-8", "replace")


def _mismatch(message: str) -> Failed:
    return Failed(Reason.CONTENT_MISMATCH, message)


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
