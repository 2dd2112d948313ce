"""Which folder of an IMAP server is the junk, the sent and the deleted mail."""

from collections.abc import Sequence
from itertools import chain

from probes.core.context import Context
from probes.core.contract import Failed
from probes.lib.mail.ends import Folder
from probes.lib.mail.imap_data import Listed
from probes.lib.mail.imap_session import ImapSession

SPECIAL = {Folder.JUNK: "\\junk", Folder.SENT: "\\sent", Folder.DELETED: "\\trash"}
"""What marks a folder (RFC 6154)."""
_ONLY_NAMES = {"\\noselect", "\\nonexistent"}
_USUAL = {
    Folder.JUNK: ("junk email", "junk e-mail", "junk", "spam"),
    Folder.SENT: ("sent items", "sent", "sent messages", "sent mail"),
    Folder.DELETED: ("deleted items", "trash", "deleted messages"),
}


async def special_names(ctx: Context, session: ImapSession) -> dict[Folder, str]:
    """Return the names of the special folders. Where the server does not list folders, none: that hides no letter that lies in the inbox.

    It counts as something that could not be cleared away, for there may be a copy in one of them.
    """
    try:
        return special(await session.mailboxes())
    except Failed as refused:
        if not session.usable:
            raise
        ctx.cleanup_failed = True
        ctx.evidence(
            "imap_list",
            f"the server lists no folders, so that only the inbox and those named in the settings are looked into: {refused.message}",
        )
        return {}


def special(mailboxes: Sequence[Listed]) -> dict[Folder, str]:
    """Return the names of the special folders: by what the server says (RFC 6154), else by the names that are usual."""
    names: dict[Folder, str] = {}
    there = [found for found in mailboxes if not found.attributes & _ONLY_NAMES]
    for folder, attribute in SPECIAL.items():
        told = (found.name for found in there if attribute in found.attributes)
        usual = (found.name for name in _USUAL[folder] for found in there if _last_part(found) == name)
        if name := next(chain(told, usual), None):
            names[folder] = name
    return names


def _last_part(found: Listed) -> str:
    return (found.name.rpartition(found.divider)[2] if found.divider else found.name).lower()
