"""Asks one name server one question, once, over UDP, TCP, TLS or HTTPS, with each failure named.

Phases: resolve (the server's own name, where it has one), connect, tls, and request, from the question sent to the answer read.
"""

import asyncio
import socket
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Annotated, Any, TypeVar

from pydantic import Field

from probes.core.context import Context
from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason
from probes.lib.connect import connect, first_address
from probes.lib.dns_message import Answer, Question, is_reply, is_truncated, new_query, parse_answer
from probes.lib.durations import Duration
from probes.lib.http import Request, Wanted, exchange
from probes.lib.nameservers import NameServer, Transport, located
from probes.lib.oserror import stopped_by
from probes.lib.tls import Trust, start_tls
from probes.lib.url import Url
from probes.lib.wire import Wire

RCODE_REASONS = {
    "NOERROR": Reason.DNS_MISMATCH,
    "NXDOMAIN": Reason.DNS_NXDOMAIN,
    "REFUSED": Reason.DNS_REFUSED,
}
"""Unexpected rcode to reason; any other is the resolver's failure, DNS_SERVFAIL."""

MACHINE_TRUST = Trust()
"""Trust in the machine's own authorities."""

T = TypeVar("T")
_TIMEOUTS = {"connect": Reason.CONNECT_TIMEOUT, "tls": Reason.TLS_TIMEOUT}
_OPEN = "request"
# The open phase by which the runner knows, at the deadline, that the run was waiting for a resolver.
_LARGEST = 65535
_DOH_TYPE = "application/dns-message"
_HTTP_OK = 200
_HTTP_SERVER_FAULT = 500
_HTTP_REDIRECT = 300


QueryTimeout = Annotated[Duration, Field(le=600)]
"""A setting: the time limit of each question."""


async def together(ctx: Context, *questions: Coroutine[Any, Any, T]) -> list[T]:
    """Ask several things at once and return what each brought. None is left behind; each times itself `apart`."""
    with waiting(ctx):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question) for question in questions]
    return [task.result() for task in tasks]


@contextmanager
def waiting(ctx: Context) -> Iterator[None]:
    """Say to the runner that at the deadline the run was waiting for a resolver."""
    open_phases = ctx.open_steps[-1].open_phases
    open_phases.append(_OPEN)
    yield
    open_phases.remove(_OPEN)


@contextmanager
def apart(ctx: Context) -> Iterator[Context]:
    """Give a context for a question that is asked beside others, so that their phases do not mix."""
    beside = Context(ctx.probe, ctx.shared)
    with beside.step("query"):
        yield beside


async def ask(ctx: Context, server: NameServer, question: Question, *, timeout: float, trust: Trust = MACHINE_TRUST) -> Answer:  # noqa: ASYNC109 - a limit inside the run's own, and it names what it cut off
    """Ask once, and return the answer whatever its rcode. Phases and evidence go to the innermost open step of `ctx`.

    Raises:
        Failed: DNS_TIMEOUT, CONNECT_TIMEOUT or TLS_TIMEOUT after `timeout` seconds; DNS_REFUSED where nothing listens (UDP);
            PROTOCOL_ERROR for a malformed answer on a stream; what `connect`, `start_tls` and HTTP raise.
        Inconclusive: where this machine has no socket left or cannot read its resolver configuration.

    """
    server = located(server)
    try:
        async with asyncio.timeout(timeout):
            return await _ASK[server.transport](ctx, server, question, trust)
    except TimeoutError as error:
        open_phases = ctx.open_steps[-1].open_phases
        reason = _TIMEOUTS.get(open_phases[-1] if open_phases else "", Reason.DNS_TIMEOUT)
        raise Failed(reason, f"{server.spec}: no answer to {question} within {timeout:g} s{_ignored(ctx)}") from error


