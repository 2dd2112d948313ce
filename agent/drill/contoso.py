"""The example company that the servers play: its zone as Microsoft 365 wants it, and its pages."""

from agent.drill.web import Page

ZONE = """
$TTL 300
contoso.example.                     IN MX     0 contoso-example.mail.protection.outlook.com.
contoso.example.                     IN TXT    "v=spf1 include:spf.protection.outlook.com -all"
contoso.example.                     IN TXT    "MS=ms12345678"
_dmarc.contoso.example.              IN TXT    "v=DMARC1; p=reject; rua=mailto:dmarc@contoso.example"
_mta-sts.contoso.example.            IN TXT    "v=STSv1; id=20260101000000Z"
_smtp._tls.contoso.example.          IN TXT    "v=TLSRPTv1; rua=mailto:tls@contoso.example"
autodiscover.contoso.example.        IN CNAME  autodiscover.outlook.com.
selector1._domainkey.contoso.example. IN CNAME selector1-contoso-example._domainkey.contoso.onmicrosoft.com.
selector2._domainkey.contoso.example. IN CNAME selector2-contoso-example._domainkey.contoso.onmicrosoft.com.
_sipfederationtls._tcp.contoso.example. IN SRV 100 1 5061 sipfed.online.lync.com.
www.contoso.example.                 IN CNAME  edge.contoso.example.
edge.contoso.example.                IN A      127.0.0.1
teams.contoso.example.               IN A      127.0.0.1
contoso-example.mail.protection.outlook.com. IN A 127.0.0.1
spf.protection.outlook.com.          IN TXT    "v=spf1 ip4:192.0.2.0/25 ip4:198.51.100.0/24 -all"
autodiscover.outlook.com.            IN A      127.0.0.1
sipfed.online.lync.com.              IN A      127.0.0.1
selector1-contoso-example._domainkey.contoso.onmicrosoft.com. IN TXT "v=DKIM1; k=rsa; p={key}"
selector2-contoso-example._domainkey.contoso.onmicrosoft.com. IN TXT "v=DKIM1; k=rsa; p={key}"
""".format(
    # A real RSA public key of 1024 bits, whose private half was never kept.
    key="MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQD9Cp1pSz4JjHJ5uqcVGlh/t3SRkXfrh+5KolUu/HJDFa2o8Es+SbX6wwBKnZ9cSupGsJawpJRsiVMD6lGwHNqXMUahe74vYQpBSKeeyPqvui9WoF+F57XaACgYnJtqnroSi4mlwbX9fBkHWdca02WgodPlRwRNwIGVXv7JzQkxbwIDAQAB"
)

MAIL_HOST = "contoso-example.mail.protection.outlook.com"
WEB_HOSTS = ("www.contoso.example", "localhost", "127.0.0.1")

PAGES = {
    "/": Page(b"<!doctype html><title>Contoso</title><h1>Welcome to Contoso</h1>\n", headers={"Content-Type": "text/html"}, seconds=0.02),
    "/moved": Page(status=301, headers={"Location": "/"}),
    "/search": Page(b'{"hits": 42, "status": "healthy"}\n', headers={"Content-Type": "application/json"}, seconds=0.08),
    "/files": Page(b"0123456789abcdef" * 8192, headers={"Content-Type": "application/octet-stream"}, seconds=0.03, drip=0.2),
}

CONTROL_PAGES = {"/": Page(b"I am not Microsoft, and I am here.\n", headers={"Content-Type": "text/plain"}, seconds=0.01)}
"""Pages of a reference target, which never break."""
