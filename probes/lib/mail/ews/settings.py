"""Where EWS is, how to log in, and as whom: the settings of both ends."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from probes.core.contract import Secret, Settings
from probes.core.needs import Api, Permission, Scope
from probes.lib.mail.letter import Address
from probes.lib.proxy import Proxy, ProxyUrl
from probes.lib.tls import Trust
from probes.lib.url import parse

PATH = "/EWS/Exchange.asmx"
"""Where Exchange has it, on every server."""


def _https(text: str) -> str:
    if parse(text).scheme != "https":
        raise ValueError(f"must begin with https://, such as https://mail.example.com{PATH}")
    return text


EwsUrl = Annotated[str, AfterValidator(_https)]
"""Address of EWS."""


class EwsServer(Settings):
    """A server that speaks EWS, and the login there."""

    url: EwsUrl | None = None
    """Address of EWS, such as https://mail.example.com/EWS/Exchange.asmx. Without it that of Exchange Online in the tenant's cloud."""
    username: str = ""
    """Name to log in with at an Exchange Server, such as `DOMAIN\\user`. Without it the application of the tenant signs in."""
    password: Secret | None = None
    """Password to log in with."""
    login: Literal["ntlm", "basic"] = "ntlm"
    """How the password is shown."""
    access: Literal["impersonation", "delegate"] = "impersonation"
    """By what right the mailbox is used: that to impersonate, or full access. An owner who logs in has `delegate`."""
    tls: Trust | None = None
    """Whom to trust; without it, as the tenant says."""
    proxy: Proxy | ProxyUrl | None = None
    """Proxy to go through; without it, as the tenant says."""

    @model_validator(mode="after")
    def _whole_login(self) -> Self:
        if bool(self.username) != (self.password is not None):
            raise ValueError("username and password belong together; without both, the application of the tenant signs in")
        if self.username and self.url is None:
            raise ValueError("a password is for an Exchange Server, so give its url; Exchange Online takes none")
        return self

    @property
    def with_token(self) -> bool:
        """Whether the application of a tenant signs in."""
        return not self.username


class EwsSend(EwsServer):
    """Send through EWS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    via: Literal["ews"]
    """Through Exchange Web Services."""
    from_: Annotated[Address, Field(alias="from")]
    """Address of the mailbox to send from."""
    save_copy: bool = False
    """Whether the server keeps a copy in the sent items, which is removed later."""


class EwsReceive(EwsServer):
    """Receive through EWS."""

    via: Literal["ews"]
    """Through Exchange Web Services."""
    mailbox: Address
    """Address of the mailbox to look into."""


def permissions(server: EwsServer, mailbox: str) -> tuple[Permission, ...]:
    """Return what the tenant's application needs in order to use a mailbox."""
    if not server.with_token:
        return ()
    return (Permission("full_access_as_app", "use a mailbox through EWS", scope=Scope.MAILBOXES, api=Api.EXCHANGE, targets=(mailbox,)),)
