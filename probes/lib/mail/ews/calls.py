"""HTTP requests of the process that speaks EWS, made as the agent makes all: on fresh connections, timed, bounded, with the login added."""

import hashlib
import re
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384, SHA512

from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.reasons import Reason
from probes.lib.graph_error import is_over, is_worth_another
from probes.lib.http import USER_AGENT, Headers, Request, Response, Wanted, exchange, opened
from probes.lib.mail.ews.meaning import EVIDENCE, is_online, refused
from probes.lib.mail.ews.settings import PATH, EwsServer
from probes.lib.proxy import Proxy, basic, route_to
from probes.lib.tenant import Tenant, tenant_of
from probes.lib.tls import Trust
from probes.lib.tokens import Token, Tokens, token_for
from probes.lib.url import Url, parse
from probes.lib.wire import Wire

ANSWER_BYTES = 1 << 20
"""Longest answer of EWS: a hundred messages as we list them are a fifth of it, and passing it on holds up nobody."""
_BETWEEN = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
_SAID_CHARACTERS = 300
_YOUNG_SECONDS = 60.0
_BEFORE_XML = b"\xef\xbb\xbf \t\r\n"
_BACK_OFF = re.compile(r'Name="BackOffMilliseconds"\s*>\s*(\d{1,9})\s*<')
_CHALLENGE = re.compile(r"\bNTLM ([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class Site:
    """A server as a run finds it: the settings, with what the tenant adds to them."""

    server: EwsServer
    url: Url
    trust: Trust
    proxy: Proxy | None
    tenant: Tenant | None

    @property
    def online(self) -> bool:
        """Whether it is Exchange Online."""
        return is_online(self.url, self.tenant)


def site_of(ctx: Context, server: EwsServer) -> Site:
    """Return where the server is.

    Raises:
        Failed: APP_CONFIG, where a tenant is needed and there is none.

    """
    tenant = tenant_of(ctx) if ctx.tenant or server.with_token or server.url is None else None
    url = parse(server.url or f"https://{tenant_of(ctx).where.exchange}{PATH}")
    trust = server.tls or (tenant.tls if tenant else Trust())
    proxy = Proxy(url=server.proxy) if isinstance(server.proxy, str) else server.proxy
    return Site(server, url, trust, proxy or (tenant.through if tenant else None), tenant)


class Calls:
    """The calls of one operation. `handed_over`: a request reached somebody who may have done it. `date` is that of the last answer."""

    def __init__(self, ctx: Context, site: Site) -> None:
        self.handed_over = False
        self.answered = False
        """Whether EWS gave an answer to a request with a body, readable or not."""
        self.date = ""
        self.back_off = 0.0
        """Seconds for which the last answer asks us to stay away; exchangelib reads that in one of its two places."""
        self._ctx, self._site = ctx, site
        self._wire: Wire | None = None
        self._token: Token | None = None

    async def sign_in(self) -> Token | None:
        """Get a token, where one is needed: for the host that is called, and for no other."""
        if self._site.tenant is not None and self._site.server.with_token:
            self._token = await token_for(self._ctx, self._site.tenant, f"https://{self._site.url.authority}")
        return self._token

    async def carry(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a request of the process: header fields, body, and whether the connection is to be kept for the next one.

        Raises:
            Failed, Inconclusive: where EWS itself gave no answer.

        """
        response = await self._answer(asked)
        self.date = response.header("date") or ""
        _tell(self._ctx, response)
        challenge = _CHALLENGE.search(response.header("www-authenticate") or "")
        if asked["keep"] and response.status == HTTPStatus.UNAUTHORIZED and challenge and self._wire is not None:
            return {"status": response.status, "challenge": challenge[1], "binding": _binding(self._wire.certificate())}
        if not _is_soap(response):
            self.handed_over = response.status in _BETWEEN
            raise self._refused(response)
        body = response.body.decode("utf-8", "replace")
        self.answered = bool(asked["body"])
        patience = _BACK_OFF.search(body)
        self.back_off = int(patience[1]) / 1000 if patience else 0.0
        return {"status": response.status, "headers": [("Content-Type", "text/xml; charset=utf-8")], "body": body}

    def without_secrets(self, text: str) -> str:
        """Return what a server said, without what it may have had from us."""
        secrets = [self._token.value] if self._token else []
        if self._site.server.password:
            secrets.append(self._ctx.secret(self._site.server.password))
        for secret in filter(None, secrets):
            text = text.replace(secret, "…")
        return text[:_SAID_CHARACTERS]

    def close(self) -> None:
        """Let go of a connection that was kept."""
        if self._wire is not None:
            self._wire.close()

    async def _answer(self, asked: Mapping[str, Any]) -> Response:
        wire, self._wire = self._wire or await self._opened(), None
        self.handed_over = bool(asked["body"])
        try:
            request = Request("POST", self._site.url, self._fields(asked), asked["body"].encode())
            response = await exchange(self._ctx, wire, request.direct, "POST", Wanted(limit=ANSWER_BYTES))
        except BaseException:
            wire.close()
            raise
        self.handed_over = False
        if asked["keep"] and (response.header("connection") or "").lower() != "close":
            wire.listen(None, None)
            self._wire = wire
        else:
            wire.close()
        return response

    async def _opened(self) -> Wire:
        site = self._site
        return await opened(self._ctx, site.url, site.trust, route_to(self._ctx, site.proxy, site.url))

    def _fields(self, asked: Mapping[str, Any]) -> Headers:
        fields = [(str(name), str(value)) for name, value in asked["headers"]]
        server = self._site.server
        if self._token is not None:
            fields.append(("Authorization", f"Bearer {self._token.value}"))
        elif server.login == "basic":
            password = self._ctx.secret(server.password) if server.password else ""
            fields.append(("Authorization", basic(server.username, password)))
        common = (("User-Agent", USER_AGENT), ("Accept-Encoding", "gzip"), ("Connection", "keep-alive" if asked["keep"] else "close"))
        return (*fields, *common)

    def _refused(self, response: Response) -> Stopped:
        site, token = self._site, self._token
        if response.status // 100 == 2:  # noqa: PLR2004 - 2xx
            return Failed(Reason.CONTENT_MISMATCH, "the answer is not one of EWS, but perhaps a page for people", code=str(response.status))
        if token is not None and response.status == HTTPStatus.UNAUTHORIZED:
            self._ctx.shared.part(Tokens).drop(token, over=is_worth_another(token, response))
            if is_over(token, response):
                return Inconclusive(Reason.AGENT_RESOURCES, "the token's life ended before the call arrived", code="401")
        young = token is not None and time.time() - token.issued < _YOUNG_SECONDS
        return refused(site.server, response, online=site.online, young=young)


def _is_soap(response: Response) -> bool:
    """Say whether exchangelib can make something of it: Exchange sends faults as 500."""
    if (
        response.status not in {HTTPStatus.OK, HTTPStatus.INTERNAL_SERVER_ERROR}
        or "html" in (response.header("content-type") or "").lower()
    ):
        return False
    return response.body.lstrip(_BEFORE_XML).startswith(b"<")


def _tell(ctx: Context, response: Response) -> None:
    """Keep what a ticket needs."""
    ctx.evidence("status", response.status)
    for field, name in EVIDENCE.items():
        if (value := response.header(field)) is not None:
            ctx.evidence(name, value)


def _binding(certificate: bytes) -> str:
    """Return what binds a login to this certificate (RFC 5929), base64: its hash, by its signature's algorithm, SHA-256 at least."""
    used = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    name = used.name if isinstance(used, SHA384 | SHA512) else "sha256"
    return b64encode(hashlib.new(name, certificate).digest()).decode()
