"""Send a letter, wait for it, and say what became of it: how long it took, where it spent the time, or where it is.

The two ends are set independently, so that one kind covers every direction.

From inside to inside, what people do all day:

```yaml
probes:
  - name: mail-inside
    kind: mail_roundtrip
    tenant: contoso
    send: {via: graph, from: probe1@contoso.com}
    receive: {via: graph, mailbox: probe2@contoso.com}
```

Inbound, as a sender on the internet has it: straight to the mail exchanger of the recipient's domain, without a login. The sender's domain
should permit this machine's address (SPF), or the letter may be refused or junked:

```yaml
probes:
  - name: mail-inbound
    kind: mail_roundtrip
    tenant: contoso
    send: {via: smtp, direct: true, from: probe@example.org}
    receive: {via: graph, mailbox: probe2@contoso.com}
```

Outbound, from the tenant to a mailbox elsewhere, where arrivals are seen as the server tells them (IMAP IDLE):

```yaml
probes:
  - name: mail-outbound
    kind: mail_roundtrip
    tenant: contoso
    send: {via: smtp, host: smtp.office365.com, from: probe1@contoso.com, oauth: true}
    sent: {via: imap, host: outlook.office365.com, username: probe1@contoso.com, oauth: true}
    receive: {via: imap, host: imap.example.org, username: probe@example.org, password: {env: PROBE_PASSWORD}}
    junk: tolerate
```

An echo: out to a mailbox elsewhere that redirects, or answers with our subject or Message-ID in it, and back in. The letter says that it
was generated (RFC 3834), so holiday notes and other polite robots do not answer it; a redirect is surest. Hops are those of what came back.
What the mailbox elsewhere keeps is its own to remove:

```yaml
probes:
  - name: mail-echo
    kind: mail_roundtrip
    tenant: contoso
    send: {via: graph, from: probe1@contoso.com}
    to: echo@example.org
    receive: {via: graph, mailbox: probe2@contoso.com}
    expect_within: 5m
    interval: 15m
    timeout: 6m
```

At an Exchange Server of one's own (EWS), or at any other mail server (submission and IMAP or POP3 with passwords):

```yaml
probes:
  - name: mail-on-premises
    kind: mail_roundtrip
    send:
      via: ews
      url: https://mail.example.com/EWS/Exchange.asmx
      from: probe1@example.com
      username: probe1@example.com
      password: {file: /run/secrets/probe1}
      access: delegate
    receive:
      via: ews
      url: https://mail.example.com/EWS/Exchange.asmx
      mailbox: probe1@example.com
      username: probe1@example.com
      password: {file: /run/secrets/probe1}
      access: delegate
  - name: mail-at-the-provider
    kind: mail_roundtrip
    send: {via: smtp, host: mail.example.org, from: probe1@example.org, password: {env: PROBE1_PASSWORD}}
    receive: {via: imap, host: mail.example.org, username: probe2@example.org, password: {env: PROBE2_PASSWORD}}
```

The run is ok when the letter lies in the inbox. Otherwise it fails, or is inconclusive, with one of these:

| what became of it | reason | step |
|---|---|---|
| via EWS, where `autodiscover` is asked for: it names another address of EWS, or none | content_mismatch | autodiscover |
| deferred at submission (4xx) | mail_deferred | submit |
| rejected at submission (5xx) | mail_rejected | submit |
| submission uncertain: no word came after the letter was handed over | connection_reset or http_5xx, code uncertain | submit |
| sender's or recipient's mailbox full | mailbox_full | submit or transit |
| our own sending or receiving is limited | throttled (inconclusive) | sign_in, submit or transit |
| a retired or forbidden way of signing in | blocked_by_policy | sign_in or submit |
| IMAP or POP3 opens no mailbox ("User is authenticated but not connected") | permission, code not_connected | sign_in |
| no mailbox answers at the address, and never did | app_config | sign_in or submit |
| came back: the delivery report says why | mail_bounced, with the report's status as code | transit |
| in the junk folder | mail_junked, unless `junk: tolerate` | seen |
| accepted and not there in time | mail_late | transit |
| arrived, and slower than `expect_within` | too_slow | transit |

A letter that arrives twice counts in `duplicates_total`. Waiting ends before the deadline, by a fifth of the timeout and at most 10 s, to
look into junk and for a delivery report; both are looked at half-way, too. A letter whose acceptance itself takes that long is no late
letter: the run fails at submit with timeout.

A late letter stays on the ledger of `state_dir`. Every later run, after its own round trip, so that its times are not touched, looks for
up to 20 of them, whatever restarts lie between: one that has come is told in `late_seconds` and removed; one that has not within 24 hours,
or that came back, counts in `lost_total`.

Nothing is left behind: each letter is on the ledger before it is handed over, and is struck off when nothing of it is left in the
receiving mailbox (inbox, junk, deleted and recoverable items) and in the sender's (sent items, delivery reports), where that can be
looked into, as far as the protocols show folders: POP3 shows the inbox alone. What IMAP and POP3 remove Exchange keeps among the
recoverable items, for 14 days or as long as the mailbox says, unless `purge: true` stands beside it (`receive: {via: imap, …, oauth:
true, purge: true}`), which removes it from there through Graph. Exchange Online keeps a copy of what is submitted by SMTP in the sender's
mailbox, so that one is looked into as well: as `sent` says, else as the receiving mailbox is opened, where that is the same one or is
opened by the same tenant; `fogbell check` warns where neither holds, because copies would pile up. The first run of the agent and then
one a day also remove whatever carries our mark and is older than a day. Clearing away happens after every run that could sign in, also a
failed one, unless the service asked us to stay away; where it fails, that is counted and no run's reason. What is left all the same, also
by a run that was killed, the agent clears away between runs. A late letter is awaited as long as its probe is there: the run that finds it
tells how late it was. After the probe was removed, renamed or changed nobody awaits it, and it is removed when it comes, for a day. Where
the ledger cannot be written nothing is sent, and the run is inconclusive (agent_resources).

Sending via Graph needs the application permission Mail.Send, reading via Graph Mail.ReadWrite (which removes), both narrowed to the
mailboxes; SMTP, IMAP and POP3 with `oauth` need SMTP.SendAsApp, IMAP.AccessAsApp and POP.AccessAsApp of Office 365 Exchange Online;
`purge` needs Mail.ReadWrite as well). With passwords no permission is needed. Use mailboxes that nobody else uses and that no litigation
hold covers.
"""

