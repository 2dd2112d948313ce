"""One simulated tenant: who is in it, what time it is there, where its hosts listen, and what is wrong with it.

Each area of the tenant keeps its own state behind `World.of`, so that no area knows another's, and a test makes a world of its own.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import NAMESPACE_DNS, UUID, uuid5

from agent.drill.faults import Faults

HOSTS = (
    "login",
    "graph",
    "exchange",
    "files",
    "endpoints",
    "metadata",
    "admin",
    "purview",
    "security",
    "exchange-admin",
    "teams-admin",
    "entra",
    "office",
    "teams",
)
"""Every host of the tenant that speaks HTTP. `files` gives pre-authenticated downloads, `metadata` is what a machine in Azure asks; at
`teams` meetings are joined."""
PLAIN = frozenset({"metadata", "control"})
"""Hosts without TLS: Azure's metadata service is plain HTTP by its nature, and so is the page that is not Microsoft's."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Person:
    """One of the tenant's people."""

    id: str
    upn: str
    name: str
    mail: str


def _id(name: str) -> str:
    """Make an identifier that is the same in every world, so that a configuration written for one fits the next."""
    return str(uuid5(NAMESPACE_DNS, f"{name}.contoso.example"))


def _person(local: str, name: str) -> Person:
    return Person(_id(local), f"{local}@contoso.example", name, f"{local}@contoso.example")


class World:
    """A simulated tenant. `clock` gives Unix seconds; the same seed gives the same chance.

    `region` is where faults find it; an outage may move that. `home` is where its data lie, and stays.
    """

    tenant_id: str = _id("tenant")
    domain: str = "contoso.example"
    app_id: str = _id("app")

    def __init__(self, *, clock: Callable[[], float] = time.time, seed: int = 1, region: str = "na") -> None:
        self.now = clock
        self.seed = seed
        self.region = self.home = region
        # The seed makes runs repeatable: nothing here is a key.
        self.random = random.Random(seed)  # noqa: S311
        self.secret = f"drill~{UUID(int=random.Random(f'secret{seed}').getrandbits(128))}"  # noqa: S311 - the app of a make-believe tenant
        self.people: tuple[Person, ...] = (
            _person("probe1", "Probe One"),
            _person("probe2", "Probe Two"),
            _person("adele", "Adele Vance"),
            _person("alex", "Alex Wilber"),
        )
        self.faults = Faults(clock, seed)
        self._ports: dict[str, int] = {}
        self._states: dict[type[Any], Any] = {}

    def of(self, kind: type[T]) -> T:
        """Give this world's one value of an area's state, made as `kind(world)` when it is first asked for."""
        if kind not in self._states:
            self._states[kind] = cast("Callable[[World], T]", kind)(self)
        return cast("T", self._states[kind])

    def person(self, who: str) -> Person | None:
        """Find somebody by id or user principal name, in any case of letters."""
        wanted = who.lower()
        return next((person for person in self.people if wanted in (person.id, person.upn.lower())), None)

    def listens(self, host: str, port: int) -> None:
        """Note the port on which a host listens."""
        self._ports[host] = port

    def has(self, host: str) -> bool:
        """Whether this host listens."""
        return host in self._ports

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that listen, in the order of their start."""
        return tuple(self._ports)

    def address(self, host: str) -> str:
        """HOST:PORT of one of `HOSTS`.

        Raises:
            KeyError: where that host was not started.

        """
        return f"localhost:{self._ports[host]}"

    def url(self, host: str, path: str = "") -> str:
        """Absolute address of a path on one of `HOSTS`; `path` begins with a slash or is empty."""
        return f"{'http' if host in PLAIN else 'https'}://{self.address(host)}{path}"
