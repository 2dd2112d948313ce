"""A signed-in IMAP connection (RFC 3501): its commands, and IDLE (RFC 2177).

It speaks plain IMAP4rev1 with UIDPLUS and IDLE where they are offered. It never asks for ESEARCH, never enables IMAP4rev2 and never
searches by keyword: Exchange Online offers them and gets them wrong.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter

from probes.core.context import Context
from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.dialogue import FAREWELL, LINES, ImapAnswer, ImapResponse, Protocol, imap_ask, imap_response, imap_untagged, send_line
from probes.lib.mail.access import Account, Proof, Server, admitted, clearer, hushed, login_refused, meaning, proof_of, reach
from probes.lib.mail.imap_data import Fetched, Listed, codes, counted, fetched, listed, number, quoted, searched, to_utf7
from probes.lib.mail.sasl import plain, xoauth2
from probes.lib.wire import Wire

MOST_MAILBOXES = 2000
"""Most folders that are listed."""

_FAREWELL = FAREWELL[Protocol.IMAP]
_REASONS = {
    "NONEXISTENT": Reason.NOT_FOUND,
    "TRYCREATE": Reason.NOT_FOUND,
    "OVERQUOTA": Reason.MAILBOX_FULL,
    "NOPERM": Reason.PERMISSION,
}

_NOT_THERE = re.compile(r"doesn't exist|does not exist|no such mailbox", re.IGNORECASE)
# Dovecot 2.3 and Exchange say it in words alone.


@dataclass(frozen=True, slots=True)
class Selected:
    """A mailbox that is open: its UIDVALIDITY, and the lowest UID that the next message can have (0 where untold)."""

    name: str
    validity: str
    next_uid: int


class ImapSession:
    """One connection after its login."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.capabilities: frozenset[str] = frozenset()
        self.selected: Selected | None = None
        self.exists = 0
        """Messages in the mailbox that is open."""
        self.announced = 0.0
        """When an answer last told of new messages (perf_counter); 0 where none did."""
        self.busy = False
        """Whether an answer is outstanding."""
        self._commands = 0

    @property
    def usable(self) -> bool:
        """Whether a further command would be understood: the connection stands, and no answer was left half read."""
        return not self.wire.ended and not self.busy

    async def ask(self, command: str, replies: Iterable[str] = (), most: int = LINES) -> ImapAnswer:
        """Send a command, and return its answer where it is OK, or only says that somebody else removed messages meanwhile (RFC 2180).

        Raises:
            Failed, Inconclusive: where it is refused, with what the refusal says.

        """
        answer = await self.answer(command, replies, most)
        if answer.status != "OK" and "EXPUNGEISSUED" not in codes(answer):
            raise refusal(answer)
        return answer

    async def answer(self, command: str, replies: Iterable[str] = (), most: int = LINES) -> ImapAnswer:
        """Send a command, and return its answer whatever it is."""
        self.busy = True
        try:
            answer = await imap_ask(self.wire, self.next_tag(), command, replies, most)
        except Failed as failed:
            raise clearer(failed) from failed
        self.busy = False
        for response in answer.untagged:
            if self.count(response):
                self.announced = self.wire.heard
        return answer

    def next_tag(self) -> str:
        """Return the tag of the next command."""
        self._commands += 1
        return f"f{self._commands}"

    async def read_capabilities(self) -> None:
        """Ask what the server can do; it may say more after the login."""
        answer = await self.ask("CAPABILITY")
        words = (response.text.upper().split() for response in answer.untagged)
        self.capabilities = frozenset(word for first, *rest in filter(None, words) if first == "CAPABILITY" for word in rest)

    async def select(self, name: str) -> Selected:
        """Open a mailbox for reading and writing.

        Raises:
            Failed: NOT_FOUND where there is none of this name and the server says so.

        """
        self.selected = None
        self.exists = 0
        told = codes(await self.ask(f"SELECT {quoted(to_utf7(name))}"))
        self.announced = 0.0
        self.selected = Selected(name, told.get("UIDVALIDITY", ""), number(told.get("UIDNEXT", "")))
        return self.selected

    async def mailboxes(self) -> list[Listed]:
        """List all folders."""
        answer = await self.ask('LIST "" "*"', most=MOST_MAILBOXES)
        return [found for response in answer.untagged if (found := listed(response))]

    async def newest(self, most: int, section: str) -> list[Fetched]:
        """Fetch a section, such as "BODY.PEEK[HEADER]", of the newest messages."""
        await self.ask("NOOP")
        return await self._fetched(f"FETCH {max(1, self.exists - most + 1)}:{self.exists}", section) if self.exists else []

    async def fetch(self, uids: str, section: str) -> list[Fetched]:
        """Fetch a section of the messages in a set of UIDs, such as "7:*"."""
        return await self._fetched(f"UID FETCH {uids}", section)

    async def search(self, criteria: str) -> list[int] | None:
        """Return the UIDs of what fits; None where the server refuses the search."""
        answer = await self.answer(f"UID SEARCH {criteria}")
        return searched(answer) if answer.status == "OK" else None

    async def remove(self, uids: Iterable[int]) -> None:
        """Remove messages for good, and no other. No error where they are gone.

        Raises:
            Failed: CONTENT_MISMATCH where the server can only remove all that is marked, and something else is.

        """
        wanted = sorted(set(uids))
        which = ",".join(map(str, wanted))
        await self.ask(rf"UID STORE {which} +FLAGS.SILENT (\Deleted)")
        if "UIDPLUS" in self.capabilities:
            await self.ask(f"UID EXPUNGE {which}")
            return
        others = set(await self.search("DELETED") or ()) - set(wanted)
        if others:
            message = f"the server knows no UID EXPUNGE, and {len(others)} other messages are marked as deleted; ours are only marked"
            raise Failed(Reason.CONTENT_MISMATCH, message)
        await self.ask("EXPUNGE")

    def count(self, response: ImapResponse) -> bool:
        """Keep count of the messages, and say whether there are new ones."""
        what, how_many = counted(response)
        if what == "EXPUNGE":
            self.exists = max(0, self.exists - 1)
        elif what == "EXISTS":
            self.exists = how_many
        return what == "EXISTS"

    def leave(self, *, idling: bool) -> None:
        """Say good-bye where it would be understood, and hang up."""
        if not self.wire.ended and (idling or not self.busy):
            send_line(self.wire, f"DONE\r\n{_FAREWELL}" if idling else _FAREWELL)
        self.wire.close()

    async def _fetched(self, command: str, section: str) -> list[Fetched]:
        answer = await self.ask(f"{command} (UID INTERNALDATE {section})")
        told = (fetched(response) for response in answer.untagged)
        # A server may tell of flags that others changed, between ours and without a UID.
        return [message for message in told if message is not None and message.uid]


