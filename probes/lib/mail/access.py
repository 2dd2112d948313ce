"""How to reach a mailbox's server and prove who we are there: the same for IMAP and POP3, and what a refusal of the login means."""

import re
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from probes.core.codes import NOT_CONNECTED
from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Secret, Stopped
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.dialogue import GREETING, Protocol, ask_for_tls
from probes.lib.http import reached
from probes.lib.mail.sasl import complaint, without_secret
from probes.lib.proxy import Proxy, route_to
from probes.lib.resolve import is_address
from probes.lib.tenant import tenant_of
from probes.lib.tls import Trust, start_tls
from probes.lib.tokens import Token, Tokens, token_for
from probes.lib.url import endpoint, parse
from probes.lib.wire import Wire

Security = Literal["tls", "starttls", "none"]
"""A setting: TLS from the first byte, agreed on after the greeting, or none."""

RIGHTS = {Protocol.IMAP: "IMAP.AccessAsApp", Protocol.POP3: "POP.AccessAsApp"}
"""Application permissions of Office 365 Exchange Online."""

_NOT_CONNECTED = "authenticated but not connected"
_CODE = re.compile(r"\s*\[([A-Za-z][A-Za-z/-]*)")
_CROWDED = re.compile(
    r"too many (?:simultaneous |concurrent )?(?:connections|sessions)|maximum number of connections|request is throttled", re.IGNORECASE
)
_OUT_OF_ORDER = re.compile(r"server unavailable|temporary|internal error", re.IGNORECASE)
# Exchange says "Server Unavailable. 15" where the mailbox's own server is away.
_RETIRED = re.compile(r"basic ?auth\w* ?(?:is )?(?:disabled|blocked|not supported)", re.IGNORECASE)
_BACKOFF = re.compile(r"backoff time: ([0-9]{1,9}) milliseconds", re.IGNORECASE)
_REASONS = {
    "AUTHORIZATIONFAILED": Reason.PERMISSION,
    "NOPERM": Reason.PERMISSION,
    "EXPIRED": Reason.CREDENTIAL_EXPIRED,
    "PRIVACYREQUIRED": Reason.BLOCKED_BY_POLICY,
    "CONTACTADMIN": Reason.BLOCKED_BY_POLICY,
    "UNAVAILABLE": Reason.IDENTITY_FAULT,
    "SERVERBUG": Reason.IDENTITY_FAULT,
    "SYS/TEMP": Reason.IDENTITY_FAULT,
    "SYS/PERM": Reason.IDENTITY_FAULT,
}
_BUSY = {"LIMIT", "INUSE", "IN-USE", "LOGIN-DELAY"}
# RFC 5530 for IMAP; RFC 2449 and RFC 3206 for POP3.


@dataclass(frozen=True, slots=True)
class Server:
    """Where a mailbox is, and whom to trust there."""

    host: str
    port: int
    security: Security
    trust: Trust
    proxy: Proxy | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Whose mailbox it is. Without a password it is a token of the probe's tenant."""

    username: str
    password: Secret | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What a login says: the name, and a password or the token's text. `token` is None for a password."""

    user: str
    secret: str = field(repr=False)
    token: Token | None = None


class Admitted(set[tuple[str, str]]):
    """Doors (a host, or a protocol) and users whose login by a token has worked since the agent's start: `ctx.shared.part(Admitted)`.

    A refusal says the same of a token that is not believed and of an application without rights to the mailbox; so it is the service's
    fault only where a token has opened the same door before.
    """


def check_login(host: str, security: Security, password: Secret | None, *, oauth: bool, purge: bool = False) -> None:
    """Say no to settings of a login that contradict each other.

    Raises:
        ValueError: for people.

    """
    if (password is not None) is oauth:
        raise ValueError("needs exactly one of password and oauth: true (a token of the tenant)")
    if purge and not oauth:
        raise ValueError("purge goes through Graph with a token of the tenant, so it needs oauth: true; other servers keep nothing back")
    if security == "none" and not _is_loopback(host):
        raise ValueError("security: none would send the login in the clear; only a server on this machine can have it")


async def reach(ctx: Context, protocol: Protocol, server: Server) -> Wire:
    """Connect, hear the greeting, agree on TLS: after this the server waits for a login.

    Raises:
        Failed: with a reason of names, connections, TLS, or what the greeting says.

    """
    wire = await connected(ctx, server.host, server.port, server.proxy)
    try:
        if server.security == "tls":
            await start_tls(ctx, wire, server.trust, server.host)
        ctx.evidence(f"{protocol}_greeting", await greeting_of(wire, protocol))
        if server.security == "starttls":
            await ask_for_tls(wire, protocol)
            await start_tls(ctx, wire, server.trust, server.host)
    except BaseException:
        wire.close()
        raise
    return wire


