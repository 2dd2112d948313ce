"""Which mailboxes have been open to us: one that never was is probably misspelt, one that was before is gone, which is another matter."""

from probes.core.context import Context
from probes.core.contract import Stopped
from probes.core.reasons import Reason
from probes.lib.known import is_known, not_there, remember

NOBODYS = frozenset(
    {"ErrorInvalidUser", "ErrorNonExistentMailbox", "ErrorInvalidSmtpAddress", "Request_ResourceNotFound"}
    | {"MailboxNotEnabledForRESTAPI", "MailboxNotSupportedForRESTAPI"}
)
"""Codes of Graph and of EWS that mean that no mailbox is where the settings say."""

_NEVER = (
    "no mailbox opens at {address}: the address in the settings is probably misspelt, or the mailbox has no licence, was deleted, or is "
    "kept on premises"
)
_NO_LONGER = "the mailbox {address}, which was open to us before, is not there any more: deleted, moved, without its licence, or lost"
_MAILBOX = "mailbox"


def opened(ctx: Context, where: str, address: str) -> None:
    """Remember that a mailbox, of a tenant or server, has answered."""
    remember(ctx, where, _MAILBOX, address)


def clearer(ctx: Context, where: str, address: str, stopped: Stopped) -> Stopped:
    """Return what the service's word that there is no such mailbox means, any other failure as it is.

    Until a mailbox has answered once, the fault is looked for in the settings: APP_CONFIG. Afterwards it is NOT_FOUND.
    """
    if stopped.code not in NOBODYS or stopped.reason is not Reason.NOT_FOUND:
        return stopped
    known = is_known(ctx, where, _MAILBOX, address)
    words = (_NO_LONGER if known else _NEVER).format(address=address)
    return not_there(stopped, f"{words} ({stopped.message})"[:400], known=known)
