"""Microsoft Graph over HTTP: one call, or all pages of a list, each call on a fresh connection, none of them twice.

Phases are summed in the open step, so a step with several calls has the sum of them. Nobody sleeps here because a service asks for
patience: the run ends, says for how long, and the next start is held back. A token is only ever sent to the tenant's own Graph host, over
TLS.
"""

import json
import time
import uuid
from asyncio import Semaphore
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from time import perf_counter
from typing import Any
from urllib.parse import quote

from probes.core.context import Context
from probes.core.contract import Failed, Measurement
from probes.core.needs import WIDER, Grant, Permission, Scope, Service
from probes.core.reasons import Reason
from probes.lib.bounded_json import TooManyError, loads
from probes.lib.graph_error import forget, is_worth_another, stopped_by, tell
from probes.lib.http import BODY_BYTES, USER_AGENT, Headers, Request, Response, Wanted, fetch
from probes.lib.proxy import route_to
from probes.lib.tenant import Tenant
from probes.lib.tls import EXPIRY
from probes.lib.tokens import Token, Tokens, token_for
from probes.lib.url import Url, join, parse
from probes.lib.usage import Usage

MOST_PAGES = 50
"""Pages of one list at most."""
QUEUED_SECONDS = 0.020
"""A wait for our own calls that is longer than this makes the run's times upper bounds."""
MEASUREMENTS = (Measurement(EXPIRY, "When the certificate of Microsoft Graph's server expires, in Unix time."),)
"""What calls to Graph measure: every kind that makes some declares it."""
QUEUE = "queue"
"""Phase in which a run waits for calls of our own."""

_OUTLOOK_AT_ONCE = 4
# Requests of one application to Outlook's API at the same moment (learn.microsoft.com/graph/throttling-limits).
_LAST_SECONDS = 5.0
# A token that ends sooner may be over when it arrives.
_DECORATED = "NONISV|Fogbell|Fogbell/" + USER_AGENT.partition("/")[2]
# SharePoint tells traffic apart by a user agent of this form, and Graph takes it as well.
_SAFE = ",()'$:/@!*;"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with a wanted status. `data` is its JSON, None where the body is empty or was wanted raw."""

    response: Response
    data: Any

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.response.status

    @property
    def body(self) -> bytes:
        """The body as it came."""
        return self.response.body

    def header(self, name: str) -> str | None:
        """Value of a header field, or None."""
        return self.response.header(name)


class Lanes:
    """Turns at services that let an application make only so many calls at once: `ctx.shared.part(Lanes)`."""

    def __init__(self) -> None:
        self._outlook: dict[str, Semaphore] = {}

    def outlook(self, client_id: str) -> Semaphore:
        """Return the turns of an application at Outlook's API, whichever tenant it works in."""
        return self._outlook.setdefault(client_id, Semaphore(_OUTLOOK_AT_ONCE))


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who calls what kind of service, which stays the same over the pages of a list."""

    tenant: Tenant
    token: Token
    service: Service
    units: float = 1.0


async def call(  # noqa: PLR0917 - who, what and where come first in every call
    ctx: Context,
    tenant: Tenant,
    token: Token,
    service: Service,
    method: str,
    path: str,
    *,
    query: Iterable[tuple[str, str]] = (),
    body: Any = None,
    headers: Headers = (),
    accept: tuple[int, ...] = (200,),
    limit: int = BODY_BYTES,
    raw: bool = False,
    units: float = 1.0,
) -> Answer:
    """Make one call to Graph's version 1.0, within an open step.

    `path` begins with a slash; put names into it with `segment`. `query` is sent percent-encoded. `body` is sent as JSON; bytes are sent as
    they are, and need a Content-Type among `headers`. `limit` are the most bytes of an answer. `raw`: the answer need not be JSON. `units`
    are what the service counts for this call.

    Raises:
        Failed: with any reason of names, connections, proxies, TLS and HTTP, or of `graph_error.stopped_by`.
        Inconclusive: THROTTLED by our own account; AGENT_RESOURCES where this machine could not do it.

    """
    fields, content = _content(body)
    request = Request(method, address(tenant, path, query), (*fields, *headers), content)
    return await _ask(ctx, _Caller(tenant, token, service, units), request, accept, Wanted(limit=limit), raw=raw)


async def pages(
    ctx: Context,
    tenant: Tenant,
    token: Token,
    service: Service,
    path: str,
    *,
    query: Iterable[tuple[str, str]] = (),
    headers: Headers = (),
    most: int = MOST_PAGES,
    limit: int = BODY_BYTES,
    units: float = 1.0,
) -> list[dict[str, Any]]:
    """Return all items of a list, following @odata.nextLink on the same host for at most `most` pages of `limit` bytes together.

    Raises:
        Failed: as `call`; PROTOCOL_ERROR where a link leads elsewhere, CONTENT_MISMATCH where the list is none or has no end.
        Inconclusive: as `call`.

    """
    turned = each_page(ctx, tenant, token, service, path, query=query, headers=headers, most=most, limit=limit, units=units)
    return [item async for page in turned for item in page]


async def each_page(
    ctx: Context,
    tenant: Tenant,
    token: Token,
    service: Service,
    path: str,
    *,
    query: Iterable[tuple[str, str]] = (),
    headers: Headers = (),
    most: int = MOST_PAGES,
    limit: int = BODY_BYTES,
    units: float = 1.0,
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """Yield the items of one page after the other, as `pages` does; a page that nobody asks for is not fetched.

    Raises:
        Failed: as `pages`.
        Inconclusive: as `call`.

    """
    caller, base = _Caller(tenant, token, service, units), address(tenant, path, query)
    url = base
    for _ in range(most):
        answer = await _ask(ctx, caller, Request("GET", url, headers), (200,), Wanted(limit=limit), raw=False)
        yield items(answer)
        limit = max(limit - answer.response.body_bytes, 0)
        if "@odata.nextLink" not in answer.data:
            return
        url = _next(base, answer.data["@odata.nextLink"])
    raise Failed(Reason.CONTENT_MISMATCH, f"the list {path} has more than {most} pages")


def items(answer: Answer) -> list[dict[str, Any]]:
    """Return the objects of an answer that is a list, or one page of it.

    Raises:
        Failed: CONTENT_MISMATCH where it is none.

    """
    value = answer.data.get("value") if isinstance(answer.data, dict) else None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Failed(Reason.CONTENT_MISMATCH, "the answer is no list of objects")
    return value


def written(moment: float) -> str:
    """Return a moment (Unix seconds) as Graph reads it: in UTC, to the second."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text_in(data: Any, name: str, wrong: str) -> str:
    """Return a text that an object in an answer has to hold, such as its id.

    Raises:
        Failed: CONTENT_MISMATCH, in the words `wrong`, where that is no object, or the text is missing or empty.

    """
    found = data.get(name) if isinstance(data, dict) else None
    if not isinstance(found, str) or not found:
        raise Failed(Reason.CONTENT_MISMATCH, wrong)
    return found


