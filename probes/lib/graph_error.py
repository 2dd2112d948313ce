"""What an answer of Microsoft Graph means that is not the one that was wanted: one reason, one code, and what a ticket needs.

The body's code is told apart from the status (learn.microsoft.com/graph/errors): errors nest, and the deepest code that is known counts.
Messages are for people, and decide only where neither says it: a missing licence, a missing role (`graph_codes.TELLING`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.graph_codes import REASONS, TELLING, Telling, spelled
from probes.core.reasons import Reason
from probes.lib.bounded_json import loads
from probes.lib.http import Response
from probes.lib.retry_after import moment, retry_after
from probes.lib.tokens import Token

_DEEPEST = 16
_LAST_SECONDS = 30.0
# A token is used until so shortly before its end; whether it arrived in time is for the service's clock to say.
_INSIDE = ("innerError", "innererror", "InnerError")
# As different services spell it.
_CLAIMS = "insufficient_claims"
_BY_STATUS: dict[int, Reason] = {
    HTTPStatus.PAYMENT_REQUIRED: Reason.LICENCE_MISSING,
    HTTPStatus.FORBIDDEN: Reason.PERMISSION,
    HTTPStatus.NOT_FOUND: Reason.NOT_FOUND,
    HTTPStatus.INSUFFICIENT_STORAGE: Reason.STORAGE_FULL,
}
_BY_CLASS = {2: Reason.CONTENT_MISMATCH, 3: Reason.HTTP_REDIRECT, 4: Reason.HTTP_4XX, 5: Reason.HTTP_5XX}

EVIDENCE = {
    "request-id": "request_id",
    "client-request-id": "client_request_id",
    "date": "date",
    "retry-after": "retry_after",
    "x-ms-throttle-scope": "throttle_scope",
    "x-ms-throttle-information": "throttle_information",
    "x-ms-throttle-limit-percentage": "throttle_share",
}
"""Header field to name in the evidence: what Microsoft's support asks for, and who throttles what."""
PLACE = {"DataCenter": "datacenter", "Slice": "slice", "Ring": "ring", "ScaleUnit": "scale_unit", "RoleInstance": "role_instance"}
"""Part of x-ms-ags-diagnostic, which tells where Graph's gateway answered, to name in the evidence."""
_OF_ERRORS = ("status", "error_code", "error_message")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A body in the shape of Graph's errors: its codes and messages, the outermost first."""

    codes: tuple[str, ...] = ()
    message: str = ""

    def telling(self, status: int) -> Telling | None:
        """Return what the words of this refusal say, if they are known to."""
        return next((one for one in TELLING if status in one.statuses and one.words in self.message.lower()), None)

    @property
    def code(self) -> str:
        """The deepest known code, as our table spells it, or ""."""
        return next((known for code in reversed(self.codes) if (known := spelled(code))), "")


def forget(ctx: Context) -> None:
    """Take what an earlier call of the run left out of the evidence, so that an answer that never comes is not mixed up with another."""
    for name in (*EVIDENCE.values(), *PLACE.values(), *_OF_ERRORS):
        ctx.evidence_found.pop(name, None)


def tell(ctx: Context, response: Response) -> None:
    """Put into evidence what a ticket needs: who answered, when, where."""
    ctx.evidence("status", response.status)
    for field, name in EVIDENCE.items():
        if (value := response.header(field)) is not None:
            ctx.evidence(name, value)
    server = _read(response.header("x-ms-ags-diagnostic") or "").get("ServerInfo")
    places = server if isinstance(server, dict) else {}
    for field, name in PLACE.items():
        if isinstance(value := places.get(field), str | int):
            ctx.evidence(name, value)


