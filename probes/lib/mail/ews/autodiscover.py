"""Autodiscover: whether clients are told the address of EWS that the settings name.

It is asked as Outlook for mobile devices asks, in JSON and without a login ("Autodiscover version 2", Exchange Server 2016 and newer), at
the server that the settings name: what DNS says of autodiscover is the business of `dns_m365_domain`. Nothing that it answers is used.

The older dialects (POX, SOAP) are not spoken: they want a login, by NTLM or Basic, and are needed by Exchange Server 2013 alone, which has
been out of support since April 2023.
"""

import json
from urllib.parse import quote

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.http import Request, Wanted, fetch
from probes.lib.mail.ews.calls import site_of
from probes.lib.mail.ews.settings import EwsServer
from probes.lib.proxy import route_to
from probes.lib.url import parse

_ANSWER_BYTES = 65_536
_OK = 200
_BY_CLASS = {3: Reason.HTTP_REDIRECT, 4: Reason.HTTP_4XX, 5: Reason.HTTP_5XX}


async def discover(ctx: Context, server: EwsServer, mailbox: str) -> None:
    """Ask for the address of EWS for a mailbox, and compare it with that of the settings. Within an open step.

    Raises:
        Failed: CONTENT_MISMATCH where it is another, or none; with any reason of names, connections, proxies, TLS and HTTP.
        Inconclusive: where this machine lacks what the run needs.

    """
    site = site_of(ctx, server)
    url = parse(f"https://{site.url.authority}/autodiscover/autodiscover.json?Email={quote(mailbox)}&Protocol=EWS&RedirectCount=1")
    request = Request("GET", url, (("Accept", "application/json"),))
    response = await fetch(ctx, request, trust=site.trust, route=route_to(ctx, site.proxy, url), wanted=Wanted(limit=_ANSWER_BYTES))
    ctx.evidence("autodiscover_status", response.status)
    if response.status != _OK:
        reason = _BY_CLASS.get(response.status // 100, Reason.PROTOCOL_ERROR)
        raise Failed(reason, f"autodiscover was answered with {response.status}", code=str(response.status))
    named = _named(response.body)
    ctx.evidence("autodiscover_url", named)
    if named.casefold() != str(site.url).casefold():
        why = "autodiscover names another address of EWS than the settings" if named else "autodiscover names no address of EWS"
        raise Failed(Reason.CONTENT_MISMATCH, why)


def _named(body: bytes) -> str:
    """Return the address that an answer names, "" for none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    url = found.get("Url") if isinstance(found, dict) else None
    return url if isinstance(url, str) else ""
