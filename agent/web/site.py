"""What the pages need from the rest of the agent, handed in as one value."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from agent.history import History
from agent.job import Job
from agent.web.feed import Feed


class Exposition(Protocol):
    """A finished scrape."""

    @property
    def content_type(self) -> str:
        """Value of the Content-Type header."""
        ...

    @property
    def encoding(self) -> str:
        """Value of the Content-Encoding header; empty for none."""
        ...

    @property
    def chunks(self) -> Sequence[bytes]:
        """The body."""
        ...


@dataclass(frozen=True, slots=True)
class LastReload:
    """How the last attempt to load the configuration went. `when` is Unix time; `mistakes` are lines for people."""

    ok: bool
    when: float
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a reader may take, in seconds, and how often a quiet stream shows that it lives."""

    send_seconds: float = 60.0
    """For one whole answer."""
    stall_seconds: float = 10.0
    """Without reading a block of 64 kB."""
    heartbeat_seconds: float = 15.0
    streams: int = 20
    """Readers of the run stream at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The agent as its pages see it. Times are Unix seconds."""

    history: History
    jobs: Callable[[], tuple[Job, ...]]
    """The probes configured now; the same tuple as long as nothing changed."""
    metrics: Callable[[str, str], Awaitable[Exposition]]
    """Makes a scrape for the values of Accept and Accept-Encoding."""
    config_text: Callable[[], str]
    """The configuration as YAML, secrets masked."""
    ready: Callable[[], bool]
    last_reload: Callable[[], LastReload]
    reload: Callable[[], Awaitable[list[str]]] | None
    """Loads the configuration anew and returns the mistakes; None where reloading over HTTP is not enabled."""
    feed: Feed
    started: float
    version: str
    clock: Callable[[], float]
    limits: Limits = field(default_factory=Limits)


SITE = web.AppKey("site", Site)
"""Where an application keeps its site."""
