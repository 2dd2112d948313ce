"""What is remembered, as JSON for programs: whole runs, and the ring as three lists of equal length, oldest first."""

import asyncio
import json
from collections.abc import AsyncIterator

from aiohttp import web

from agent.history import Past, Ring
from agent.job import Job
from agent.web.feed import Subscription
from agent.web.overview import Moment, moment_of, state
from agent.web.sending import cut_off, send_packed
from agent.web.site import SITE, Site
from agent.web.slices import gathered, sliced
from probes.core.reasons import BLAME

LIMIT = 100
MOST = 1000


async def runs(request: web.Request, jobs: tuple[Job, ...]) -> web.StreamResponse:
    """Answer with the past of the probes from `offset` on, at most `limit` of them."""
    offset, limit = _number(request, "offset", 0), min(_number(request, "limit", LIMIT), MOST)
    site = request.app[SITE]
    moment = moment_of(site)
    pieces = [
        f'{{"total":{len(jobs)},"offset":{offset},"probes":[',
        *[text async for text in _joined(jobs[offset : offset + limit], site, moment)],
        "]}\n",
    ]
    return await send_packed(request, "application/json", await gathered(pieces))


async def stream(request: web.Request) -> web.StreamResponse:
    """Answer with one line of JSON for each run from now on, until the reader or the agent leaves.

    A quiet stream sends an empty line now and then, so that a reader that has gone is noticed.
    """
    site = request.app[SITE]
    if len(site.feed) >= site.limits.streams:
        raise web.HTTPServiceUnavailable(text="too many streams are open\n")
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    with site.feed.subscribe() as subscription:
        await response.prepare(request)
        if request.method != "HEAD":
            await _follow(request, response, subscription)
    return response


async def _follow(request: web.Request, response: web.StreamResponse, subscription: Subscription) -> None:
    limits = request.app[SITE].limits
    while not subscription.closed:
        lines = await subscription.take(limits.heartbeat_seconds)
        try:
            async with asyncio.timeout(limits.send_seconds):
                await response.write(lines)
        except TimeoutError:
            cut_off(request)
            return


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if text.isascii() and text.isdigit():
        return int(text[:9])
    raise web.HTTPBadRequest(text=f"{name} must be a whole number\n")


async def _joined(jobs: tuple[Job, ...], site: Site, moment: Moment) -> AsyncIterator[str]:
    comma = ""
    async for job in sliced(jobs):
        past = site.history.of(job.name)
        yield comma + _probe(job, past, state(job, past, moment))
        comma = ","


def _probe(job: Job, past: Past, its_state: str) -> str:
    head = json.dumps(
        {
            "probe": job.name,
            "kind": job.kind,
            "tenant": job.tenant,
            "workload": job.place.workload,
            "layer": job.place.layer,
            "role": job.role,
            "interval": job.interval,
            "state": its_state,
            "reason": past.reason,
            "blame": past.reason and BLAME[past.reason],
            "failing_since": past.failing_since,
            "last_success": past.last_success,
            "last_conclusive": past.last_conclusive,
            "inconclusive_in_row": past.inconclusive_in_row,
        }
    )
    failures = ",".join(record.decode() for record in past.failures)
    return (
        f'{head[:-1]}, "last": {_record(past.last)}, "last_good": {_record(past.last_good)}, "failures": [{failures}], '
        f'"ring": {_ring(past.ring)}}}'
    )


def _record(record: bytes | None) -> str:
    return "null" if record is None else record.decode()


def _ring(ring: Ring) -> str:
    beats = tuple(ring)
    started = ",".join([f"{beat.started:.3f}" for beat in beats])
    seconds = ",".join([f"{beat.seconds:.7g}" for beat in beats])
    outcomes = ",".join([f'"{beat.outcome}"' for beat in beats])
    tainted = ",".join(["true" if beat.tainted else "false" for beat in beats])
    return f'{{"started":[{started}],"seconds":[{seconds}],"outcome":[{outcomes}],"tainted":[{tainted}]}}'
