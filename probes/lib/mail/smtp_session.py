"""An SMTP session up to where mail can be handed over: greeting, EHLO, TLS, login, and what each refusal means.

Phases, beside those of connecting: greeting (what the server says and offers), login.
"""

from dataclasses import dataclass, field
from typing import Literal

from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.dialogue import SmtpReply, own_name, smtp_ask, smtp_refusal, smtp_reply
from probes.lib.mail import sasl
from probes.lib.tls import Trust, start_tls
from probes.lib.wire import Wire

Security = Literal["starttls", "opportunistic", "tls", "none"]
"""A setting: how the connection is secured. Certificates are verified wherever TLS is spoken."""

PORTS: dict[Security, int] = {"starttls": 587, "opportunistic": 25, "tls": 465, "none": 25}
"""Usual ports (RFC 6409, RFC 8314)."""

_READY, _DONE, _GO_ON, _LOGGED_IN = 220, 250, 334, 235
_CREDENTIALS_INVALID, _TOO_WEAK, _NEEDS_TLS = 535, 534, 538
_CONNECTIONS = 432
_THROTTLED = ("sender thread limit exceeded", "SubmissionQuotaExceeded")
_FULL = ("QuotaExceededException",)
# Exchange's own words, where its codes are general ones: learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-improvements
_RETIRED = {"550 5.7.30", "535 5.7.139"}
# Basic authentication is gone; SMTP AUTH is disabled for the tenant or mailbox.


@dataclass(frozen=True, slots=True)
class Offer:
    """What the server offers in this session: extensions in upper case with their parameters, and whether TLS is spoken."""

    greeting: str
    extensions: tuple[str, ...]
    secured: bool

    def has(self, name: str) -> bool:
        """Say whether an extension is offered."""
        return any(extension.split(" ", 1)[0] == name for extension in self.extensions)

    def parameters(self, name: str) -> str:
        """Return the parameters of an extension, "" where it has none or is not offered."""
        return next((rest for first, _, rest in (extension.partition(" ") for extension in self.extensions) if first == name), "")

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Mechanisms to log in by. Old servers write `AUTH=LOGIN`."""
        lists = (extension[5:].split() for extension in self.extensions if extension[:5] in {"AUTH ", "AUTH="})
        return tuple(dict.fromkeys(name for names in lists for name in names))

    def __str__(self) -> str:
        return shown(", ".join(self.extensions)) or "nothing"


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, and by what: a token (XOAUTH2) or a password. `admitted`: the server has taken a token for this user before."""

    user: str
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    admitted: bool = False


async def greeted(ctx: Context, wire: Wire, host: str, security: Security, trust: Trust) -> Offer:
    """Read the greeting, speak TLS as `security` says, and ask what the server offers. With `starttls` nothing goes on without it.

    Raises:
        Failed: as `greet` and `secure`.
        Inconclusive: THROTTLED where we have too many connections.

    """
    if security == "tls":
        await start_tls(ctx, wire, trust, host)
    offer = await greet(ctx, wire, secured=security == "tls")
    return await secure(ctx, wire, host, trust, offer) if goes_on_under_tls(security, offer) else offer


def goes_on_under_tls(security: Security, offer: Offer) -> bool:
    """Say whether STARTTLS is next."""
    return security == "starttls" or (security == "opportunistic" and offer.has("STARTTLS"))


async def greet(ctx: Context, wire: Wire, *, secured: bool = False) -> Offer:
    """Read the greeting and ask what the server offers.

    Raises:
        Failed: MAIL_DEFERRED or MAIL_REJECTED where it wants none of us; PROTOCOL_ERROR, CONNECTION_RESET.
        Inconclusive: THROTTLED where we have too many connections.

    """
    with ctx.phase("greeting"):
        greeting = str(want(await smtp_reply(wire), _READY))
        ctx.evidence("greeting", greeting)
        return Offer(greeting, await _extensions(ctx, wire), secured)


async def secure(ctx: Context, wire: Wire, host: str, trust: Trust, offer: Offer) -> Offer:
    """Agree on TLS and ask again, because nothing that was said in the clear counts (RFC 3207 4.2).

    Raises:
        Failed: CONTENT_MISMATCH where the server does not offer it; what `greet` and `start_tls` raise.
        Inconclusive: as `greet`.

    """
    if not offer.has("STARTTLS"):
        raise Failed(Reason.CONTENT_MISMATCH, f"does not offer STARTTLS; it offers: {offer}"[:300])
    with ctx.phase("greeting"):
        want(await smtp_ask(wire, "STARTTLS"), _READY)
        wire.refuse_unread()
    await start_tls(ctx, wire, trust, host)
    with ctx.phase("greeting"):
        return Offer(offer.greeting, await _extensions(ctx, wire), secured=True)


