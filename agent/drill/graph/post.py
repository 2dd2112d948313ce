"""How letters travel in the simulated tenant: accepted now, delivered later, or lost, junked, held up, bounced.

Nothing runs in the background: what is due is delivered when somebody looks, in the order and with the times it was due.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from agent.drill.faults import Mail
from agent.drill.graph.letters import Letter, received_chain
from agent.drill.graph.mailbox import Mailbox
from agent.drill.graph.reports import MAILBOX_FULL, UNKNOWN_RECIPIENT, Refusal, refusal_of, report
from agent.drill.world import World

DELAY = 1.0
"""Seconds from acceptance to the mailbox when nothing is wrong."""

_SPREAD = 0.5
"""Of a delay that a fault causes: the standard deviation of its logarithm, so that its median is what the fault says."""


@dataclass(frozen=True, slots=True)
class Transit:
    """A letter under way to one mailbox; `bounce` says that it will come back instead."""

    letter: Letter
    recipient: str
    folder: str = "inbox"
    bounce: Refusal | None = None


class Post:
    """The mailboxes of one world and what is under way to them. `delay` (seconds) can be set at any time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.delay = DELAY
        # A chance for each, so that folders have the same identifiers in every run.
        self.watchers: list[Callable[[], object]] = []
        """Called when a letter sets out and when a mailbox changes, for those who wait for one."""
        self.mailboxes = {
            person.mail.lower(): Mailbox(person, Random(f"{person.id}{world.seed}"), watchers=self.watchers)  # noqa: S311
            for person in world.people
        }
        self.outside: deque[Letter] = deque(maxlen=100)
        """Letters that left the tenant, newest last."""
        self._under_way: list[tuple[float, int, Transit]] = []
        self._numbers = itertools.count()

    def mailbox(self, who: str) -> Mailbox | None:
        """Give the mailbox of a person, by id or address, with everything in it that has arrived by now."""
        self._settle(self._world.now())
        wanted = who.lower()
        return next(
            (box for box in self.mailboxes.values() if wanted in (box.owner.id, box.owner.upn.lower(), box.owner.mail.lower())), None
        )

    def send(self, letter: Letter) -> None:
        """Accept a letter for all its recipients; what becomes of it shows later."""
        for recipient in letter.recipients:
            self.forward(letter, recipient.address)

    def forward(self, letter: Letter, recipient: str) -> None:
        """Accept a letter for one recipient, as the faults of this moment decide."""
        fate = self._world.faults.first(Mail, "mail", operation="mail_send", service="outlook", region=self._world.region)
        match fate:
            case Mail(how="lost"):
                return
            case Mail(how="bounce", status=status):
                self._start(Transit(letter, recipient, bounce=refusal_of(status)), self.delay)
            case Mail(how="junk"):
                self._start(Transit(letter, recipient, "junkemail"), self.delay)
            case Mail(how="delay", seconds=median):
                self._start(Transit(letter, recipient), self.delay + median * self._world.random.lognormvariate(0, _SPREAD))
            case _:
                self._start(Transit(letter, recipient), self.delay)

    @property
    def next_due(self) -> float | None:
        """When the next letter arrives (Unix seconds by the world's clock); None where nothing is under way."""
        return self._under_way[0][0] if self._under_way else None

    def under_way(self) -> Iterator[Transit]:
        """Give what has been accepted and has not arrived."""
        self._settle(self._world.now())
        return (transit for _, _, transit in sorted(self._under_way))

    def _start(self, transit: Transit, seconds: float) -> None:
        heapq.heappush(self._under_way, (self._world.now() + seconds, next(self._numbers), transit))
        for watcher in self.watchers:
            watcher()

    def _settle(self, now: float) -> None:
        while self._under_way and self._under_way[0][0] <= now:
            due, _, transit = heapq.heappop(self._under_way)
            self._arrive(transit, due)

    def _arrive(self, transit: Transit, due: float) -> None:
        """Put one letter where it belongs, or a report of its failure into the sender's inbox."""
        box = self.mailboxes.get(transit.recipient.lower())
        if transit.bounce:
            return self._return(transit, transit.bounce, due)
        if box is None:
            return self._leave(transit, due)
        if box.used + transit.letter.size > box.quota:
            return self._return(transit, MAILBOX_FULL, due)
        box.store(_delivered(transit, due), transit.folder, due)
        return None

    def _leave(self, transit: Transit, due: float) -> None:
        """Hand a letter for another domain to the world outside; our own domain has no such person."""
        if transit.recipient.lower().endswith(f"@{self._world.domain}"):
            self._return(transit, UNKNOWN_RECIPIENT, due)
        else:
            self.outside.append(transit.letter)

    def _return(self, transit: Transit, refusal: Refusal, due: float) -> None:
        """Report the failure to the sender; a report that fails is not reported (RFC 5321 section 6.1)."""
        sender = self.mailboxes.get(transit.letter.sender.address.lower())
        if sender is not None:
            bounced = report(transit.letter, transit.recipient, refusal, domain=self._world.domain, now=due, random=self._world.random)
            sender.store(_delivered(Transit(bounced, sender.owner.mail), due), "inbox", due)


_JUNK_SCORE, _CLEAN_SCORE = 9, -1


def _delivered(transit: Transit, due: float) -> Letter:
    """Give the letter as it lies in the mailbox, with what transport wrote on it."""
    letter = transit.letter
    score = _JUNK_SCORE if transit.folder == "junkemail" else _CLEAN_SCORE
    added = (
        *received_chain(letter, transit.recipient, left_queue=max(letter.sent, due - 1), received=due),
        ("X-MS-Exchange-Organization-SCL", str(score)),
        ("X-MS-Exchange-Organization-AuthAs", "Internal"),
        ("X-MS-Exchange-Transport-EndToEndLatency", _clock(due - letter.sent)),
    )
    return replace(letter, headers=(*added, *letter.headers), bcc=())


def _clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds with seven decimals, as .NET writes a span of time."""
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes) // 60:02}:{int(minutes) % 60:02}:{rest:010.7f}"
