"""Where a redirect on the way to a sign-in may lead."""

import re
from typing import Annotated

from pydantic import AfterValidator

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.http import Response
from probes.lib.resolve import ascii_host, is_address
from probes.lib.url import Url, join

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""Statuses that send on to a Location (RFC 9110 15.4)."""

SIGN_IN_HOSTS = (
    "login.microsoftonline.com",
    "login.microsoft.com",
    "login.live.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    "*.cloud.microsoft",
)
"""Where Microsoft's clouds let people sign in, and the domain its portals move to.

learn.microsoft.com/entra/identity-platform/authentication-national-cloud
"""

_SHORTEST_OWN_LABEL = 4
# co.uk, com.au, gov.us: where the last label but one is short, it is the registry's, and the site is one label longer.


def _pattern(text: str) -> str:
    star, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    return star + ascii_host(name)


SignInHost = Annotated[str, AfterValidator(_pattern)]
"""A setting: `login.example.org`, or `*.example.org` for all names below."""


def redirect_of(response: Response, base: Url, more: tuple[str, ...] = ()) -> Url | None:
    """Return where an answer sends people, None where it does not.

    Allowed are the same site, Microsoft's sign-in hosts and `more`.

    Raises:
        Failed: HTTP_REDIRECT for any other place, one that is no web address, none at all, or one without TLS after one with it.

    """
    if response.status not in REDIRECTS:
        return None
    code = str(response.status)
    location = response.header("location")
    if location is None:
        raise Failed(Reason.HTTP_REDIRECT, f"the answer is {code} without a Location", code=code)
    try:
        target = join(base, location)
    except ValueError as error:
        raise Failed(Reason.HTTP_REDIRECT, f"redirected to a place that is no web address: {error}", code=code) from error
    if base.scheme == "https" and target.scheme == "http":
        raise Failed(Reason.HTTP_REDIRECT, f"redirected from https to http, on {target.host}", code=code)
    if not _allowed(target.host, base.host, more):
        raise Failed(Reason.HTTP_REDIRECT, f"redirected to {target.host}, which is no sign-in host", code=code)
    return target


def is_sign_in_host(host: str, more: tuple[str, ...] = ()) -> bool:
    """Say whether people sign in there: at Microsoft's, or one of `more`."""
    return any(fits(host, pattern) for pattern in (*SIGN_IN_HOSTS, *more))


def _allowed(host: str, base: str, more: tuple[str, ...]) -> bool:
    return _site(host) == _site(base) or is_sign_in_host(host, more)


def fits(host: str, pattern: str) -> bool:
    """Say whether a host is the one that a pattern names, or below `*.example.org`."""
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _site(host: str) -> str:
    if is_address(host):
        return host
    labels = re.split(r"\.", host)
    own = -2 if len(labels) > 1 and len(labels[-2]) >= _SHORTEST_OWN_LABEL else -3
    return ".".join(labels[own:])
