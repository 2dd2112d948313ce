"""Runs as JSON: what is remembered, and what comes from now on."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from agent.history import History
from agent.record import encode
from agent.web import Feed, Limits
from agent.web.feed import QUEUED_RUNS
from tests.web.samples import GRAPH, JOBS, MX, NEW, NOW, SHAREPOINT, STORM, history, hostile, names
from tests.web.serving import World, listeners, serving, site


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def asked(session: ClientSession, query: str = "", world: World | None = None) -> dict[str, Any]:
    async with serving(site(world or World(history(STORM), JOBS))) as url, session.get(f"{url}/api/v1/runs{query}") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        answer: dict[str, Any] = await response.json()
        return answer


async def test_all_probes_come_with_their_state(session: ClientSession) -> None:
    answer = await asked(session)
    assert answer["total"] == len(JOBS)
    states = {probe["probe"]: probe["state"] for probe in answer["probes"]}
    assert states[SHAREPOINT.name] == "failing"
    assert states[NEW.name] == "waiting"


async def test_a_failing_probe_has_its_last_its_last_good_and_three_failed_runs(session: ClientSession) -> None:
    (probe,) = (await asked(session, f"?probe={SHAREPOINT.name}"))["probes"]
    assert (probe["reason"], probe["blame"], probe["failing_since"]) == ("http_5xx", "service", NOW - 510)
    assert probe["last"] == probe["failures"][0]
    assert probe["last_good"]["started"] == NOW - 570
    assert [run["started"] for run in probe["failures"]] == [NOW - 30, NOW - 90, NOW - 150]
    assert probe["last"]["steps"][0]["phases"][3] == ["processing", 2.3141]


async def test_the_ring_is_four_lists_of_equal_length(session: ClientSession) -> None:
    (probe,) = (await asked(session, f"?probe={GRAPH.name}"))["probes"]
    ring = probe["ring"]
    assert [len(ring[name]) for name in ("started", "seconds", "outcome", "tainted")] == [100] * 4
    assert ring["outcome"][-3:] == ["ok", "inconclusive", "inconclusive"]
    assert ring["started"][-1] == NOW - 30
    assert ring["seconds"][-1] == pytest.approx(0.093)


async def test_a_probe_that_has_not_run_has_nothing_to_show(session: ClientSession) -> None:
    (probe,) = (await asked(session, f"?probe={NEW.name}"))["probes"]
    assert (probe["last"], probe["last_good"], probe["failures"], probe["ring"]["started"]) == (None, None, [], [])


async def test_hostile_text_stays_a_json_string(session: ClientSession) -> None:
    past = History()
    past.record(hostile(MX, NOW))
    (probe,) = (await asked(session, world=World(past, (MX,))))["probes"]
    assert probe["last"]["message"] == hostile(MX, NOW).message


async def test_many_probes_come_in_parts(session: ClientSession) -> None:
    whole = [probe["probe"] for probe in (await asked(session))["probes"]]
    parts = [await asked(session, f"?offset={offset}&limit=4") for offset in (0, 4, 8, 12)]
    assert [probe["probe"] for part in parts for probe in part["probes"]] == whole
    assert [len(part["probes"]) for part in parts] == [4, 4, 3, 0]


@pytest.mark.parametrize("query", ["offset=x", "offset=-1", "limit=1.5", "limit=", "limit=%D9%A3"])
async def test_a_number_that_is_none_is_refused(session: ClientSession, query: str) -> None:
    async with serving(site(World())) as url:
        assert (await session.get(f"{url}/api/v1/runs?{query}")).status == 400


async def test_a_stream_gives_each_run_as_it_ends(session: ClientSession) -> None:
    feed = Feed()
    async with serving(site(World(), feed=feed)) as url, session.get(f"{url}/api/v1/runs?stream=1") as response:
        assert response.content_type == "application/x-ndjson"
        for number in range(3):
            feed.publish(encode(names(MX, NOW + number)))
        lines = [json.loads(await response.content.readline()) for _ in range(3)]
    assert [line["started"] for line in lines] == [NOW, NOW + 1, NOW + 2]


async def test_a_quiet_stream_shows_that_it_lives(session: ClientSession) -> None:
    quick = Limits(heartbeat_seconds=0.02)
    async with serving(site(World(), limits=quick)) as url, session.get(f"{url}/api/v1/runs?stream=1") as response:
        assert await response.content.readline() == b"\n"
        assert await response.content.readline() == b"\n"


async def test_a_listener_that_leaves_is_noticed(session: ClientSession) -> None:
    feed = Feed()
    async with serving(site(World(), feed=feed, limits=Limits(heartbeat_seconds=0.02))) as url:
        response = await session.get(f"{url}/api/v1/runs?stream=1")
        await listeners(feed, 1)
        response.close()
        await listeners(feed, 0)


async def test_a_stream_ends_with_the_agent(session: ClientSession) -> None:
    async with serving(site(World())) as url:
        response = await session.get(f"{url}/api/v1/runs?stream=1")
    assert await response.content.read() == b""


async def test_only_so_many_streams_are_open_at_once(session: ClientSession) -> None:
    feed = Feed()
    async with serving(site(World(), feed=feed, limits=Limits(streams=1))) as url:
        first = await session.get(f"{url}/api/v1/runs?stream=1")
        await listeners(feed, 1)
        assert (await session.get(f"{url}/api/v1/runs?stream=1")).status == 503
        first.close()


async def test_a_listener_that_is_too_slow_is_told_how_many_runs_it_lost() -> None:
    feed = Feed()
    with feed.subscribe() as subscription:
        for number in range(QUEUED_RUNS + 17):
            feed.publish(b"%d" % number)
        lines = (await subscription.take(1)).splitlines()
        feed.publish(b"after")
        assert await subscription.take(1) == b"after\n"
    assert lines[-2:] == [b"%d" % (QUEUED_RUNS - 1), b'{"lost":17}']
    assert len(lines) == QUEUED_RUNS + 1


async def test_nobody_listens_and_nothing_is_kept() -> None:
    feed = Feed()
    feed.publish(b"unheard")
    with feed.subscribe() as subscription:
        assert await subscription.take(0.01) == b"\n"