def require_rcode(server: NameServer, question: Question, answer: Answer, wanted: str = "NOERROR") -> None:
    """Say no to any other rcode.

    Raises:
        Failed: with the reason for the rcode, and the rcode as code.

    """
    if answer.rcode != wanted:
        reason = RCODE_REASONS.get(answer.rcode, Reason.DNS_SERVFAIL)
        because = f" ({'; '.join(answer.errors)})" if answer.errors else ""
        raise Failed(reason, f"{server.spec} answers {answer.rcode} to {question}{because}", code=answer.rcode)


async def _ask_udp(ctx: Context, server: NameServer, question: Question, trust: Trust) -> Answer:
    address = await first_address(ctx, server.host)
    if address not in server.spec:
        ctx.evidence("address", address)
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0)
            # Connected: the kernel drops what comes from elsewhere, and a refusal (ICMP) reaches us.
            sock.connect((address, server.port))
            answer = await _converse(ctx, sock, question)
    except ConnectionRefusedError as error:
        raise Failed(Reason.DNS_REFUSED, f"{server.spec}: nothing listens at {address} port {server.port}") from error
    except OSError as error:
        raise stopped_by(error, f"{address} port {server.port}") from error
    if answer is None:
        ctx.evidence("transport", "tcp, because the answer over udp was truncated")
        return await _ask_tcp(ctx, server, question, trust)
    return answer


async def _converse(ctx: Context, sock: socket.socket, question: Question) -> Answer | None:
    """Send the question and wait for its answer; None where it is truncated. All else that arrives may be forged: ignored (RFC 5452)."""
    query, ignored, arrived = new_query(question), 0, 0.0
    sent = perf_counter()
    try:
        sock.send(query)
        while True:
            wire, arrived = await _datagram(sock)
            if is_reply(query, wire):
                if is_truncated(wire):
                    return None
                try:
                    return await parse_answer(question, wire)
                except Failed as malformed:
                    ctx.evidence("ignored_because", malformed.message)
            ignored, arrived = ignored + 1, 0.0
    finally:
        _tell(ctx, (arrived or perf_counter()) - sent, ignored, in_time=bool(arrived))


def _tell(ctx: Context, seconds: float, ignored: int, *, in_time: bool) -> None:
    """Add the phase request, as still open where no answer came."""
    ctx.add_phase("request", seconds)
    if not in_time:
        ctx.open_steps[-1].open_phases.append(_OPEN)
    if ignored:
        ctx.evidence("ignored_datagrams", ignored)


