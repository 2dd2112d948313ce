"""A message as Graph shows it, to those who may see all of it and to those who may not."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from agent.drill.graph.letters import Letter, all_headers
from agent.drill.graph.mailbox import Folder, Mailbox, Message

_BASIC_LACKS = frozenset({"body", "bodyPreview", "uniqueBody", "attachments", "singleValueExtendedProperties"})
"""What Mail.ReadBasic does not show. Source: Microsoft's permissions reference."""
_ONLY_SELECTED = frozenset({"internetMessageHeaders", "uniqueBody"})
"""Properties that come only when `$select` names them. Source: the Graph page of message."""
_PREVIEW = 255
"""Characters of a bodyPreview."""


def to_the_second(seconds: float) -> str:
    """Write a moment (Unix seconds) as Exchange and SharePoint do over Graph: in UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class View:
    """How a caller wants messages shown: what `Prefer` asks for, and whether only basic properties are allowed."""

    lasting_ids: bool = False
    plain_text: bool = False
    basic: bool = False
    expanded: frozenset[str] = frozenset()

    def id_of(self, message: Message) -> str:
        """Give the id under which this caller knows a message."""
        return message.lasting_id if self.lasting_ids else message.id


def _key(message: Message) -> str:
    return base64.b64encode(b"CQAAABYAAAC4ofQHEIqC" + message.version.to_bytes(6, "big")).decode()


def _body(letter: Letter, *, plain_text: bool) -> dict[str, str]:
    if plain_text and letter.body_type == "html":
        return {"contentType": "text", "content": _without_tags(letter.body)}
    return {"contentType": letter.body_type, "content": letter.body}


def _without_tags(text: str) -> str:
    return re.sub(r"<[^>]*>", "", text).strip()


def _conversation(letter: Letter) -> str:
    subject = letter.subject.removeprefix("Undeliverable: ").encode()
    return "AAQkAG" + base64.urlsafe_b64encode(binascii.crc32(subject).to_bytes(4, "big") * 6).decode()


def as_graph(box: Mailbox, message: Message, view: View, selected: str = "") -> dict[str, Any]:
    """One message as Graph shows it by default, with what `$select` alone brings and `$expand` adds."""
    wanted = {name.strip() for name in selected.split(",")}
    shown = _always(box, message, view) | _content(message.letter, view)
    return {
        name: value
        for name, value in shown.items()
        if (name not in _ONLY_SELECTED or name in wanted) and not (view.basic and name in _BASIC_LACKS)
    }


def _always(box: Mailbox, message: Message, view: View) -> dict[str, Any]:
    letter, key = message.letter, _key(message)
    return {
        "@odata.etag": f'W/"{key}"',
        "id": view.id_of(message),
        "createdDateTime": to_the_second(message.received),
        "lastModifiedDateTime": to_the_second(message.changed),
        "changeKey": key,
        "categories": [],
        "receivedDateTime": to_the_second(message.received),
        "sentDateTime": to_the_second(letter.sent),
        "hasAttachments": bool(letter.attachments),
        "internetMessageId": letter.message_id,
        "subject": letter.subject,
        "importance": letter.importance,
        "parentFolderId": box.folders[message.folder].id,
        "conversationId": _conversation(letter),
        "isDeliveryReceiptRequested": False,
        "isReadReceiptRequested": False,
        "isRead": message.is_read,
        "isDraft": False,
        "webLink": f"https://outlook.office365.com/owa/?ItemID={quote(message.id, safe='')}&exvsurl=1&viewmodel=ReadMessageItem",
        "inferenceClassification": "focused",
        "flag": {"flagStatus": "notFlagged"},
    }


def _content(letter: Letter, view: View) -> dict[str, Any]:
    body = _body(letter, plain_text=view.plain_text)
    people = {
        "sender": letter.sender.as_graph(),
        "from": letter.sender.as_graph(),
        "toRecipients": [each.as_graph() for each in letter.to],
        "ccRecipients": [each.as_graph() for each in letter.cc],
        "bccRecipients": [each.as_graph() for each in letter.bcc],
        "replyTo": [each.as_graph() for each in letter.reply_to],
    }
    texts = {"bodyPreview": _without_tags(letter.body)[:_PREVIEW], "body": body, "uniqueBody": body}
    headers = [{"name": name, "value": value} for name, value in all_headers(letter)]
    return people | texts | {"internetMessageHeaders": headers} | _expanded(letter, view.expanded)


def _expanded(letter: Letter, names: frozenset[str]) -> dict[str, Any]:
    """Attachments, and the one extended property callers ask for: the message class, which tells a report from a letter."""
    parts: dict[str, Any] = {}
    if "attachments" in names:
        parts["attachments"] = [
            {
                "@odata.type": "#microsoft.graph.fileAttachment",
                "id": base64.urlsafe_b64encode(f"{letter.message_id}{index}".encode()).decode(),
                "name": each.name,
                "contentType": each.media_type,
                "size": len(each.content),
                "isInline": False,
                "contentBytes": base64.b64encode(each.content).decode(),
            }
            for index, each in enumerate(letter.attachments)
        ]
    if "singleValueExtendedProperties" in names:
        kind = "REPORT.IPM.Note.NDR" if letter.kind.startswith("multipart/report") else "IPM.Note"
        parts["singleValueExtendedProperties"] = [{"id": "String 0x1a", "value": kind}]
    return parts


def folder_as_graph(box: Mailbox, folder: Folder) -> Mapping[str, Any]:
    """One mail folder as Graph shows it."""
    inside = list(box.within(folder.key))
    return {
        "id": folder.id,
        "displayName": folder.name,
        "parentFolderId": folder.parent,
        "childFolderCount": sum(each.parent == folder.id and each.id != folder.id for each in box.folders.values()),
        "unreadItemCount": sum(not each.is_read for each in inside),
        "totalItemCount": len(inside),
        "isHidden": folder.key.startswith("recoverable"),
    }
