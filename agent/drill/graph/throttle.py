"""Limits that throttle, service by service: requests in a span of time, and requests at once.

The figures are Microsoft's (https://learn.microsoft.com/en-us/graph/throttling-limits), for a tenant below 50 people, and for SharePoint
below 1,000 licences. A span counts from a multiple of itself, which is simpler than Microsoft's sliding windows and as strict on average.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.drill.graph.frame import Call, GraphError, Operation
from agent.drill.world import World

_NEARLY = 0.8
"""Share of a limit from which the directory says how near it is."""


def _everything(_call: Call) -> str:
    return ""


def _mailbox(call: Call) -> str:
    return call.path.get("user-id") or call.caller.user_id or ""


def _team(call: Call) -> str | None:
    return call.path.get("team-id")


def _organizer(call: Call) -> str | None:
    """Whose new meeting a call makes; looking at meetings and calling them off counts for nothing."""
    return _mailbox(call) if call.method == "POST" else None


@dataclass(frozen=True, slots=True)
class Span:
    """At most `units` in each span of `seconds`, per app and, where `by` tells things apart, per thing; what is None is not counted."""

    units: int
    seconds: float
    by: Callable[[Call], str | None] = _everything


@dataclass(frozen=True, slots=True)
class Limit:
    """What a service allows. `takes` is the least time in seconds that a request is being served, during which it counts as running."""

    spans: tuple[Span, ...] = ()
    at_once: int | None = None
    takes: float = 0.0


_GLOBAL = "global"

LIMITS: Mapping[str, Limit] = {
    _GLOBAL: Limit((Span(130_000, 10),)),
    "outlook": Limit((Span(10_000, 600, _mailbox),), at_once=4, takes=0.02),
    "teams": Limit((Span(30, 1), Span(4, 1, _team))),
    "presence": Limit((Span(1_500, 30),)),
    "service_health": Limit((Span(240, 60), Span(800, 3_600))),
    "security": Limit((Span(150, 60),)),
    "ediscovery": Limit((Span(5, 60),)),
    "hunting": Limit((Span(45, 60), Span(1_500, 3_600))),
    "directory": Limit((Span(3_500, 10),)),
    "files": Limit((Span(1_200, 60), Span(1_200_000, 86_400))),
    "meetings": Limit((Span(2_000, 2_592_000, _organizer),)),
}
"""Limits by service, in the service's own units."""

_REFUSALS = {
    "outlook": ("ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
    "files": ("activityLimitReached", "The request has been throttled."),
}
"""Code and message of a 429, by service."""


def units(operation: Operation, call: Call) -> int:
    """Give what a call costs in resource units: the directory and SharePoint count these, the rest counts calls."""
    if operation.service == "directory":
        return max(1, (2 if operation.template.startswith("/users") else 1) - ("$select" in call.query))
    if operation.service == "files":
        return 1 if operation.name in ("file_metadata", "file_download") else 2
    return 1


class Throttle:
    """Counts the calls of one world. A test makes its `limits` small."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.limits = dict(LIMITS)
        self._used: dict[tuple[str, str, Span, str], tuple[int, int]] = {}
        self._running: Counter[tuple[str, str]] = Counter()

    @asynccontextmanager
    async def admitted(self, operation: Operation, call: Call) -> AsyncIterator[dict[str, str]]:
        """Let a call in while the block runs, and give the headers that tell how near the limit is.

        Raises:
            GraphError: 429 with Retry-After. A refused call counts as well, as it does with Microsoft.

        """
        limit = self.limits.get(operation.service, Limit())
        for service, spans in ((_GLOBAL, self.limits.get(_GLOBAL, Limit()).spans), (operation.service, limit.spans)):
            fullest = self._count(service, spans, units(operation, call), operation, call)
        running = (operation.service, call.caller.app_id)
        if limit.at_once is not None and self._running[running] >= limit.at_once:
            raise self._refusal(operation, call, 1)
        self._running[running] += 1
        try:
            await asyncio.sleep(limit.takes)
            yield _nearness(operation, call, fullest)
        finally:
            self._running[running] -= 1

    def _count(self, service: str, spans: tuple[Span, ...], cost: int, operation: Operation, call: Call) -> float:
        """Count the call in all spans, and give the share used of the fullest."""
        now, fullest, wait = self._world.now(), 0.0, 0.0
        for span in spans:
            thing = span.by(call)
            if thing is None:
                continue
            key = (service, call.caller.app_id, span, thing)
            number = int(now // span.seconds)
            before, used = self._used.get(key, (number, 0))
            used = cost + (used if before == number else 0)
            self._used[key] = (number, used)
            fullest = max(fullest, used / span.units)
            wait = max(wait, (number + 1) * span.seconds - now if used > span.units else 0.0)
        if wait:
            raise self._refusal(operation, call, math.ceil(wait))
        return fullest

    def _refusal(self, operation: Operation, call: Call, seconds: int) -> GraphError:
        """Make the 429; the directory says whose limit it was."""
        code, message = _REFUSALS.get(operation.service, ("TooManyRequests", "Too many requests."))
        headers = {"Retry-After": str(max(1, seconds))}
        if operation.service == "directory":
            kind = "Read" if operation.method == "GET" else "Write"
            headers["x-ms-throttle-scope"] = f"Tenant_Application/{kind}/{call.caller.app_id}/{self._world.tenant_id}"
            headers["x-ms-throttle-information"] = "ResourceUnitLimitExceeded"
        return GraphError(429, code, message, headers=headers)


def _nearness(operation: Operation, call: Call, used: float) -> dict[str, str]:
    """Say what a call of the directory cost and, from four fifths on, how much of the limit is used."""
    if operation.service != "directory":
        return {}
    near = {"x-ms-throttle-limit-percentage": f"{used:.1f}"} if used > _NEARLY else {}
    return {"x-ms-resource-unit": str(units(operation, call)), **near}