async def _datagram(sock: socket.socket) -> tuple[bytes, float]:
    """Return the next datagram and the moment of perf_counter at which the loop saw it, not that at which somebody gets round to it."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":  # whose loop cannot watch sockets
        return await loop.sock_recv(sock, _LARGEST), perf_counter()
    came: asyncio.Future[tuple[bytes, float]] = loop.create_future()
    number = sock.fileno()
    loop.add_reader(number, _receive, sock, came)
    try:
        return await came
    finally:
        loop.remove_reader(number)


def _receive(sock: socket.socket, came: asyncio.Future[tuple[bytes, float]]) -> None:
    if came.done():
        return
    now = perf_counter()
    try:
        came.set_result((sock.recv(_LARGEST), now))
    except BlockingIOError:
        return  # the kernel threw away a datagram with a bad checksum
    except OSError as error:
        came.set_exception(error)


def _ignored(ctx: Context) -> str:
    ignored = ctx.evidence_found.get("ignored_datagrams")
    return f", except {ignored} datagrams that do not answer it" if ignored else ""


async def _ask_tcp(ctx: Context, server: NameServer, question: Question, _trust: Trust) -> Answer:
    with await connect(ctx, server.host, server.port) as wire:
        return await _ask_stream(ctx, wire, server, question)


async def _ask_tls(ctx: Context, server: NameServer, question: Question, trust: Trust) -> Answer:
    with await connect(ctx, server.host, server.port) as wire:
        await start_tls(ctx, wire, trust, server.host)
        return await _ask_stream(ctx, wire, server, question)


async def _ask_stream(ctx: Context, wire: Wire, server: NameServer, question: Question) -> Answer:
    query = new_query(question)
    with ctx.phase("request"), waiting(ctx):
        wire.write(len(query).to_bytes(2) + query)
        length = int.from_bytes(await wire.read_exactly(2))
        return await _only_answer(server, question, query, await wire.read_exactly(length))


async def _ask_https(ctx: Context, server: NameServer, question: Question, trust: Trust) -> Answer:
    query = b"\0\0" + new_query(question)[2:]  # RFC 8484 section 4.1: id 0
    url = Url("https", server.host, server.port, server.path)
    message = Request("POST", url, (("Accept", _DOH_TYPE), ("Content-Type", _DOH_TYPE)), query).direct
    with await connect(ctx, server.host, server.port) as wire:
        await start_tls(ctx, wire, trust, server.host, alpn=("http/1.1",))
        inner = Context(ctx.probe, ctx.shared)  # its phases, processing and transfer, are one here: request
        with ctx.phase("request"), waiting(ctx), inner.step("request"):
            response = await exchange(inner, wire, message, "POST", Wanted(limit=_LARGEST))
            if response.status != _HTTP_OK:
                raise Failed(_http_reason(response.status), f"{server.spec}: HTTP status {response.status}", code=str(response.status))
            if (response.header("content-type") or "").partition(";")[0].strip().lower() != _DOH_TYPE:
                raise Failed(Reason.PROTOCOL_ERROR, f"{server.spec}: the answer is no {_DOH_TYPE}")
            return await _only_answer(server, question, query, response.body)


def _http_reason(status: int) -> Reason:
    if status >= _HTTP_SERVER_FAULT:
        return Reason.HTTP_5XX
    if status >= 400:  # noqa: PLR2004 - 4xx
        return Reason.HTTP_4XX
    return Reason.HTTP_REDIRECT if status >= _HTTP_REDIRECT else Reason.PROTOCOL_ERROR


async def _only_answer(server: NameServer, question: Question, query: bytes, wire: bytes) -> Answer:
    """Read the one message of a stream, which has to be the answer."""
    if not is_reply(query, wire):
        raise Failed(Reason.PROTOCOL_ERROR, f"{server.spec}: what came does not answer {question}")
    if is_truncated(wire):
        raise Failed(Reason.PROTOCOL_ERROR, f"{server.spec}: a truncated answer to {question} where there is room for all of it")
    return await parse_answer(question, wire)


_ASK = {Transport.UDP: _ask_udp, Transport.TCP: _ask_tcp, Transport.TLS: _ask_tls, Transport.HTTPS: _ask_https}


@dataclass(frozen=True, slots=True)
class Lookups:
    """Many questions to one name server within one run, each asked once however many want to know.

    The questions end with `group`, so none outlives the run.
    """

    ctx: Context
    server: NameServer
    group: asyncio.TaskGroup
    timeout: float
    trust: Trust = MACHINE_TRUST
    asked: dict[Question, asyncio.Task[Answer | Stopped]] = field(default_factory=dict)

    async def answer(self, question: Question) -> Answer:
        """Return the answer, which may be that the name does not exist or has no such record.

        Raises:
            Failed, Inconclusive: as `ask` does, and for any rcode but NOERROR and NXDOMAIN.

        """
        if question not in self.asked:
            self.asked[question] = self.group.create_task(self._ask(question))
        answer = await self.asked[question]
        if isinstance(answer, Stopped):
            raise answer
        return answer

    async def _ask(self, question: Question) -> Answer | Stopped:
        """Ask, and return a failure rather than raise it, because a task that raises ends its group."""
        try:
            with apart(self.ctx) as beside:
                answer = await ask(beside, self.server, question, timeout=self.timeout, trust=self.trust)
            if answer.rcode != "NXDOMAIN":
                require_rcode(self.server, question, answer)
        except Stopped as stopped:
            return stopped
        return answer
