"""Messages and events as EWS shows them: the properties that a shape asks for, in the order of the schema; and restrictions on them."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lxml import etree

from agent.drill.ews.soap import EwsError, element, named, printable
from agent.drill.graph.letters import all_headers
from agent.drill.graph.mailbox import Mailbox, Message
from agent.drill.graph.mime import mime_of


def moment(seconds: float) -> str:
    """Write a moment (Unix seconds) as EWS does: in UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """Read a moment.

    Raises:
        EwsError: ErrorInvalidValueForProperty, where it is none.

    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise EwsError("ErrorInvalidValueForProperty", "The specified value is invalid for property.") from error
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def item_id(key: str, version: int) -> etree._Element:
    """Make the id of an item."""
    return element("t:ItemId", Id=key, ChangeKey=base64.b64encode(b"CQAAABYAAAB" + version.to_bytes(6, "big")).decode())


def header_of(message: Message, name: str) -> str:
    """Give a header of a message, "" where it has none."""
    return next((value for known, value in all_headers(message.letter) if known.lower() == name.lower()), "")


def class_of(message: Message) -> str:
    """Give the message class, which tells a report from a letter."""
    return "REPORT.IPM.Note.NDR" if message.letter.kind.startswith("multipart/report") else "IPM.Note"


_PROPERTIES: dict[str, Callable[[Message], str]] = {
    "item:MimeContent": lambda message: base64.b64encode(mime_of(message.letter)).decode(),
    "item:ItemClass": class_of,
    "item:Subject": lambda message: message.letter.subject,
    "item:DateTimeReceived": lambda message: moment(message.received),
    "item:Size": lambda message: str(message.letter.size),
    "item:InReplyTo": lambda message: header_of(message, "In-Reply-To"),
    "item:InternetMessageHeaders": lambda message: "".join(f"{name}: {value}\r\n" for name, value in all_headers(message.letter)),
    "item:DateTimeSent": lambda message: moment(message.letter.sent),
    "message:InternetMessageId": lambda message: message.letter.message_id,
    "message:IsRead": lambda message: str(message.is_read).lower(),
    "message:References": lambda message: header_of(message, "References"),
}
"""Property by its FieldURI, in the order of the schema."""
_LAST_OF_ITEM = "item:DateTimeSent"
_DEFAULT = ("item:Subject", "item:DateTimeReceived", "item:Size", "item:DateTimeSent", "message:InternetMessageId", "message:IsRead")


@dataclass(frozen=True, slots=True)
class Shape:
    """What is to be shown: FieldURIs, and headers of mail as extended properties."""

    fields: frozenset[str]
    headers: tuple[str, ...]


def shape_of(request: etree._Element) -> Shape:
    """Read the ItemShape of a request."""
    base = request.findtext(f".//{named('t:BaseShape')}", "IdOnly")
    asked = {str(each.get("FieldURI")) for each in request.iterfind(f"{named('m:ItemShape')}//{named('t:FieldURI')}")}
    extended = request.iterfind(f"{named('m:ItemShape')}//{named('t:ExtendedFieldURI')}")
    return Shape(frozenset(asked | set(() if base == "IdOnly" else _DEFAULT)), tuple(str(each.get("PropertyName")) for each in extended))


def shown(message: Message, shape: Shape) -> etree._Element:
    """Make the element of one message."""
    made = element("t:Message")
    identified = False
    for name, read in _PROPERTIES.items():
        if not identified and name != "item:MimeContent":
            made.append(item_id(message.id, message.version))
            identified = True
        if name in shape.fields:
            made.append(_property(name, message, read))
        if name == _LAST_OF_ITEM:
            made.extend(_extended(message, each) for each in shape.headers if header_of(message, each))
    made[:] = [child for child in made if child.text or len(child) or child.attrib]
    return made


def _property(name: str, message: Message, read: Callable[[Message], str]) -> etree._Element:
    local = name.partition(":")[2]
    if name == "item:InternetMessageHeaders":
        fields = (element("t:InternetMessageHeader", text=value, HeaderName=printable(each)) for each, value in all_headers(message.letter))
        return element(f"t:{local}", *fields)
    return element(f"t:{local}", text=read(message))


def _extended(message: Message, header: str) -> etree._Element:
    where = element("t:ExtendedFieldURI", DistinguishedPropertySetId="InternetHeaders", PropertyName=header, PropertyType="String")
    return element("t:ExtendedProperty", where, element("t:Value", text=header_of(message, header)))


Read = Callable[[Any], str]
"""Gives the property of an item that an element of a restriction names."""


def matches(read: Read, restriction: etree._Element | None) -> bool:
    """Say whether an item is within a restriction.

    Raises:
        EwsError: ErrorUnsupportedPathForQuery, ErrorInvalidRestriction, where it asks for what is not played here.

    """
    return restriction is None or _holds(read, restriction[0])


def _holds(read: Read, rule: etree._Element) -> bool:
    name = str(rule.tag).partition("}")[2]
    if name in _JOINTS:
        return _JOINTS[name](_holds(read, each) for each in rule)
    if name not in _TESTS:
        raise EwsError("ErrorInvalidRestriction", "The restriction is not one that is played here.")
    return _TESTS[name](read(rule[0]), _constant(rule))


_JOINTS: dict[str, Callable[[Iterable[bool]], bool]] = {"And": all, "Or": any, "Not": lambda held: not any(held)}
_TESTS: dict[str, Callable[[str, str], bool]] = {
    "Exists": lambda value, _: bool(value),
    "Contains": lambda value, text: text in value,
    "IsEqualTo": lambda value, text: value == text,
    "IsLessThan": lambda value, text: value < moment(seconds_of(text)),
    "IsGreaterThanOrEqualTo": lambda value, text: value >= moment(seconds_of(text)),
}


def _constant(rule: etree._Element) -> str:
    return next((str(each.get("Value")) for each in rule.iter(named("t:Constant"))), "")


def value_of(message: Message, path: etree._Element) -> str:
    """Give a property of a message that a restriction asks for.

    Raises:
        EwsError: ErrorUnsupportedPathForQuery.

    """
    if path.tag == named("t:ExtendedFieldURI"):
        return header_of(message, str(path.get("PropertyName")))
    read = _PROPERTIES.get(str(path.get("FieldURI")))
    if read is None:
        raise EwsError("ErrorUnsupportedPathForQuery", "The property can not be used with this type of restriction.")
    return read(message)


def folder_key(box: Mailbox, id_element: etree._Element) -> str:
    """Give the well-known name of the folder that a request names.

    Raises:
        EwsError: ErrorFolderNotFound.

    """
    name = str(id_element.get("Id"))
    folder = box.folder("msgfolderroot" if name == "root" else name)
    if folder is None:
        raise EwsError("ErrorFolderNotFound", "The specified folder could not be found in the store.")
    return folder.key
