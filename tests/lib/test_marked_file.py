"""What a probe writes into a file says what it is and whether it is whole; what others write is not taken for ours."""

import json
import zlib

import pytest

from probes.lib.marked_file import marked, read_marked

OWN = marked("files", 4096)
FIRST, SECOND, FILLER = OWN.content.split(b"\n", 2)


def with_line(**changed: object) -> bytes:
    return b"\n".join((FIRST, json.dumps(json.loads(SECOND) | changed).encode(), FILLER))


def test_what_was_made_is_read_as_it_was_made() -> None:
    assert read_marked(OWN.content) == OWN
    assert read_marked(with_line()) is not None
    assert (OWN.probe, FIRST[:8], 4096 <= len(OWN.content) < 4500) == ("files", b"Fogbell ", True)


def test_no_two_are_the_same_and_none_can_be_made_smaller_on_the_way() -> None:
    other, large = marked("files", 4096), marked("files", 300_000)
    assert (other.tag != OWN.tag, other.content[-64:] != OWN.content[-64:]) == (True, True)
    assert len(zlib.compress(large.content)) > 0.99 * len(large.content)
    assert read_marked(large.content) == large


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Lunch",
        OWN.content[:-1],
        OWN.content + b"x",
        OWN.content[:-1] + bytes([OWN.content[-1] ^ 1]),
        OWN.content[1:],
        FIRST,
        FIRST + b"\n",
        b"\n".join((FIRST, b"[]", FILLER)),
        b"\n".join((FIRST, b"{", FILLER)),
        b"\n".join((FIRST, b" " * 2000, FILLER)),
        b"\n".join((FIRST, b"\xff\xfe", FILLER)),
        with_line(tag=7),
        with_line(moment="now"),
        with_line(bytes="4"),
    ],
    ids=range(15),
)
def test_what_is_not_ours_or_not_whole_is_nothing(content: bytes) -> None:
    assert read_marked(content) is None
