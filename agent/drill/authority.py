"""A throw-away certificate authority, made when it is needed; its key never leaves memory."""

import ssl
from datetime import UTC, datetime, timedelta

import trustme

LIFETIME = timedelta(days=90)
"""Of a certificate, as of most on the web."""


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """TLS for a server with a certificate for these host names and addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_after=datetime.now(UTC) + LIFETIME).configure_cert(context)
    return context
