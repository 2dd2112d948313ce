"""A throw-away certificate authority, made when it is needed; its key never leaves memory."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from agent.drill import contoso

LIFETIME = timedelta(days=90)
"""Of a certificate, as of most on the web."""


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """TLS for a server with a certificate for these host names and addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_after=datetime.now(UTC) + LIFETIME).configure_cert(context)
    return context


def contoso_certificates(folder: Path) -> tuple[Path, ssl.SSLContext, ssl.SSLContext]:
    """Make an authority for Contoso; give the file of its certificate in `folder`, and TLS for the web server and the mail server."""
    authority = trustme.CA()
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return file, server_context(authority, *contoso.WEB_HOSTS), server_context(authority, contoso.MAIL_HOST)