from typing import Literal, Self

from pydantic import model_validator

from probes.core.context import Context
from probes.core.contract import Layer, Measurement, Place, Probe, Settings, Workload, always
from probes.lib.cleanup import CLEANUP
from probes.lib.durations import Duration
from probes.lib.mail.ews.autodiscover import discover
from probes.lib.mail.ews.settings import EwsReceive, EwsSend, EwsServer
from probes.lib.mail.letter import Address, Template, new_letter
from probes.lib.mail.outstanding import Boxes
from probes.lib.mail.outstanding import clear as clear_letters
from probes.lib.mail.smtp import SmtpSend
from probes.lib.mail.trip import Judgement, Trip, round_trip
from probes.lib.mail.ways import Receive, Send, address_of, costs_of, mailbox_of, needs_of, outbox_of, own_of, sent_of, signs_in
from probes.lib.tls import EXPIRY


class MailRoundtrip(Settings):
    """How to send, where to wait, and what is good enough."""

    send: Send
    """How the letter is sent."""
    receive: Receive
    """The mailbox in which it is awaited."""
    to: Address | None = None
    """Address to send to, where it is not the receiving mailbox's own: an alias, or a mailbox elsewhere that redirects to it."""
    sent: Receive | None = None
    """The sender's own mailbox, for copies and delivery reports; `via: graph` and `via: ews` know it without this, and SMTP with `oauth`
    where the receiving mailbox is the same one or is opened by the same tenant (`graph`, `ews` or `imap` with its token)."""
    autodiscover: bool = False
    """Ask first, in a step of its own, whether autodiscover names the same addresses of EWS as the settings; for ends via EWS."""
    message: Template = Template()
    """How the letter reads."""
    junk: Literal["fail", "tolerate"] = "fail"
    """What it means when the letter lies in the junk folder."""
    expect_within: Duration | None = None
    """Longest time from acceptance until the letter is seen; without it any time is good enough before waiting ends."""

    @model_validator(mode="after")
    def _has_recipient(self) -> Self:
        if not self.recipient:
            raise ValueError("to is needed, because the user name of the receiving mailbox is no address")
        if self.autodiscover and not self.by_ews:
            raise ValueError("autodiscover is for ends via ews, and there is none")
        return self

    @property
    def recipient(self) -> str:
        """Address the letter goes to, "" where none is known."""
        return self.to or address_of(self.receive)

    @property
    def ends(self) -> tuple[Send | Receive, ...]:
        """All that the probe signs in to."""
        return tuple(end for end in (self.send, self.receive, self.own) if end is not None)

    @property
    def own(self) -> Receive | None:
        """The sender's own mailbox, where it is not the way of sending that knows it."""
        return sent_of(self.send, self.receive, self.sent)

    @property
    def by_ews(self) -> dict[tuple[str | None, str], EwsServer]:
        """Servers of ends via EWS, each by its address and that of the mailbox."""
        sending = {(end.url, end.from_): end for end in self.ends if isinstance(end, EwsSend)}
        return sending | {(end.url, end.mailbox): end for end in self.ends if isinstance(end, EwsReceive)}


