"""Connect to a TCP service, speak TLS or STARTTLS where asked to, and hold a short dialogue in lines.

Use it for mail servers (SMTP, IMAP, POP3) without logging in, and for any other service that speaks in lines. Two lines are a whole check
of the server people submit their mail to; connection, greeting, STARTTLS, certificate and the capabilities under TLS are each judged:

```yaml
probes:
  - name: smtp-submission
    kind: tcp
    host: smtp.office365.com
    starttls: smtp
  - name: imap
    kind: tcp
    host: outlook.office365.com
    tls: true
    greeting: imap
```

A dialogue of your own, here with a Redis server:

```yaml
probes:
  - name: redis
    kind: tcp
    host: redis.example.org
    port: 6379
    dialogue:
      - {send: INFO server}
      - {until: "^redis_version:(?P<version>.*)"}
```

No permission is needed. What is sent stands in the configuration for all to read: do not log in here.
"""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Workload
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.connect import FAMILIES, KERNEL_MEASUREMENTS, Family, connect, fits, kernel_view, measure_kernel
from probes.lib.dialogue import (
    CAPABILITIES,
    FAREWELL,
    GREETING,
    LINES,
    Protocol,
    ask_for_tls,
    read_text,
    send_line,
    smtp_refusal_in,
)
from probes.lib.regex import Pattern, catch
from probes.lib.resolve import ascii_host
from probes.lib.tls import EXPIRY, Trust, start_tls
from probes.lib.wire import Wire

_PORTS = {
    Protocol.SMTP: {"plain": 25, "starttls": 587, "tls": 465},
    Protocol.IMAP: {"plain": 143, "starttls": 143, "tls": 993},
    Protocol.POP3: {"plain": 110, "starttls": 110, "tls": 995},
}


class Exchange(Settings):
    """One turn of the dialogue: say something, hear something, or both in this order."""

    send: str | None = None
    """Line to send; its end is added. `${name}` stands for what an earlier `(?P<name>…)` caught; anything else is sent as it is written."""
    expect: Pattern | None = None
    """Regular expression that must be found in the next line. What `(?P<name>…)` catches becomes evidence."""
    until: Pattern | None = None
    """The same, but lines that do not match are read over, up to 200."""

    @model_validator(mode="after")
    def _one_purpose(self) -> Self:
        if self.send is None and self.expect is None and self.until is None:
            raise ValueError("one of send, expect, until is needed")
        if self.expect is not None and self.until is not None:
            raise ValueError("expect and until exclude each other; write two entries")
        return self