async def connected(ctx: Context, host: str, port: int, proxy: Proxy | None, family: int = socket.AF_UNSPEC) -> Wire:
    """Connect to a mail server: directly, or through an HTTP proxy (CONNECT), where it lets us out to such ports.

    Raises:
        Failed: with any reason of names, connections and proxies.
        Inconclusive: where this machine lacks what the run needs.

    """
    url = parse(f"https://{endpoint(host, port)}/")
    return await reached(ctx, url, route_to(ctx, proxy, url), family)


async def greeting_of(wire: Wire, protocol: Protocol) -> str:
    """Read the greeting.

    Raises:
        Failed: CONNECTION_RESET at a good-bye, PROTOCOL_ERROR, CONTENT_MISMATCH.
        Inconclusive: THROTTLED, where the good-bye says that there are too many of us.

    """
    try:
        return await GREETING[protocol](wire)
    except Failed as failed:
        raise clearer(failed) from failed


async def proof_of(ctx: Context, account: Account) -> Proof:
    """Return what to log in with: the password as it is now, or a token for the mailboxes of the tenant's Exchange.

    Raises:
        Failed, Inconclusive: as tokens do.

    """
    if account.password is not None:
        return Proof(account.username, ctx.secret(account.password))
    tenant = tenant_of(ctx)
    token = await token_for(ctx, tenant, f"https://{tenant.where.exchange}")
    return Proof(account.username, token.value, token)


def login_refused(ctx: Context, protocol: Protocol, proof: Proof, said: str, challenges: tuple[str, ...] = ()) -> Stopped:
    """Return what a refused login means. `said` is the server's text; `challenges` are what it asked on the way."""
    said = shown(without_secret(said, proof.user, proof.secret))[:200]
    told = shown(", ".join(filter(None, map(complaint, challenges))))
    ctx.evidence(f"{protocol}_login_refused", without_secret(f"{said} ({told})" if told else said, proof.user, proof.secret))
    if general := meaning(said):
        return general
    if reason := _reason(said):
        return Failed(reason, f"the mail server refuses the login of {proof.user}: {said}")
    if proof.token is None:
        return Failed(Reason.CREDENTIAL_INVALID, f"the mail server refuses the name or password of {proof.user}: {said}")
    return _token_refused(ctx, protocol, proof.user, proof.token, said)


def admitted(ctx: Context, protocol: Protocol, proof: Proof) -> None:
    """Remember that a login worked."""
    if proof.token is not None:
        ctx.shared.part(Admitted).add((protocol, proof.user))


def meaning(said: str) -> Stopped | None:
    """Return what a refusal means that any command can meet, None where it is the command's own."""
    if _NOT_CONNECTED in said.lower():
        return Failed(
            Reason.PERMISSION,
            "the login was right, but the server opens no mailbox (User is authenticated but not connected): the application's service "
            "principal in Exchange lacks a permission on the mailbox, or the mailbox does not exist or is being moved",
            code=NOT_CONNECTED,
        )
    if _code(said) in _BUSY or _CROWDED.search(said):
        wait = _BACKOFF.search(said)
        seconds = int(wait[1]) / 1000 if wait else 0.0
        return Inconclusive(Reason.THROTTLED, f"the mail server limits our own connections: {said}"[:300], retry_after=seconds)
    return None


def hushed(proof: Proof, failed: Failed) -> Failed:
    """Return the same failure without our password or token: a server may repeat what it heard."""
    return Failed(failed.reason, without_secret(failed.message, proof.user, proof.secret), code=failed.code)


def clearer(failed: Failed) -> Stopped:
    """Return what a lost connection or a refusal means where the server gave a reason that we know, else the failure as it is."""
    return (meaning(failed.message) if failed.reason in {Reason.CONNECTION_RESET, Reason.CONTENT_MISMATCH} else None) or failed


def _reason(said: str) -> Reason | None:
    if _RETIRED.search(said):
        return Reason.BLOCKED_BY_POLICY
    return _REASONS.get(_code(said)) or (Reason.IDENTITY_FAULT if _OUT_OF_ORDER.search(said) else None)


def _token_refused(ctx: Context, protocol: Protocol, user: str, token: Token, said: str) -> Failed:
    ctx.shared.part(Tokens).drop(token)
    if token.claims and RIGHTS[protocol] not in token.roles:
        words = f"the mail server refuses the token of {user}, which lacks the application permission {RIGHTS[protocol]}: {said}"
        return Failed(Reason.PERMISSION, words)
    message = (
        f"the mail server refuses the token of {user}: {said}. Either the server is at fault, or the application's service principal "
        "in Exchange (New-ServicePrincipal) or its permission on the mailbox (Add-MailboxPermission) is missing"
    )
    reason = Reason.TOKEN_REJECTED if (protocol, user) in ctx.shared.part(Admitted) else Reason.PERMISSION
    return Failed(reason, message)


def _code(said: str) -> str:
    match = _CODE.match(said)
    return match[1].upper() if match else ""


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback if is_address(host) else host == "localhost"