class Idle:
    """IDLE under way. It reads what the server tells by itself, and keeps when the first new message was told of."""

    def __init__(self, session: ImapSession) -> None:
        """Ask for it."""
        self._session = session
        self._wire = session.wire
        self._tag = session.next_tag()
        session.busy = True
        self._going = asyncio.Event()
        self._news = asyncio.Event()
        self._announced = 0.0
        send_line(self._wire, f"{self._tag} IDLE")
        self._reader = asyncio.get_running_loop().create_task(self._read(), name="imap idle")
        self._reader.add_done_callback(self._ended)

    async def accepted(self) -> bool:
        """Wait until the server agrees, and say whether it does."""
        await self._going.wait()
        return not self._reader.done() or self._reader.result()

    async def news(self, until: float) -> float:
        """Return when a new message was told of (perf_counter), 0 where none was until `until`.

        Raises:
            Failed: CONNECTION_RESET where the server hangs up.

        """
        try:
            async with asyncio.timeout(max(0.0, until - perf_counter())):
                await self._news.wait()
        except TimeoutError:
            return 0.0
        if self._reader.done():
            self._reader.result()
        return self._announced

    async def end(self) -> float:
        """Go back to commands, and return what `news` does: something may have come meanwhile."""
        if not self._reader.done():
            send_line(self._wire, "DONE")
        await self._reader
        return self._announced

    def drop(self) -> None:
        """End it without a word."""
        self._reader.cancel()

    async def _read(self) -> bool:
        while True:
            response = await imap_response(self._wire)
            mark, _, rest = response.text.partition(" ")
            if mark == self._tag:
                self._session.busy = False
                return rest[:2].upper() == "OK"
            if mark == "+":
                self._going.set()
            elif self._session.count(imap_untagged(response)):
                self._announced = self._announced or self._wire.heard
                self._news.set()

    def _ended(self, reader: "asyncio.Task[bool]") -> None:
        if not reader.cancelled():
            reader.exception()  # so that nobody complains where none asks any more
        self._going.set()
        self._news.set()


