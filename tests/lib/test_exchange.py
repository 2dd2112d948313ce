"""The reading of an HTTP answer, without a network: however its bytes are cut into pieces, the outcome is the same and has a name."""

import asyncio
import socket
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.http import Request, Response, Wanted, exchange
from probes.lib.url import parse
from probes.lib.wire import Wire
from tests.lib.runs import context

REASONS = {Reason.PROTOCOL_ERROR, Reason.CONNECTION_RESET, Reason.TRUNCATED, Reason.CONTENT_MISMATCH}


class Pieces:
    """A transport whose peer answers any question with these pieces, and then closes."""

    def __init__(self, wire: Wire, pieces: list[bytes]) -> None:
        self._wire = wire
        self._pieces = pieces

    def write(self, _data: bytes, /) -> None:
        for piece in self._pieces:
            self._wire.data_received(piece)
        self._wire.eof_received()

    def abort(self) -> None:
        """Nothing is open."""

    pause_reading = resume_reading = abort


async def test_an_answer_while_the_question_is_still_being_sent_has_taken_time() -> None:
    ctx = context()
    with socket.socket() as sock:
        wire = Wire(sock, ("127.0.0.1", 1))
        wire.transport = Pieces(wire, [b"HTTP/1.1 204 No Content\r\n\r\n"])
        await exchange(ctx, wire, b"GET", "GET", Wanted())
    assert ctx.open_steps[-1].phases["processing"] > 0


async def answered(pieces: list[bytes], wanted: Wanted) -> tuple[object, ...]:
    with socket.socket() as sock:
        wire = Wire(sock, ("127.0.0.1", 1))
        wire.transport = Pieces(wire, pieces)
        try:
            found = await exchange(context(), wire, b"GET", "GET", wanted)
        except Failed as failed:
            return (failed.reason,)
    return found.status, found.headers, found.body, found.body_bytes, found.wire_bytes, found.sha256


def outcome(data: bytes, cuts: list[int], wanted: Wanted) -> tuple[object, ...]:
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    pieces = [data[start:end] for start, end in pairwise(places) if end > start]
    return asyncio.run(answered(pieces, wanted))


BODY = b"hello, world\n" * 20
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 260\r\n\r\n" + BODY,
    b"HTTP/1.1 200 OK\r\nX: 1\r\nx: 2\r\n\r\n" + BODY,
    b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n104\r\n" + BODY + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + zlib.compress(BODY, wbits=31),
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 5000\r\n\r\n" + zlib.compress(BODY),
    b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 Second\r\nContent-Length: 1\r\n\r\n",
]
mutated = st.builds(
    lambda data, place, noise: data[: place % len(data)] + noise + data[place % len(data) + len(noise) :],
    st.sampled_from(ANSWERS),
    st.integers(0, 1000),
    st.binary(max_size=4),
)


@given(mutated | st.binary(max_size=80), st.lists(st.integers(0, 1000), max_size=12))
def test_pieces_do_not_change_the_outcome(data: bytes, cuts: list[int]) -> None:
    wanted = Wanted(keep=True, digest=True)
    whole = outcome(data, [], wanted)
    assert outcome(data, cuts, wanted) == whole
    assert len(whole) == 6 or whole[0] in REASONS


@pytest.mark.parametrize("data", ANSWERS[:4])
def test_the_whole_body_comes_out(data: bytes) -> None:
    status, _, body, *_ = outcome(data, list(range(0, len(data), 3)), Wanted())
    assert (status, body) == (200, BODY)


@pytest.mark.parametrize("data", ANSWERS[:4])
def test_the_limit_counts_bytes_after_unpacking(data: bytes) -> None:
    for cuts in ([], list(range(len(data)))):
        assert outcome(data, cuts, Wanted(limit=len(BODY)))[0] == 200
        assert outcome(data, cuts, Wanted(limit=len(BODY) - 1)) == (Reason.CONTENT_MISMATCH,)


def test_a_field_that_comes_twice_is_joined_and_found_in_any_case() -> None:
    headers = outcome(ANSWERS[1], [], Wanted())[1]
    assert isinstance(headers, dict)
    assert Response(200, headers, b"", 0, 0, "", 0.0, None).header("X") == "1, 2"


CHUNKED = b"HTTP/1.1 200 OK\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"


@pytest.mark.parametrize("more", [b"x: y\r\n" * 100, b"x: " + b"y" * 600], ids=["fields", "one field"])
def test_what_comes_behind_the_body_has_an_end(more: bytes) -> None:
    assert outcome(CHUNKED + b"0\r\n" + more * 1000, list(range(0, 600_000, 1000)), Wanted()) == (Reason.PROTOCOL_ERROR,)


def test_a_chunk_has_a_size_before_long() -> None:
    assert outcome(CHUNKED + b"1;" + b"e" * 600_000, list(range(0, 600_000, 1000)), Wanted()) == (Reason.PROTOCOL_ERROR,)


def test_what_comes_behind_the_body_is_no_header() -> None:
    status, headers, body, *_ = outcome(CHUNKED + b"0\r\nX: 2\r\nY: 3\r\n\r\n", [], Wanted())
    assert (status, body) == (200, b"hi")
    assert headers == {b"x": b"1", b"transfer-encoding": b"chunked"}


@pytest.mark.parametrize("behind", [b"", b"\0" * 100])
def test_another_protocol_is_an_answer_and_raises_nothing(behind: bytes) -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    assert outcome(answer + behind, [], Wanted())[0] == 101


names = st.text(alphabet="abcXYZ-", min_size=1, max_size=8)
values = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(st.dictionaries(names, values, max_size=4), st.binary(max_size=20))
def test_a_request_is_one_head_and_its_body(headers: dict[str, str], body: bytes) -> None:
    head, end, rest = Request("POST", parse("http://example.com/x"), tuple(headers.items()), body).direct.partition(b"\r\n\r\n")
    fields = [line.partition(": ")[0].lower() for line in head.decode().split("\r\n")[1:]]
    assert (end, rest) == (b"\r\n\r\n", body)
    assert {"host", "connection", "content-length"} <= set(fields)
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
