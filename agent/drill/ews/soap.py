"""SOAP as Exchange speaks it: elements of its three namespaces, envelopes, errors (MS-OXWS…, and the schema messages.xsd)."""

from collections.abc import Iterator

from lxml import etree

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"
TYPES = "http://schemas.microsoft.com/exchange/services/2006/types"
_ERRORS = "http://schemas.microsoft.com/exchange/services/2006/errors"
_PREFIXES = {"s": SOAP, "m": MESSAGES, "t": TYPES, "e": _ERRORS}
_VERSION = {"MajorVersion": "15", "MinorVersion": "20", "MajorBuildNumber": "9052", "MinorBuildNumber": "13", "Version": "V2018_01_08"}


class EwsError(Exception):
    """An answer of Exchange that says no: a ResponseCode of its schema, in words. `whole`: of the request, not of one item of it.

    `back_off` are the milliseconds for which to stay away.
    """

    def __init__(self, code: str, message: str = "", *, whole: bool = False, back_off: int = 0) -> None:
        super().__init__(message or code)
        self.code, self.message, self.whole, self.back_off = code, message or f"The request failed: {code}.", whole, back_off


def named(name: str) -> str:
    """Give a name such as `t:ItemId` as XML libraries write it."""
    prefix, _, local = name.partition(":")
    return f"{{{_PREFIXES[prefix]}}}{local}"


def element(name: str, *children: "etree._Element | None", text: str = "", **attributes: str) -> etree._Element:
    """Make an element; children that are None are left out."""
    made = etree.Element(named(name), attributes, nsmap=_PREFIXES)
    made.extend(child for child in children if child is not None)
    if text:
        made.text = printable(text)
    return made


def printable(text: str) -> str:
    """Give a text without the control characters that XML cannot hold."""
    return "".join(c if c.isprintable() or c in "\r\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def parsed(body: bytes) -> etree._Element:
    """Read an envelope.

    Raises:
        EwsError: ErrorSchemaValidation, where it is none.

    """
    try:
        root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise EwsError("ErrorSchemaValidation", "The request failed schema validation.", whole=True) from error
    if root.tag != named("s:Envelope") or root.find(named("s:Body")) is None or not len(root.find(named("s:Body"))):
        raise EwsError("ErrorSchemaValidation", "The request failed schema validation.", whole=True)
    return root


def operation_of(root: etree._Element) -> etree._Element:
    """Give the element of the envelope's body that says what is asked for."""
    return root.find(named("s:Body"))[0]


def text_of(root: etree._Element, path: str) -> str:
    """Give the text at a path of names such as `t:Subject`, "" where there is none."""
    return str(root.findtext("/".join(named(step) for step in path.split("/")), "")).strip()


def all_of(root: etree._Element, name: str) -> Iterator[etree._Element]:
    """Give all elements of this name, however deep."""
    yield from root.iter(named(name))


def response_message(operation: str, *content: "etree._Element | None") -> etree._Element:
    """Make the good answer to one item or folder of a request."""
    return element(f"m:{operation}ResponseMessage", element("m:ResponseCode", text="NoError"), *content, ResponseClass="Success")


def refusal(operation: str, error: EwsError) -> etree._Element:
    """Make the bad answer to one item or folder of a request."""
    said = element("m:MessageText", text=error.message), element("m:ResponseCode", text=error.code)
    return element(
        f"m:{operation}ResponseMessage", *said, element("m:DescriptiveLinkKey", text="0"), _back_off("m", error), ResponseClass="Error"
    )


def envelope(content: etree._Element) -> bytes:
    """Write an answer."""
    header = element("s:Header", element("t:ServerVersionInfo", **_VERSION))
    return _written(element("s:Envelope", header, element("s:Body", content)))


def fault(error: EwsError) -> bytes:
    """Write a SOAP fault, which goes out with status 500."""
    detail = etree.Element("detail")
    detail.extend(part for part in (element("e:ResponseCode", text=error.code), element("e:Message", text=error.message)))
    if (back_off := _back_off("t", error)) is not None:
        detail.append(back_off)
    made = element("s:Fault")
    for name, text in (("faultcode", f"a:{error.code}"), ("faultstring", error.message)):
        etree.SubElement(made, name, nsmap={"a": TYPES} if name == "faultcode" else None).text = printable(text)
    made.append(detail)
    return _written(element("s:Envelope", element("s:Body", made)))


def _back_off(prefix: str, error: EwsError) -> etree._Element | None:
    if not error.back_off:
        return None
    return element(f"{prefix}:MessageXml", element("t:Value", text=str(error.back_off), Name="BackOffMilliseconds"))


def _written(root: etree._Element) -> bytes:
    written: bytes = etree.tostring(root, xml_declaration=True, encoding="utf-8")
    return written
