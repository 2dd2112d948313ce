"""The way through an HTTP proxy: its connection, and CONNECT (RFC 9110 9.3.6), spoken line by line.

Not a byte is read beyond the proxy's answer: what comes behind it is the target's, and mail servers speak first.
"""

import re
import socket
from http import HTTPStatus

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.core.text import shown
from probes.lib.connect import connect
from probes.lib.proxy import Route
from probes.lib.wire import Wire

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: |$)")
_LINE_BYTES = 8192
_LINES = 200
# Of a header, and of how many interim answers may come before the one that counts.


async def reach(ctx: Context, route: Route, family: int = socket.AF_UNSPEC) -> Wire:
    """Connect to the proxy.

    Raises:
        Failed: PROXY_UNREACHABLE.
        Inconclusive: where this machine lacks what the run needs.

    """
    ctx.evidence("proxy", route)
    try:
        return await connect(ctx, route.host, route.port, family=family)
    except Failed as error:
        raise Failed(Reason.PROXY_UNREACHABLE, f"the proxy {route}: {error.message}") from error


async def tunnel(ctx: Context, route: Route, target: str, agent: str, family: int = socket.AF_UNSPEC) -> Wire:
    """Open a connection to `target`, written host:port, through the proxy. Whatever the proxy answers is its word, never the target's.

    `agent` is what we call ourselves; `family` is the kind of the proxy's address.

    Raises:
        Failed: PROXY_UNREACHABLE, PROXY_AUTH, PROXY_REFUSED.
        Inconclusive: where this machine lacks what the run needs.

    """
    wire = await reach(ctx, route, family)
    try:
        with ctx.phase("proxy"):
            fields = (("Host", target), ("User-Agent", agent), *route.headers)
            wire.write("".join((f"CONNECT {target} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in fields), "\r\n")).encode())
            status = await _answered(wire, route)
            ctx.evidence("proxy_status", status)
            _judge(route, status)
    except BaseException:
        wire.close()
        raise
    return wire


async def _answered(wire: Wire, route: Route) -> int:
    """Read the answer, and return its status."""
    try:
        while (status := await _head(wire)) < HTTPStatus.OK:
            pass
    except Failed as error:
        raise Failed(Reason.PROXY_UNREACHABLE, f"the proxy {route} did not answer CONNECT: {error.message}") from error
    return status


async def _head(wire: Wire) -> int:
    first = await wire.read_line(_LINE_BYTES)
    found = _STATUS.match(first)
    if found is None:
        raise Failed(Reason.PROTOCOL_ERROR, f"the answer is not HTTP/1.1: {shown(first[:100].decode('latin-1'))!r}")
    for _ in range(_LINES):
        if not await wire.read_line(_LINE_BYTES):
            return int(found[1])
    raise Failed(Reason.PROTOCOL_ERROR, f"the header is longer than {_LINES} lines")


def _judge(route: Route, status: int) -> None:
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise Failed(Reason.PROXY_AUTH, f"the proxy {route} asks for a login", code="407")
    if status // 100 != 2:  # noqa: PLR2004 - 2xx
        raise Failed(Reason.PROXY_REFUSED, f"the proxy {route} answers CONNECT with {status}", code=str(status))
