"""Packets to a media relay: how many come back and how fast, from the simulated relay and from ones that lie."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from agent.drill.faults import Fault, Latency, Packets, Tcp
from agent.drill.relay import answer, serve_relay
from agent.drill.world import World
from probes.core.context import Shared
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from probes.teams_media import RELAY, TeamsMedia, interarrival_jitter
from tests.fakes import hostile
from tests.fakes.relay import SOURCE, good, relay
from tests.lib.runs import no_descriptors_left
from tests.probes.once import once
from tests.probes.pages import lookup, measured, read

QUICK: dict[str, Any] = {"packets": 20, "pace": 0.005, "patience": 0.1, "max_rtt": 0.09, "max_jitter": 0.09}
"""A stream that is over soon, with limits that a busy machine keeps."""


async def media(port: int, **settings: Any) -> Run:
    return await once("teams_media", **(QUICK | {"host": "127.0.0.1", "port": port} | settings))


@asynccontextmanager
async def tenant(*faults: Fault, host: str = "127.0.0.1") -> AsyncIterator[int]:
    world = World()
    world.faults.set(*faults)
    async with serve_relay(world, host) as port:
        yield port


@asynccontextmanager
async def nobody() -> AsyncIterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    yield port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_relay_that_answers_is_measured(host: str) -> None:
    async with tenant(host=host) as port:
        run = await media(port, host=host)
    assert (run.outcome, run.message) == (Outcome.OK, "")
    assert [step.name for step in run.steps] == ["resolve", "binding", "stream"]
    assert measured(run).keys() == {"loss_ratio", "rtt_seconds", "rtt_max_seconds", "jitter_seconds"}
    assert measured(run)["loss_ratio"] == 0
    evidence = dict(run.evidence)
    assert evidence["seen_from"] == evidence["sent_from"]
    assert (evidence["address"], evidence["packets"]) == (host, "20 sent, 20 answered, 0 datagrams ignored")


async def test_the_way_out_is_told_as_the_relay_sees_it() -> None:
    async with relay(lambda data: [good(data)]) as port:
        run = await media(port)
    assert dict(run.evidence)["seen_from"] == f"{SOURCE[0]}:{SOURCE[1]}"


LOST = Fault(Packets("lost"))


@pytest.mark.parametrize(
    ("server", "settings", "step", "reason", "says"),
    [
        (lambda: tenant(LOST), {}, "binding", Reason.CONNECT_TIMEOUT, "no answer over UDP, packets sent: 20"),
        (lambda: tenant(Fault(Tcp("timeout"))), {}, "binding", Reason.CONNECT_TIMEOUT, "no answer over UDP, packets sent: 20"),
        (nobody, {}, "binding", Reason.CONNECT_REFUSED, "connection refused"),
        (nobody, {"host": "255.255.255.255"}, "binding", Reason.UNREACHABLE, "permission denied"),
        (nobody, {"host": "nowhere.test"}, "resolve", Reason.DNS_NXDOMAIN, "nowhere.test does not exist"),
        (lambda: tenant(Fault(Packets("lost"), share=0.5)), {}, "stream", Reason.TOO_SLOW, "% of packets lost, more than 1.0%"),
        (lambda: tenant(Fault(Latency(0.03))), {"max_rtt": 0.02}, "stream", Reason.TOO_SLOW, "round trip 3"),
        (lambda: tenant(Fault(Packets("late", 0.05))), {"max_jitter": 0.001}, "stream", Reason.TOO_SLOW, "jitter "),
        (lambda: tenant(Fault(Latency(0.2))), {}, "binding", Reason.CONNECT_TIMEOUT, "no answer over UDP, packets sent: 20"),
    ],
    ids=["UDP dropped", "path broken", "nothing listens", "no way there", "no such name", "lossy", "slow", "uneven", "too late to count"],
)
async def test_what_is_wrong_is_named(
    server: Callable[[], AbstractAsyncContextManager[int]], settings: dict[str, Any], step: str, reason: Reason, says: str
) -> None:
    async with server() as port:
        run = await media(port, **settings)
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, step, reason)
    assert says in run.message


def refusal(data: bytes) -> bytes:
    """Write 401 to whatever was asked: the relay's answer to Allocate, under the number of Binding."""
    said = answer(b"\0\x03" + data[2:], SOURCE)
    assert said is not None
    return b"\x01\x11" + said[2:]


