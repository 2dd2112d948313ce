"""The media relay of the simulated tenant: it answers STUN, and loses and delays packets as the faults say."""

import asyncio
from contextlib import suppress

import pytest

from agent.drill.faults import Effect, Fault, Http, Latency, Packets, Tcp, Where
from agent.drill.outage import read, schedule
from agent.drill.relay import answer, serve_relay
from agent.drill.world import World

ASK = bytes.fromhex("000100002112a442b7e7a701bc34d686fa87dfae")


class _Ears(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.enough = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 - the shape asyncio calls
        self.heard.append(data)
        self.enough.set()


async def ask(world: World, count: int = 1, seconds: float = 0.1) -> list[bytes]:
    """Ask so many times at once, and return what came by then."""
    async with serve_relay(world) as port:
        transport, ears = await asyncio.get_running_loop().create_datagram_endpoint(_Ears, remote_addr=("127.0.0.1", port))
        for number in range(count):
            transport.sendto(ASK[:-4] + number.to_bytes(4))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(ears.heard) < count:
                    ears.enough.clear()
                    await ears.enough.wait()
        transport.close()
    return [heard[8:20] for heard in ears.heard]


def world(*faults: Fault, seed: int = 1) -> World:
    made = World(seed=seed)
    made.faults.set(*faults)
    return made


async def test_all_is_answered_where_nothing_is_wrong() -> None:
    assert len(await ask(world(), 20)) == 20


@pytest.mark.parametrize(
    ("effect", "answers"),
    [(Packets("lost"), 0), (Tcp("timeout"), 0), (Tcp("silent"), 0), (Latency(5), 0), (Tcp("reset"), 3), (Http((503,)), 3)],
    ids=["lost", "no connections", "silence", "late", "resets", "of HTTP"],
)
async def test_what_is_wrong_with_a_path_is_wrong_for_packets(effect: Effect, answers: int) -> None:
    assert len(await ask(world(Fault(effect)), 3)) == answers


async def test_a_fault_elsewhere_is_none_here() -> None:
    assert len(await ask(world(Fault(Packets("lost"), Where(hosts=frozenset({"graph"})))), 3)) == 3


async def test_the_seed_says_which_packets_are_lost() -> None:
    first, again, other = [await ask(world(Fault(Packets("lost"), share=0.5), seed=seed), 30) for seed in (1, 1, 2)]
    assert first == again != other
    assert 5 < len(first) < 25


async def test_late_packets_overtake_each_other() -> None:
    heard = await ask(world(Fault(Packets("late", 0.1))), 20, seconds=2)
    assert len(heard) == 20
    assert heard != sorted(heard)


@pytest.mark.parametrize(
    "data",
    [b"", ASK[:-1], ASK[:4] + bytes(16), b"\0\x02" + ASK[2:], ASK + bytes(4)],
    ids=["nothing", "short", "no cookie", "other", "long"],
)
def test_what_is_no_question_has_no_answer(data: bytes) -> None:
    assert answer(data, ("127.0.0.1", 1)) is None


@pytest.mark.parametrize(
    ("entry", "effect"),
    [("{packets: lost, share: 0.3}", Packets("lost")), ("{packets: late, seconds: 0.2}", Packets("late", 0.2))],
    ids=["lost", "late"],
)
def test_an_outage_can_say_so(entry: str, effect: Packets) -> None:
    (fault,) = schedule(read(f"id: X01\ntitle: x\nphases: [{{from: 0, until: 1, what: x, faults: [{entry}]}}]", "x.yml"), 0.0)
    assert (fault.effect, "relay" in fault.where.hosts) == (effect, True)
