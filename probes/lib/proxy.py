"""Which HTTP proxy to go through: one that is configured, or what the agent's environment says (http_proxy, all_proxy, no_proxy, …)."""

from base64 import b64encode
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator

from probes.core.context import Context
from probes.core.contract import Failed, Secret, Settings
from probes.core.reasons import Reason
from probes.lib.resolve import ascii_host, is_address
from probes.lib.url import Url, endpoint

ENVIRONMENT = "environment"
"""Written in place of a proxy's URL: do as the environment says."""

_DEFAULT_PORT = 8080
_WRITTEN = "a proxy is written http://host:port; in a login before the host, percent-encode / ? # and their like"


@dataclass(frozen=True, slots=True)
class Route:
    """A proxy to go through. `headers` hold its login, and are never shown."""

    host: str
    port: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return endpoint(self.host, self.port)


def _checked(url: str) -> str:
    if url != ENVIRONMENT:
        _parse(url)
    return url


ProxyUrl = Annotated[str, AfterValidator(_checked)]
"""`http://host:port`, or the word `environment`."""


class Proxy(Settings):
    """A proxy, and the login it asks for."""

    url: ProxyUrl
    """`http://host:port` of the proxy, or `environment` for what the agent's environment says."""
    username: str = ""
    """Name to log in with."""
    password: Secret | None = None
    """Password to log in with."""


def as_proxy(setting: Proxy | str | None) -> Proxy | None:
    """Return the proxy that a setting names, as a block or as its URL alone."""
    return Proxy(url=setting) if isinstance(setting, str) else setting


def route_to(ctx: Context, proxy: Proxy | None, url: Url) -> Route | None:
    """Return the proxy that leads to `url`, or None for the direct way.

    Raises:
        Failed: PROXY_UNREACHABLE where the environment names a proxy that nobody could use.

    """
    if proxy is None:
        return None
    try:
        route = _from_environment(ctx.shared.environ_proxies, replace(url, target="/")) if proxy.url == ENVIRONMENT else _parse(proxy.url)
    except ValueError as error:
        raise Failed(Reason.PROXY_UNREACHABLE, f"the environment's proxy cannot be used: {error}") from error
    if route is None or not proxy.username:
        return route
    return Route(route.host, route.port, _login(proxy.username, ctx.secret(proxy.password) if proxy.password else ""))


@lru_cache(maxsize=1024)
def _from_environment(environ: tuple[tuple[str, str], ...], url: Url) -> Route | None:
    named = dict(environ)
    address = named.get(url.scheme) or named.get("all")
    if not address or any(_matches(rule.strip().lower(), url) for rule in named.get("no", "").split(",")):
        return None
    return _parse(address if "://" in address else f"http://{address}")


def _matches(rule: str, url: Url) -> bool:
    """Say whether a rule of no_proxy covers the target: `*`, a name and all below it, an address, a network, each perhaps with a port."""
    if rule == "*":
        return True
    if is_address(url.host):
        return _covers(rule, url)
    name, _, port = rule.partition(":")
    name = name.removeprefix("*").strip(".")
    return bool(name) and port in {"", str(url.port)} and (url.host == name or url.host.endswith(f".{name}"))


def _covers(rule: str, url: Url) -> bool:
    if rule in {url.host, endpoint(url.host, url.port), url.bracketed}:
        return True
    try:
        return ip_address(url.host) in ip_network(rule, strict=False)
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def _parse(text: str) -> Route:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # The text may hold a password, and so may a part of it.
        raise ValueError(_WRITTEN) from None
    if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(_WRITTEN)
    login = _login(unquote(parts.username), unquote(parts.password or "")) if parts.username else ()
    return Route(ascii_host(parts.hostname), port or _DEFAULT_PORT, login)


def _login(username: str, password: str) -> tuple[tuple[str, str], ...]:
    return (("Proxy-Authorization", basic(username, password)),)


def basic(username: str, password: str) -> str:
    """Value of an Authorization header for a user name and password (RFC 7617)."""
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()
