"""JSON that would hold up the loop for long is not read; what Microsoft says in its worst week is."""

import json

import pytest

from probes.lib.bounded_json import MOST_COMMAS, MOST_DIGITS, MOST_VALUES, TooManyError, loads

POST = {
    "createdDateTime": "2026-01-22T10:00:00Z",
    "postType": "regular",
    "description": {"contentType": "html", "content": 'Title: Some users, may be\nUser impact: "mail", late.\n' * 60},
}
ISSUE = {f"field{number}": f"value, {number}" for number in range(18)} | {
    "details": [{"name": "a", "value": "b"}] * 3,
    "posts": [POST] * 15,
}


def test_a_page_of_a_hundred_long_issues_is_read() -> None:
    page = json.dumps({"value": [ISSUE] * 100}).encode()
    assert len(page) > 4 << 20
    assert len(loads(page)["value"]) == 100


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"[" + b",".join([b"{}"] * MOST_VALUES) + b"]", id="objects"),
        pytest.param(b"[" + b",".join([b"[]"] * MOST_VALUES) + b"]", id="lists"),
        pytest.param(b"{" + b",".join(b'"%x" : 0' % number for number in range(MOST_VALUES + 1)) + b"}", id="keys"),
        pytest.param(b"[" + b" , ".join([b"1"] * (MOST_COMMAS + 2)) + b"]", id="numbers"),
        pytest.param(b"[" + b",".join([b"9" * 4300] * (MOST_DIGITS // 4300 + 1)) + b"]", id="long numbers"),
        pytest.param(b"[" * (MOST_VALUES + 1), id="depth"),
    ],
)
def test_what_would_hold_up_the_loop_is_not_read(data: bytes) -> None:
    with pytest.raises(TooManyError):
        loads(data)


@pytest.mark.parametrize(
    "text", ['say \\"{[', "\\\\", "," * (MOST_COMMAS // 2), "x" * (4 << 20)], ids=["signs", "a backslash", "commas", "length"]
)
def test_what_stands_in_a_text_is_no_value(text: str) -> None:
    data = json.dumps({"text": text}).encode()
    assert loads(data) == {"text": text}