def unasked(data: bytes) -> bytes:
    """Make an answer to a question of nobody, whose first attribute is too long, and which is not worth reading."""
    return data[:8] + bytes(12) + data[20:22] + b"\xff\xff" + data[24:]


@pytest.mark.parametrize(
    ("lie", "says", "code"),
    [
        (lambda _: b"x", "1 bytes, less than a header", ""),
        (lambda _: b"x" * 60_000, "no magic cookie", ""),
        (lambda data: data[:4] + b"\0\0\0\0" + data[8:], "no magic cookie", ""),
        (lambda data: data, "a message of type 0x0001 does not answer binding", ""),
        (lambda data: good(data)[:-4], "announces 32 bytes and has 28", ""),
        (lambda data: good(data[:-1] + bytes((data[-1] ^ 1,))), " datagrams, and none answers what was asked", ""),
        (lambda data: unasked(good(data)), " datagrams, and none answers what was asked", ""),
        (refusal, "no answer to binding: 401 Unauthorized", "401"),
        (lambda data: answer(data, ("2001:db8::1", 1)) or b"", "an IPv6 address for a question over IPv4", ""),
    ],
    ids=[
        "short",
        "huge",
        "another cookie",
        "echo",
        "cut off",
        "another transaction",
        "another and broken",
        "refused",
        "address of the other kind",
    ],
)
async def test_a_relay_that_lies_is_told_from_one_that_is_silent(lie: Callable[[bytes], bytes], says: str, code: str) -> None:
    async with relay(lambda data: [lie(data)]) as port:
        run = await media(port)
    assert (run.outcome, run.failed_step, run.reason, run.code) == (Outcome.FAILED, "binding", Reason.PROTOCOL_ERROR, code)
    assert says in run.message
    assert measured(run) == {"loss_ratio": 1.0}


async def test_lies_beside_good_answers_are_counted_and_ignored() -> None:
    async with relay(lambda data: [b"x", good(data[:-1] + bytes((data[-1] ^ 1,))), good(data)]) as port:
        run = await media(port)
    assert run.outcome is Outcome.OK
    assert dict(run.evidence)["packets"].startswith("20 sent, 20 answered, ")
    assert not dict(run.evidence)["packets"].endswith(" 0 datagrams ignored")


async def test_a_relay_that_goes_in_the_middle_is_refused_then() -> None:
    async with relay(lambda data: [good(data)]) as port:
        running = asyncio.create_task(media(port, packets=1000))
        await asyncio.sleep(0.05)
    run = await running
    assert (run.failed_step, run.reason) == ("stream", Reason.CONNECT_REFUSED)


async def test_a_flood_is_no_answer() -> None:
    async with relay(lambda data: [good(data), *[b"x"] * 600]) as port:
        run = await media(port, packets=1000)
    assert (run.failed_step, run.reason) == ("stream", Reason.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("environ", "said"),
    [((("https", "http://proxy.test:3128"),), True), ((("no", "*"),), False), ((), False)],
    ids=["a proxy", "exceptions alone", "none"],
)
async def test_a_proxy_that_carries_no_udp_is_mentioned(environ: tuple[tuple[str, str], ...], *, said: bool) -> None:
    async with tenant(LOST) as port:
        run = await once("teams_media", shared=Shared(lookup, read, environ), host="127.0.0.1", port=port, **QUICK)
    assert ("HTTP proxy" in run.message) is said


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (hostile.says_nothing, "TCP {} answers"),
        (hostile.refuses, "TCP {} fails: connect_refused"),
        (hostile.drops, "TCP {} does not answer"),
    ],
    ids=["there", "not there", "blocked as well"],
)
async def test_what_teams_falls_back_to_is_looked_at(server: Callable[[], hostile.Server], said: str) -> None:
    async with server() as (_, tcp), tenant(LOST) as port:
        run = await media(port, fallback=tcp)
    assert run.reason is Reason.CONNECT_TIMEOUT
    assert dict(run.evidence)["fallback"] == said.format(tcp)


