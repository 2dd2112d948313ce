"""Ask a mail server how it greets, what it offers, and under which certificate, without sending mail.

The server people and programs submit mail to, and the mail exchanger that takes mail from the internet, are two different doors; each is a
check of its own:

```yaml
probes:
  - name: submission
    kind: smtp
    host: smtp.office365.com
    mechanisms: [XOAUTH2]
  - name: inbound
    kind: smtp
    mx_of: contoso.com
    envelope: {from: probe@example.org, to: probe1@contoso.com}
```

With `envelope` the server is asked whether it would take mail from one address to another, and then told to forget it: nothing is sent,
but a server that defers or rejects shows it here, with its code. No permission is needed. To log in and send, use `mail_roundtrip`.

| what is wrong | reason | step |
|---|---|---|
| the server wants none of us, in its greeting or answer to EHLO | mail_deferred (4xx), mail_rejected (5xx) | greeting |
| STARTTLS is not offered, or something between strips it | content_mismatch | tls |
| the certificate is expired, for another name, or not trusted | tls_expired, tls_wrong_name, tls_untrusted | tls |
| an extension or a way to log in is missing, or the greeting is another | content_mismatch | extensions |
| sender or recipient are not taken | mail_deferred, mail_rejected, mailbox_full | envelope |
| too many connections of ours | throttled (inconclusive) | greeting or envelope |
"""

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Workload
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.connect import FAMILIES, KERNEL_MEASUREMENTS, Family, connect, fits, kernel_view, measure_kernel
from probes.lib.dialogue import FAREWELL, Protocol, send_line, smtp_ask
from probes.lib.mail.letter import Address
from probes.lib.mail.smtp import mail_exchanger
from probes.lib.mail.smtp_session import PORTS, Offer, Security, goes_on_under_tls, greet, secure, want
from probes.lib.nameservers import SYSTEM, Resolver
from probes.lib.regex import Pattern, search
from probes.lib.resolve import ascii_host
from probes.lib.spelled import Spelled
from probes.lib.tls import EXPIRY, Trust, start_tls
from probes.lib.wire import Wire

_MECHANISMS = ("PLAIN", "LOGIN", "XOAUTH2")
_DONE, _FORWARDED = 250, 251

Host = Annotated[str, Field(min_length=1), AfterValidator(ascii_host)]
Word = Annotated[str, Spelled(r"[A-Za-z0-9][A-Za-z0-9-]*", "one word that a server offers, such as STARTTLS or SIZE")]


