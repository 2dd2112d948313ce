"""Ask an IMAP server how it greets, what it offers, and under which certificate; with a login, open a mailbox as well.

Nothing is read and nothing is changed. Without a login it is a check of the door:

```yaml
probes:
  - name: imap-door
    kind: imap
    host: outlook.office365.com
    mechanisms: [XOAUTH2]
    capabilities: [IDLE, UIDPLUS]
```

With one it also says whether people's programs get to their mail:

```yaml
probes:
  - name: imap-mailbox
    kind: imap
    tenant: contoso
    host: outlook.office365.com
    username: probe1@contoso.com
    oauth: true
```

Without a login, or with a password, no permission is needed. `oauth: true` needs the application permission IMAP.AccessAsApp of Office 365
Exchange Online, the application's service principal in Exchange (`New-ServicePrincipal`) and its permission on the mailbox
(`Add-MailboxPermission`). POP3 servers are checked by `tcp` with `greeting: pop3`, and used by `mail_roundtrip`.

| what is wrong | reason | step |
|---|---|---|
| the server hangs up, in its greeting too | connection_reset | greeting |
| STARTTLS is not offered, or something between strips it | content_mismatch | greeting |
| the certificate is expired, for another name, or not trusted | tls_expired, tls_wrong_name, tls_untrusted | tls |
| a capability or a way to log in is missing | content_mismatch | capabilities |
| no passwords are taken (LOGINDISABLED) | blocked_by_policy | login |
| wrong name or password | credential_invalid | login |
| the token lacks IMAP.AccessAsApp, or opens no mailbox ("User is authenticated but not connected") | permission | login or select |
| a token is refused that was never taken here before: rights in Exchange are missing | permission | login |
| a token is refused where one was taken before | token_rejected | login |
| the server is out of order, says its answer | identity_fault | login |
| too many connections of ours | throttled (inconclusive) | greeting, login or select |
| there is no such folder | not_found | select |
"""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Secret, Settings, Workload
from probes.core.needs import Api, Permission, Scope
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.connect import FAMILIES, KERNEL_MEASUREMENTS, Family, connect, fits, kernel_view, measure_kernel
from probes.lib.dialogue import FAREWELL, Protocol, ask_for_tls, send_line
from probes.lib.mail.access import RIGHTS, Account, Security, check_login, greeting_of, proof_of
from probes.lib.mail.imap import Name
from probes.lib.mail.imap_session import ImapSession, log_in, login_methods
from probes.lib.resolve import ascii_host
from probes.lib.spelled import Spelled
from probes.lib.tls import EXPIRY, Trust, start_tls
from probes.lib.wire import Wire

_MECHANISMS = ("PLAIN", "LOGIN", "XOAUTH2")

Word = Annotated[str, Spelled(r"[A-Za-z0-9][A-Za-z0-9=+-]*", "one word of a server's capabilities, such as IDLE or AUTH=XOAUTH2")]


