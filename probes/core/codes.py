"""Protocol codes that may stand in a label: a closed list, because a server must not be able to invent label values.

The whole text of an answer is evidence; the label `code` is one of these, or "other". Two are words of our own, for what servers say
without a number and what must be told apart from its neighbours all the same.
"""

from http import HTTPStatus

from probes.core.aadsts import LABELS
from probes.core.ews_codes import REASONS as EWS
from probes.core.graph_codes import spelled

OTHER = "other"

UNCERTAIN = "uncertain"
"""Nobody can say whether what was handed over was taken: the connection was lost before the server's word, or a gateway gave up."""
NOT_CONNECTED = "not_connected"
"""What Exchange says by "User is authenticated but not connected": the login was right, and no mailbox opens."""

_HTTP = {str(status.value) for status in HTTPStatus} | {"509"}  # 509: Graph, bandwidth limit exceeded

_DNS_RCODES = {
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
    "BADVERS",
}

_SMTP_REPLIES = """
211 214 220 221 235 250 251 252 334 354 421 432 450 451 452 454 455
500 501 502 503 504 521 523 524 525 530 534 535 538 550 551 552 553 554 555 556
"""
"""RFC 5321 4.2.3, RFC 4954 6, RFC 7504."""

_SMTP_ENHANCED = """
4.0.0 4.1.1 4.1.8 4.2.0 4.2.1 4.2.2 4.3.0 4.3.1 4.3.2 4.3.5 4.4.1 4.4.2 4.4.3 4.4.4 4.4.5 4.4.7 4.4.62 4.4.316 4.4.317 4.5.0 4.5.1 4.5.3
4.7.0 4.7.1 4.7.5 4.7.23 4.7.24 4.7.25 4.7.26 4.7.320 4.7.321 4.7.322 4.7.323 4.7.324 4.7.325 4.7.500
5.0.0 5.1.0 5.1.1 5.1.2 5.1.3 5.1.7 5.1.8 5.1.10 5.2.0 5.2.1 5.2.2 5.2.3 5.2.252 5.3.0 5.3.2 5.3.3 5.3.4 5.3.190 5.4.0 5.4.1 5.4.4 5.4.6
5.4.7 5.4.14 5.5.0 5.5.1 5.5.2 5.5.3 5.5.4 5.6.0 5.6.7 5.7.0 5.7.1 5.7.3 5.7.4 5.7.7 5.7.8 5.7.9 5.7.12 5.7.23 5.7.25 5.7.26 5.7.27 5.7.30
5.7.57 5.7.64 5.7.124 5.7.133 5.7.134 5.7.136 5.7.139 5.7.321 5.7.322 5.7.323 5.7.324 5.7.325 5.7.501 5.7.502 5.7.503 5.7.508 5.7.509
5.7.510 5.7.511 5.7.512 5.7.606 5.7.705 5.7.708 5.7.750
"""
"""RFC 3463 and RFC 5248 as mail servers use them, and those of Exchange Online (its page of non-delivery reports)."""

_REPLIES = frozenset(_SMTP_REPLIES.split())
_ENHANCED = frozenset(_SMTP_ENHANCED.split())
_SINGLE = _HTTP | _DNS_RCODES | _REPLIES | LABELS | EWS.keys() | {UNCERTAIN, NOT_CONNECTED}


def known(code: str) -> str:
    """Return the code as a label value: itself where it is known, "" for none, else "other".

    An SMTP code is "reply enhanced", such as "451 4.3.2"; where only the reply is known, it stands alone. A code of Microsoft Graph is
    told in the spelling of our table.
    """
    if not code or code in _SINGLE:
        return code
    if graph := spelled(code):
        return graph
    reply, _, enhanced = code.partition(" ")
    if reply not in _REPLIES:
        return OTHER
    return code if enhanced in _ENHANCED and enhanced[0] == reply[0] else reply