async def sign_in(ctx: Context, tenant: Tenant, needs: Iterable[Permission], *, delegated: bool = False) -> Token:
    """Return a token for Graph, and note what it lacks, for the case of a refusal. Call it within an open step.

    Raises:
        Failed, Inconclusive: as `token_for`.

    """
    token = await token_for(ctx, tenant, delegated=delegated)
    note_missing(ctx, token, needs)
    return token


def note_missing(ctx: Context, token: Token, needed: Iterable[Permission]) -> None:
    """Note which of the least permissions a token lacks. One that we do not know for wider may do as well: only a refusal makes evidence.

    What was consented to in one team alone stands in no token.
    """
    grant, has = (Grant.DELEGATED, token.scopes) if token.scopes else (Grant.APPLICATION, token.roles)
    in_token = [one.name for one in needed if one.grant is grant and one.scope is not Scope.TEAM]
    ctx.lacking = " ".join(name for name in in_token if has.isdisjoint({name, *WIDER.get(name, ())}))


def segment(text: str) -> str:
    """Return a name or identifier as one segment of a path."""
    return quote(text, safe="@", errors="replace")


def address(tenant: Tenant, path: str, query: Iterable[tuple[str, str]] = ()) -> Url:
    """Return where a path of Graph's version 1.0 is in the tenant's cloud."""
    written = "&".join(f"{quote(name, safe='$')}={quote(value, safe=_SAFE)}" for name, value in query)
    return parse(f"https://{tenant.where.graph}/v1.0{path}" + (f"?{written}" if written else ""))


