"""Servers that answer by path, and one run of the http kind as the agent would do it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Failed, Inconclusive, Run, Secret
from probes.core.reasons import Reason
from probes.http import PROBE, HttpCheck
from tests.fakes import hostile
from tests.fakes.certificates import ca_file, server_context

TRUST = {"ca_file": ca_file()}


async def lookup(host: str, family: int) -> tuple[str, ...]:
    if host in {"localhost", "other.test"}:
        return ("::1",) if family == socket.AF_INET6 else ("127.0.0.1",)
    if host == "silent.test":
        await asyncio.get_running_loop().create_future()
    raise Failed(Reason.DNS_NXDOMAIN, f"{host} does not exist")


def read(secret: Secret) -> str:
    if secret.env == "GONE":
        raise Inconclusive(Reason.AGENT_RESOURCES, "GONE is not set")
    return secret.env or ""


async def run_url(url: str, *, deadline: float = 5.0, environ: tuple[tuple[str, str], ...] = (), **settings: Any) -> Run:
    check = HttpCheck(url=url, **settings)
    job = Job("page", "http", PROBE, check, 60.0, deadline, PROBE.place(check))
    return await run_once(job, Shared(lookup, read, environ))


async def run(server: hostile.Server, scheme: str = "http", path: str = "/", **settings: Any) -> Run:
    async with server as (host, port):
        return await run_url(f"{scheme}://{host}:{port}{path}", **settings)


def measured(run: Run) -> dict[str, float]:
    return {sample.name: sample.value for sample in run.measured}


def phases(run: Run, step: str = "request") -> list[str]:
    return [name for one in run.steps if one.name == step for name, _ in one.phases]


@dataclass(slots=True)
class Site:
    """A server that answers by path, and keeps what it was asked."""

    origin: str = ""
    asked: list[str] | None = None


@asynccontextmanager
async def site(tls: bool = False, **pages: bytes) -> AsyncIterator[Site]:  # noqa: FBT001, FBT002 - reads well where it is used
    """Serve whole answers by path; in them, `{origin}` stands for this server."""
    found = Site(asked=[])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
        assert found.asked is not None
        found.asked.append(head + (await reader.readexactly(length)).decode())
        page = pages.get(head.split(" ")[1].strip("/") or "root", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.write(page.replace(b"{origin}", found.origin.encode()))

    async with hostile.serving(talk, server_context() if tls else None) as (_, port):
        found.origin = f"{'https' if tls else 'http'}://localhost:{port}"
        yield found


def answer(body: bytes = b"", status: bytes = b"200 OK", **headers: str) -> bytes:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()).encode()
    return b"HTTP/1.1 " + status + b"\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body


def to(location: str, status: bytes = b"302 Found") -> bytes:
    return answer(status=status, Location=location)
