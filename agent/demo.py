"""The simulated tenant on this machine, alone (`fogbell tenant`) or watched by an agent (`fogbell demo`), and an outage if wanted.

The agent is a process of its own, as it will be in production, so that the tenant takes no time from its loop and its numbers stay true.
"""

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent.address import Address, written
from agent.drill.outage import Outage
from agent.drill.outage import written as written_faults

if TYPE_CHECKING:
    from agent.drill.tenant import Tenant

_READY_SECONDS = 30.0
_STOP_SECONDS = 4.5
"""The agent ends sooner when told to; one that does not is killed, so that all is over within 5 s."""
_HEALTHY_SECONDS = 15.0
"""How long all is well before an outage."""
_PLAY_SECONDS = 180.0
"""How long an outage takes when no speed is asked for."""
_WHOLE = 10.0
"""Speed from which its fraction is not worth reading."""


class DemoError(Exception):
    """The demo cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Show:
    """What is to be seen: which outage, if any, how many times as fast as it was, and for how many seconds; None leaves it open."""

    outage: Outage | None = None
    speed: float | None = None
    seconds: float | None = None

    @property
    def pace(self) -> float:
        """How many times as fast as it was."""
        return self.speed or max(1.0, self.outage.minutes * 60 / _PLAY_SECONDS if self.outage else 1.0)


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent's process, and the task that ends when it does."""

    process: "subprocess.Popen[bytes]"
    ended: asyncio.Task[int]


async def demo(show: Show, listen: Address) -> int:
    """Run tenant and agent until told to stop, and return the exit status: 0, or the agent's own where it ended first.

    Raises:
        DemoError: where the page's address cannot be used or a package is missing.

    """
    _refuse_taken_address(listen)
    stopped = _stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="fogbell-demo-", ignore_cleanup_errors=True) as folder:
        async with _tenant(Path(folder)) as tenant, _agent(tenant.config, listen) as agent:
            if await _answers(agent, listen):
                _begin(tenant, show)
                typer.echo(_welcome(tenant, listen, show))
            status = await _first_of(agent, stopped, show.seconds)
            typer.echo("".join(_unnoticed(tenant, show)), nl=False)
    typer.echo(f"The agent ended by itself with status {status}." if status else "The demo has ended and left nothing behind.")
    return status


async def alone(show: Show, folder: Path | None) -> None:
    """Run the tenant without an agent until told to stop. Its files are in `folder`, or in one that goes when it ends.

    Raises:
        DemoError: where the folder cannot be used or a package is missing.

    """
    stopped = _stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="fogbell-tenant-", ignore_cleanup_errors=True) as temporary:
        place = folder or Path(temporary)
        try:
            place.mkdir(parents=True, exist_ok=True)
            async with _tenant(place) as tenant:
                _begin(tenant, show)
                typer.echo(_introduction(tenant, show))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), show.seconds)
        except OSError as error:
            raise DemoError(f"the tenant cannot run in {place}: {error.strerror or error}") from error
    typer.echo("The tenant has ended." if folder else "The tenant has ended and left nothing behind.")


def _begin(tenant: "Tenant", show: Show) -> None:
    """Let the outage come, after a while in which all is well."""
    from agent.drill.tenant import play  # noqa: PLC0415 - see _tenant

    if show.outage:
        play(tenant.world, show.outage, tenant.world.now() + _HEALTHY_SECONDS, show.pace)


def _refuse_taken_address(listen: Address) -> None:
    """Find out before anything starts, so that the message is the only thing on the screen."""
    try:
        with socket.create_server(listen, family=socket.AF_INET6 if ":" in listen[0] else socket.AF_INET):
            pass
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else str(error)
        raise DemoError(f"cannot listen on {written(listen)}: {cause}. Choose another address with --listen HOST:PORT") from error


def _stop_on_signals() -> asyncio.Event:
    """Give an event that Ctrl-C and SIGTERM set. Windows has no such signals in asyncio; there Ctrl-C cancels the demo."""
    stopped = asyncio.Event()
    with suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


@asynccontextmanager
async def _tenant(folder: Path) -> AsyncIterator["Tenant"]:
    """Start the other side. Its packages come with fogbell[drill] alone, so they are asked for here."""
    try:
        from agent.drill.tenant import tenant  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DemoError(f"this needs the package {error.name}: install fogbell with its extra, pip install 'fogbell[drill]'") from error
    async with tenant(folder) as running:
        yield running


@asynccontextmanager
async def _agent(config: Path, listen: Address) -> AsyncIterator[Agent]:
    """Run the agent while the block runs; its log goes where ours goes."""
    command = [sys.executable, "-m", "agent", "run", "--config", str(config), "--listen", written(listen)]
    # Not asyncio's subprocesses: the event loop that the agent needs on Windows has none.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603, ASYNC220 - our own command line, and started once
    ended = asyncio.create_task(asyncio.to_thread(process.wait))
    try:
        yield Agent(process, ended)
    finally:
        process.terminate()
        _, late = await asyncio.wait({ended}, timeout=_STOP_SECONDS)
        if late:
            process.kill()
        await ended


