"""The mail servers of a simulated tenant on real TLS, with the machine's clock, and the standard library's clients, each in a thread."""

import asyncio
import imaplib
import smtplib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from ssl import SSLContext, create_default_context
from typing import TypeVar

import trustme

from agent.drill.entra.directory import Directory
from agent.drill.entra.keys import Keys
from agent.drill.graph.mailbox import Mailbox
from agent.drill.graph.post import Post
from agent.drill.imap import serve_imap
from agent.drill.mail import SUBMISSION, Door, serve_smtp
from agent.drill.mail_login import MailPolicy
from agent.drill.world import World

MX = Door("contoso-example.mail.protection.outlook.com")
PATIENCE = 10.0
"""Seconds after which a client gives up."""
ROLES = ("SMTP.SendAsApp", "IMAP.AccessAsApp")

T = TypeVar("T")


@dataclass(frozen=True)
class Mailing:
    """A world whose mail takes no time, unless a test says otherwise, and where its servers listen."""

    world: World
    trust: SSLContext
    ports: dict[str, int]

    @property
    def post(self) -> Post:
        return self.world.of(Post)

    @property
    def policy(self) -> MailPolicy:
        return self.world.of(MailPolicy)

    def box(self, number: int) -> Mailbox:
        """Give the mailbox of one of the tenant's people, with what has arrived."""
        found = self.post.mailbox(self.world.people[number].mail)
        assert found is not None
        return found

    def subjects(self, number: int, folder: str = "inbox") -> list[str]:
        return [each.letter.subject for each in self.box(number).within(folder)]

    def token(
        self, *granted: str, person: int | None = None, seconds: float = 3600, audience: str = "https://outlook.office365.com"
    ) -> str:
        """Sign a token of this world: an app's with these roles, or a person's with these scopes."""
        now = self.world.now()
        who = {"roles": list(granted)} if person is None else {"scp": " ".join(granted), "oid": self.world.people[person].id}
        return self.world.of(Keys).sign({"aud": audience, "nbf": now - 5, "exp": now + seconds, **who})

    def password(self, person: int) -> str:
        return self.world.of(Directory).accounts[self.world.people[person].upn].password

    def xoauth2(self, token: str, number: int = 0) -> str:
        return f"user={self.world.people[number].mail}\x01auth=Bearer {token}\x01\x01"

    async def smtp(self, use: Callable[[smtplib.SMTP], T], door: str = "submission") -> T:
        """Use the server as smtplib does, in TLS."""

        def talk() -> T:
            with smtplib.SMTP("127.0.0.1", self.ports[door], "probe.example", timeout=PATIENCE) as client:
                client.starttls(context=self.trust)
                return use(client)

        return await asyncio.to_thread(talk)

    def authorized(self, client: smtplib.SMTP, token: str = "", number: int = 0) -> tuple[int, bytes]:
        """Sign in with a token, as an app that may, unless another is given."""
        response = self.xoauth2(token or self.token(*ROLES), number)
        client.ehlo_or_helo_if_needed()
        return client.auth("XOAUTH2", lambda _challenge=None: response)

    async def imap(self, use: Callable[[imaplib.IMAP4_SSL], T], *, signed_in: bool = True, number: int = 1) -> T:
        """Use the server as imaplib does, signed in as the second person unless asked otherwise."""

        def talk() -> T:
            client = imaplib.IMAP4_SSL("127.0.0.1", self.ports["imap"], ssl_context=self.trust, timeout=PATIENCE)
            try:
                if signed_in:
                    client.authenticate("XOAUTH2", lambda _challenge: self.xoauth2(self.token(*ROLES), number).encode())
                return use(client)
            finally:
                client.shutdown()

        return await asyncio.to_thread(talk)


def message(subject: str, sender: str, recipient: str, body: str = "Hello.\n") -> EmailMessage:
    written = EmailMessage()
    written["From"], written["To"], written["Subject"] = sender, recipient, subject
    written["Message-ID"] = f"<{subject.encode().hex()}@control.example>"
    written.set_content(body)
    return written


@asynccontextmanager
async def mailing() -> AsyncIterator[Mailing]:
    """Serve MX, submission and IMAP of a new world while the block runs."""
    world, authority = World(), trustme.CA()
    world.of(Post).delay = 0.0
    trust = create_default_context()
    authority.configure_trust(trust)
    async with AsyncExitStack() as stack:
        ports = {
            "mx": await stack.enter_async_context(serve_smtp(world, MX, authority)),
            "submission": await stack.enter_async_context(serve_smtp(world, SUBMISSION, authority)),
            "imap": await stack.enter_async_context(serve_imap(world, authority)),
        }
        yield Mailing(world, trust, ports)
