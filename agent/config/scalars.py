"""What a word means in YAML 1.1, and how to say so where that is not what people mean.

Numbers, booleans and null are read as PyYAML reads them, with three exceptions. Dates stay the text they are. Numbers in base eight
(`0123`), in base sixty (`1:30`) and those that are not finite are traps: nobody means them, so they are mistakes wherever they are used.
"""

import re

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {
    spelling: value
    for word, value in (("yes", True), ("true", True), ("on", True), ("no", False), ("false", False), ("off", False))
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)")
_FLOAT = re.compile(r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_SIXTY = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST_NUMBER = 60

OCTAL = "a number that begins with 0 is in base eight in YAML (0123 is 83); leave the 0 out, or write it in quotes if it is text"
SIXTY = "numbers with colons are in base sixty in YAML (1:30 is 90); write it in quotes if it is text, or a duration as 1m30s"
NOT_FINITE = "not a number that can be used"
TOO_LONG = f"a number of more than {_LONGEST_NUMBER} digits; write it in quotes if it is text"

Value = str | int | float | bool | None


def typed(text: str) -> tuple[Value, str]:
    """Return the value of an unquoted word, and the sentence about the trap it is, or ""."""
    if text in _NULLS:
        return None, ""
    if text in _BOOLEANS:
        return _BOOLEANS[text], ""
    if not (text[0] in "+-." or text[0].isdecimal()):
        return text, ""
    return _number(text)


def _number(text: str) -> tuple[Value, str]:
    for trap, pattern in ((OCTAL, _OCTAL), (SIXTY, _SIXTY), (NOT_FINITE, _NOT_FINITE)):
        if pattern.fullmatch(text):
            return text, trap
    integer = _INTEGER.fullmatch(text)
    if integer is None and not _FLOAT.fullmatch(text):
        return text, ""
    if len(text) > _LONGEST_NUMBER:
        return text, TOO_LONG
    return (_integer(text) if integer else _float(text)), ""


def _integer(text: str) -> Value:
    digits = text.replace("_", "")
    try:
        return int(digits, 0)
    except ValueError:  # 0x_ has no digits
        return text


def _float(text: str) -> Value:
    digits = text.replace("_", "")
    value = float(digits)
    return value if abs(value) < float("inf") else text


def misread(value: object, text: str) -> str:
    """Return why an unquoted word is not the text it looks like, as the end of a sentence, or ""."""
    if isinstance(value, bool):
        return f'; `{text}` is the boolean {str(value).lower()} in YAML: write "{text}" in quotes if it is text'
    if isinstance(value, int | float):
        return "; this is a number in YAML: write it in quotes"
    return "; nothing is written here" if value is None else ""
