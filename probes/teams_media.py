"""Send a stream of packets to a media relay of Teams, as a call does, and see how long they take, how evenly they come, how many are lost.

People hear this before they see anything else: calls and meetings send sound and pictures as UDP packets to Microsoft's transport relays
(UDP 3478 to 3481), and no web page tells whether these get through. Each packet is a STUN question (RFC 8489), which the relay answers at
once; nobody signs in, nobody is called, and nothing is created.

```yaml
probes:
  - name: teams-calls
    kind: teams_media
```

With a relay of your own, other limits, and a look at what Teams falls back to where UDP is blocked:

```yaml
probes:
  - name: calls-at-the-branch
    kind: teams_media
    host: turn.example.org
    fallback: 443
    max_rtt: 60ms
    max_jitter: 15ms
    max_loss: 0.001
```

The limits are those of Microsoft's own connectivity test: a round trip below 100 ms, jitter below 30 ms, loss below 1 %, over a call of ten
seconds. From the edge of your own network Microsoft asks for 60 ms, 15 ms and 0.1 %. More than a limit allows is `too_slow`; the message
names each. How they are counted:

- The round trip is the median of all packets that came back; `rtt_max_seconds` is the longest.
- Jitter is the interarrival jitter of RFC 3550 6.4.1, which Microsoft's limits mean, here of the whole way to the relay and back: a relay
  tells no times of its own. So it is at least that of either direction.
- Lost is what has no answer within `patience`.

No answer at all is `connect_timeout`: a firewall that drops UDP, most of the time. Where the environment names an HTTP proxy the message
says so, because none carries UDP: media have to leave the network beside it. A port where nothing listens is `connect_refused`. What is
no answer to a question of ours is counted and ignored; where nothing else comes it is `protocol_error`.

That Microsoft's relays answer Binding to anybody is what public captures show, not what Microsoft promises, and it was not tried against
them. Where yours do not, `ask: allocate` asks for a relayed address instead, without credentials: 401 is then the good answer.

A run takes `packets` times `pace`, and at most `patience` longer; where its timeout leaves less, it sends fewer. The default is 500 packets
in ten seconds, about 50 kB both ways. No permission is needed.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Stopped, Workload
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.connect import FAMILIES, Family, connect, first_address, fits
from probes.lib.durations import Duration
from probes.lib.oserror import stopped_by
from probes.lib.packets import Stream
from probes.lib.resolve import ascii_host
from probes.lib.stun import UNAUTHENTICATED, Malformed, Method, new_transaction, parse, request, transaction_of
from probes.lib.url import endpoint

RELAY = "worldaz.tr.teams.microsoft.com"
"""Microsoft's transport relays, near to whoever asks. [unverified: the name other monitors use]"""
PORT = 3478

_BEFORE_DEADLINE = 0.05
_JITTER_GAIN = 16
"""RFC 3550 6.4.1."""
_ADDRESSES = 4
"""Reflexive addresses shown; a way out that changes its mind more often than that has shown enough."""
_EXPECTED_ERROR = {Method.BINDING: 0, Method.ALLOCATE: UNAUTHENTICATED}


class TeamsMedia(Settings):
    """Which relay, how many packets, and what is good enough."""

    host: Annotated[str, Field(min_length=1), AfterValidator(ascii_host)] = RELAY
    """Name or address of the relay."""
    port: Annotated[int, Field(ge=1, le=65535)] = PORT
    """Its UDP port: 3478 to 3481 at Microsoft."""
    family: Family = "any"
    """Kind of address to send to: `any` takes the first that the resolver gives."""
    ask: Literal["binding", "allocate"] = "binding"
    """What to ask: `binding`, which tells from where the relay sees us, or `allocate`, which it refuses to whoever it does not know."""
    packets: Annotated[int, Field(ge=10, le=3000)] = 500
    """How many packets to send."""
    pace: Annotated[Duration, Field(ge=0.005, le=1.0)] = 0.020
    """Time from one packet to the next; a call sends sound every 20 ms."""
    patience: Annotated[Duration, Field(ge=0.05, le=5.0)] = 1.0
    """How long an answer may take before its packet counts as lost."""
    max_rtt: Duration = 0.100
    """Longest round trip, in the median, that is good enough."""
    max_jitter: Duration = 0.030
    """Largest jitter that is good enough."""
    max_loss: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest share of lost packets that is good enough."""
    fallback: Annotated[int, Field(ge=1, le=65535)] | None = None
    """TCP port to which Teams falls back where UDP is blocked, such as 443. Whether it answers becomes evidence, and fails no run."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not fits(self.host, FAMILIES[self.family]):
            raise ValueError(f"family: {self.family} excludes the address {self.host}; leave family out")
        return self


