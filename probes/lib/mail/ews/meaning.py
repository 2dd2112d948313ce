"""What answers of EWS mean: HTTP statuses, and the codes of SOAP (learn.microsoft.com/exchange, ResponseCode)."""

from http import HTTPStatus

from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.ews_codes import REASONS
from probes.core.reasons import Reason
from probes.lib.http import Response
from probes.lib.mail.ews.settings import EwsServer
from probes.lib.retry_after import MOST_SECONDS, retry_after
from probes.lib.tenant import CLOUDS, Tenant
from probes.lib.url import Url

_OFF = (
    "Exchange Online has EWS switched off here ({status}). It is off by default since October 2026 and ends for good in April 2027. "
    "Use via: graph, or let an administrator set EwsEnabled and put the application on EwsAllowedAppIDs until then"
)
_TOO_MANY_ATTEMPTS = 456
# Exchange Online, where an account is locked for a while.
_ONLINE = frozenset({*(hosts.exchange for hosts in CLOUDS.values()), "outlook.office.com"})
_CLOSED = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_BY_CLASS = {2: Reason.CONTENT_MISMATCH, 3: Reason.HTTP_REDIRECT, 4: Reason.HTTP_4XX, 5: Reason.HTTP_5XX}
EVIDENCE = {
    "request-id": "request_id",
    "x-feserver": "frontend",
    "x-beserver": "backend",
    "x-calculatedbetarget": "backend",
    "x-diaginfo": "diagnostic",
    "x-caserrorcode": "cas_error",
    "date": "date",
}
"""Header field to name in the evidence."""


def is_online(url: Url, tenant: Tenant | None) -> bool:
    """Say whether it is Exchange Online that is asked, and not an Exchange Server of the company."""
    return url.host in _ONLINE or (tenant is not None and url.authority == tenant.where.exchange)


def refused(server: EwsServer, response: Response, *, online: bool, young: bool) -> Stopped:
    """Say what an answer means that EWS itself did not give. `young`: the token was issued just now."""
    status = response.status
    seconds = retry_after(response.header("retry-after"), response.header("date"))
    code = str(status)
    if status in {HTTPStatus.TOO_MANY_REQUESTS, _TOO_MANY_ATTEMPTS}:
        return Inconclusive(Reason.THROTTLED, f"EWS was asked too often, it says ({status})", code=code, retry_after=seconds)
    if status == HTTPStatus.UNAUTHORIZED:
        return _unauthorized(server, response, young=young)
    if status in _CLOSED and online and server.with_token:
        return Failed(Reason.BLOCKED_BY_POLICY, _OFF.format(status=status), code=code)
    if status == HTTPStatus.FORBIDDEN:
        return Failed(
            Reason.PERMISSION, "the server forbids EWS to this account or program (EwsEnabled, EwsApplicationAccessPolicy)", code=code
        )
    if status == HTTPStatus.NOT_FOUND:
        return Failed(Reason.NOT_FOUND, "the server has no EWS at this address", code=code)
    return Failed(_BY_CLASS.get(status // 100, Reason.PROTOCOL_ERROR), f"EWS was answered with {status}", code=code, retry_after=seconds)


def _unauthorized(server: EwsServer, response: Response, *, young: bool) -> Failed:
    offers = ", ".join(dict.fromkeys(part.split()[0] for part in (response.header("www-authenticate") or "").split(",") if part.strip()))
    if server.with_token and young:
        why = (
            "a token that was just issued was refused: the service is at fault, or the application lacks full_access_as_app or the mailbox"
        )
        return Failed(Reason.TOKEN_REJECTED, why, code="401")
    if server.with_token:
        return Failed(Reason.TOKEN_REJECTED, "the token was refused, though its time is not over", code="401")
    return Failed(Reason.CREDENTIAL_INVALID, f"the login was refused; the server takes {offers[:100] or 'nothing'}", code="401")


def told(code: str, message: str, back_off: float) -> Stopped:
    """Say what a code of SOAP means; "" is an answer that nobody can read.

    A server that is busy and says for how long to stay away limits us (EWS throttling); one that does not is overloaded.
    """
    if not code:
        return Failed(Reason.PROTOCOL_ERROR, f"the answer is not one of EWS ({message})")
    if code == "ErrorServerBusy" and back_off:
        return Inconclusive(Reason.THROTTLED, f"{code}: {message}", code=code, retry_after=min(back_off, MOST_SECONDS))
    reason = REASONS.get(code, Reason.CONTENT_MISMATCH)
    kind = Inconclusive if reason is Reason.THROTTLED else Failed
    return kind(reason, f"{code}: {message}", code=code)
