"""Why a run is not ok: a closed list, and whose move comes next.

Every reason is a label value in metrics, so the list grows only by review. `BLAME` answers the second question of an operator ("whose
fault?") where the reason alone can; where it cannot, the verdict weighs several probes.
"""

import ast
import inspect
from enum import StrEnum
from itertools import pairwise


class Blame(StrEnum):
    """Who has to act on a failure, as far as one run can tell."""

    OURS = "ours"
    """The agent, its configuration, its credentials or its limits."""
    NETWORK = "network"
    """Something between the agent and the service: resolver, proxy, firewall, provider."""
    SERVICE = "service"
    """The target itself."""


class Reason(StrEnum):
    """What went wrong. The text under each member is what an operator reads in the reference."""

    DNS_NXDOMAIN = "dns_nxdomain"
    """The name does not exist, says the name server."""
    DNS_SERVFAIL = "dns_servfail"
    """The resolver could not find out (SERVFAIL): its upstream or DNSSEC validation failed."""
    DNS_TIMEOUT = "dns_timeout"
    """No answer from the resolver in time."""
    DNS_REFUSED = "dns_refused"
    """The resolver refuses to answer us (REFUSED), or nothing listens there."""
    DNS_NO_DATA = "dns_no_data"
    """The name exists, but has no record of this type."""
    DNS_MISMATCH = "dns_mismatch"
    """An answer came, but not the expected one."""
    DNS_OWN_RECORD = "dns_own_record"
    """A record of our own domain is not as Microsoft 365 needs it."""

    CONNECT_REFUSED = "connect_refused"
    """The host answered, but nothing listens on the port, or a firewall rejects."""
    CONNECT_TIMEOUT = "connect_timeout"
    """No answer to the connection attempt in time."""
    UNREACHABLE = "unreachable"
    """No route to the host or network."""
    CONNECTION_RESET = "connection_reset"
    """The other side dropped the connection before its answer was complete."""

    PROXY_UNREACHABLE = "proxy_unreachable"
    """The proxy could not be resolved or connected, or broke off before it answered CONNECT."""
    PROXY_AUTH = "proxy_auth"
    """The proxy asks for a login (407)."""
    PROXY_REFUSED = "proxy_refused"
    """The proxy answered CONNECT with an error. It is the proxy's answer, never the target's."""

    TLS_HANDSHAKE = "tls_handshake"
    """The TLS handshake failed for a cause that is not the certificate."""
    TLS_TIMEOUT = "tls_timeout"
    """The TLS handshake did not finish in time."""
    TLS_EXPIRED = "tls_expired"
    """The certificate has expired or is not valid yet."""
    TLS_WRONG_NAME = "tls_wrong_name"
    """The certificate is for another name."""
    TLS_UNTRUSTED = "tls_untrusted"
    """The certificate does not lead to a root we trust: something reads along, or `ca_file` lacks the root."""
    TLS_INTERCEPTED = "tls_intercepted"
    """The certificate is trusted, but its issuer is not on the list: something reads along."""

    HTTP_4XX = "http_4xx"
    """An unexpected HTTP status from 400 to 499."""
    HTTP_5XX = "http_5xx"
    """An unexpected HTTP status of 500 or more."""
    HTTP_REDIRECT = "http_redirect"
    """An unexpected redirect, one to a place that is not allowed, or too many of them."""
    TRUNCATED = "truncated"
    """The body ended before its announced length."""
    PROTOCOL_ERROR = "protocol_error"
    """The answer breaks the rules of its protocol."""

    CREDENTIAL_EXPIRED = "credential_expired"
    """The secret or certificate of our application has expired."""
    CREDENTIAL_INVALID = "credential_invalid"
    """The secret, certificate or password is wrong."""
    APP_CONFIG = "app_config"
    """The application registration is missing, disabled or wrong, or the probe names something that never answered."""
    CONSENT = "consent"
    """An administrator has not consented to the application."""
    INTERACTION_REQUIRED = "interaction_required"
    """A person has to sign in: second factor, conditional access, changed password."""
    GRANT_DEAD = "grant_dead"
    """The refresh token was revoked or has expired; run `fogbell login`."""
    IDENTITY_FAULT = "identity_fault"
    """The identity provider itself failed."""
    TOKEN_REJECTED = "token_rejected"  # noqa: S105 - a reason, not a password
    """The service refused a token that was just issued."""
    PERMISSION = "permission"
    """The application lacks a permission for this call."""
    BLOCKED_BY_POLICY = "blocked_by_policy"
    """A policy of the tenant or a retired protocol forbids this."""
    LICENCE_MISSING = "licence_missing"
    """The tenant or the user has no licence for this, or the service was never set up there."""
    TENANT_RESTRICTED = "tenant_restricted"
    """The network's tenant restriction forbids sign-in to this tenant."""

    MAIL_DEFERRED = "mail_deferred"
    """The mail server asks to try again later (4xx)."""
    MAIL_REJECTED = "mail_rejected"
    """The mail server refuses the message (5xx)."""
    MAIL_BOUNCED = "mail_bounced"
    """The message was accepted and then returned."""
    MAIL_JUNKED = "mail_junked"
    """The message arrived in the junk folder."""
    MAIL_LATE = "mail_late"
    """The message was accepted and has not arrived in time."""
    MAILBOX_FULL = "mailbox_full"
    """The mailbox is full."""
    STORAGE_FULL = "storage_full"
    """The site, the drive or the tenant has no room left for files."""

    NOT_FOUND = "not_found"
    """The object that must be there is not."""
    CONTENT_MISMATCH = "content_mismatch"
    """The answer came, but not with the expected content."""
    MISSING_HIT = "missing_hit"
    """A search answered without a document that must be among the hits."""

    TIMEOUT = "timeout"
    """The run did not finish before its deadline."""
    TOO_SLOW = "too_slow"
    """The answer was right, and slower than the probe allows."""

    THROTTLED = "throttled"
    """The service limits our own calls."""
    AGENT_RESOURCES = "agent_resources"
    """The agent's machine lacks what the run needs: file descriptors, memory, disk."""
    BUG = "bug"
    """The probe raised an error nobody named. Please report it."""


