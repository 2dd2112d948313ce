"""An SMTP server that gives good answers, except where a test says otherwise.

    async with smtp.server({"RCPT": "550 5.1.1 unknown"}) as mail: ...

Answers are by verb, and besides by "greeting", "login" (to the responses of a login), "login refused" (to the line that answers a "login"
of 334) and "message" (to what follows DATA). Line ends part the lines of one; HANGS_UP and SAYS_NOTHING are what they say.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes import hostile
from tests.fakes.certificates import Flaw
from tests.fakes.scripted import Line

HANGS_UP = "hangs up"
SAYS_NOTHING = "says nothing"

GREETING = "220 mail.example.com ESMTP"
EHLO = "250-mail.example.com Hello\n250-SIZE 157286400\n250-8BITMIME\n250-ENHANCEDSTATUSCODES\n250 SMTPUTF8"
OFFERS_TLS = EHLO.replace("250-8BITMIME", "250-STARTTLS\n250-8BITMIME")
LOGS_IN = EHLO.replace("250-8BITMIME", "250-AUTH PLAIN LOGIN XOAUTH2\n250-8BITMIME")
GOOD = {
    "greeting": GREETING,
    "EHLO": OFFERS_TLS,
    "EHLO under TLS": LOGS_IN,
    "STARTTLS": "220 2.0.0 Ready to start TLS",
    "AUTH": "334 ",
    "login": "235 2.7.0 Authentication successful",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 End data with <CR><LF>.<CR><LF>",
    "message": "250 2.0.0 Ok: queued as 4XkQ2r1Zb9z",
    "QUIT": "221 2.0.0 Bye",
}


@dataclass(slots=True)
class Mail:
    """A running server: its address, the commands it heard, and the messages it took, as they came over the wire."""

    host: str
    port: int
    heard: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


class _Left(Exception):  # noqa: N818 - the server leaves; nothing is wrong
    """The server hangs up."""


@asynccontextmanager
async def server(answers: Mapping[str, str] | None = None, *, flaw: Flaw = Flaw.NONE, tls: bool = False) -> AsyncIterator[Mail]:
    """Serve with these answers in the place of good ones. `tls`: from the first byte."""
    mail = Mail("", 0)
    given = {**GOOD, **(answers or {})}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Session(mail, given, Line(reader, writer), flaw).serve(tls=tls)
        except _Left:
            return

    async with hostile.serving(talk) as (mail.host, mail.port):
        yield mail


@dataclass(slots=True)
class _Session:
    mail: Mail
    answers: Mapping[str, str]
    line: Line
    flaw: Flaw

    async def serve(self, *, tls: bool) -> None:
        if tls:
            await self.line.start_tls(self.flaw)
        await self.answer("greeting")
        while (words := (await self.hear()).split())[0] != "QUIT":
            await self.obey(words)
        await self.answer("QUIT")

    async def obey(self, words: list[str]) -> None:
        """Answer one command, and do what comes after a good answer: TLS, a login, a message."""
        verb = words[0]
        if verb == "AUTH":
            await self.login(words[1], told=len(words) > len(("AUTH", "PLAIN")))
            return
        under_tls = self.line.tls is not None and f"{verb} under TLS" in self.answers
        code = (await self.answer(f"{verb} under TLS" if under_tls else verb))[:3]
        if (verb, code) == ("STARTTLS", "220"):
            await self.line.start_tls(self.flaw)
        elif (verb, code) == ("DATA", "354"):
            self.mail.messages.append(await self.message())
            await self.answer("message")

    async def login(self, mechanism: str, *, told: bool) -> None:
        """Hear a login out; `told`: its response came with the command."""
        if not told:
            for _ in range(2 if mechanism == "LOGIN" else 1):
                if (await self.answer("AUTH"))[:3] != "334":
                    return
                await self.hear()
        if (await self.answer("login"))[:3] == "334":
            await self.hear()
            await self.answer("login refused")

    async def message(self) -> str:
        lines: list[str] = []
        while (line := await self.line.hear()) != ".":
            lines.append(line)
        return "\n".join(lines)

    async def hear(self) -> str:
        self.mail.heard.append(await self.line.hear())
        return self.mail.heard[-1]

    async def answer(self, what: str) -> str:
        answer = self.answers.get(what, "502 5.5.2 what?")
        if answer == HANGS_UP:
            raise _Left
        if answer == SAYS_NOTHING:
            await self.line.reader.read()
            raise _Left
        for line in answer.split("\n"):
            self.line.say(line)
        return answer
