"""Which name server to ask, and how: what people write (`system`, an address, a URL), and the machine's own resolver configuration."""

import os
import re
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from probes.core.contract import Inconclusive
from probes.core.reasons import Reason
from probes.lib.resolve import ascii_host, is_address

SYSTEM = "system"
"""The specification of the machine's own resolver."""

RESOLV_CONF = "/etc/resolv.conf"
_NO_RESOLVER_NAMED = "127.0.0.1"
# resolv.conf(5): without a nameserver line, the one on this machine.


class Transport(StrEnum):
    """What carries the messages."""

    UDP = "udp"
    """Datagrams; TCP for an answer that does not fit."""
    TCP = "tcp"
    TLS = "tls"
    """DNS over TLS (RFC 7858)."""
    HTTPS = "https"
    """DNS over HTTPS (RFC 8484)."""


PORTS = {Transport.UDP: 53, Transport.TCP: 53, Transport.TLS: 853, Transport.HTTPS: 443}
_DOH_PATH = "/dns-query"


@dataclass(frozen=True, slots=True)
class NameServer:
    """A name server to ask. `host` is an address or an ASCII name; empty for the machine's own. `path` is for HTTPS alone."""

    spec: str
    transport: Transport
    host: str
    port: int
    path: str = ""


@lru_cache(maxsize=4096)
def parse_nameserver(spec: str, default: Transport = Transport.UDP) -> NameServer:
    """Read `system`, an address or name with or without a port, or such with `udp://`, `tcp://`, `tls://` or `https://` before it.

    Raises:
        ValueError: where it is none of these.

    """
    if spec == SYSTEM:
        return NameServer(spec, default, "", PORTS[default])
    scheme, separator, rest = spec.partition("://")
    if not separator:
        return _parse_url(spec, default, f"[{spec}]" if _is_ipv6(spec) else spec)
    if scheme not in set(Transport):
        raise ValueError(f"{spec!r}: the scheme of a resolver is one of {', '.join(Transport)}")
    return _parse_url(spec, Transport(scheme), f"[{rest}]" if _is_ipv6(rest) else rest)


def _parse_url(spec: str, transport: Transport, rest: str) -> NameServer:
    if re.search(r"[\x00-\x20\x7f]", rest):
        raise ValueError(f"{spec!r}: a resolver has no blanks in it")
    url = urlsplit(f"//{rest}")
    if url.username is not None or url.query or url.fragment or not url.hostname:
        raise ValueError(
            f"{spec!r} is no resolver: write system, 192.0.2.53, [2001:db8::1]:53, tls://dns.example or https://host/dns-query"
        )
    if url.path and transport is not Transport.HTTPS:
        raise ValueError(f"{spec!r}: only https:// has a path")
    path = (url.path or _DOH_PATH) if transport is Transport.HTTPS else ""
    if url.port == 0:
        raise ValueError(f"{spec!r}: port 0 is none")
    return NameServer(spec, transport, ascii_host(url.hostname), url.port or PORTS[transport], path)


def _is_ipv6(text: str) -> bool:
    return ":" in text and is_address(text)


def _checked(spec: str) -> str:
    parse_nameserver(spec)
    return spec


Resolver = Annotated[str, AfterValidator(_checked)]
"""A resolver as settings carry it: the text as written, found to be right."""


def located(server: NameServer) -> NameServer:
    """Return the server with the address it has now, which for the machine's own may change at any time.

    Raises:
        Inconclusive: where the machine's resolver configuration cannot be read.

    """
    return server if server.host else replace(server, host=system_address())


def system_address(resolv_conf: str | None = None) -> str:
    """Return the address of the machine's first name server.

    Raises:
        Inconclusive: where the configuration cannot be read.

    """
    if sys.platform == "win32":
        return _windows_address()
    path = resolv_conf or RESOLV_CONF
    try:
        seen = os.stat(path)  # noqa: PTH116 - half the cost, on every run
        return _first_nameserver(path, (seen.st_mtime_ns, seen.st_size, seen.st_ino))
    except FileNotFoundError:
        return _NO_RESOLVER_NAMED
    except OSError as error:
        raise Inconclusive(Reason.AGENT_RESOURCES, f"cannot read {path}: {os.strerror(error.errno or 0).lower()}") from error


@lru_cache(maxsize=8)
def _first_nameserver(path: str, _version: tuple[int, int, int]) -> str:
    """Read the file; `_version` makes the cache ask again when it has changed."""
    for line in Path(path).read_text(errors="replace").splitlines():
        match line.split():
            case ["nameserver", address, *_] if _is_scoped_address(address):
                return address
    return _NO_RESOLVER_NAMED


def _is_scoped_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _windows_address() -> str:
    from dns.win32util import get_dns_info  # type: ignore[attr-defined,unused-ignore] # noqa: PLC0415 - exists on Windows alone

    addresses: list[str] = get_dns_info().nameservers
    return addresses[0] if addresses else _NO_RESOLVER_NAMED
