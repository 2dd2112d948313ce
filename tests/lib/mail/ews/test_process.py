"""The process that speaks EWS: killed at the deadline, replaced when it has done enough, gone with its agent, and small."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
import pytest_asyncio
from aiohttp import web

from agent.runner import run_once
from probes.core.context import Context, Shared
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from probes.lib.mail.ews import ends
from probes.lib.mail.ews.calls import site_of
from probes.lib.mail.ews.desk import EwsDesk
from probes.lib.mail.ews.settings import EwsReceive
from probes.lib.mail.ews.workers import Limits, Workers, _who, key_of
from tests.agent.jobs import NoSettings, job
from tests.fakes import hostile
from tests.fakes.certificates import server_context
from tests.fakes.exchange import RECIPIENT, Answer, always, answering, envelope, inbox, run, simulated, workers
from tests.lib.mail.ews.test_meaning import PASSWORD, basic
from tests.lib.runs import on_both_loops
from tests.lib.signing_in import shared

ENOUGH_SECONDS = 30.0
TLS = server_context
XML = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 100000\r\n\r\n<?xml version='1.0'?>"
ENTITIES = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
BOMB = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "ha">{ENTITIES}]><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">&a11;</s:Envelope>'
DEEP = envelope("<a>" * 100_000 + "</a>" * 100_000)


def alive(pid: int) -> bool:
    """Say whether a process runs; one that is dead and only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> bool:
    """Wait until a process is gone, far longer than that takes."""
    until = monotonic() + ENOUGH_SECONDS
    while alive(pid) and monotonic() < until:  # noqa: ASYNC110 - nothing tells of the end of another's child
        await asyncio.sleep(0.01)
    return not alive(pid)


def pids(kept: Workers) -> list[int]:
    return [process.pid for process in kept._kept.values()]


async def opened(url: str, among: Shared, seconds: float = 20.0) -> Run:
    """Run a probe that opens a mailbox, as the agent does."""

    async def trial(ctx: Context, _: NoSettings) -> None:
        box = ends.EwsMailbox(basic(url), RECIPIENT)
        with ctx.step("request"):
            await box.open(ctx)

    return await run_once(job(trial, timeout=seconds), among)


async def ready(url: str, among: Shared) -> int:
    """Start the process for this server, so that a short deadline is none of its start, and return its id."""
    ctx, kept = run(among, tenant=""), among.part(Workers)
    who = _who(ctx, site_of(ctx, basic(url)), RECIPIENT, kept.limits)
    return (await kept._process(ctx, key_of(who), who)).pid


def pages_without_end() -> str:
    return inbox().replace("GetFolder", "FindItem")


RAW = {
    "says nothing": (lambda: hostile.serving(_silent, TLS()), Reason.TIMEOUT),
    "one byte a second": (lambda: hostile.drips(XML, 0.3, tls=TLS()), Reason.TIMEOUT),
    "no handshake": (hostile.tls_stalls, Reason.TLS_TIMEOUT),
    "half an answer": (lambda: hostile.closes_after(XML, tls=TLS()), Reason.TRUNCATED),
    "garbage": (lambda: hostile.sends(hostile.GARBAGE, TLS()), Reason.PROTOCOL_ERROR),
}
OLD = (
    '<s:Fault xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><faultcode>a:ErrorInvalidServerVersion</faultcode>'
    "<faultstring>no</faultstring></s:Fault>"
)
SOAP = {
    "a page for people": ("<!doctype html><p>Sign in", Reason.PROTOCOL_ERROR),
    "entities without end": (BOMB, Reason.PROTOCOL_ERROR),
    "depth without end": (DEEP, Reason.PROTOCOL_ERROR),
    "an answer to something else": (pages_without_end(), Reason.PROTOCOL_ERROR),
    "no number where one must be": (inbox().replace("<t:TotalCount>3", "<t:TotalCount>many"), None),
    "no version it likes": (envelope(OLD), None),
    "nothing": ("", Reason.CONTENT_MISMATCH),
}


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


