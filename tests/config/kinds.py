"""Two kinds with every shape that settings can have, so that messages are tested apart from the real kinds."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import File, Layer, Place, Probe, Secret, Settings, Workload, always


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


class Family(StrEnum):
    """Kinds of address."""

    ANY = "any"
    IPV4 = "ipv4"


class Trust(Settings):
    """Whom to trust."""

    ca_file: File | None = None
    """File in a block."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """Version."""
    password: Secret | None = None
    """Secret in a block."""


class ViaGraph(Settings):
    """One way."""

    via: Literal["graph"]
    """Which."""
    mailbox: str
    """Whose."""


class ViaSmtp(Settings):
    """Another way."""

    via: Literal["smtp"]
    """Which."""
    host: str
    """Where."""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    """Port."""


class Turn(Settings):
    """One turn of a dialogue."""

    send: str | None = None
    """Said."""
    expect: Annotated[str, AfterValidator(_regex)] | None = None
    """Heard."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.send is None and self.expect is None:
            raise ValueError("one of send, expect is needed")
        return self


class Watch(Settings):
    """Everything."""

    host: Annotated[str, Field(min_length=1)]
    """Required."""
    port: Annotated[int, Field(ge=1, le=65535)] = 80
    """Bounded."""
    ratio: Annotated[float, Field(gt=0)] | None = None
    """Number."""
    record: Literal["A", "AAAA", "MX"] = "A"
    """Choice."""
    family: Family = Family.ANY
    """Enumeration."""
    resolvers: Annotated[tuple[str, ...], Field(min_length=1)] = ("system",)
    """List."""
    tls: bool | Trust = False
    """Union of a word and a block."""
    send: Annotated[ViaGraph | ViaSmtp, Field(discriminator="via")] | None = None
    """Union with a discriminator."""
    dialogue: tuple[Turn, ...] = ()
    """List of blocks."""
    password: Secret | None = None
    """Secret."""
    files: tuple[File, ...] = ()
    """List of files."""
    headers: dict[str, Secret | str] = Field(default_factory=dict)
    """Block with keys of the user's own."""
    follow: bool = False
    """Switch."""


class Ping(Settings):
    """Almost nothing."""

    host: str
    """Required."""


async def run(_ctx: Context, _settings: Settings) -> None:
    """Do nothing: these kinds are only configured."""


def _place(_settings: Settings) -> Place:
    return Place(Layer.PATH, Workload.NETWORK)


KINDS: dict[str, Probe[Any]] = {
    "ping": Probe(run, Ping, _place, steps=("ping",)),
    "watch": Probe(run, Watch, _place, steps=("look",), interval=300.0, floor=10.0),
    "wait": Probe(run, Ping, _place, steps=("wait",), timeout=60.0, least_timeout=30.0),
    "letter": Probe(run, Ping, _place, steps=("send",), remembers=always),
    "sign_in": Probe(run, Ping, _place, steps=("token",), tenant=always),
}