class TcpCheck(Settings):
    """What to connect to, and what to say and hear there."""

    host: Annotated[str, Field(min_length=1), AfterValidator(ascii_host)]
    """Name or address of the server."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port; may be left out where `starttls` or `greeting` names a mail protocol, which then has its usual one."""
    family: Family = "any"
    """Kind of address to connect to: `any` takes the first that the resolver gives."""
    tls: bool | Trust = False
    """Speak TLS from the first byte: `true`, or a block that says whom to trust. With `starttls` the block is for that."""
    starttls: Protocol | None = None
    """Begin in the clear, agree on TLS as this mail protocol does, and go on under TLS. Implies `greeting` of the same name."""
    greeting: Pattern | None = None
    """What the server has to say first: `smtp`, `imap` or `pop3` for the rules of that protocol, under which its capabilities are asked
    for as well; else a regular expression that must be found in the first line."""
    dialogue: tuple[Exchange, ...] = ()
    """What to say and hear then."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.port or self.usual_port):
            raise ValueError("port is needed, because neither starttls nor greeting names a mail protocol")
        if not fits(self.host, FAMILIES[self.family]):
            raise ValueError(f"family: {self.family} excludes the address {self.host}; leave family out")
        if self.starttls is not None and self.tls is True:
            raise ValueError("tls: true speaks TLS from the first byte and excludes starttls; give one of them")
        if self.starttls is not None and self.greeting not in {None, self.starttls}:
            raise ValueError(f"greeting has to be left out, because starttls: {self.starttls} implies it")
        return self

    @property
    def protocol(self) -> Protocol | None:
        """The mail protocol spoken, where it is one."""
        named = self.starttls or self.greeting
        return Protocol(named) if named in set(Protocol) else None

    @property
    def usual_port(self) -> int:
        """Port that the mail protocol usually has (RFC 6409, RFC 8314); 0 where none is named."""
        if self.protocol is None:
            return 0
        return _PORTS[self.protocol]["starttls" if self.starttls else "tls" if self.tls else "plain"]

    @property
    def trust(self) -> Trust | None:
        """Whom to trust; None where no TLS is spoken."""
        if isinstance(self.tls, Trust):
            return self.tls
        return Trust() if self.tls or self.starttls is not None else None


async def run(ctx: Context, settings: TcpCheck) -> None:
    """Connect and talk."""
    with ctx.step("connect"):
        wire = await connect(ctx, settings.host, settings.port or settings.usual_port, family=FAMILIES[settings.family])
    with wire:
        try:
            await _talk(ctx, wire, settings)
        finally:
            measure_kernel(ctx, kernel_view(wire))


async def _talk(ctx: Context, wire: Wire, settings: TcpCheck) -> None:
    if settings.trust is not None and settings.starttls is None:
        await _tls(ctx, wire, settings, settings.trust)
    if settings.greeting is not None or settings.protocol is not None:
        with ctx.step("greeting"):
            await _greeting(ctx, wire, settings)
    if settings.trust is not None and settings.starttls is not None:
        with ctx.step("starttls"):
            await ask_for_tls(wire, settings.starttls)
        await _tls(ctx, wire, settings, settings.trust)
    if settings.protocol is not None or settings.dialogue:
        with ctx.step("dialogue"):
            await _dialogue(ctx, wire, settings)


async def _tls(ctx: Context, wire: Wire, settings: TcpCheck, trust: Trust) -> None:
    with ctx.step("tls"):
        await start_tls(ctx, wire, trust, settings.host)


async def _greeting(ctx: Context, wire: Wire, settings: TcpCheck) -> None:
    if settings.protocol is not None:
        ctx.evidence("greeting", await GREETING[settings.protocol](wire))
    elif settings.greeting is not None:
        line = await read_text(wire)
        ctx.evidence("greeting", shown(line))
        if catch(settings.greeting, line.encode()) is None:
            raise _mismatch(settings.greeting, line)


async def _dialogue(ctx: Context, wire: Wire, settings: TcpCheck) -> None:
    protocol = settings.protocol
    if protocol is not None:
        ctx.evidence("capabilities", shown(", ".join(sorted(await CAPABILITIES[protocol](wire)))))
    caught: dict[str, str] = {}
    for exchange in settings.dialogue:
        if exchange.send is not None:
            send_line(wire, _filled(exchange.send, caught))
        caught |= await _heard(ctx, wire, exchange, protocol)
    if protocol is not None:
        send_line(wire, FAREWELL[protocol])


async def _heard(ctx: Context, wire: Wire, exchange: Exchange, protocol: Protocol | None) -> dict[str, str]:
    """Read what the exchange waits for. A line that does not fit is evidence; where it is an SMTP refusal, that is the reason."""
    wanted = exchange.expect or exchange.until
    if wanted is None:
        return {}
    for _ in range(1 if exchange.expect else LINES):
        line = await read_text(wire)
        caught = catch(wanted, line.encode())
        if caught is not None:
            for name, text in caught.items():
                ctx.evidence(name, shown(text))
            return caught
        ctx.evidence("heard", shown(line))
        if protocol is Protocol.SMTP and (refusal := smtp_refusal_in(line)):
            raise refusal
    raise _mismatch(wanted, line)


def _mismatch(wanted: str, line: str) -> Failed:
    return Failed(Reason.CONTENT_MISMATCH, f"expected a line with {wanted!r}, heard {shown(line)[:200]!r}")


def _filled(text: str, caught: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: caught.get(match[1], match[0]), text)


def place(settings: TcpCheck) -> Place:
    """Return where this looks: mail protocols belong to Exchange, anything else says how far the network carries."""
    if settings.protocol is None:
        return Place(Layer.PATH, Workload.NETWORK)
    return Place(Layer.MAIL_TRANSPORT if settings.protocol is Protocol.SMTP else Layer.WORKLOAD, Workload.EXCHANGE)


PROBE = Probe(
    run,
    TcpCheck,
    place,
    steps=("connect", "tls", "greeting", "starttls", "dialogue"),
    measurements=(
        Measurement(EXPIRY, "When the server's certificate ends, in Unix time."),
        *KERNEL_MEASUREMENTS,
    ),
)