@pytest.mark.parametrize(("server", "reason"), RAW.values(), ids=RAW)
async def test_a_server_that_hangs_trickles_or_breaks_off(server: Callable[[], hostile.Server], reason: Reason) -> None:
    async with server() as (host, port), workers(among := shared()):
        pid = await ready(url := f"https://{host}:{port}/EWS/Exchange.asmx", among)
        ended = await opened(url, among, 0.7)
        assert (ended.outcome, ended.reason) == (Outcome.FAILED, reason)
        timed_out = reason in {Reason.TIMEOUT, Reason.TLS_TIMEOUT}
        assert await gone(pid) if timed_out else alive(pid)


@dataclass(slots=True)
class Liar:
    """A server that answers as a test says, and the agent whose process asks it."""

    url: str
    among: Shared
    answer: Answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def liar() -> AsyncIterator[Liar]:
    made = Liar("", shared(), always())

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        return await made.answer(request)

    async with answering(respond) as made.url, workers(made.among):
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("answer", "reason"), SOAP.values(), ids=SOAP)
async def test_a_server_that_lies_is_named_and_the_next_answer_counts(liar: Liar, answer: str, reason: Reason | None) -> None:
    liar.answer = always(answer)
    ended = await opened(liar.url, liar.among)
    assert ended.outcome is not Outcome.INCONCLUSIVE
    assert ended.reason is not Reason.BUG
    assert ended.reason is reason or reason is None
    liar.answer = always(inbox())
    assert (await opened(liar.url, liar.among)).outcome is Outcome.OK


async def test_a_hanging_server_holds_up_nobody_else() -> None:
    async with hostile.serving(_silent, TLS()) as (host, port), answering(always(inbox())) as right, workers(among := shared()):
        await opened(right, among)
        hanging = asyncio.create_task(opened(f"https://{host}:{port}/EWS/Exchange.asmx", among))
        others = [await opened(right, among) for _ in range(5)]
        assert not hanging.done()
        assert {run.outcome for run in others} == {Outcome.OK}
        hanging.cancel()
        await asyncio.wait({hanging})


async def test_a_process_that_stands_still_is_killed_with_its_run() -> None:
    async with answering(always(inbox())) as url, workers(among := shared()):
        await opened(url, among)
        (pid,) = pids(among.part(Workers))
        os.kill(pid, signal.SIGSTOP)
        ended = await opened(url, among, 1.0)
        assert ended.reason is Reason.TIMEOUT
        assert await gone(pid)
        assert (await opened(url, among)).outcome is Outcome.OK


async def test_a_process_that_died_in_the_middle_is_the_agents_trouble_and_no_outage() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def late(_request: web.BaseRequest) -> web.Response:
        asked.set()
        await go_on.wait()
        return web.Response(text=inbox(), content_type="text/xml")

    async with answering(late) as url, workers(among := shared()) as kept:
        running = asyncio.create_task(opened(url, among))
        await asked.wait()
        (pid,) = pids(kept)
        os.kill(pid, signal.SIGKILL)
        assert await gone(pid)
        go_on.set()
        assert (await running).reason is Reason.AGENT_RESOURCES


async def test_a_process_that_died_while_it_had_nothing_to_do_is_replaced() -> None:
    async with answering(always(inbox())) as url, workers(among := shared()) as kept:
        await opened(url, among)
        os.kill(pids(kept)[0], signal.SIGKILL)
        assert await gone(pids(kept)[0])
        assert (await opened(url, among)).outcome is Outcome.OK


async def test_one_process_serves_a_mailbox_and_another_the_next() -> None:
    async with answering(always(inbox())) as url, workers(among := shared()) as kept:
        for _ in range(5):
            await opened(url, among)
        first = pids(kept)
        await ends.EwsMailbox(basic(url), "other@contoso.example").open(run(among, tenant=""))
        assert (len(first), len(pids(kept))) == (1, 2)
        assert first[0] in pids(kept)


async def test_the_first_run_of_a_process_says_that_it_waited_and_the_second_does_not() -> None:
    async with answering(always(inbox())) as url, workers(among := shared()):
        assert [(await opened(url, among)).tainted for _ in range(2)] == [True, False]


