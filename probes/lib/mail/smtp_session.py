"""An SMTP session up to where mail can be handed over: greeting, EHLO, TLS, login, and what each refusal means.

Phases, beside those of connecting: greeting (what the server says and offers), login.
"""

from dataclasses import dataclass
from typing import Literal

from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.dialogue import SmtpReply, own_name, smtp_ask, smtp_refusal, smtp_reply
from probes.lib.mail import sasl
from probes.lib.mail.access import Admitted, Proof, hushed
from probes.lib.tls import Trust, start_tls
from probes.lib.tokens import Token, Tokens
from probes.lib.wire import Wire

Security = Literal["starttls", "opportunistic", "tls", "none"]
"""A setting: how the connection is secured. Certificates are verified wherever TLS is spoken."""

PORTS: dict[Security, int] = {"starttls": 587, "opportunistic": 25, "tls": 465, "none": 25}
"""Usual ports (RFC 6409, RFC 8314)."""

SEND_AS_APP = "SMTP.SendAsApp"
"""Application permission of Office 365 Exchange Online."""

_SEND_AS_USER = "SMTP.Send"
_READY, _DONE, _GO_ON, _LOGGED_IN = 220, 250, 334, 235
_CREDENTIALS_INVALID, _TOO_WEAK, _NEEDS_TLS = 535, 534, 538
_CONNECTIONS = 432
_THROTTLED = ("sender thread limit exceeded", "SubmissionQuotaExceeded", "too many connections")
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


async def log_in(ctx: Context, wire: Wire, host: str, offer: Offer, proof: Proof) -> None:
    """Log in by the best of what is offered and what we have: a token by XOAUTH2, a password by PLAIN, else LOGIN.

    Raises:
        Failed: CREDENTIAL_INVALID (password); PERMISSION or, where a token of this user was taken before, TOKEN_REJECTED;
            BLOCKED_BY_POLICY, MAIL_DEFERRED, MAIL_REJECTED; CONTENT_MISMATCH where no mechanism fits.
        Inconclusive: THROTTLED.

    """
    ours = ("PLAIN", "LOGIN") if proof.token is None else ("XOAUTH2",)
    mechanism = next((name for name in ours if name in offer.mechanisms), "")
    if not mechanism:
        offered = shown(", ".join(offer.mechanisms)) or "none"
        raise Failed(Reason.CONTENT_MISMATCH, f"offers no login by {' or '.join(ours)}; it offers: {offered}"[:300])
    ctx.evidence("mechanism", mechanism)
    with ctx.phase("login"):
        try:
            reply = await _say(wire, mechanism, proof)
            if proof.token is not None and reply.code == _GO_ON:
                # The reason comes as a challenge, which an empty line answers; then comes the refusal.
                ctx.evidence("complaint", sasl.without_secret(sasl.complaint(reply.lines[0]), proof.user, proof.secret))
                reply = await smtp_ask(wire, "")
        except Failed as failed:
            raise hushed(proof, failed) from None
    if reply.code != _LOGGED_IN:
        raise _refused_login(ctx, host, _clean(reply, proof), proof)
    if proof.token is not None:
        ctx.shared.part(Admitted).add((host, proof.user))


async def _say(wire: Wire, mechanism: str, proof: Proof) -> SmtpReply:
    """Say who we are. A token waits for the challenge, because it may be longer than a command (RFC 4954 4)."""
    if mechanism == "PLAIN":
        return await smtp_ask(wire, f"AUTH PLAIN {sasl.plain(proof.user, proof.secret)}")
    responses = sasl.login(proof.user, proof.secret) if proof.token is None else (sasl.xoauth2(proof.user, proof.secret),)
    reply = await smtp_ask(wire, f"AUTH {mechanism}")
    for response in responses:
        if reply.code != _GO_ON:
            break
        reply = await smtp_ask(wire, response)
    return reply


def _clean(reply: SmtpReply, proof: Proof) -> SmtpReply:
    return SmtpReply(reply.code, reply.enhanced, tuple(sasl.without_secret(line, proof.user, proof.secret) for line in reply.lines))


def _refused_login(ctx: Context, host: str, reply: SmtpReply, proof: Proof) -> Stopped:
    if reply.label in _RETIRED or reply.code in {_TOO_WEAK, _NEEDS_TLS}:
        return Failed(Reason.BLOCKED_BY_POLICY, f"a policy forbids this login: the mail server said {reply}"[:300], code=reply.label)
    if reply.code != _CREDENTIALS_INVALID:
        return refusal(reply)
    if proof.token is None:
        return Failed(Reason.CREDENTIAL_INVALID, f"the mail server does not take user name and password: {reply}"[:300], code=reply.label)
    return _refused_token(ctx, host, reply, proof.user, proof.token)


def _refused_token(ctx: Context, host: str, reply: SmtpReply, user: str, token: Token) -> Failed:
    """Name a refused token: the answer is the same for one that is not believed and for an application without rights to the mailbox.

    So it is the service's fault only where a token has opened the same door before.
    """
    ctx.shared.part(Tokens).drop(token)
    if token.claims and SEND_AS_APP not in token.roles and _SEND_AS_USER not in token.scopes:
        words = f"the mail server refuses the token of {user}, which lacks the permission {SEND_AS_APP}: {reply}"
        return Failed(Reason.PERMISSION, words[:400], code=reply.label)
    words = (
        f"the mail server refuses the token of {user}: {reply}. Either the server is at fault, or the application's service principal in "
        "Exchange (New-ServicePrincipal) or its permission on the mailbox (Add-MailboxPermission) is missing"
    )
    reason = Reason.TOKEN_REJECTED if (host, user) in ctx.shared.part(Admitted) else Reason.PERMISSION
    return Failed(reason, words, code=reply.label)


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