async def _answers(agent: Agent, listen: Address) -> bool:
    """Wait until the page can be opened; False where the agent ended first or does not come up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_SECONDS):
            while not agent.ended.done():
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(*listen)
                    writer.close()
                    return True
                await asyncio.sleep(0.1)  # nothing tells when another process listens
    return False


async def _first_of(agent: Agent, stopped: asyncio.Event, seconds: float | None) -> int:
    """Wait for the agent's end, a signal, or the end of time, whichever comes first."""
    told = asyncio.create_task(stopped.wait())
    await asyncio.wait({agent.ended, told}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    return agent.ended.result() if agent.ended.done() and not stopped.is_set() else 0


def _welcome(tenant: "Tenant", listen: Address, show: Show) -> str:
    """Say what runs, where to look, what will happen, and how to stop."""
    lines = [
        "",
        f"Fogbell is watching a simulated Microsoft 365 tenant on this machine. Open http://{written(listen)}/",
        f"Its configuration: {tenant.config}",
        *_programme(show),
        _end(show),
        "",
    ]
    return "\n".join(lines)


def _introduction(tenant: "Tenant", show: Show) -> str:
    """Say where everything is, and how to get a token."""
    hosts = [f"  {host:<15} {tenant.world.url(host)}" for host in tenant.world.hosts]
    lines = [
        "",
        "A simulated Microsoft 365 tenant is running on this machine. Only this machine can reach it.",
        *hosts,
        f"  {'name server':<15} 127.0.0.1:{tenant.dns} (UDP and TCP)",
        f"  {'MX':<15} 127.0.0.1:{tenant.mx} (SMTP, takes mail for the people below)",
        f"  {'submission':<15} 127.0.0.1:{tenant.submission} (SMTP with STARTTLS and XOAUTH2)",
        f"  {'IMAP':<15} 127.0.0.1:{tenant.imap} (TLS, XOAUTH2)",
        f"  {'media relay':<15} 127.0.0.1:{tenant.relay} (UDP, STUN)",
        "",
        f"Authority to trust:   {tenant.ca_file}",
        f"Client secret:        {tenant.secret_file}",
        f"Ready configuration:  {tenant.config}",
        f"Tenant ID:            {tenant.world.tenant_id}",
        f"Client ID of the app: {tenant.world.app_id}",
        "People and their object IDs; ids of a team and a chat are in the ready configuration:",
        *(f"  {person.mail:<24} {person.id}" for person in tenant.world.people),
        "",
        "Get a token:",
        f"  {_curl(tenant)}",
        "Sign a person in who has got a code, such as by `fogbell login`; write theirs for CODE:",
        f"  {_confirmation(tenant)}",
        "Watch it with Fogbell:",
        f"  fogbell run --config {shlex.quote(str(tenant.config))}",
        "",
        *_programme(show),
        _end(show),
        "",
    ]
    return "\n".join(lines)


def _curl(tenant: "Tenant") -> str:
    """Write a command line that gets a token; the secret is read from its file and stands nowhere."""
    world = tenant.world
    words = ["curl", "-sS", "--cacert", str(tenant.ca_file), "-d", "grant_type=client_credentials", "-d", f"client_id={world.app_id}"]
    words += ["--data-urlencode", f"client_secret@{tenant.secret_file}", "-d", "scope=https://graph.microsoft.com/.default"]
    return shlex.join([*words, world.url("login", f"/{world.tenant_id}/oauth2/v2.0/token")])


def _confirmation(tenant: "Tenant") -> str:
    """Write a command line that confirms a device code as the first of the tenant's people would in their browser."""
    words = ["curl", "-sS", "--cacert", str(tenant.ca_file), "-d", "otc=CODE", "-d", f"user={tenant.world.people[0].upn}"]
    return shlex.join([*words, "-d", "action=continue", tenant.world.url("login", "/common/oauth2/deviceauth")])


def _programme(show: Show) -> list[str]:
    """Say what will happen when."""
    if show.outage is None:
        return ["All of it is well and stays so; --outage R01 plays the outage of January 2026."]
    outage, second = show.outage, 60 / show.pace
    lines = [
        f"All is well for {_HEALTHY_SECONDS:.0f} s. Then comes {outage.id}, {_times(show.pace)} times as fast as it was:",
        f"  {outage.title}",
    ]
    for phase in outage.phases:
        after = _HEALTHY_SECONDS + (phase.first - outage.begins) * second
        lines.append(f"  after {after:4.0f} s, for {(phase.until - phase.first) * second:4.0f} s: {phase.what}")
    return [*lines, f"  after {_HEALTHY_SECONDS + outage.minutes * second:4.0f} s: all is well again"]


def _unnoticed(tenant: "Tenant", show: Show) -> list[str]:
    """Say which faults nothing in the demo came across, because what they break is asked for by none of its probes."""
    lines = written_faults(show.outage) if show.outage else ()
    unmet = [lines[number] for number in tenant.world.faults.unmet() if number < len(lines)]
    return ["Nothing in the demo came across these faults:\n", *(f"  {line}\n" for line in unmet)] if unmet else []


def _times(pace: float) -> str:
    return f"{pace:,.0f}" if pace >= _WHOLE else f"{pace:g}"


def _end(show: Show) -> str:
    return f"It ends after {show.seconds:g} s, or with Ctrl-C." if show.seconds else "Stop it with Ctrl-C."
