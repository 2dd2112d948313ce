"""The agent at work without a tenant: servers on loopback that break and recover by a story, a configuration, and a page.

The agent is a process of its own, as it will be in production, so that the servers take no time from its loop and its numbers stay true.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

import typer

from agent.address import Address, written
from agent.drill import contoso
from agent.drill.mail import serve_greeting
from agent.drill.nameserver import serve_names
from agent.drill.story import DEMO, Effect, Story, effect_on
from agent.drill.web import serve_pages

_READY_SECONDS = 30.0
_STOP_SECONDS = 7.0
"""The agent promises to end within 5 s of SIGTERM."""


class DemoError(Exception):
    """The demo cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent's process, and the task that ends when it does."""

    process: "subprocess.Popen[bytes]"
    ended: asyncio.Task[int]


async def demo(seconds: float | None, listen: Address) -> int:
    """Run servers and agent for `seconds`, or until told to stop, and return the exit status: 0, or the agent's own where it ended first.

    Raises:
        DemoError: where the page's address cannot be used or a package is missing.

    """
    _refuse_taken_address(listen)
    stopped = _stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="fogbell-demo-", ignore_cleanup_errors=True) as folder:
        async with _servers(Path(folder), DEMO) as config, _agent(config, listen) as agent:
            if await _answers(agent, listen):
                typer.echo(_welcome(config, listen, seconds, DEMO))
            status = await _first_of(agent, stopped, seconds)
    typer.echo(f"The agent ended by itself with status {status}." if status else "The demo has ended and left nothing behind.")
    return status


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
async def _servers(folder: Path, story: Story) -> AsyncIterator[Path]:
    """Start the other side, and give the file of a configuration that watches it."""
    began = time.monotonic()

    def faults(target: str) -> Effect | None:
        return effect_on(story, target, time.monotonic() - began)

    try:
        from agent.drill.authority import contoso_certificates  # noqa: PLC0415 - trustme comes with fogbell[drill] alone
    except ModuleNotFoundError as error:
        raise DemoError(f"the demo needs the package {error.name}: install fogbell with its extra, pip install 'fogbell[drill]'") from error
    authority, web_tls, mail_tls = contoso_certificates(folder)
    async with AsyncExitStack() as stack:
        ports = {
            "dns": await stack.enter_async_context(serve_names(contoso.ZONE, faults)),
            "http": await stack.enter_async_context(serve_pages(contoso.CONTROL_PAGES)),
            "https": await stack.enter_async_context(serve_pages(contoso.PAGES, faults, web_tls)),
            "smtp": await stack.enter_async_context(serve_greeting(contoso.MAIL_HOST, mail_tls)),
        }
        yield _write_configuration(folder, authority, ports)


def _write_configuration(folder: Path, authority: Path, ports: dict[str, int]) -> Path:
    """Fill the shipped configuration in and return its file."""
    template = Template((resources.files("agent.drill") / "demo.yml").read_text(encoding="utf-8"))
    config = folder / "demo.yml"
    config.write_text(template.substitute(ports, folder=folder.as_posix(), authority=authority.as_posix()), encoding="utf-8")
    return config


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


def _welcome(config: Path, listen: Address, seconds: float | None, story: Story) -> str:
    """Say what runs, where to look, what will happen, and how to stop."""
    lines = [
        "",
        f"Fogbell is watching a make-believe company on this machine. Open http://{written(listen)}/",
        f"Its configuration: {config}",
        "What will break, and recover on its own:",
        *(f"  after {fault.first:3.0f} s, for {fault.lasts:.0f} s, every {fault.every:.0f} s: {fault.what}" for fault in story),
        f"It ends after {seconds:g} s, or with Ctrl-C." if seconds else "Stop it with Ctrl-C.",
        "",
    ]
    return "\n".join(lines)
