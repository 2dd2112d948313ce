"""Web addresses, taken apart once and for all: what to connect to, what to ask for, what to call it in Host."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Annotated
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

from pydantic import AfterValidator

from probes.lib.resolve import ascii_host

_PORTS = {"http": 80, "https": 443}
_TARGET_SAFE = "!$%&'()*+,/:;=?@[]_.-~"
_HIGHEST_PORT = 65535
_KEYS_APART = 4


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https address. `host` is ASCII or an address without brackets; `target` is path and query, percent-encoded."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host, and port where it is not the scheme's own, as in a Host header."""
        return self.bracketed if self.port == _PORTS[self.scheme] else endpoint(self.host, self.port)

    @property
    def bracketed(self) -> str:
        """The host as URLs write it: IPv6 in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to: never send them to another."""
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def endpoint(host: str, port: int) -> str:
    """Return one end of a connection as people and URLs write it: host:port, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=4096)
def parse(text: str) -> Url:
    """Take an http or https URL apart. A fragment is dropped, what must not stand in a URL is percent-encoded.

    Raises:
        ValueError: in words for the one who wrote it.

    """
    try:
        parts = urlsplit(text)
        given = parts.port
    except ValueError:
        # Its words would repeat what may be a part of a password.
        raise ValueError("the port is no number up to 65535, or the host cannot be read") from None
    if parts.scheme not in _PORTS:
        raise ValueError(f"{_shown(text)} does not begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("a user name or password does not belong into a URL: use basic_auth")
    if not parts.hostname:
        raise ValueError(f"{_shown(text)} names no host")
    port = _PORTS[parts.scheme] if given is None else given
    if not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"{port} is no port")
    target = quote(parts.path or "/", safe=_TARGET_SAFE) + ("?" + quote(parts.query, safe=_TARGET_SAFE) if parts.query else "")
    return Url(parts.scheme, ascii_host(parts.hostname), port, target)


def join(base: Url, reference: str) -> Url:
    """Return where `reference`, as in a Location header, leads from `base`.

    Raises:
        ValueError: where that is no http or https address.

    """
    # Strangers' addresses are not remembered: they come once, fill memory, and may hold keys.
    return parse.__wrapped__(urljoin(str(base), reference.strip()))


def keys_in(url: Url, *, value: int, segment: float = inf, harmless: Collection[str] = ()) -> tuple[str, ...]:
    """Return what in an address may open the place to whoever has it: long values behind the question mark, long parts of the path.

    `value` and `segment` are how many characters are long, `harmless` names of parameters that open nothing. Of more than a few keys one
    text is made, because each costs time wherever it is looked for.
    """
    parts = urlsplit(url.target)
    values = (text for name, text in parse_qsl(parts.query) if len(text) >= value and name not in harmless)
    found = (*values, *(part for part in parts.path.split("/") if len(part) >= segment))
    return found if len(found) <= _KEYS_APART else ("\n".join(found),)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")  # noqa: PLR2004 - long enough to recognise


def _checked(text: str) -> str:
    parse(text)
    return text


HttpUrl = Annotated[str, AfterValidator(_checked)]
"""A setting that is an http or https address."""
