"""No secret is shown, in whatever spelling a server says it back."""

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from probes.core.masking import ALL, PIECE, SHORTEST, masked

SECRET = "Qp18Q~aB.c_d-e+f/g==h i"
TOKEN = "eyJhbGciOiJub25lIn0." + urlsafe_b64encode(json.dumps([*range(300)]).encode()).decode() + ".signature"


def lower(text: str) -> str:
    return "".join(part.lower() if at % 2 else part for at, part in enumerate(re.split("(%..)", quote(text, safe=""))))


@pytest.mark.parametrize("secret", [SECRET, TOKEN, "hunter~2"], ids=["a secret", "a token", "a short one"])
@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(str, id="plain"),
        pytest.param(str.lower, id="small letters"),
        pytest.param(quote, id="in a path"),
        pytest.param(lambda text: quote(text, safe=""), id="percent"),
        pytest.param(quote_plus, id="in a form"),
        pytest.param(lower, id="small hex"),
        pytest.param(lambda text: quote_plus(text).replace("~", "%7e"), id="tilde as well"),
        pytest.param(lambda text: quote_plus(quote_plus(text)), id="twice"),
        pytest.param(lambda text: quote(quote(quote(text, safe=""), safe=""), safe=""), id="three times"),
        pytest.param(lambda text: html.escape(text).replace("/", "&#x2F;").replace("~", "&#126;"), id="HTML"),
        pytest.param(lambda text: text.replace("+", "\\u002b").replace("~", "\\u007E").replace("/", "\\/"), id="JSON"),
        pytest.param(lambda text: b64encode(text.encode()).decode(), id="base64"),
        pytest.param(lambda text: "Basic " + b64encode(f"66666666-7777:{text}".encode()).decode(), id="Basic"),
        pytest.param(lambda text: urlsafe_b64encode(f"x{text}yz".encode()).decode().rstrip("="), id="base64 in an address"),
        pytest.param(lambda text: quote(b64encode(text.encode()), safe=""), id="base64 in a form"),
        pytest.param(lambda text: f"{text[:4]}\n{text[4:]}", id="broken in two"),
    ],
)
def test_a_secret_is_found_in_every_spelling(spelled: Callable[[str], str], secret: str) -> None:
    said = f"AADSTS7000215: bad form: client_secret={spelled(secret)}&x=y"
    left = masked(said, {secret})
    assert "***" in left
    assert spelled(secret) not in left
    assert spelled(secret)[:PIECE] not in left


def test_what_stands_there_plainly_leaves_the_rest_to_be_read() -> None:
    assert masked(f"the form said {quote_plus(SECRET)}, twice: {SECRET}", {SECRET}) == "the form said ***, twice: ***"


@pytest.mark.parametrize("part", [slice(None, -1), slice(3, None), slice(4, 6 + PIECE)], ids=["cut off", "begun late", "from the middle"])
def test_a_piece_of_a_secret_is_masked(part: slice) -> None:
    assert masked(f"sent: {SECRET[part]}", {SECRET}) == ALL
    assert masked(f"sent: {quote(SECRET[part])}", {SECRET}) == ALL


def test_what_only_looks_alike_is_shown() -> None:
    said = "AADSTS7000215: Invalid client secret. Trace 0b0e5c1e-0000-4000-8000-00000000c0de; see https://aka.ms/x?a=%7B&b=Qp18Q~aB"
    assert masked(said, {SECRET, TOKEN}) == said


def test_a_secret_that_stands_in_many_a_word_masks_nothing() -> None:
    assert masked("the port", {"port"[: SHORTEST - 1], "", " ", "+++++++"}) == "the port"