async def run(ctx: Context, settings: MailRoundtrip) -> None:
    """Write a letter and follow it."""
    if settings.autodiscover:
        with ctx.step("autodiscover"):
            for (_, mailbox), server in settings.by_ews.items():
                await discover(ctx, server, mailbox)
    letter = new_letter(ctx.probe, settings.send.from_, settings.recipient, settings.message)
    judgement = Judgement(settings.junk == "tolerate", settings.expect_within)
    await round_trip(ctx, Trip(letter, outbox_of(settings.send), _boxes(settings), judgement))


async def clear(ctx: Context, settings: MailRoundtrip) -> None:
    """Clear away letters that no run of the probe has to tell of any more."""
    await clear_letters(ctx, _boxes(settings))


def _boxes(settings: MailRoundtrip) -> Boxes:
    return Boxes(mailbox_of(settings.receive), own_of(settings.send, settings.own))


def _warnings(settings: MailRoundtrip) -> tuple[str, ...]:
    send = settings.send
    if not isinstance(send, SmtpSend) or not send.leaves_copies or settings.own is not None:
        return ()
    words = (
        f"Exchange keeps a copy of each letter that {send.user} submits, which nobody removes as this is set; say how to open that mailbox"
    )
    return (f"{words}: `sent: {{via: graph, mailbox: {send.user}}}`, or via imap",)


PROBE = Probe(
    run,
    MailRoundtrip,
    place=lambda _: Place(Layer.MAIL_TRANSPORT, Workload.EXCHANGE),
    steps=("autodiscover", "sign_in", "submit", "transit", "seen", "headers", CLEANUP),
    measurements=(
        Measurement(
            "accepted_to_delivered_seconds",
            "From acceptance to delivery, by the clocks of the mail servers, which tell whole seconds: right to within one.",
        ),
        Measurement("delivered_to_visible_seconds", "From delivery until the letter could be seen in the mailbox."),
        Measurement(
            "look_granularity_seconds", "Time since the look before the one that saw the letter; 0 where the server told by itself."
        ),
        Measurement("clock_skew_seconds", "Largest step backwards between the clocks of the mail servers on the way."),
        Measurement("hop_seconds", "Time that the letter spent on hops of this sort, by its Received headers.", ("hop",)),
        Measurement("late_seconds", "How long the slowest of the letters found late by this run had taken since acceptance."),
        Measurement("lost_total", "Letters that did not arrive within a day of acceptance, or came back after their run.", counter=True),
        Measurement("duplicates_total", "Further arrivals of letters that arrived more than once.", counter=True),
        Measurement(EXPIRY, "When the server's certificate expires, in Unix time; of several met in one run, the first to."),
    ),
    interval=300.0,
    timeout=120.0,
    floor=60.0,
    tenant=lambda settings: any(map(signs_in, settings.ends)),
    remembers=always,
    permissions=lambda settings: tuple(dict.fromkeys(need for end in settings.ends for need in needs_of(end))),
    warnings=_warnings,
    costs=lambda settings: costs_of(settings.send, settings.receive, settings.own),
    clear=clear,
)