async def test_a_relay_that_knows_nobody_answers_by_refusing_an_allocation() -> None:
    async with tenant() as port:
        run = await media(port, ask="allocate")
    assert (run.outcome, "seen_from" in dict(run.evidence)) == (Outcome.OK, False)


async def test_a_relay_that_relays_for_anybody_is_no_relay_of_microsofts() -> None:
    async with relay(lambda data: [b"\x01\x03" + good(b"\0\x01\0\0" + data[4:20])[2:]]) as port:
        run = await media(port, ask="allocate")
    assert (run.reason, run.code) == (Reason.PROTOCOL_ERROR, "")
    assert "no answer to allocate: yes" in run.message


async def test_an_answer_that_comes_after_patience_has_run_out_is_lost_though_others_are_still_on_their_way() -> None:
    asked: list[bytes] = []

    def behave(data: bytes) -> list[bytes]:
        asked.append(data)
        number = len(asked) - 1
        if 5 <= number < 10:
            return []
        return [good(data), *([good(late) for late in asked[5:10]] if number == 25 else [])]

    async with relay(behave) as port:
        run = await media(port, packets=30, pace=0.01, max_rtt=1.0, max_jitter=1.0, max_loss=1.0)
    assert (run.outcome, dict(run.evidence)["packets"]) == (Outcome.OK, "30 sent, 30 answered, 0 datagrams ignored")
    assert measured(run)["loss_ratio"] > 0.16
    assert measured(run)["rtt_max_seconds"] <= QUICK["patience"]


async def test_a_run_with_less_time_sends_less() -> None:
    async with tenant() as port:
        run = await once("teams_media", deadline=0.5, **(QUICK | {"host": "127.0.0.1", "port": port, "packets": 3000}))
    assert run.outcome is Outcome.OK
    assert 10 < int(dict(run.evidence)["packets"].partition(" ")[0]) < 100


async def test_a_machine_without_a_socket_left_says_nothing_about_the_relay() -> None:
    with no_descriptors_left():
        run = await media(9)
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.INCONCLUSIVE, "binding", Reason.AGENT_RESOURCES)
    assert measured(run) == {}


async def test_a_run_that_has_no_time_for_an_answer_ends_within_it() -> None:
    async with tenant(LOST) as port:
        run = await once("teams_media", deadline=0.1, host="127.0.0.1", port=port)
    assert (run.failed_step, run.reason) == ("binding", Reason.CONNECT_TIMEOUT)
    assert "packets sent: 1" in run.message


def test_by_itself_it_goes_to_microsoft_with_microsofts_limits() -> None:
    usual = TeamsMedia()
    assert (usual.host, usual.port, usual.max_rtt, usual.max_jitter, usual.max_loss) == (RELAY, 3478, 0.1, 0.03, 0.01)
    assert usual.packets * usual.pace == 10


@pytest.mark.parametrize(
    ("trips", "jitter"),
    [([0.1], 0.0), ([0.1, 0.1, 0.1], 0.0), ([0.1, 0.116], 0.001), ([0.1, 0.116, 0.1], 0.0019375)],
    ids=["one", "even", "one step", "there and back"],
)
def test_jitter_is_that_of_rtp(trips: list[float], jitter: float) -> None:
    assert interarrival_jitter(trips) == pytest.approx(jitter)


def test_an_address_of_the_other_family_is_no_target() -> None:
    with pytest.raises(ValueError, match="family: ipv6 excludes the address 192"):
        TeamsMedia(host="192.0.2.1", family="ipv6")