class ImapCheck(Settings):
    """Which server, what it has to offer, and whose mailbox to open."""

    host: Annotated[str, Field(min_length=1), AfterValidator(ascii_host)]
    """Name or address of the server."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port; by default 993, or 143 without TLS from the first byte."""
    security: Security = "tls"
    """`tls` from the first byte, `starttls` after the greeting, or `none`, in the clear."""
    family: Family = "any"
    """Kind of address to connect to: `any` takes the first that the resolver gives."""
    capabilities: tuple[Word, ...] = ()
    """What has to be offered, after the login where there is one: IDLE, UIDPLUS and so on."""
    mechanisms: tuple[Word, ...] = ()
    """Ways to log in that have to be offered: XOAUTH2, PLAIN, LOGIN and so on."""
    username: Annotated[str, Field(min_length=1)] | None = None
    """Whom to log in as; without it nobody does."""
    password: Secret | None = None
    """Password."""
    oauth: bool = False
    """Log in with a token of the probe's tenant (XOAUTH2)."""
    folder: Name = "INBOX"
    """Folder to open after the login."""
    tls: Trust = Trust()
    """Whom to trust."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not fits(self.host, FAMILIES[self.family]):
            raise ValueError(f"family: {self.family} excludes the address {self.host}; leave family out")
        if self.username is not None:
            check_login(self.host, self.security, self.password, oauth=self.oauth)
        elif self.password is not None or self.oauth:
            raise ValueError("username is needed for a login")
        return self

    @property
    def at(self) -> int:
        """The port."""
        return self.port or (993 if self.security == "tls" else 143)

    @property
    def account(self) -> Account | None:
        """Whom to log in as."""
        return None if self.username is None else Account(self.username, self.password)


async def run(ctx: Context, settings: ImapCheck) -> None:
    """Connect, listen, open the mailbox, and say good-bye."""
    with ctx.step("connect"):
        wire = await connect(ctx, settings.host, settings.at, family=FAMILIES[settings.family])
    with wire:
        try:
            await _greeted(ctx, wire, settings)
            session = ImapSession(wire)
            await _offered(ctx, session, settings)
            await _opened(ctx, session, settings)
            send_line(wire, FAREWELL[Protocol.IMAP])
        finally:
            measure_kernel(ctx, kernel_view(wire))


async def _greeted(ctx: Context, wire: Wire, settings: ImapCheck) -> None:
    if settings.security == "tls":
        await _tls(ctx, wire, settings)
    with ctx.step("greeting"):
        ctx.evidence("greeting", await greeting_of(wire, Protocol.IMAP))
        if settings.security == "starttls":
            await ask_for_tls(wire, Protocol.IMAP)
    if settings.security == "starttls":
        await _tls(ctx, wire, settings)


async def _tls(ctx: Context, wire: Wire, settings: ImapCheck) -> None:
    with ctx.step("tls"):
        await start_tls(ctx, wire, settings.tls, settings.host)


async def _offered(ctx: Context, session: ImapSession, settings: ImapCheck) -> None:
    """Ask what there is, and judge what nobody needs to log in for."""
    with ctx.step("capabilities"):
        await session.read_capabilities()
        methods = login_methods(session.capabilities)
        ctx.evidence("mechanisms", shown(", ".join(methods)) or "none")
        for name in _MECHANISMS:
            ctx.measure("mechanism_offered", name in methods, name)
        _require(settings.mechanisms, methods, "login by")
        if settings.account is None:
            _judge(ctx, session, settings)


async def _opened(ctx: Context, session: ImapSession, settings: ImapCheck) -> None:
    if settings.account is None:
        return
    with ctx.step("login"):
        await log_in(ctx, session, await proof_of(ctx, settings.account))
        _judge(ctx, session, settings)
    with ctx.step("select"):
        await session.select(settings.folder)
        ctx.measure("messages", session.exists)


def _judge(ctx: Context, session: ImapSession, settings: ImapCheck) -> None:
    ctx.evidence("capabilities", shown(" ".join(sorted(session.capabilities))))
    _require(settings.capabilities, session.capabilities, "capability")


def _require(wanted: tuple[str, ...], offered: list[str] | frozenset[str], what: str) -> None:
    missing = [name for name in wanted if name.upper() not in offered]
    if missing:
        offers = shown(", ".join(sorted(offered))) or "none"
        raise Failed(Reason.CONTENT_MISMATCH, f"offers no {what} {', '.join(missing)}; it offers: {offers}"[:300])


def needs(settings: ImapCheck) -> tuple[Permission, ...]:
    """Return what the tenant has to permit."""
    if not settings.oauth or settings.username is None:
        return ()
    return (Permission(RIGHTS[Protocol.IMAP], "opens the mailbox", scope=Scope.OPENED, api=Api.EXCHANGE, targets=(settings.username,)),)


PROBE = Probe(
    run,
    ImapCheck,
    place=lambda _: Place(Layer.WORKLOAD, Workload.EXCHANGE),
    steps=("connect", "tls", "greeting", "capabilities", "login", "select"),
    measurements=(
        Measurement("messages", "Messages in the folder that was opened."),
        Measurement("mechanism_offered", "Whether the server offers to log in this way, 1 or 0.", ("mechanism",)),
        Measurement(EXPIRY, "When the server's certificate expires, in Unix time."),
        *KERNEL_MEASUREMENTS,
    ),
    tenant=lambda settings: settings.oauth,
    permissions=needs,
)
