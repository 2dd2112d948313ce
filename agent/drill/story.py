"""What goes wrong, where and when: a timeline of faults.

A story is a tuple of frozen values, and what holds at a moment is a pure function of the seconds since its start. Servers ask it at each
request, so nothing has to be switched on or off, and two servers that share a clock agree.
"""

from dataclasses import dataclass
from enum import StrEnum


class Effect(StrEnum):
    """What a server does to a request that a fault hits."""

    SERVFAIL = "servfail"
    """A name server answers that it could not find out."""
    NXDOMAIN = "nxdomain"
    """A name server denies that the name exists."""
    SILENT = "silent"
    """No answer ever comes; the question or connection is accepted."""
    UNAVAILABLE = "unavailable"
    """A web server answers 503."""
    SLOW = "slow"
    """A web server thinks for `SLOW_SECONDS` before its first byte."""
    DRIP = "drip"
    """A web server sends its body a few bytes at a time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that breaks again and again.

    `target` is a host name without final dot, or the path of a page. It is hit for `lasts` seconds, first after `first` seconds and then
    every `every` seconds. `what` is one sentence for people.
    """

    target: str
    effect: Effect
    first: float
    lasts: float
    every: float
    what: str

    def __post_init__(self) -> None:
        """Refuse a fault that would never end."""
        if not 0 < self.lasts < self.every:
            raise ValueError(f"{self.target}: a fault must last longer than 0 s and end before it comes again")


Story = tuple[Fault, ...]


def holds(fault: Fault, seconds: float) -> bool:
    """Whether the fault is there `seconds` after the start of its story."""
    return seconds >= fault.first and (seconds - fault.first) % fault.every < fault.lasts


def effect_on(story: Story, target: str, seconds: float) -> Effect | None:
    """Effect of the first fault that hits `target` at this moment, or None while all is well."""
    return next((fault.effect for fault in story if fault.target == target and holds(fault, seconds)), None)


DEMO: Story = (
    Fault(
        "/search",
        Effect.UNAVAILABLE,
        first=10,
        lasts=15,
        every=60,
        what="the search page answers 503 Service Unavailable",
    ),
    Fault(
        "contoso-example.mail.protection.outlook.com",
        Effect.SERVFAIL,
        first=35,
        lasts=25,
        every=90,
        what="the host that the MX record names stops resolving, while the MX record stays fine (as in January 2026)",
    ),
    Fault(
        "/files",
        Effect.SLOW,
        first=75,
        lasts=12,
        every=120,
        what="the file page takes seconds to answer and misses its deadline",
    ),
    Fault(
        "teams.contoso.example",
        Effect.SILENT,
        first=95,
        lasts=15,
        every=120,
        what="the name server does not answer questions about teams.contoso.example",
    ),
)
"""What the demo shows: every cause a different one, each recovering on its own, the first within a quarter of a minute."""
