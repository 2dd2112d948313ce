"""The kinds of probe. A new one is one file here, one test, and one line below."""

from typing import Any

from probes import (
    defender,
    dns,
    dns_m365_domain,
    endpoints,
    entra_signin,
    entra_token,
    file_search,
    graph_ping,
    http,
    imap,
    mail_roundtrip,
    mailbox,
    portal,
    purview,
    purview_audit,
    service_health,
    smtp,
    tcp,
    teams_chat_create,
    teams_media,
    teams_meeting,
    teams_member,
    teams_message,
    teams_read,
)
from probes.core.contract import Probe

REGISTRY: dict[str, Probe[Any]] = {
    "defender": defender.PROBE,
    "dns": dns.PROBE,
    "dns_m365_domain": dns_m365_domain.PROBE,
    "endpoints": endpoints.PROBE,
    "entra_signin": entra_signin.PROBE,
    "entra_token": entra_token.PROBE,
    "file_search": file_search.PROBE,
    "graph_ping": graph_ping.PROBE,
    "http": http.PROBE,
    "imap": imap.PROBE,
    "mail_roundtrip": mail_roundtrip.PROBE,
    "mailbox": mailbox.PROBE,
    "portal": portal.PROBE,
    "purview": purview.PROBE,
    "purview_audit": purview_audit.PROBE,
    "service_health": service_health.PROBE,
    "smtp": smtp.PROBE,
    "tcp": tcp.PROBE,
    "teams_chat_create": teams_chat_create.PROBE,
    "teams_media": teams_media.PROBE,
    "teams_meeting": teams_meeting.PROBE,
    "teams_member": teams_member.PROBE,
    "teams_message": teams_message.PROBE,
    "teams_read": teams_read.PROBE,
}
"""Kind, as written in YAML, to probe. Alphabetical."""
