"""All bad servers at once, in a process of their own, so that what they do costs the agent under test nothing but its own work.

`python -m tests.fakes.storm NAME…` starts those named, prints one line of JSON (name to address, and where the authority's certificate is),
and ends when its standard input does.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from tests.fakes import hostile
from tests.fakes import nameserver as ns
from tests.fakes.certificates import Flaw, ca_file
from tests.fakes.scripted import plays

GOOD_ZONE = ns.zone("www.example.com. 300 A 192.0.2.1\n")


def _name_server(behave: ns.Behaviour) -> Callable[[], hostile.Server]:
    @asynccontextmanager
    async def started() -> AsyncIterator[hostile.Address]:
        async with ns.name_server(behave) as server:
            yield ns.LOOPBACK, server.port

    return started


SERVERS: dict[str, Callable[[], hostile.Server]] = {
    "page": hostile.page,
    "good names": _name_server(GOOD_ZONE),
    "refuses": hostile.refuses,
    "drops": hostile.drops,
    "silent": hostile.says_nothing,
    "drips": partial(hostile.drips, hostile.HEADER, 0.05),
    "resets at once": hostile.resets_at_once,
    "resets in header": hostile.resets_in_header,
    "resets in body": hostile.resets_in_body,
    "closes in body": partial(hostile.closes_after, hostile.HEADER + b"\r\n" + b"x" * 500),
    "garbage": hostile.garbage,
    "endless body": hostile.endless_body,
    "endless header": hostile.endless_header,
    "gzip bomb": hostile.gzip_bomb,
    "endless redirects": hostile.endless_redirects,
    **{flaw: partial(hostile.tls_page, flaw) for flaw in Flaw},
    "tls stalls": hostile.tls_stalls,
    "tls resets in handshake": hostile.tls_resets_in_handshake,
    "tls resets in record": hostile.tls_resets_in_record,
    "proxy refuses": hostile.proxy_refuses,
    "proxy wants login": partial(hostile.proxy, "user:password"),
    "proxy breaks off": hostile.proxy_breaks_off,
    "proxy breaks off later": partial(hostile.proxy_breaks_off, answered=True),
    "endless greeting": partial(hostile.endless, b"", b"220-more\r\n" * 100),
    "deferring greeting": partial(plays, "S: 421 4.3.2 Service not available"),
    "servfail": _name_server(ns.rcode("SERVFAIL")),
    "nxdomain": _name_server(ns.rcode("NXDOMAIN")),
    "silent names": _name_server(ns.silent),
    "truncated": _name_server(ns.truncated(GOOD_ZONE, everywhere=True)),
    "garbage names": _name_server(ns.garbage),
    "foreign answers": _name_server(ns.someone_elses_question(GOOD_ZONE)),
    "ten thousand records": _name_server(ns.many_records(4000, announced=10_000)),
}
"""What can be started, by name."""


async def _serve(names: list[str]) -> None:
    async with AsyncExitStack() as stack:
        addresses = {name: await stack.enter_async_context(SERVERS[name]()) for name in names}
        print(json.dumps({"addresses": addresses, "ca_file": ca_file()}), flush=True)  # noqa: T201 - what it is for
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1:]))
