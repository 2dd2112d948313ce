"""The link by which people join a meeting of Teams: where it may lead, and whether it answers somebody who has not signed in.

Whoever gets as far as the page that asks how to join, or as Microsoft's sign-in, can join. Nothing of ours goes there: no token, no cookie.
"""

from http import HTTPStatus

from probes.core.context import Context
from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.lib.http import Request, Response, Wanted, fetch
from probes.lib.http_expect import judge_status, tell_wrong
from probes.lib.proxy import route_to
from probes.lib.sign_in import REDIRECTS, fits, is_sign_in_host
from probes.lib.tenant import Tenant
from probes.lib.url import Url, join, keys_in, parse

JOIN_HOSTS = {
    "worldwide": ("teams.microsoft.com", "teams.cloud.microsoft", "teams.live.com"),
    "gcc_high": ("gov.teams.microsoft.us", "teams.cloud.microsoft"),
    "dod": ("dod.teams.microsoft.us", "teams.cloud.microsoft"),
    "china": (),
}
"""Where meetings are joined, by cloud (learn.microsoft.com/microsoft-365/enterprise, the lists of endpoints). China has no such API."""
MOST_REDIRECTS = 5

_OK = int(HTTPStatus.OK)
_BEGINNING = Wanted(keep=False)
_PASSCODE_CHARACTERS = 6
_HARMLESS = frozenset({"context"})
# Parameter with tenant and organiser.
_TOLD = ("server", "date", "retry-after", "x-msedge-ref", "x-azure-ref", "x-ms-correlation-id")
# What says which front end answered, for a ticket.


def link_of(link: object, tenant: Tenant, more: tuple[str, ...]) -> Url:
    """Return where a join link leads. `more` are hosts besides those of the tenant's cloud.

    Raises:
        Failed: CONTENT_MISMATCH where there is none, or one that leads to no host of Teams over TLS.

    """
    if not isinstance(link, str) or not link:
        raise Failed(Reason.CONTENT_MISMATCH, "the meeting has no join link")
    try:
        url = parse(link)
    except ValueError:
        # Its words would show the link, by which anybody joins.
        raise Failed(Reason.CONTENT_MISMATCH, "the join link is no web address") from None
    if url.scheme != "https" or not _is_teams(url, tenant, more):
        raise Failed(Reason.CONTENT_MISMATCH, f"the join link leads to {url.scheme}://{url.authority}, which is no host of Teams over TLS")
    return url


async def follow(ctx: Context, tenant: Tenant, url: Url, more: tuple[str, ...]) -> None:
    """Open a join link and follow its redirects, each on a connection of its own, within an open step.

    Raises:
        Failed: HTTP_REDIRECT where it leads elsewhere or never ends, HTTP_4XX, HTTP_5XX, or with any reason of connections.
        Inconclusive: THROTTLED.

    """
    seen: list[str] = []
    while len(seen) <= MOST_REDIRECTS:
        _hide(ctx, url)
        response = await fetch(
            ctx,
            Request("GET", url, (("Accept", "text/html"),)),
            trust=tenant.tls,
            route=route_to(ctx, tenant.through, url),
            wanted=_BEGINNING,
        )
        seen.append(f"{response.status} from {url.authority}")
        ctx.evidence("join", ", ".join(seen))
        if response.status not in REDIRECTS:
            _judge(ctx, response)
            return
        url = _target(url, response.header("location"), response.status)
        if not _is_teams(url, tenant, more):
            _judge_sign_in(url, tenant, response.status)
            return
    raise Failed(Reason.HTTP_REDIRECT, f"the join link was redirected more than {MOST_REDIRECTS} times", code=str(response.status))


def _hide(ctx: Context, url: Url) -> None:
    """Let nothing show a passcode. Who the meeting is of, and which it is, stands in Graph's own paths and is no secret."""
    for key in keys_in(url, value=_PASSCODE_CHARACTERS, harmless=_HARMLESS):
        ctx.hide(key)


def _judge(ctx: Context, response: Response) -> None:
    try:
        judge_status(response, ((_OK, _OK),))
    except Stopped:
        tell_wrong(ctx, response, _TOLD)
        raise


def _target(base: Url, location: str | None, status: int) -> Url:
    code = str(status)
    if location is None:
        raise Failed(Reason.HTTP_REDIRECT, f"the join link's answer is {status} without a Location", code=code)
    try:
        url = join(base, location)
    except ValueError:
        # Its words would show the link: Teams is known to go on with one of its own kind, msteams:.
        raise Failed(Reason.HTTP_REDIRECT, "the join link is redirected to a place that is no web address", code=code) from None
    if url.scheme != "https":
        raise Failed(Reason.HTTP_REDIRECT, f"the join link is redirected from https to http, on {url.host}", code=code)
    return url


def _judge_sign_in(url: Url, tenant: Tenant, status: int) -> None:
    if url.authority != tenant.where.login and not is_sign_in_host(url.host):
        message = f"the join link is redirected to {url.host}, which is neither Teams nor a place to sign in"
        raise Failed(Reason.HTTP_REDIRECT, message, code=str(status))


def _is_teams(url: Url, tenant: Tenant, more: tuple[str, ...]) -> bool:
    known = () if tenant.hosts is not None else JOIN_HOSTS[tenant.cloud or "worldwide"]
    return any(fits(url.host, pattern) for pattern in (*known, *more))
