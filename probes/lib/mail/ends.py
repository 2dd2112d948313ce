"""The two ends of a mail round trip: what every way of sending and every way of receiving has in common.

A way (Graph, SMTP, IMAP, POP3, EWS) is a module of this package with its settings and a function that makes an end of them. The kind of
probe knows only what stands here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from probes.core.codes import UNCERTAIN
from probes.core.contract import Failed
from probes.core.reasons import Reason

if TYPE_CHECKING:
    from probes.core.context import Context
    from probes.lib.mail.letter import Letter
    from probes.lib.mail.report import Report


class Folder(StrEnum):
    """Where a letter of ours can lie. `RECOVERABLE` is Exchange's folder of what was deleted from the deleted items."""

    INBOX = "inbox"
    JUNK = "junk"
    SENT = "sent"
    DELETED = "deleted"
    RECOVERABLE = "recoverable"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the server said when it took the letter.

    `at` is Unix seconds by the server's clock, None where it told no time; `code` a label such as "250 2.0.0" or "202"; `queue_id` "" where
    unknown.
    """

    at: float | None
    code: str
    queue_id: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One message that carries a tag of ours: the letter itself, or the report of its delivery.

    `key` is what the end removes it by, of its own within its folder. `delivered` is Unix seconds by the server's clock, `seen` seconds of
    perf_counter, `granularity` the seconds since the look before (0 where the server told us by itself).
    """

    tag: str
    key: str
    folder: Folder
    headers: str = ""
    delivered: float | None = None
    seen: float = 0.0
    granularity: float = 0.0
    report: "Report | None" = None


class SubmissionUncertain(Failed):
    """The connection was lost after the letter was handed over and before the server said yes or no: it may arrive, or not.

    Its code says so, because its reason is that of any lost connection; the number a gateway may have given is evidence.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        """`message` is one plain sentence for people."""
        super().__init__(reason, message, code=UNCERTAIN)


class Outbox(Protocol):
    """A way of sending."""

    async def open(self, ctx: "Context") -> None:
        """Get what the login will need, such as a token, so that it is no part of the submission. Called within the step `sign_in`."""

    async def submit(self, ctx: "Context", letter: "Letter") -> Accepted:
        """Hand the letter over, once. Called within the step `submit`.

        Raises:
            SubmissionUncertain: where nobody can say whether the server took it.
            Failed, Inconclusive: where it did not.

        """


class Mailbox(Protocol):
    """A mailbox that can be looked into. What it does not offer of the folders (POP3 has the inbox alone) it leaves out without a word."""

    async def open(self, ctx: "Context") -> None:
        """Sign in and get ready to see the next arrival. Called within the step `sign_in`, before anything is sent."""

    async def arrival(self, ctx: "Context", letter: "Letter", until: float) -> Found | None:
        """Wait until perf_counter says `until` for the letter to come into the inbox; None where it did not.

        A reply to it, or a redirected copy, is an arrival as well: what counts is the tag. May be called again, after a `find` too.
        """

    async def find(self, ctx: "Context", tags: Collection[str], folders: Collection[Folder]) -> list[Found]:
        """Everything that carries one of the tags, delivery reports too; with no tags, whatever of ours is older than a day."""

    async def remove(self, ctx: "Context", found: Sequence[Found]) -> None:
        """Remove for good. No error where one is gone already."""

    async def close(self) -> None:
        """Let go of connections at once. Never raises; may be called before `open` and twice."""
