"""Every way of sending and of receiving, as settings name them by `via`, and what each of them means for a probe."""

from typing import Annotated

from pydantic import Field

from probes.core.needs import Api, Cost, Permission, Scope, Service
from probes.lib.dialogue import Protocol
from probes.lib.mail import graph, imap, pop, purge, smtp
from probes.lib.mail.access import RIGHTS
from probes.lib.mail.ends import Mailbox, Outbox
from probes.lib.mail.ews import ends as ews
from probes.lib.mail.ews.settings import EwsReceive, EwsSend, permissions
from probes.lib.mail.graph import GraphReceive, GraphSend
from probes.lib.mail.imap import ImapReceive
from probes.lib.mail.outstanding import Own
from probes.lib.mail.pop import PopReceive
from probes.lib.mail.purge import purging
from probes.lib.mail.smtp import SmtpSend

Send = Annotated[GraphSend | SmtpSend | EwsSend, Field(discriminator="via")]
"""A way of sending."""
Receive = Annotated[GraphReceive | ImapReceive | PopReceive | EwsReceive, Field(discriminator="via")]
"""A way of receiving."""

_SEND_CALLS, _OWN_CALLS, _RECEIVE_CALLS = 1, 6, 12
# Of Graph, for a letter that arrives within some seconds: sendMail; the sender's folders and what is removed there; the inbox, three looks,
# what there is of it, the folders, what is removed there.


def outbox_of(send: Send) -> Outbox:
    """Return the end that sends."""
    match send:
        case GraphSend():
            return graph.outbox(send)
        case SmtpSend():
            return smtp.outbox(send)
        case EwsSend():
            return ews.outbox(send)


def mailbox_of(receive: Receive) -> Mailbox:
    """Return the end that receives."""
    match receive:
        case GraphReceive():
            return graph.mailbox(receive)
        case ImapReceive():
            return purging(imap.mailbox(receive), receive.username) if receive.purge else imap.mailbox(receive)
        case PopReceive():
            return purging(pop.mailbox(receive), receive.username) if receive.purge else pop.mailbox(receive)
        case EwsReceive():
            return ews.mailbox(receive)


def sent_of(send: Send, receive: Receive, given: Receive | None) -> Receive | None:
    """Return how the sender's own mailbox is opened, beside what the way of sending knows: as it is `given`, else as the receiving one is.

    That is looked for where SMTP leaves a copy there. It may be the same mailbox, or one of the same tenant; None where neither is so.
    """
    if given is not None or not isinstance(send, SmtpSend) or not send.leaves_copies:
        return given
    match receive:
        case GraphReceive():
            return GraphReceive(via="graph", mailbox=send.user)
        case EwsReceive(with_token=True):
            return receive.model_copy(update={"mailbox": send.user})
        case ImapReceive(oauth=True):
            return receive.model_copy(update={"username": send.user} | dict.fromkeys(("junk", "sent", "deleted")) | {"folder": "INBOX"})
        case ImapReceive() | EwsReceive() if address_of(receive).casefold() == send.user.casefold():
            return receive
        case _:
            return None


def own_of(send: Send, given: Receive | None) -> Own | None:
    """Return the sender's own mailbox: the one that is `given`, else the one that the way of sending knows; None where nobody knows."""
    if given is not None:
        return Own(mailbox_of(given), keeps_copies=isinstance(send, GraphSend) or (isinstance(send, SmtpSend) and send.leaves_copies))
    match send:
        case GraphSend():
            return Own(graph.mailbox(GraphReceive(via="graph", mailbox=send.from_)), keeps_copies=True)
        case EwsSend():
            return Own(ews.own_mailbox(send), keeps_copies=send.save_copy)
        case _:
            return None


def address_of(receive: Receive) -> str:
    """Return the address of a mailbox, "" where its settings have none."""
    match receive:
        case GraphReceive() | EwsReceive():
            return receive.mailbox
        case _:
            return receive.username if "@" in receive.username else ""


def signs_in(end: Send | Receive) -> bool:
    """Say whether an end signs in to a tenant."""
    match end:
        case GraphSend() | GraphReceive():
            return True
        case EwsSend() | EwsReceive():
            return end.with_token
        case _:
            return end.oauth


def needs_of(end: Send | Receive) -> tuple[Permission, ...]:
    """Return what the tenant has to permit for an end."""
    match end:
        case EwsSend():
            return permissions(end, end.from_)
        case EwsReceive():
            return permissions(end, end.mailbox)
        case ImapReceive(oauth=True):
            return _to_read(Protocol.IMAP, end)
        case PopReceive(oauth=True):
            return _to_read(Protocol.POP3, end)
        case ImapReceive() | PopReceive():
            return ()
        case _:
            return end.permissions


def _to_read(protocol: Protocol, end: ImapReceive | PopReceive) -> tuple[Permission, ...]:
    read = Permission(RIGHTS[protocol], "finds mail and removes it", scope=Scope.OPENED, api=Api.EXCHANGE, targets=(end.username,))
    return (read, *(purge.permissions(end.username) if end.purge else ()))


def costs_of(send: Send, receive: Receive, sent: Receive | None) -> tuple[Cost, ...]:
    """Return the calls of Graph that a good run asks for."""
    own_is_graph = isinstance(send, GraphSend) if sent is None else isinstance(sent, GraphReceive)
    purges = sum(isinstance(end, ImapReceive | PopReceive) and end.purge for end in (receive, sent))
    calls = _SEND_CALLS * isinstance(send, GraphSend) + _OWN_CALLS * own_is_graph + _RECEIVE_CALLS * isinstance(receive, GraphReceive)
    calls += purge.CALLS * purges
    return (Cost(Service.OUTLOOK, calls=calls),) if calls else ()
