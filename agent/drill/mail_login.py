"""Who may use which mailbox over SMTP and IMAP: by tokens of the same Entra, by passwords where they are still taken.

Source of the token's form, permissions and replies: Microsoft's page "Authenticate an IMAP, POP or SMTP connection using OAuth".
"""

import base64
import binascii
import re
from collections import Counter
from dataclasses import dataclass
from secrets import compare_digest

from agent.drill.entra.directory import EXCHANGE, Directory
from agent.drill.entra.keys import Keys
from agent.drill.graph.mailbox import Mailbox
from agent.drill.graph.post import Post
from agent.drill.world import World

_RESPONSE = re.compile(r"user=([^\x01]+)\x01auth=Bearer ([^\x01]+)\x01\x01", re.IGNORECASE)


class MailPolicy:
    """What the administrators of a world allow; each can be set at any time."""

    def __init__(self, _world: World) -> None:
        self.passwords = False
        """Whether SMTP submission still takes a password (basic authentication)."""
        self.submission_disabled = False
        """Whether SMTP submission is switched off for the tenant, even with a token."""
        self.not_granted: set[str] = set()
        """Addresses (lower case) of mailboxes that the app has no access to: signing in works, and nothing after it."""
        self.connections = 3
        """Connections that may submit for one mailbox at once."""
        self.largest = 157_286_400
        """Bytes of one message."""
        self.submitting: Counter[str] = Counter()
        """Connections that are signed in, by address."""


class LoginError(Exception):
    """Nobody is let in with this."""


@dataclass(frozen=True, slots=True)
class Right:
    """The permission that a token must have: an application's, or a person's own."""

    role: str
    scope: str


SUBMIT = Right("SMTP.SendAsApp", "SMTP.Send")
READ = Right("IMAP.AccessAsApp", "IMAP.AccessAsUser.All")


def decoded(response: str) -> str:
    """Read one response of SASL.

    Raises:
        LoginError: where it is no base64 of text.

    """
    try:
        return base64.b64decode(response.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise LoginError from None


def by_token(world: World, response: str, right: Right) -> Mailbox:
    """Give the mailbox that an XOAUTH2 response opens.

    Raises:
        LoginError: for a token that is not this tenant's, for another service, over, without the right, or another person's.

    """
    match = _RESPONSE.fullmatch(decoded(response))
    box = world.of(Post).mailbox(match[1]) if match else None
    if match is None or box is None:
        raise LoginError
    audiences = {*EXCHANGE.names, *(f"{name}/" for name in EXCHANGE.names)} | ({world.url("exchange")} if world.has("exchange") else set())
    try:
        claims = world.of(Keys).verify(match[2], audiences)
    except ValueError:
        raise LoginError from None
    own = right.scope in str(claims.get("scp", "")).split() and claims.get("oid") == box.owner.id
    if not own and right.role not in claims.get("roles", ()):
        raise LoginError
    return box


def by_password(world: World, user: str, password: str) -> Mailbox:
    """Give the mailbox that a password opens.

    Raises:
        LoginError: where it is another.

    """
    box, account = world.of(Post).mailbox(user), world.of(Directory).accounts.get(user.lower())
    if box is None or account is None or not compare_digest(account.password.encode(), password.encode()):
        raise LoginError
    return box
