"""Sending by SMTP: submission with a login (RFC 6409), or straight to the mail exchanger as anybody on the internet would (RFC 5321 5.1).

Phases, beside those of connecting: request (looking for the mail exchanger), greeting, login, envelope (sender and recipient), transfer
(from DATA to the server's word).
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from dns.rdatatype import RdataType
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Secret, Settings, Stopped
from probes.core.needs import Api, Permission, Scope
from probes.core.reasons import Reason
from probes.lib.connect import FAMILIES, Family
from probes.lib.dialogue import SmtpReply, send_line, smtp_ask, smtp_reply
from probes.lib.dns import ask, require_rcode
from probes.lib.dns_message import Question
from probes.lib.mail.access import Account, Proof, connected, proof_of
from probes.lib.mail.ends import Accepted, Outbox, SubmissionUncertain
from probes.lib.mail.letter import Address, Letter, mime, needs_utf8
from probes.lib.mail.smtp_session import PORTS, SEND_AS_APP, Offer, Security, greeted, log_in, want
from probes.lib.nameservers import SYSTEM, Resolver, parse_nameserver
from probes.lib.proxy import Proxy, ProxyUrl, as_proxy
from probes.lib.resolve import ascii_host
from probes.lib.tls import Trust
from probes.lib.wire import Wire

_ONLINE = (".office365.com", ".office365.us", ".outlook.com", ".outlook.cn")
# Where Exchange Online takes submissions: smtp.office365.com and its like in the other clouds.
_MX_TIMEOUT = 5.0
_NULL_MX = "."
_DONE, _FORWARDED, _START = 250, 251, 354
_QUEUE_IDS = (
    re.compile(r"queued as ([\w.-]{1,100})", re.ASCII | re.IGNORECASE),  # Postfix, aiosmtpd
    re.compile(r"\bInternalId=(\d{1,30})", re.ASCII),  # Exchange
    re.compile(r"\bid=([\w.-]{1,100})", re.ASCII),  # Exim
    re.compile(r"^(?:\d\.\d\.\d )?([\w]{6,30}) Message accepted", re.ASCII),  # sendmail
)


class SmtpSend(Settings):
    """Hand the message to an SMTP server."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    via: Literal["smtp"]
    """By SMTP."""
    host: Annotated[str, Field(min_length=1), AfterValidator(ascii_host)] | None = None
    """Name or address of the server. With `direct` it may be left out: then it is the mail exchanger of the recipient's domain."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port; by default 587, with `security: tls` 465, with `direct` 25."""
    security: Security | None = None
    """`starttls` (the default) goes on under TLS or not at all, `tls` speaks TLS from the first byte, `opportunistic` (the default with
    `direct`) takes STARTTLS where it is offered, `none` speaks in the clear. The certificate is verified in any case."""
    username: Annotated[str, Field(min_length=1)] | None = None
    """Who logs in; by default the sender, where there is a `password` or `oauth`."""
    password: Secret | None = None
    """Password, where the server still takes one."""
    oauth: bool = False
    """Log in with a token of the tenant (XOAUTH2)."""
    from_: Annotated[Address, Field(alias="from")]
    """Address of the sender."""
    direct: bool = False
    """Deliver straight to the recipient's mail exchanger, without a login, as a sender on the internet would."""
    resolver: Resolver = SYSTEM
    """Whom to ask for the mail exchanger: `system`, an address, a name or a URL."""
    family: Family = "any"
    """Kind of address to connect to: `any` takes the first that the resolver gives."""
    tls: Trust = Trust()
    """Whom to trust."""
    proxy: Proxy | ProxyUrl | None = None
    """Proxy to go through, which has to let us out to this port; without it the connection is direct, whatever the tenant says."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.host is None and not self.direct:
            raise ValueError("host is needed, unless the message goes direct to the mail exchanger")
        if self.password is not None and self.oauth:
            raise ValueError("password and oauth exclude each other; give one of them")
        if self.direct and (self.logs_in or self.username):
            raise ValueError("direct delivery has no login; leave username, password and oauth out")
        if self.username and not self.logs_in:
            raise ValueError("username needs password or oauth")
        if self.logs_in and self.secured in {"opportunistic", "none"}:
            raise ValueError(f"security: {self.secured} could send the login in the clear; use starttls or tls")
        return self

    @property
    def logs_in(self) -> bool:
        """Whether anybody logs in."""
        return self.password is not None or self.oauth

    @property
    def user(self) -> str:
        """Who logs in."""
        return self.username or self.from_

    @property
    def leaves_copies(self) -> bool:
        """Whether what is submitted is kept among the sent items: Exchange Online does so, and only there one logs in with a token."""
        return self.oauth or (self.password is not None and f".{self.host}".endswith(_ONLINE))

    @property
    def secured(self) -> Security:
        """How the connection is secured."""
        return self.security or ("opportunistic" if self.direct else "starttls")

    @property
    def at(self) -> int:
        """The port."""
        return self.port or (25 if self.direct else PORTS[self.secured])

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """What the tenant has to permit."""
        if not self.oauth:
            return ()
        return (Permission(SEND_AS_APP, "submits mail", scope=Scope.MAILBOXES, api=Api.EXCHANGE, targets=(self.user,)),)


def outbox(settings: SmtpSend) -> Outbox:
    """Return the end that sends as these settings say."""
    return _SmtpOutbox(settings)


@dataclass(frozen=True, slots=True)
class _SmtpOutbox:
    settings: SmtpSend

    async def open(self, ctx: Context) -> None:
        """Get the token, or read the password; submitting takes the token that is kept.

        Raises:
            Failed, Inconclusive: as tokens do.

        """
        await self._proof(ctx)

    async def submit(self, ctx: Context, letter: Letter) -> Accepted:
        """Hand the letter over, once, on a connection of its own.

        Raises:
            SubmissionUncertain: where the connection was lost after the letter had been sent and before the server's word.
            Failed: with any reason of names, connections, TLS, login and mail.
            Inconclusive: THROTTLED, or where this machine lacks what the run needs.

        """
        settings = self.settings
        proof = await self._proof(ctx)
        host = settings.host or await mail_exchanger(ctx, letter.recipient.rpartition("@")[2], settings.resolver)
        with await connected(ctx, host, settings.at, as_proxy(settings.proxy), FAMILIES[settings.family]) as wire:
            offer = await greeted(ctx, wire, host, settings.secured, settings.tls)
            if proof is not None:
                await log_in(ctx, wire, host, offer, proof)
            return await _hand_over(ctx, wire, offer, letter)

    async def _proof(self, ctx: Context) -> Proof | None:
        settings = self.settings
        return await proof_of(ctx, Account(settings.user, settings.password)) if settings.logs_in else None


async def mail_exchanger(ctx: Context, domain: str, resolver: str = SYSTEM) -> str:
    """Return the host that takes mail for a domain: of those with the lowest preference the first by name; the domain itself without MX.

    Raises:
        Failed: with a `dns_*` reason; MAIL_REJECTED where the domain says that it takes no mail (RFC 7505).
        Inconclusive: where this machine cannot ask.

    """
    server, question = parse_nameserver(resolver), Question(domain, RdataType.MX)
    answer = await ask(ctx, server, question, timeout=_MX_TIMEOUT)
    require_rcode(server, question, answer)
    pairs = sorted((int(preference), host) for preference, host in (text.split(" ") for text in answer.texts))
    host = pairs[0][1] if pairs else domain
    ctx.evidence("mail_exchanger", host)
    if host == _NULL_MX:
        raise Failed(Reason.MAIL_REJECTED, f"{domain} takes no mail, says its MX record", code="556 5.1.10")
    try:
        return ascii_host(host)
    except ValueError as error:
        raise Failed(Reason.DNS_MISMATCH, f"the MX record of {domain} names no host: {error}") from error


async def _hand_over(ctx: Context, wire: Wire, offer: Offer, letter: Letter) -> Accepted:
    message = mime(letter)
    try:
        with ctx.phase("envelope"):
            want(await smtp_ask(wire, _mail(offer, letter, message)), _DONE)
            want(await smtp_ask(wire, f"RCPT TO:<{letter.recipient}>"), _DONE, _FORWARDED)
        with ctx.phase("transfer"):
            want(await smtp_ask(wire, "DATA"), _START)
            reply = await _sent(ctx, wire, message)
    finally:
        send_line(wire, "QUIT")
    queue_id = _queue_id(reply)
    ctx.evidence("smtp_reply", reply)
    if queue_id:
        ctx.evidence("queue_id", queue_id)
    return Accepted(None, reply.label, queue_id)


def _mail(offer: Offer, letter: Letter, message: bytes) -> str:
    """Return MAIL FROM with the parameters that the server knows and the message needs.

    Raises:
        Failed: MAIL_REJECTED where it cannot carry the addresses.

    """
    command = f"MAIL FROM:<{letter.sender}>"
    if needs_utf8(letter):
        if not offer.has("SMTPUTF8"):
            raise Failed(Reason.MAIL_REJECTED, "the server does not offer SMTPUTF8, which an address with other letters than ASCII needs")
        command += " BODY=8BITMIME SMTPUTF8"
    return f"{command} SIZE={len(message)}" if offer.has("SIZE") else command


async def _sent(ctx: Context, wire: Wire, message: bytes) -> SmtpReply:
    """Send the message and read the server's word. Until it comes nobody knows, also where the run ends meanwhile."""
    ctx.evidence("submission", "uncertain")
    wire.write(stuffed(message))
    try:
        reply = await smtp_reply(wire)
    except Stopped as lost:
        raise SubmissionUncertain(lost.reason, f"the message was sent, and no word of the server came: {lost.message}") from lost
    ctx.evidence("submission", "accepted" if reply.code == _DONE else "refused")
    return want(reply, _DONE)


def stuffed(message: bytes) -> bytes:
    """Return a message as DATA carries it: a dot before each dot that begins a line, and the lone dot last (RFC 5321 4.5.2)."""
    whole = message if message.endswith(b"\r\n") else message + b"\r\n"
    return (b"\r\n" + whole).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def _queue_id(reply: SmtpReply) -> str:
    """Return the name the server knows the message by, "" where it tells none."""
    text = " ".join(reply.lines)
    return next((found[1] for pattern in _QUEUE_IDS if (found := pattern.search(text))), "")