@dataclass(slots=True)
class _Conversation:
    """What is asked of the relay and understood of its answers."""

    method: Method
    relay: str
    asked: set[bytes] = field(default_factory=set)
    seen_from: dict[str, None] = field(default_factory=dict)
    software: str = ""
    wrong: str = ""
    """What was wrong with the first answer that was none."""
    code: str = ""

    def write(self) -> tuple[bytes, bytes]:
        transaction = new_transaction()
        self.asked.add(transaction)
        return transaction, request(self.method, transaction)

    def read(self, data: bytes) -> bytes | None:
        try:
            # What answers nothing, or once more, is not read: a flood of it must not hold up others.
            if transaction_of(data) not in self.asked:
                return None
            answer = parse(self.method, data)
        except Malformed as malformed:
            self._wrong(str(malformed))
            return None
        if answer.error != _EXPECTED_ERROR[self.method]:
            self._wrong(f"{answer.error or 'yes'} {shown(answer.phrase)[:100]}".rstrip(), str(answer.error or ""))
            return None
        # The other way round is right where a translator (NAT64) stands between.
        if ":" in answer.address and ":" not in self.relay:
            self._wrong("an IPv6 address for a question over IPv4")
            return None
        self.software = self.software or answer.software
        if answer.address and len(self.seen_from) < _ADDRESSES:
            self.seen_from[endpoint(answer.address, answer.port)] = None
        self.asked.remove(answer.transaction)
        return answer.transaction

    def _wrong(self, what: str, code: str = "") -> None:
        if not self.wrong:
            self.wrong, self.code = what, code


async def run(ctx: Context, settings: TeamsMedia) -> None:
    """Send the packets, gather their answers, and judge them."""
    with ctx.step("resolve"):
        address = await first_address(ctx, settings.host, FAMILIES[settings.family])
        ctx.evidence("address", address)
    if settings.fallback is not None:
        with ctx.step("fallback"):
            await _fallback(ctx, address, settings.fallback, settings.patience)
    talk = _Conversation(Method[settings.ask.upper()], address)
    with ExitStack() as held:
        with ctx.step("binding"):
            count = _affordable(ctx, settings)
            stream = held.enter_context(Stream(_socket(address, settings.port), talk, pace=settings.pace, count=count))
            held.callback(_tell, ctx, settings, stream, talk)
            await _bind(ctx, settings, stream, talk)
        with ctx.step("stream"):
            await _rest(ctx, settings, stream)
            _judge(settings, _figures(stream, settings.patience))


def _affordable(ctx: Context, settings: TeamsMedia) -> int:
    """Return how many packets can be sent and answered before the deadline."""
    left = ctx.deadline - perf_counter() - _BEFORE_DEADLINE - settings.patience
    return max(1, int(min(settings.packets, left / settings.pace)))


def _socket(address: str, port: int) -> socket.socket:
    """Return a socket to the relay. Connected: the kernel drops what comes from elsewhere, and a refusal (ICMP) reaches us."""
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.settimeout(0)
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise stopped_by(error, f"{address} port {port}") from error
    return sock


async def _bind(ctx: Context, settings: TeamsMedia, stream: Stream, talk: _Conversation) -> None:
    """Wait for the first answer.

    Raises:
        Failed: CONNECT_TIMEOUT, CONNECT_REFUSED, UNREACHABLE, PROTOCOL_ERROR where all that came is no answer.

    """
    where = f"{talk.relay} port {settings.port}"
    with ctx.phase("connect"):
        try:
            answered = await stream.first(_bounded(ctx, perf_counter() + settings.patience))
        except OSError as error:
            raise stopped_by(error, where) from error
        if not answered:
            raise _unanswered(ctx, where, stream, talk)
    # The phase ended when the answer came, not when the loop got round to us.
    ctx.add_phase("connect", (stream.order[0].came or 0.0) - perf_counter())


def _unanswered(ctx: Context, where: str, stream: Stream, talk: _Conversation) -> Failed:
    if talk.wrong:
        return Failed(
            Reason.PROTOCOL_ERROR, f"{where}: what comes is no answer to {talk.method.name.lower()}: {talk.wrong}", code=talk.code
        )
    if stream.ignored:
        return Failed(Reason.PROTOCOL_ERROR, f"{where}: {stream.ignored} datagrams, and none answers what was asked")
    proxied = any(scheme != "no" for scheme, _ in ctx.shared.environ_proxies)
    besides = "; the environment names an HTTP proxy, and none carries UDP: it has to get out beside the proxy" if proxied else ""
    return Failed(Reason.CONNECT_TIMEOUT, f"{where}: no answer over UDP, packets sent: {len(stream.sent)}{besides}")