@pytest.mark.parametrize("limits", [Limits(runs=1), Limits(kib=1)], ids=["it has done enough", "it has grown"])
async def test_a_process_is_replaced(limits: Limits) -> None:
    async with answering(always(inbox())) as url, workers(among := shared(), limits) as kept:
        assert [(await opened(url, among)).tainted for _ in range(2)] == [True, True]
        assert pids(kept) == []


async def test_a_process_with_nothing_to_do_ends_by_itself() -> None:
    async with answering(always(inbox())) as url, workers(among := shared(), Limits(idle_seconds=0.3)) as kept:
        await opened(url, among)
        assert await gone(pids(kept)[0])
        assert (await opened(url, among)).outcome is Outcome.OK


async def test_processes_end_with_the_agents_part() -> None:
    async with answering(always(inbox())) as url, workers(among := shared()) as kept:
        await opened(url, among)
        (pid,) = pids(kept)
    assert await gone(pid)


async def test_no_secret_is_in_the_arguments_or_the_environment_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EWS_PASSWORD", PASSWORD)
    async with answering(always(inbox())) as url, workers(among := shared()) as kept:
        await opened(url, among)
        told = b"".join(Path(f"/proc/{pids(kept)[0]}/{name}").read_bytes() for name in ("cmdline", "environ"))
        assert b"worker" in told
        assert PASSWORD.encode() not in told


async def test_a_process_has_no_network_of_its_own() -> None:
    async with answering(always(inbox())) as url, workers(among := shared()) as kept:
        await opened(url, among)
        links = [os.readlink(entry) for entry in Path(f"/proc/{pids(kept)[0]}/fd").iterdir()]  # noqa: PTH115 - no path
        assert not [link for link in links if link.startswith("socket:")]


AGENT = """
    import asyncio, sys
    from tests.fakes.exchange import RECIPIENT, run
    from tests.lib.mail.ews.test_meaning import basic
    from tests.lib.signing_in import shared
    from probes.lib.mail.ews import ends
    from probes.lib.mail.ews.workers import Workers

    async def main():
        among = shared()
        running = asyncio.create_task(ends.EwsMailbox(basic(sys.argv[1]), RECIPIENT).open(run(among, tenant="")))
        while not among.part(Workers)._kept:
            await asyncio.sleep(0.01)
        print(next(iter(among.part(Workers)._kept.values())).pid, flush=True)
        await running
        await asyncio.sleep(60)

    asyncio.run(main())
"""


@pytest.mark.parametrize("hangs", [False, True], ids=["while it waits", "in the middle"])
async def test_a_process_goes_with_an_agent_that_is_killed(*, hangs: bool) -> None:
    async with hostile.serving(_silent, TLS()) as (host, port), answering(always(inbox())) as right:
        url = f"https://{host}:{port}/EWS/Exchange.asmx" if hangs else right
        command = (sys.executable, "-c", textwrap.dedent(AGENT), url)
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]) as agent:  # noqa: ASYNC220 - the loop has nothing else to do
            assert agent.stdout is not None
            pid = int(await asyncio.to_thread(agent.stdout.readline))
            assert alive(pid)
            agent.kill()
        assert await gone(pid)


async def test_memory_is_level_over_many_runs(tmp_path: Path) -> None:
    async with simulated(tmp_path) as exchange:
        box = EwsDesk(EwsReceive(via="ews", mailbox=RECIPIENT))
        figures = []
        for _ in range(4):
            for _ in range(50):
                await box.open(exchange.run())
            figures.append(next(iter(exchange.workers._kept.values())).kib)
        assert max(figures) - figures[0] < 1024
        assert exchange.heard.tokens == 1


@on_both_loops
async def test_both_loops_can_talk_to_a_process_and_kill_it() -> None:
    async with hostile.serving(_silent, TLS()) as (host, port), answering(always(inbox())) as right, workers(among := shared()):
        assert (await opened(right, among)).outcome is Outcome.OK
        pid = await ready(url := f"https://{host}:{port}/EWS/Exchange.asmx", among)
        assert (await opened(url, among, 0.7)).reason is Reason.TIMEOUT
        assert await gone(pid)
