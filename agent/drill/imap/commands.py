"""What each command of IMAP does here (RFC 3501, with UIDPLUS, MOVE, IDLE, UNSELECT, ID and NAMESPACE)."""

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agent.drill.graph.mailbox import Folder, Mailbox, Message
from agent.drill.graph.post import Post
from agent.drill.imap.talk import NoError, Talk, View
from agent.drill.imap.words import DELETED, SEEN, Row, Word, criteria, flags_of, in_set, quoted, reads, shown
from agent.drill.mail_login import READ, LoginError, by_token
from agent.drill.world import World

_COMMON = "SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
_BEFORE = f"IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED {_COMMON}"
_AFTER = f"IMAP4 IMAP4rev1 AUTH=XOAUTH2 {_COMMON} ENABLE IMAP4rev2 CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE"
"""It names IMAP4rev2 and does not speak it, as the real one does: SEARCH RETURN is refused."""
_FLAGS = "\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent"
_USES = {"sentitems": " \\Sent", "deleteditems": " \\Trash", "junkemail": " \\Junk", "drafts": " \\Drafts", "archive": " \\Archive"}
_LOOK_SECONDS = 0.2
"""Longest wait for a letter that is under way: the world's clock may be any."""
_FAST = ("FLAGS", "INTERNALDATE", "RFC822.SIZE")


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of a command, and whether it names messages by their unique numbers (RFC 3501 6.4.8)."""

    words: Sequence[Word]
    by_uid: bool = False


def _validity(folder: Folder) -> int:
    return zlib.crc32(folder.id.encode()) >> 1 or 1


def _named(talk: Talk, word: Word) -> Folder:
    """Find a folder by the name that a mail program uses."""
    name = str(word)
    found = next((folder for folder in _folders(talk.box) if _name(folder).upper() == name.upper()), None)
    if found is None:
        raise NoError(f"{name} doesn't exist.")
    return found


def _folders(box: Mailbox) -> list[Folder]:
    """Give the folders that mail programs see: not Recoverable Items."""
    root = box.folders["msgfolderroot"].id
    return [folder for folder in box.folders.values() if folder.parent == root and folder.key != "msgfolderroot"]


def _name(folder: Folder) -> str:
    return "INBOX" if folder.key == "inbox" else folder.name


def _capability(talk: Talk, _asked: Asked) -> str:
    talk.say(f"* CAPABILITY {_AFTER if talk.user else _BEFORE}")
    return "CAPABILITY completed."


def _id(talk: Talk, _asked: Asked) -> str:
    talk.say('* ID ("name" "Microsoft.Exchange.Imap4.Imap4Server" "version" "15.21")')
    return "ID completed"


def _logout(talk: Talk, _asked: Asked) -> str:
    talk.say("* BYE Microsoft Exchange Server IMAP4 server signing off.")
    return "LOGOUT completed."


def _noop(talk: Talk, _asked: Asked) -> str:
    if talk.view:
        talk.tell()
    return "NOOP completed."


async def _authenticate(talk: Talk, asked: Asked) -> str:
    mechanism, response = str(asked.words[0]).upper(), str(asked.words[1]) if len(asked.words) > 1 else ""
    if mechanism != "XOAUTH2" or talk.user:
        raise NoError("AUTHENTICATE failed.")
    if not response:
        talk.say("+ ")
        response = await talk.line()
    try:
        talk.user = by_token(talk.world, response, READ)
    except LoginError:
        raise NoError("AUTHENTICATE failed.") from None
    return "AUTHENTICATE completed."


def _login(_talk: Talk, _asked: Asked) -> str:
    raise NoError("LOGIN failed.")


def _namespace(talk: Talk, _asked: Asked) -> str:
    talk.say('* NAMESPACE (("" "/")) NIL NIL')
    return "NAMESPACE completed."


def _list(talk: Talk, asked: Asked, verb: str = "LIST") -> str:
    reference, pattern = str(asked.words[0]), str(asked.words[1])
    if not pattern:
        talk.say(f'* {verb} (\\Noselect \\HasChildren) "/" ""')
    wild = re.compile("".join(".*" if sign in "*%" else re.escape(sign) for sign in reference + pattern), re.IGNORECASE)
    for folder in _folders(talk.box):
        if pattern and wild.fullmatch(_name(folder)):
            name = _name(folder) if " " not in _name(folder) else quoted(_name(folder))
            talk.say(f'* {verb} (\\HasNoChildren{_USES.get(folder.key, "")}) "/" {name}')
    return f"{verb} completed."


def _lsub(talk: Talk, asked: Asked) -> str:
    return _list(talk, asked, "LSUB")


def _status(talk: Talk, asked: Asked) -> str:
    folder = _named(talk, asked.words[0])
    inside = list(talk.box.within(folder.key))
    values = {
        "MESSAGES": len(inside),
        "RECENT": 0,
        "UNSEEN": sum(not each.is_read for each in inside),
        "UIDNEXT": talk.box.numbers.get(folder.key, 0) + 1,
        "UIDVALIDITY": _validity(folder),
    }
    told = " ".join(f"{item} {values[item]}" for item in (str(word).upper() for word in asked.words[1]) if item in values)
    talk.say(f"* STATUS {quoted(_name(folder))} ({told})")
    return "STATUS completed."


def _select(talk: Talk, asked: Asked, *, read_only: bool = False) -> str:
    talk.view = None
    folder = _named(talk, asked.words[0])
    talk.view = View(folder, read_only)
    talk.view.numbers = list(talk.there())
    talk.view.highest = talk.box.numbers.get(folder.key, 0)
    talk.say(f"* {len(talk.view.numbers)} EXISTS")
    talk.say("* 0 RECENT")
    talk.say(f"* FLAGS ({_FLAGS})")
    talk.say(f"* OK [PERMANENTFLAGS ({'' if read_only else _FLAGS})] Permanent flags")
    if unseen := next((row.place for row in talk.rows() if not row.message.is_read), 0):
        talk.say(f"* OK [UNSEEN {unseen}] Is the first unseen message")
    talk.say(f"* OK [UIDVALIDITY {_validity(folder)}] UIDVALIDITY value")
    talk.say(f"* OK [UIDNEXT {talk.view.highest + 1}] The next unique identifier value")
    return "[READ-ONLY] EXAMINE completed." if read_only else "[READ-WRITE] SELECT completed."


def _examine(talk: Talk, asked: Asked) -> str:
    return _select(talk, asked, read_only=True)


def _unselect(talk: Talk, _asked: Asked) -> str:
    talk.view = None
    return "UNSELECT completed."


def _close(talk: Talk, _asked: Asked) -> str:
    if not talk.selected.read_only:
        _remove(talk, lambda _row: True)
    talk.view = None
    return "CLOSE completed."


def _chosen(talk: Talk, word: Word, *, by_uid: bool) -> list[Row]:
    """Give the messages that a set names: by their numbers, or by their places."""
    text = str(word)
    return [row for row in talk.rows() if in_set(text, row.message.number if by_uid else row.place, row.highest if by_uid else row.places)]


def _search(talk: Talk, asked: Asked) -> str:
    fits = criteria(asked.words)
    found = [str(row.message.number if asked.by_uid else row.place) for row in talk.rows() if fits(row)]
    talk.say(" ".join(["* SEARCH", *found]))
    talk.tell(removals=asked.by_uid)
    return "SEARCH completed."


def _fetch(talk: Talk, asked: Asked) -> str:
    named = asked.words[1]
    wanted = [str(item) for item in (named if isinstance(named, list) else [named])]
    items = [name for item in wanted for name in (_FAST if item.upper() == "FAST" else (item,))]
    items = ["UID", *items] if asked.by_uid and "UID" not in (item.upper() for item in items) else items
    for row in _chosen(talk, asked.words[0], by_uid=asked.by_uid):
        if not row.message.is_read and not talk.selected.read_only and any(map(reads, items)):
            talk.box.mark(row.message, row.message.flags, talk.world.now(), is_read=True)
        talk.say(f"* {row.place} FETCH (".encode() + b" ".join(shown(row, item) for item in items) + b")")
    talk.tell(removals=asked.by_uid)
    return "FETCH completed."


def _store(talk: Talk, asked: Asked) -> str:
    how = str(asked.words[1]).upper()
    named = asked.words[2] if isinstance(asked.words[2], list) else [asked.words[2]]
    flags = {re.sub(r"(?<=\\).*", lambda name: name[0].capitalize(), str(flag), count=1) for flag in named}
    if talk.selected.read_only:
        raise NoError("Mailbox is read-only.")
    for row in _chosen(talk, asked.words[0], by_uid=asked.by_uid):
        before = set(flags_of(row.message).split())
        after = before | flags if how.startswith("+") else before - flags if how.startswith("-") else flags
        talk.box.mark(row.message, frozenset(after - {SEEN}), talk.world.now(), is_read=SEEN in after)
        if not how.endswith(".SILENT"):
            uid = f" UID {row.message.number}" if asked.by_uid else ""
            talk.say(f"* {row.place} FETCH (FLAGS ({flags_of(row.message)}){uid})")
    talk.tell(removals=asked.by_uid)
    return "STORE completed."


def _remove(talk: Talk, fits: Callable[[Row], bool]) -> None:
    """Take out what is marked as deleted: Exchange keeps it among the Recoverable Items."""
    for row in talk.rows():
        if DELETED in row.message.flags and fits(row):
            talk.box.move(row.message, "recoverableitemsdeletions", talk.world.now())


def _expunge(talk: Talk, asked: Asked) -> str:
    if talk.selected.read_only:
        raise NoError("Mailbox is read-only.")
    _remove(talk, (lambda row: in_set(str(asked.words[0]), row.message.number, row.highest)) if asked.by_uid else lambda _row: True)
    talk.tell()
    return "EXPUNGE completed."


def _move(talk: Talk, asked: Asked) -> str:
    target, rows = _named(talk, asked.words[1]), _chosen(talk, asked.words[0], by_uid=asked.by_uid)
    before = [str(row.message.number) for row in rows]
    for row in rows:
        talk.box.move(row.message, target.key, talk.world.now())
    if rows:
        talk.say(f"* OK {_copied(target, before, [row.message for row in rows])}")
    talk.tell()
    return "MOVE completed."


def _copy(talk: Talk, asked: Asked) -> str:
    target, rows = _named(talk, asked.words[1]), _chosen(talk, asked.words[0], by_uid=asked.by_uid)
    made = [talk.box.copy(row.message, target.key, talk.world.now()) for row in rows]
    code = _copied(target, [str(row.message.number) for row in rows], made) + " " if rows else ""
    return f"{code}COPY completed."


def _copied(target: Folder, before: Sequence[str], made: Sequence[Message]) -> str:
    return f"[COPYUID {_validity(target)} {','.join(before)} {','.join(str(each.number) for each in made)}]"


async def _idle(talk: Talk, _asked: Asked) -> str:
    """Tell of changes as they come, until the client says DONE."""
    talk.say("+ IDLE accepted, awaiting DONE command.")
    post, changed = talk.world.of(Post), asyncio.Event()
    hearing = asyncio.create_task(talk.line())
    post.watchers.append(changed.set)
    try:
        while not hearing.done():
            if talk.view:
                talk.tell()
            changed.clear()
            await _either(hearing, changed, _until(talk.world, post))
    finally:
        post.watchers.remove(changed.set)
        hearing.cancel()
    if (await hearing).strip().upper() != "DONE":
        raise ValueError("DONE")
    return "IDLE completed."


def _until(world: World, post: Post) -> float | None:
    """Seconds until the next letter arrives, as far as one can tell."""
    return None if post.next_due is None else min(max(post.next_due - world.now(), 0.0), _LOOK_SECONDS)


async def _either(hearing: "asyncio.Task[str]", changed: asyncio.Event, seconds: float | None) -> None:
    """Wait for a line, a change, or the end of the time."""
    waiting = asyncio.create_task(changed.wait())
    try:
        await asyncio.wait({hearing, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


Run = Callable[[Talk, Asked], str | Awaitable[str]]
_ANY: dict[str, Run] = {"CAPABILITY": _capability, "NOOP": _noop, "LOGOUT": _logout, "ID": _id}
STRANGER: dict[str, Run] = _ANY | {"AUTHENTICATE": _authenticate, "LOGIN": _login}
KNOWN: dict[str, Run] = _ANY | {
    "NAMESPACE": _namespace,
    "LIST": _list,
    "LSUB": _lsub,
    "STATUS": _status,
    "SELECT": _select,
    "EXAMINE": _examine,
    "IDLE": _idle,
}
SELECTED: dict[str, Run] = KNOWN | {
    "CHECK": _noop,
    "UNSELECT": _unselect,
    "CLOSE": _close,
    "SEARCH": _search,
    "FETCH": _fetch,
    "STORE": _store,
    "EXPUNGE": _expunge,
    "MOVE": _move,
    "COPY": _copy,
}
BY_UID = frozenset({"SEARCH", "FETCH", "STORE", "EXPUNGE", "MOVE", "COPY"})
