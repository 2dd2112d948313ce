"""Microsoft's schemas of EWS as a judge of what is asked and what is answered."""

import os
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

FACTS = os.environ.get("FOGBELL_REFERENCE")
needs_schemas = pytest.mark.skipif(FACTS is None, reason="FOGBELL_REFERENCE does not name the folder of the reference data")

_BODY = "{http://schemas.xmlsoap.org/soap/envelope/}Body"
_FAULT = "{http://schemas.xmlsoap.org/soap/envelope/}Fault"


@cache
def schema() -> etree.XMLSchema:
    """Return the schema of messages, with that of types."""
    return etree.XMLSchema(etree.parse(Path(str(FACTS)) / "ews" / "messages.xsd"))


def mistakes(envelope: bytes) -> str:
    """Say what is wrong with the content of an envelope, "" where nothing is. Faults are SOAP's own, and not looked at."""
    content = etree.fromstring(envelope).find(_BODY)[0]
    if content.tag == _FAULT or schema().validate(etree.ElementTree(content)):
        return ""
    return str(schema().error_log)


def codes() -> frozenset[str]:
    """Return every ResponseCode that the schema knows."""
    root = etree.parse(Path(str(FACTS)) / "ews" / "messages.xsd")
    path = "//*[@name='ResponseCodeType']//*[local-name()='enumeration']/@value"
    return frozenset(map(str, root.xpath(path)))