async def _ask(ctx: Context, caller: _Caller, request: Request, accept: tuple[int, ...], wanted: Wanted, *, raw: bool) -> Answer:
    """Make the call and judge its answer."""
    forget(ctx)
    token = await _current(ctx, caller)
    whose = _whose(request.url)
    async with _turn(ctx, caller):
        ctx.shared.part(Usage).count(ctx.tenant, caller.tenant, caller.service, units=caller.units, whose=whose)
        response = await _send(ctx, caller.tenant, token, request, wanted)
    tell(ctx, response)
    if response.status == HTTPStatus.UNAUTHORIZED:
        ctx.shared.part(Tokens).drop(token, over=is_worth_another(token, response))
    if response.status not in accept:
        explained = ctx.shared.part(Usage).explains_throttling(caller.tenant, caller.service, whose=whose)
        raise stopped_by(ctx, response, token, f"{request.method} {request.url.target.partition('?')[0]}", explained=explained)
    return Answer(response, None if raw else _json(response))


async def _send(ctx: Context, tenant: Tenant, token: Token, request: Request, wanted: Wanted) -> Response:
    """Put the request on its way, with a number of its own that support can find it by."""
    number = str(uuid.uuid4())
    ctx.hide(token.value)
    ctx.evidence("client_request_id", number)
    own = (
        ("Authorization", f"Bearer {_printable(token.value)}"),
        ("client-request-id", number),
        ("Accept", "application/json"),
        ("User-Agent", _DECORATED),
    )
    named = {name.lower() for name, _ in request.headers}
    fields = (*(field for field in own if field[0].lower() not in named), *request.headers)
    whole = Request(request.method, request.url, fields, request.body)
    return await fetch(ctx, whole, trust=tenant.tls, route=route_to(ctx, tenant.through, request.url), wanted=wanted)


async def _current(ctx: Context, caller: _Caller) -> Token:
    """Return the token, or the next one where a long run has outlived it."""
    if caller.token.expires - time.time() > _LAST_SECONDS:
        return caller.token
    ctx.tainted = True
    return await token_for(ctx, caller.tenant, delegated=bool(caller.token.scopes))


@asynccontextmanager
async def _turn(ctx: Context, caller: _Caller) -> AsyncIterator[None]:
    """Wait until the service lets the application make one more call, if it has such a rule."""
    if caller.service is not Service.OUTLOOK:
        yield
        return
    lane = ctx.shared.part(Lanes).outlook(caller.tenant.client_id)
    if lane.locked():
        await _queue(ctx, lane)
    else:
        await lane.acquire()
    try:
        yield
    finally:
        lane.release()


async def _queue(ctx: Context, lane: Semaphore) -> None:
    began = perf_counter()
    with ctx.phase(QUEUE):
        await lane.acquire()
    waited = perf_counter() - began
    if waited > QUEUED_SECONDS:
        ctx.tainted = True
        ctx.evidence("queued", f"{waited:.3f} s behind other calls of the same application to Outlook")


def _whose(url: Url) -> str:
    """Return whose mailbox or meetings, which team or which chat a path is about: limits may be for each of them."""
    parts = url.target.partition("?")[0].split("/")
    return parts[3] if len(parts) > 3 and parts[2] in {"users", "teams", "chats"} else ""  # noqa: PLR2004 - /v1.0/users/{id}


def _next(base: Url, link: object) -> Url:
    """Return where the next page is; the token must not follow a link to anywhere else."""
    if not isinstance(link, str) or not link:
        raise Failed(Reason.PROTOCOL_ERROR, "the link to the next page is none")
    try:
        url = join(base, link)
    except ValueError as error:
        raise Failed(Reason.PROTOCOL_ERROR, f"the link to the next page is no web address: {error}") from error
    if url.origin != base.origin:
        raise Failed(Reason.PROTOCOL_ERROR, f"the link to the next page leads away from {base.authority}")
    return url


def _content(body: Any) -> tuple[Headers, bytes]:
    if body is None:
        return (), b""
    if isinstance(body, bytes):
        return (), body
    return (("Content-Type", "application/json"),), json.dumps(body, separators=(",", ":")).encode()


def _json(response: Response) -> Any:
    """Return the answer's JSON, None for an empty body."""
    if not response.body:
        return None
    try:
        return loads(response.body)
    except TooManyError as error:
        raise Failed(Reason.CONTENT_MISMATCH, f"the answer holds {error}, more than any call of ours asks for") from error
    except (ValueError, RecursionError) as error:
        kind = response.header("content-type") or "nothing"
        raise Failed(Reason.PROTOCOL_ERROR, f"the answer is not JSON; it says it is {kind[:100]}") from error


def _printable(value: str) -> str:
    """Return a token as it may stand in a header; one that breaks out of its line is no token."""
    if not value.isascii() or not value.isprintable() or not value:
        raise Failed(Reason.IDENTITY_FAULT, "the identity provider gave a token that holds what no header may")
    return value