def stopped_by(ctx: Context, response: Response, token: Token, what: str, *, explained: bool) -> Stopped:
    """Return what an unwanted answer means. `what` was asked; `explained`: our own calls are enough to be turned away."""
    refusal = _refusal(response.body)
    if refusal.codes:
        ctx.evidence("error_code", " / ".join(refusal.codes))
    if refusal.message:
        ctx.evidence("error_message", refusal.message.replace(token.value, "…"))
    seconds = retry_after(response.header("retry-after"), response.header("date"))
    code = refusal.code or str(response.status)
    said = f"{what} was answered with {response.status}" + (f" {refusal.code}" if refusal.code else "")
    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Inconclusive(Reason.THROTTLED, f"{said}: too many calls of ours", code=code, retry_after=seconds)
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE and explained:
        return Inconclusive(Reason.THROTTLED, f"{said}, and our own calls explain it", code=code, retry_after=seconds)
    if response.status == HTTPStatus.UNAUTHORIZED and is_over(token, response):
        return Inconclusive(Reason.AGENT_RESOURCES, f"{said}: the token's life ended before the call arrived", code=code)
    telling = refusal.telling(response.status)
    if telling is not None:
        return Failed(telling.reason, f"{said}: {telling.means}", code=code, retry_after=seconds)
    return Failed(_reason(response, refusal.code, token), said, code=code, retry_after=seconds)


def is_over(token: Token, response: Response) -> bool:
    """Say whether the token's life had ended when it was refused: by our own account, and by the service's clock where it tells the time.

    Not by the service alone: a clock of its own that is ahead, or a token that was dead when it was given, is no fault of ours.
    """
    return token.age >= token.expires - token.issued - _LAST_SECONDS and _over_there(token, response) is not False


def is_worth_another(token: Token, response: Response) -> bool:
    """Say whether the service takes the token for over, so that a new one may fare better; whose fault that is is another question."""
    return _over_there(token, response) or is_over(token, response)


def _over_there(token: Token, response: Response) -> bool | None:
    """Say whether the token's life has ended by the service's clock; None where it does not tell the time."""
    ends = token.claims.get("exp")
    now = moment(response.header("date"))
    return now >= ends if isinstance(ends, int | float) and now is not None else None


def _reason(response: Response, code: str, token: Token) -> Reason:
    status = response.status
    if _wants_claims(response, code):
        # Conditional access: a person can satisfy it by signing in again; an application can only be let through by the policy.
        return Reason.INTERACTION_REQUIRED if token.scopes else Reason.BLOCKED_BY_POLICY
    if status == HTTPStatus.UNAUTHORIZED:
        return Reason.TOKEN_REJECTED
    if code.lower() in REASONS and (status // 100 == 4 or status == HTTPStatus.INSUFFICIENT_STORAGE):  # noqa: PLR2004 - 4xx
        return REASONS[code.lower()]
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, Reason.PROTOCOL_ERROR)


def _wants_claims(response: Response, code: str) -> bool:
    if response.status == HTTPStatus.FORBIDDEN:
        return code == _CLAIMS
    # Continuous access evaluation says it in the challenge.
    challenge = response.header("www-authenticate") or ""
    return response.status == HTTPStatus.UNAUTHORIZED and (code == _CLAIMS or f'error="{_CLAIMS}"' in challenge)


def _refusal(body: bytes) -> _Refusal:
    errors = list(_walk(_read(body).get("error")))
    codes = tuple(code for error in errors if isinstance(code := error.get("code"), str) and code)
    messages = dict.fromkeys(text for error in errors if isinstance(text := error.get("message"), str) and text)
    return _Refusal(codes, " / ".join(messages))


def _walk(error: Any) -> Iterator[dict[str, Any]]:
    """Yield the error and those inside it."""
    for _ in range(_DEEPEST):
        if not isinstance(error, dict):
            return
        yield error
        error = next((inside for name in _INSIDE if isinstance(inside := error.get(name), dict)), None)


def _read(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object, an empty one for anything else: what went wrong must be told even where the telling is broken."""
    try:
        found = loads(text if isinstance(text, bytes) else text.encode())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
