"""A signed-in POP3 connection (RFC 1939): which messages there are, their headers, and their removal, which the farewell makes true."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.dialogue import FAREWELL, PopAnswer, Protocol, pop_answer, pop_ask, pop_capabilities, pop_lines, read_text, send_line
from probes.lib.mail.access import Account, Proof, Server, admitted, hushed, login_refused, meaning, proof_of, reach
from probes.lib.mail.sasl import plain, xoauth2
from probes.lib.wire import Wire


class PopSession:
    """One connection after its login."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def messages(self) -> dict[str, int]:
        """Return the numbers of all messages by their unique ids, the oldest first."""
        await self._ask("UIDL")
        lines = (line.decode(errors="backslashreplace").split(" ") for line in await pop_lines(self.wire))
        return {words[1]: int(words[0]) for words in lines if len(words) > 1 and words[0].isascii() and words[0].isdigit()}

    async def top(self, number: int, lines: int = 0) -> bytes:
        """Return the header of a message and so many lines of its body."""
        await self._ask(f"TOP {number} {lines}")
        return b"".join(line + b"\r\n" for line in await pop_lines(self.wire))

    async def delete(self, number: int) -> None:
        """Mark a message; it goes with the farewell."""
        await self._ask(f"DELE {number}")

    async def leave(self) -> None:
        """Say good-bye, with which what is marked is removed.

        Raises:
            Failed: where the server says that it was not.

        """
        await self._ask(FAREWELL[Protocol.POP3])

    async def _ask(self, command: str) -> None:
        answer = await pop_ask(self.wire, command)
        if not answer.ok:
            said = shown(answer.text)[:200]
            raise meaning(said) or Failed(Reason.CONTENT_MISMATCH, f"the mail server said -ERR {said} to {command.partition(' ')[0]}")


@asynccontextmanager
async def session(ctx: Context, server: Server, account: Account) -> AsyncIterator[PopSession]:
    """Connect, log in, and say good-bye after the block.

    Raises:
        Failed, Inconclusive: with a reason of names, connections, TLS, tokens, or what the server says.

    """
    proof = await proof_of(ctx, account)
    with await reach(ctx, Protocol.POP3, server) as wire:
        await _log_in(ctx, wire, proof)
        opened = PopSession(wire)
        yield opened
        await opened.leave()


async def _log_in(ctx: Context, wire: Wire, proof: Proof) -> None:
    offered = await pop_capabilities(wire)
    try:
        answer, challenges = await _login(wire, offered, proof)
    except Failed as failed:
        raise hushed(proof, failed) from None
    if not answer.ok:
        raise login_refused(ctx, Protocol.POP3, proof, answer.text, challenges)
    admitted(ctx, Protocol.POP3, proof)


async def _login(wire: Wire, offered: frozenset[str], proof: Proof) -> tuple[PopAnswer, tuple[str, ...]]:
    """Log in by the best way that the server offers; one that tells nothing is taken to know USER."""
    methods = {method for line in offered for method in line.split()[1:] if line.startswith("SASL")}
    if proof.token is not None:
        if "XOAUTH2" not in methods:
            raise _no_way("token", methods)
        return await _asked(wire, "AUTH XOAUTH2", (xoauth2(proof.user, proof.secret), ""))
    if "PLAIN" in methods:
        return await _asked(wire, "AUTH PLAIN", (plain(proof.user, proof.secret),))
    if offered and "USER" not in offered:
        raise _no_way("password", methods)
    return await _by_name(wire, proof), ()


async def _by_name(wire: Wire, proof: Proof) -> PopAnswer:
    if any(character in "\0\r\n" for character in proof.user + proof.secret):
        raise Failed(Reason.CREDENTIAL_INVALID, "the user name or password contains a NUL or a line end, which a login cannot carry")
    answer = await pop_ask(wire, f"USER {proof.user}")
    return await pop_ask(wire, f"PASS {proof.secret}") if answer.ok else answer


async def _asked(wire: Wire, command: str, replies: tuple[str, ...]) -> tuple[PopAnswer, tuple[str, ...]]:
    """Send a command and a reply each time the server asks to go on (RFC 5034); return its answer and what it asked."""
    send_line(wire, command)
    challenges: list[str] = []
    for reply in replies:
        line = await read_text(wire)
        if line[:1] != "+" or line[:3] == "+OK":
            return _status(line), tuple(challenges)
        challenges.append(line[2:])
        send_line(wire, reply)
    return await pop_answer(wire), tuple(challenges)


def _status(line: str) -> PopAnswer:
    mark, _, text = line.partition(" ")
    if mark not in {"+OK", "-ERR"}:
        raise Failed(Reason.PROTOCOL_ERROR, f"not a POP3 answer: {shown(line)[:200]!r}")
    return PopAnswer(mark == "+OK", text)


def _no_way(what: str, methods: set[str]) -> Failed:
    offers = shown(", ".join(sorted(methods)))[:200] or "no way to log in"
    reason = Reason.CONTENT_MISMATCH if what == "token" else Reason.BLOCKED_BY_POLICY
    return Failed(reason, f"the mail server takes no {what} for POP3; it offers {offers}")