async def _extensions(ctx: Context, wire: Wire) -> tuple[str, ...]:
    reply = want(await smtp_ask(wire, f"EHLO {own_name(wire)}"), _DONE)
    found = tuple(line.strip().upper() for line in reply.lines[1:])
    ctx.evidence("extensions", shown(", ".join(found)) or "none")
    return found


async def log_in(ctx: Context, wire: Wire, offer: Offer, login: Login) -> None:
    """Log in by the best of what is offered and what we have: a token by XOAUTH2, a password by PLAIN, else LOGIN.

    Raises:
        Failed: CREDENTIAL_INVALID (password); PERMISSION or, where it was taken before, TOKEN_REJECTED (token); BLOCKED_BY_POLICY,
            MAIL_DEFERRED, MAIL_REJECTED; CONTENT_MISMATCH where no mechanism fits.
        Inconclusive: THROTTLED.

    """
    ours = ("XOAUTH2",) if login.token else ("PLAIN", "LOGIN")
    mechanism = next((name for name in ours if name in offer.mechanisms), "")
    if not mechanism:
        offered = shown(", ".join(offer.mechanisms)) or "none"
        raise Failed(Reason.CONTENT_MISMATCH, f"offers no login by {' or '.join(ours)}; it offers: {offered}"[:300])
    ctx.evidence("mechanism", mechanism)
    with ctx.phase("login"):
        reply = await _say(wire, mechanism, login)
        if mechanism == "XOAUTH2" and reply.code == _GO_ON:
            # The reason comes as a challenge, which an empty line answers; then comes the refusal.
            ctx.evidence("complaint", sasl.complaint(reply.lines[0]))
            reply = await smtp_ask(wire, "")
    if reply.code != _LOGGED_IN:
        raise _refused_login(_clean(reply, login), login)


async def _say(wire: Wire, mechanism: str, login: Login) -> SmtpReply:
    """Say who we are. A token waits for the challenge, because it may be longer than a command (RFC 4954 4)."""
    if mechanism == "PLAIN":
        return await smtp_ask(wire, f"AUTH PLAIN {sasl.plain(login.user, login.password)}")
    responses = (sasl.xoauth2(login.user, login.token),) if login.token else sasl.login(login.user, login.password)
    reply = await smtp_ask(wire, f"AUTH {mechanism}")
    for response in responses:
        if reply.code != _GO_ON:
            break
        reply = await smtp_ask(wire, response)
    return reply


def _clean(reply: SmtpReply, login: Login) -> SmtpReply:
    secret = login.token or login.password
    return SmtpReply(reply.code, reply.enhanced, tuple(sasl.without_secret(line, login.user, secret) for line in reply.lines))


def _refused_login(reply: SmtpReply, login: Login) -> Stopped:
    if reply.label in _RETIRED or reply.code in {_TOO_WEAK, _NEEDS_TLS}:
        return Failed(Reason.BLOCKED_BY_POLICY, f"a policy forbids this login: the mail server said {reply}"[:300], code=reply.label)
    if reply.code != _CREDENTIALS_INVALID:
        return refusal(reply)
    if not login.token:
        return Failed(Reason.CREDENTIAL_INVALID, f"the mail server does not take user name and password: {reply}"[:300], code=reply.label)
    # The answer is the same for a token that is not believed and for an application without rights to the mailbox.
    words = f"the mail server refuses either the token or the application's right to send as {login.user}: {reply}"
    return Failed(Reason.TOKEN_REJECTED if login.admitted else Reason.PERMISSION, words[:300], code=reply.label)


def want(reply: SmtpReply, *codes: int) -> SmtpReply:
    """Return the reply where it has one of the codes.

    Raises:
        Failed, Inconclusive: as `refusal` names it.

    """
    if reply.code in codes:
        return reply
    raise refusal(reply)


def refusal(reply: SmtpReply) -> Stopped:
    """Name a reply that is not the wanted one: MAIL_DEFERRED, MAIL_REJECTED, MAILBOX_FULL, BLOCKED_BY_POLICY, THROTTLED, PROTOCOL_ERROR."""
    words, said = f"the mail server said {reply}"[:300], " ".join(reply.lines)
    if reply.code == _CONNECTIONS or any(limit in said for limit in _THROTTLED):
        return Inconclusive(Reason.THROTTLED, words, code=reply.label)
    if reply.label in _RETIRED:
        return Failed(Reason.BLOCKED_BY_POLICY, words, code=reply.label)
    if reply.enhanced[1:] == ".2.2" or any(full in said for full in _FULL):
        return Failed(Reason.MAILBOX_FULL, words, code=reply.label)
    return smtp_refusal(reply)
