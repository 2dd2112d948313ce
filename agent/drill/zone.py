"""The names of the simulated tenant: its domain as Microsoft 365 wants it, and Microsoft's names, all of which lead to this machine.

Records of the domain are those of Microsoft's page "External Domain Name System records for Office 365"; the aliases between a name of
Microsoft and its address are as deep as real ones, but their names inside are shortened.
"""

from itertools import pairwise

from agent.drill.world import World

MAIL_HOST = "contoso-example.mail.protection.outlook.com"

# A real RSA public key of 1024 bits, whose private half was never kept.
_DKIM_KEY = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQD9Cp1pSz4JjHJ5uqcVGlh/t3SRkXfrh+5KolUu/HJDFa2o8Es+SbX6wwBKnZ9cSupGsJawpJRsiVMD6lGwHNqXMUahe74v"
    "YQpBSKeeyPqvui9WoF+F57XaACgYnJtqnroSi4mlwbX9fBkHWdca02WgodPlRwRNwIGVXv7JzQkxbwIDAQAB"
)

_DOMAIN = f"""
$TTL 300
contoso.example.                     IN MX     0 contoso-example.mail.protection.outlook.com.
contoso.example.                     IN TXT    "v=spf1 include:spf.protection.outlook.com -all"
contoso.example.                     IN TXT    "MS=ms12345678"
_dmarc.contoso.example.              IN TXT    "v=DMARC1; p=reject; rua=mailto:dmarc@contoso.example"
_mta-sts.contoso.example.            IN TXT    "v=STSv1; id=20260101000000Z"
mta-sts.contoso.example.             IN A      127.0.0.1
_smtp._tls.contoso.example.          IN TXT    "v=TLSRPTv1; rua=mailto:tls@contoso.example"
autodiscover.contoso.example.        IN CNAME  autodiscover.outlook.com.
enterpriseregistration.contoso.example. IN CNAME enterpriseregistration.windows.net.
enterpriseenrollment.contoso.example. IN CNAME enterpriseenrollment-s.manage.microsoft.com.
sip.contoso.example.                 IN CNAME  sipdir.online.lync.com.
lyncdiscover.contoso.example.        IN CNAME  webdir.online.lync.com.
selector1._domainkey.contoso.example. IN CNAME selector1-contoso-example._domainkey.contoso.onmicrosoft.com.
selector2._domainkey.contoso.example. IN CNAME selector2-contoso-example._domainkey.contoso.onmicrosoft.com.
_sip._tls.contoso.example.           IN SRV    100 1 443 sipdir.online.lync.com.
_sipfederationtls._tcp.contoso.example. IN SRV 100 1 5061 sipfed.online.lync.com.
www.contoso.example.                 IN CNAME  edge.contoso.example.
edge.contoso.example.                IN A      127.0.0.1
teams.contoso.example.               IN A      127.0.0.1
selector1-contoso-example._domainkey.contoso.onmicrosoft.com. IN TXT "v=DKIM1; k=rsa; p={_DKIM_KEY}"
selector2-contoso-example._domainkey.contoso.onmicrosoft.com. IN TXT "v=DKIM1; k=rsa; p={_DKIM_KEY}"
contoso-example.mail.protection.outlook.com. IN A 127.0.0.1
spf.protection.outlook.com.          IN TXT    "v=spf1 ip4:192.0.2.0/25 ip4:198.51.100.0/24 -all"
"""

ALIASES: dict[str, tuple[str, ...]] = {
    "login.microsoftonline.com": ("login.mso.msidentity.com", "ak.privatelink.msidentity.com", "www.tm.a.prd.aadg.trafficmanager.net"),
    "login.microsoft.com": ("login.mso.msidentity.com",),
    "graph.microsoft.com": ("ags.privatelink.msidentity.com", "www.tm.prd.ags.trafficmanager.net"),
    "outlook.office365.com": ("ooc-g2.tm-4.office.com", "outlook.ms-acdc.office.com", "fra-efz.ms-acdc.office.com"),
    "outlook.office.com": ("ooc-g2.tm-4.office.com",),
    "smtp.office365.com": ("outlook.ms-acdc.office.com",),
    "autodiscover.outlook.com": ("autod.ms-acdc-autod.office.com",),
    "contoso.sharepoint.com": ("1-ipv4e.clump.msnet.ww.aa-rt.sharepoint.com", "dual-spo.spo-msedge.net"),
    "contoso-my.sharepoint.com": ("1-ipv4e.clump.msnet.ww.aa-rt.sharepoint.com",),
    "teams.microsoft.com": ("teams.office.com", "tmc-g2.tm-4.office.com"),
    "admin.microsoft.com": ("admin-microsoft-com.msedge.net",),
    "admin.cloud.microsoft": ("admin-microsoft-com.msedge.net",),
    "admin.exchange.microsoft.com": (),
    "admin.teams.microsoft.com": (),
    "security.microsoft.com": (),
    "purview.microsoft.com": (),
    "entra.microsoft.com": (),
    "www.office.com": ("home-office365-com.msedge.net",),
    "m365.cloud.microsoft": ("home-office365-com.msedge.net",),
    "endpoints.office.com": (),
    "enterpriseregistration.windows.net": (),
    "enterpriseenrollment-s.manage.microsoft.com": (),
    "sipdir.online.lync.com": (),
    "sipfed.online.lync.com": (),
    "webdir.online.lync.com": (),
}
"""Name to the names between it and its address, in order."""


def _microsoft() -> str:
    """Write the aliases as records; the last name of each way has the address, unless another way goes on from there."""
    ways = [(name, *way) for name, way in ALIASES.items()]
    aliases = {name: target for way in ways for name, target in pairwise(way)}
    records = [f"{name}. IN CNAME {target}." for name, target in aliases.items()]
    ends = {way[-1] for way in ways} - aliases.keys()
    records += [f"{name}. IN {address}" for name in sorted(ends) for address in ("A 127.0.0.1", "AAAA ::1")]
    return "\n".join(records) + "\n"


ZONE = _DOMAIN + _microsoft()
"""Master file of the domain contoso.example and all of Microsoft that it needs."""


def zone_of(world: World) -> str:
    """Give the master file of a world: its own domain in place of the example's."""
    label = world.domain.replace(".", "-")
    return ZONE.replace("contoso-example", label).replace("contoso.example", world.domain)
