"""What can be wrong on the other side of the wire, where, for how long, and for how many.

A fault is a frozen value: an effect, a place, a time and a share. Servers ask `Faults` at each connection, request, question or mail, so
nothing has to be switched on or off. Connection and HTTP effects (`Tcp`, `Tls`, `Http`, `Latency`, `Drip`) are applied by `hosting` for
every host; the others belong to whoever plays that service: `Token` to Entra, `Dns` to the name server, `Smtp` and `Mail` to the mail
side, `Partial` to search, `StatusSource` to service health, `Packets` to the media relay, `Content` to files.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeVar


@dataclass(frozen=True, slots=True)
class Http:
    """The answer is one of these statuses, chosen by chance, with Retry-After in seconds where given."""

    statuses: tuple[int, ...]
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """The answer comes this many seconds later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drip:
    """The body goes out at this pace; 0 means that the answer never comes (it hangs)."""

    bytes_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class Tcp:
    """The connection is reset, taken and never served, or never made: nothing answers the SYN."""

    how: Literal["reset", "silent", "timeout"]


@dataclass(frozen=True, slots=True)
class Tls:
    """The handshake ends with an alert, or shows a certificate for another name, or one of a company proxy's own authority."""

    how: Literal["handshake_fail", "wrong_name", "intercepted"]


@dataclass(frozen=True, slots=True)
class Token:
    """The identity provider refuses with this AADSTS number."""

    aadsts: int


@dataclass(frozen=True, slots=True)
class Dns:
    """What becomes of a question; `mutate` replaces `old` by `new` in the text of the answer, `stale` gives an address of yesterday."""

    how: Literal["servfail", "nxdomain", "timeout", "stale", "mutate"]
    old: str = ""
    new: str = ""


@dataclass(frozen=True, slots=True)
class Smtp:
    """The mail server says this at this stage of the dialogue.

    The stage `dot` is the end of a message, which is then not taken; with an empty reply it is taken, and the connection breaks.
    """

    reply: str
    stage: Literal["connect", "helo", "mail", "rcpt", "data", "dot"] = "rcpt"


@dataclass(frozen=True, slots=True)
class Mail:
    """What becomes of an accepted message; `seconds` is the median of a delay, `status` the enhanced code with which it comes back."""

    how: Literal["delay", "lost", "junk", "bounce"]
    seconds: float = 0.0
    status: str = "5.4.316"


@dataclass(frozen=True, slots=True)
class Partial:
    """A search answers 200 with only this fraction of its hits."""

    hit_fraction: float


@dataclass(frozen=True, slots=True)
class StatusSource:
    """Service health claims this state (of Graph's serviceHealthStatus) for the service, or answers with this HTTP status."""

    state: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Packets:
    """What becomes of a packet of media: lost, or its answer comes up to so many seconds later, each by its own chance (jitter)."""

    how: Literal["lost", "late"]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Content:
    """What becomes of a file on the way to whoever reads it.

    Graph says another `hash`, its redirect leads `nowhere`, `elsewhere` (to the sign-in), to a `plain` address or to one that is `expired`,
    or it answers with the bytes `inline`; just before that somebody has `deleted` or `overwritten` the file; the bytes are `truncated` or
    `wrong`.
    """

    how: Literal["hash", "nowhere", "elsewhere", "plain", "expired", "inline", "deleted", "overwritten", "truncated", "wrong"]


Effect = Http | Latency | Drip | Tcp | Tls | Token | Dns | Smtp | Mail | Partial | StatusSource | Packets | Content
E = TypeVar("E", Http, Latency, Drip, Tcp, Tls, Token, Dns, Smtp, Mail, Partial, StatusSource, Packets, Content)


