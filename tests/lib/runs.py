"""What tests of the library share: a context, and both event loops."""

import asyncio
import gc
import inspect
import os
import resource
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import uvloop

from probes.core.context import Context, OpenStep, Shared
from probes.core.contract import Secret
from probes.lib.resolve import SystemResolver
from tests.fakes import hostile


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on asyncio's loop and on uvloop's."""

    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **given: object) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test(**given))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    factory = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    vars(run)["__signature__"] = inspect.Signature([*inspect.signature(test).parameters.values(), factory])
    marks = getattr(test, "pytestmark", [])
    run_on = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    vars(run)["pytestmark"] = marks
    return run_on(run)


def _secret(secret: Secret) -> str:
    return secret.inline or ""


def context(environ: tuple[tuple[str, str], ...] = ()) -> Context:
    """Return a context with an open step `request`, so that phases have a place."""
    ctx = Context("probe", Shared(SystemResolver(), _secret, environ))
    ctx.open_steps.append(OpenStep("request", perf_counter()))
    return ctx


def phases(ctx: Context) -> list[str]:
    """Return names of the phases that ran."""
    return list(ctx.open_steps[-1].phases)


def open_sockets() -> int:
    """Count sockets of this process; whatever garbage holds is let go of first."""
    gc.collect()
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(entry).startswith("socket:")  # noqa: PTH115 - a socket is no path
        except FileNotFoundError:
            continue
    return found


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Make every attempt to open a file or socket fail while the block runs."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, limits[0]), limits[1]))
        try:
            while True:
                held.enter_context(socket.socket())
        except OSError:
            yield


def alerting(context: ssl.SSLContext) -> hostile.Server:
    """Serve TLS handshakes and say, as real servers do, why one fails. asyncio's own server keeps its alerts to itself."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        with suppress(ssl.SSLError):
            while received := await reader.read(65536):
                incoming.write(received)
                with suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                writer.write(outgoing.read())
        writer.write(outgoing.read())
        await reader.read()

    return hostile.serving(talk)