_R = Reason
_BLAMES = {
    Blame.OURS: (
        _R.DNS_OWN_RECORD,
        _R.CREDENTIAL_EXPIRED,
        _R.CREDENTIAL_INVALID,
        _R.APP_CONFIG,
        _R.CONSENT,
        _R.INTERACTION_REQUIRED,
        _R.GRANT_DEAD,
        _R.PERMISSION,
        _R.BLOCKED_BY_POLICY,
        _R.LICENCE_MISSING,
        _R.MAILBOX_FULL,
        _R.STORAGE_FULL,
        _R.THROTTLED,
        _R.AGENT_RESOURCES,
        _R.BUG,
    ),
    Blame.NETWORK: (
        _R.DNS_TIMEOUT,
        _R.DNS_REFUSED,
        _R.CONNECT_TIMEOUT,
        _R.UNREACHABLE,
        _R.PROXY_UNREACHABLE,
        _R.PROXY_AUTH,
        _R.PROXY_REFUSED,
        _R.TLS_UNTRUSTED,
        _R.TLS_INTERCEPTED,
        _R.TENANT_RESTRICTED,
    ),
}
BLAME = dict.fromkeys(Reason, Blame.SERVICE) | {reason: blame for blame, reasons in _BLAMES.items() for reason in reasons}
"""Reason to blame, total over `Reason`."""


def _meanings() -> dict[Reason, str]:
    """Read the text under each member, which Python itself does not keep."""
    members = ast.parse(inspect.getsource(Reason)).body[0]
    texts: dict[Reason, str] = {}
    for member, text in pairwise(members.body if isinstance(members, ast.ClassDef) else ()):
        match member, text:
            case ast.Assign(value=ast.Constant(value=str(value))), ast.Expr(value=ast.Constant(value=str(words))):
                texts[Reason(value)] = words
    return texts


MEANING = _meanings()
"""Reason to its sentence, total over `Reason`."""
