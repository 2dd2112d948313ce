"""The names that Exchange Online goes by in each of Microsoft's clouds, as its tables of external DNS records give them."""

from typing import Annotated, Literal

from pydantic import Field

from probes.core.contract import Settings

Cloud = Literal["worldwide", "gcc_high", "dod", "china"]
"""Microsoft's cloud that a tenant lives in."""


class Hosts(Settings):
    """Names of another cloud, or of a filter before the mailboxes. What is left out is that of `cloud`."""

    mx: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Endings of mail exchangers, with the dot in front."""
    spf: str | None = None
    """What the SPF record has to include."""
    dkim: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Endings of what the DKIM selectors point at, with the dot in front."""
    autodiscover: str | None = None
    """What autodiscover has to point at."""


_NEW_MX = ".mx.microsoft"
_NEW_DKIM = ".dkim.mail.microsoft"
# Names in zones that are signed, of domains that were set up or moved since 2025.

CLOUDS: dict[Cloud, Hosts] = {
    "worldwide": Hosts(
        mx=(".mail.protection.outlook.com", _NEW_MX),
        spf="spf.protection.outlook.com",
        dkim=(".onmicrosoft.com", _NEW_DKIM),
        autodiscover="autodiscover.outlook.com",
    ),
    "gcc_high": Hosts(
        mx=(".mail.protection.office365.us", _NEW_MX),
        spf="spf.protection.office365.us",
        dkim=(".onmicrosoft.us", _NEW_DKIM),
        autodiscover="autodiscover.office365.us",
    ),
    "dod": Hosts(
        mx=(".mail.protection.office365.us", _NEW_MX),
        spf="spf.protection.office365.us",
        dkim=(".onmicrosoft.us", _NEW_DKIM),
        autodiscover="autodiscover-dod.office365.us",
    ),
    "china": Hosts(
        mx=(".mail.protection.partner.outlook.cn", _NEW_MX),
        spf="spf.protection.partner.outlook.cn",
        dkim=(".partner.onmschina.cn", _NEW_DKIM),
        autodiscover="autodiscover.partner.outlook.cn",
    ),
}
"""Cloud to its names, none left out."""