@dataclass(frozen=True, slots=True)
class Where:
    """What a fault hits. An empty field means: any. `names` are patterns of host names, such as `*.mail.protection.outlook.com`."""

    hosts: frozenset[str] = frozenset()
    operations: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    grants: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong from `first` until `until` (Unix seconds), for a `share` of those it could hit."""

    effect: Effect
    where: Where = field(default_factory=Where)
    share: float = 1.0
    first: float = -math.inf
    until: float = math.inf
    fades: bool = False
    """The share sinks evenly to nothing at `until`."""


@dataclass(frozen=True, slots=True)
class _Asked:
    host: str
    operation: str
    service: str
    region: str
    grant: str
    source: str
    name: str


def _fits(where: Where, asked: _Asked) -> bool:
    """Whether each field that the place names is what was asked for."""
    pairs = (
        (where.hosts, asked.host),
        (where.operations, asked.operation),
        (where.services, asked.service),
        (where.regions, asked.region),
        (where.grants, asked.grant),
        (where.sources, asked.source),
    )
    if any(wanted and given not in wanted for wanted, given in pairs):
        return False
    return not where.names or any(fnmatchcase(asked.name, pattern) for pattern in where.names)


def share_at(fault: Fault, now: float) -> float:
    """Share of those that the fault hits at this moment; 0 outside its time."""
    if not fault.first <= now < fault.until:
        return 0.0
    return fault.share * (fault.until - now) / (fault.until - fault.first) if fault.fades else fault.share


class Faults:
    """The faults of one simulated tenant. Each has its own seeded chance, so that one does not change what another hits."""

    def __init__(self, now: Callable[[], float], seed: int = 1) -> None:
        self._now, self.seed = now, seed
        self.watchers: list[Callable[[], object]] = []
        """Called whenever the faults are set anew."""
        self._all: tuple[tuple[Fault, random.Random], ...] = ()
        self._met: set[int] = set()

    def __iter__(self) -> Iterator[Fault]:
        return iter([fault for fault, _ in self._all])

    def set(self, *faults: Fault) -> None:
        """Make these the faults, in place of all others; without any all is well."""
        self._all, self._met = (), set()
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Put these behind the faults that are there."""
        start = len(self._all)
        # The seed chooses whom a fault hits, not a key.
        chances = [random.Random(f"{self.seed}:{start + index}") for index in range(len(faults))]  # noqa: S311
        self._all = (*self._all, *zip(faults, chances, strict=True))
        for watcher in self.watchers:
            watcher()

    def holding(self, host: str, effect: type[Effect], *, region: str = "") -> tuple[tuple[Fault, float], ...]:
        """Give the faults of this effect that hold on a host now, whoever asks, each with its share of this moment. No luck is drawn."""
        asked, now = _Asked(host, "", "", region, "", "", ""), self._now()
        found = ((number, fault) for number, (fault, _) in enumerate(self._all) if isinstance(fault.effect, effect))
        fitting = tuple((number, fault) for number, fault in found if _fits(replace(fault.where, sources=frozenset()), asked))
        return tuple((self._meet(number), share) for number, fault in fitting if (share := share_at(fault, now)) > 0)

    def hits(
        self,
        host: str,
        *effects: type[Effect],
        operation: str = "",
        service: str = "",
        region: str = "",
        grant: str = "",
        source: str = "",
        name: str = "",
    ) -> tuple[Fault, ...]:
        """Give the faults that hit this one thing now, only of these kinds of effect where any is named. Each call draws its luck anew.

        Ask once per connection, request, question or mail, and name the effects you act on, so that nobody else's luck is drawn.
        """
        asked = _Asked(host, operation, service, region, grant, source, name.lower().rstrip("."))
        now = self._now()
        return tuple(
            self._meet(number)
            for number, (fault, chance) in enumerate(self._all)
            if (not effects or isinstance(fault.effect, effects)) and _fits(fault.where, asked) and self._drawn(number, chance, now)
        )

    def first(self, effect: type[E], host: str, **asked: str) -> E | None:
        """Give the first effect of this kind that hits, or None: `faults.first(Token, "login", operation="token", grant="password")`."""
        return next((fault.effect for fault in self.hits(host, effect, **asked) if isinstance(fault.effect, effect)), None)

    def unmet(self) -> tuple[int, ...]:
        """Numbers of the faults that have begun and that nobody came across, lucky or not."""
        now = self._now()
        return tuple(number for number, (fault, _) in enumerate(self._all) if number not in self._met and fault.first <= now)

    def _drawn(self, number: int, chance: random.Random, now: float) -> bool:
        share = share_at(self._all[number][0], now)
        if share > 0:
            self._met.add(number)
        return share > 0 and chance.random() < share

    def _meet(self, number: int) -> Fault:
        self._met.add(number)
        return self._all[number][0]