async def sign_in(ctx: Context, server: Server, account: Account) -> ImapSession:
    """Connect and log in.

    Raises:
        Failed, Inconclusive: with a reason of names, connections, TLS, tokens, or what the server says.

    """
    proof = await proof_of(ctx, account)
    session = ImapSession(await reach(ctx, Protocol.IMAP, server))
    try:
        await session.read_capabilities()
        await log_in(ctx, session, proof)
    except BaseException:
        session.wire.close()
        raise
    return session


async def log_in(ctx: Context, session: ImapSession, proof: Proof) -> None:
    """Log in by the best way that the server offers, and ask anew what it can do.

    Raises:
        Failed: BLOCKED_BY_POLICY where no password is taken, CONTENT_MISMATCH where no token is, else as `login_refused` has it.

    """
    command, replies = _login(session.capabilities, proof)
    try:
        answer = await session.answer(command, replies)
    except Failed as failed:
        raise hushed(proof, failed) from None
    if answer.status != "OK":
        raise login_refused(ctx, Protocol.IMAP, proof, answer.text, answer.challenges)
    admitted(ctx, Protocol.IMAP, proof)
    await session.read_capabilities()


def refusal(answer: ImapAnswer) -> Stopped:
    """Return what a NO or BAD means."""
    said = shown(answer.text)
    if general := meaning(said):
        return general
    reason = next((_REASONS[code] for code in codes(answer) if code in _REASONS), None)
    if reason is None:
        reason = Reason.NOT_FOUND if _NOT_THERE.search(said) else Reason.CONTENT_MISMATCH
    return Failed(reason, f"the mail server said {answer.status} {said}"[:300])


def _login(offered: frozenset[str], proof: Proof) -> tuple[str, tuple[str, ...]]:
    """Return the command of a login and what to say when asked to go on."""
    if proof.token is not None:
        if "AUTH=XOAUTH2" not in offered:
            raise Failed(Reason.CONTENT_MISMATCH, f"the mail server takes no token: it offers no AUTH=XOAUTH2, but {_methods(offered)}")
        # A refusal first tells why, and comes after an empty line.
        return _sasl("XOAUTH2", xoauth2(proof.user, proof.secret), offered, ("",))
    if "AUTH=PLAIN" in offered:
        return _sasl("PLAIN", plain(proof.user, proof.secret), offered, ())
    if "LOGINDISABLED" in offered:
        raise Failed(Reason.BLOCKED_BY_POLICY, f"the mail server takes no password here (LOGINDISABLED); it offers {_methods(offered)}")
    return _plain_login(proof)


def _sasl(method: str, response: str, offered: frozenset[str], after: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if "SASL-IR" in offered:
        return f"AUTHENTICATE {method} {response}", after
    return f"AUTHENTICATE {method}", (response, *after)


def _plain_login(proof: Proof) -> tuple[str, tuple[str, ...]]:
    """Return LOGIN, with literals where a quoted string cannot hold the words."""
    words = (proof.user, proof.secret)
    if all(word.isascii() and word.isprintable() for word in words):
        return f"LOGIN {' '.join(map(quoted, words))}", ()
    if any(character in "\0\r\n" for word in words for character in word):
        raise Failed(Reason.CREDENTIAL_INVALID, "the user name or password contains a NUL or a line end, which a login cannot carry")
    user, password = ((word, len(word.encode())) for word in words)
    return f"LOGIN {{{user[1]}}}", (f"{user[0]} {{{password[1]}}}", password[0])


def _methods(offered: frozenset[str]) -> str:
    return shown(", ".join(login_methods(offered)))[:200] or "no way to log in"


def login_methods(offered: frozenset[str]) -> list[str]:
    """Return the ways to log in that capabilities tell: SASL mechanisms, and LOGIN unless it is disabled."""
    named = sorted(word.removeprefix("AUTH=") for word in offered if word.startswith("AUTH="))
    return named if "LOGINDISABLED" in offered else [*named, "LOGIN"]