async def _rest(ctx: Context, settings: TeamsMedia, stream: Stream) -> None:
    try:
        await stream.rest(_bounded(ctx, stream.ends + settings.patience))
    except OSError as error:
        raise stopped_by(error, f"{settings.host} port {settings.port}") from error
    if stream.flooded:
        raise Failed(Reason.PROTOCOL_ERROR, f"{settings.host} port {settings.port}: a flood of datagrams that answer nothing")


def _bounded(ctx: Context, moment: float) -> float:
    return min(moment, ctx.deadline - _BEFORE_DEADLINE)


@dataclass(frozen=True, slots=True)
class _Figures:
    """What the packets say: seconds, and the share that was lost; times are None where nothing came back."""

    loss: float
    rtt: float | None
    longest: float | None
    jitter: float | None


def _figures(stream: Stream, patience: float) -> _Figures:
    """Count what was answered in time."""
    trips = [sent.came - sent.left for sent in stream.order if sent.came is not None and sent.came - sent.left <= patience]
    loss = 1 - len(trips) / len(stream.sent) if stream.sent else 0.0
    return _Figures(loss, median(trips), max(trips), interarrival_jitter(trips)) if trips else _Figures(loss, None, None, None)


def interarrival_jitter(trips: Sequence[float]) -> float:
    """Smooth how much one trip differs from the one that arrived before it (RFC 3550 6.4.1), in seconds."""
    jitter = 0.0
    for before, after in pairwise(trips):
        jitter += (abs(after - before) - jitter) / _JITTER_GAIN
    return jitter


def _tell(ctx: Context, settings: TeamsMedia, stream: Stream, talk: _Conversation) -> None:
    """Measure, whatever became of the run, and keep what a network engineer asks for."""
    ctx.tainted = ctx.tainted or stream.late
    ctx.evidence("packets", f"{len(stream.sent)} sent, {len(stream.order)} answered, {stream.ignored} datagrams ignored")
    for name, text in (("seen_from", ", ".join(talk.seen_from)), ("sent_from", stream.sent_from), ("software", talk.software)):
        if text:
            ctx.evidence(name, text)
    if not stream.sent:
        return
    figures = _figures(stream, settings.patience)
    values = {"loss_ratio": figures.loss, "rtt_seconds": figures.rtt, "rtt_max_seconds": figures.longest, "jitter_seconds": figures.jitter}
    for name, value in values.items():
        if value is not None:
            ctx.measure(name, value)


def _judge(settings: TeamsMedia, figures: _Figures) -> None:
    """Compare with what is good enough.

    Raises:
        Failed: TOO_SLOW, naming each limit that is not kept.

    """
    found = (
        ("round trip", figures.rtt, settings.max_rtt),
        ("jitter", figures.jitter, settings.max_jitter),
    )
    wrong = [
        f"{name} {value * 1e3:.1f} ms, more than {limit * 1e3:g} ms" for name, value, limit in found if value is not None and value > limit
    ]
    if figures.loss > settings.max_loss:
        wrong.append(f"{figures.loss:.1%} of packets lost, more than {settings.max_loss:.1%}")
    if wrong:
        raise Failed(Reason.TOO_SLOW, f"calls would suffer: {'; '.join(wrong)}")


async def _fallback(ctx: Context, address: str, port: int, patience: float) -> None:
    """See whether TCP answers, and only note it."""
    try:
        async with asyncio.timeout(patience):
            (await connect(ctx, address, port)).close()
    except Stopped as stopped:
        ctx.evidence("fallback", f"TCP {port} fails: {stopped.reason}")
    except TimeoutError:
        ctx.evidence("fallback", f"TCP {port} does not answer")
    else:
        ctx.evidence("fallback", f"TCP {port} answers")


PROBE = Probe(
    run,
    TeamsMedia,
    place=lambda _: Place(Layer.PATH, Workload.TEAMS),
    steps=("resolve", "fallback", "binding", "stream"),
    measurements=(
        Measurement("rtt_seconds", "Round trip of a packet to the relay and back, the median of the last run."),
        Measurement("rtt_max_seconds", "Longest round trip of a packet in the last run."),
        Measurement("jitter_seconds", "Interarrival jitter (RFC 3550) of the way to the relay and back in the last run."),
        Measurement("loss_ratio", "Share of the packets of the last run that had no answer in time."),
    ),
    interval=300.0,
    timeout=20.0,
    floor=60.0,
)