class Envelope(Settings):
    """From whom to whom the server is asked to take mail."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    from_: Annotated[Address, Field(alias="from")]
    """Address of the sender."""
    to: Address
    """Address of the recipient."""


class SmtpCheck(Settings):
    """Which server, and what it has to offer."""

    host: Host | None = None
    """Name or address of the server."""
    mx_of: Host | None = None
    """Domain whose mail exchanger is the server, in place of `host`: the one with the lowest preference."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port; by default 587, with `security: tls` 465, with `mx_of` 25."""
    security: Security | None = None
    """`starttls` (the default) goes on under TLS or fails, `tls` speaks TLS from the first byte, `opportunistic` takes STARTTLS where it is
    offered, `none` speaks in the clear."""
    family: Family = "any"
    """Kind of address to connect to: `any` takes the first that the resolver gives."""
    resolver: Resolver = SYSTEM
    """Whom to ask for the mail exchanger: `system`, an address, a name or a URL."""
    greeting: Pattern | None = None
    """Regular expression that must be found in the greeting."""
    extensions: tuple[Word, ...] = ()
    """Extensions that have to be offered, under TLS where it is spoken: SIZE, 8BITMIME, SMTPUTF8 and so on."""
    mechanisms: tuple[Word, ...] = ()
    """Ways to log in that have to be offered: XOAUTH2, PLAIN, LOGIN and so on."""
    envelope: Envelope | None = None
    """Ask whether the server would take mail from one address to another, and send nothing."""
    tls: Trust = Trust()
    """Whom to trust."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.host is None) == (self.mx_of is None):
            raise ValueError("one of host and mx_of is needed, and not both")
        if self.host is not None and not fits(self.host, FAMILIES[self.family]):
            raise ValueError(f"family: {self.family} excludes the address {self.host}; leave family out")
        return self

    @property
    def secured(self) -> Security:
        """How the connection is secured."""
        return self.security or "starttls"

    @property
    def at(self) -> int:
        """The port."""
        return self.port or (PORTS["none"] if self.mx_of and self.secured != "tls" else PORTS[self.secured])


async def run(ctx: Context, settings: SmtpCheck) -> None:
    """Connect, listen, and say good-bye."""
    with ctx.step("connect"):
        host = settings.host or await mail_exchanger(ctx, settings.mx_of or "", settings.resolver)
        wire = await connect(ctx, host, settings.at, family=FAMILIES[settings.family])
    with wire:
        try:
            offer = await _greeted(ctx, wire, host, settings)
            await _judged(ctx, wire, offer, settings)
            send_line(wire, FAREWELL[Protocol.SMTP])
        finally:
            measure_kernel(ctx, kernel_view(wire))


async def _greeted(ctx: Context, wire: Wire, host: str, settings: SmtpCheck) -> Offer:
    if settings.secured == "tls":
        with ctx.step("tls"):
            await start_tls(ctx, wire, settings.tls, host)
    with ctx.step("greeting"):
        offer = await greet(ctx, wire, secured=settings.secured == "tls")
    if not goes_on_under_tls(settings.secured, offer):
        return offer
    with ctx.step("tls"):
        return await secure(ctx, wire, host, settings.tls, offer)


async def _judged(ctx: Context, wire: Wire, offer: Offer, settings: SmtpCheck) -> None:
    with ctx.step("extensions"):
        _measure(ctx, offer)
        _require(offer, settings)
    if settings.envelope is not None:
        with ctx.step("envelope"):
            await _ask_to_take(ctx, wire, settings.envelope)


def _measure(ctx: Context, offer: Offer) -> None:
    ctx.evidence("mechanisms", shown(", ".join(offer.mechanisms)) or "none")
    for name in _MECHANISMS:
        ctx.measure("mechanism_offered", name in offer.mechanisms, name)
    size = offer.parameters("SIZE")
    if size.isascii() and size.isdigit():
        ctx.measure("size_limit_bytes", float(size[:20]))


def _require(offer: Offer, settings: SmtpCheck) -> None:
    if settings.greeting is not None and not search(settings.greeting, offer.greeting.encode()):
        raise Failed(Reason.CONTENT_MISMATCH, f"expected a greeting with {settings.greeting!r}, heard {offer.greeting[:200]!r}")
    missing = [name for name in settings.extensions if not offer.has(name.upper())]
    if missing:
        raise Failed(Reason.CONTENT_MISMATCH, f"does not offer {', '.join(missing)}; it offers: {offer}"[:300])
    missing = [name for name in settings.mechanisms if name.upper() not in offer.mechanisms]
    if missing:
        offered = shown(", ".join(offer.mechanisms)) or "none"
        raise Failed(Reason.CONTENT_MISMATCH, f"offers no login by {', '.join(missing)}; it offers: {offered}"[:300])


async def _ask_to_take(ctx: Context, wire: Wire, envelope: Envelope) -> None:
    """Ask for sender and recipient, and take it back (RSET), so that no message follows."""
    with ctx.phase("envelope"):
        want(await smtp_ask(wire, f"MAIL FROM:<{envelope.from_}>"), _DONE)
        reply = want(await smtp_ask(wire, f"RCPT TO:<{envelope.to}>"), _DONE, _FORWARDED)
        ctx.evidence("recipient_reply", reply)
        want(await smtp_ask(wire, "RSET"), _DONE)


PROBE = Probe(
    run,
    SmtpCheck,
    place=lambda _: Place(Layer.MAIL_TRANSPORT, Workload.EXCHANGE),
    steps=("connect", "tls", "greeting", "extensions", "envelope"),
    measurements=(
        Measurement(EXPIRY, "When the server's certificate ends, in Unix time."),
        Measurement("mechanism_offered", "Whether the server offers to log in this way, 1 or 0.", ("mechanism",)),
        Measurement("size_limit_bytes", "Largest message that the server says it takes; 0 where it says that it has no limit."),
        *KERNEL_MEASUREMENTS,
    ),
)
