"""Outages as data: who is hit, by what, from when until when. Anyone can write the next one in YAML, without code.

```yaml
id: X01_search_is_down
title: Search answers 503
phases:
  - {from: 0, until: 30, what: half of all searches fail, faults: [{http: 503, operations: [search], share: 0.5}]}
```

Times are minutes from the start of the impact, and may be negative for what went before. Each fault names one effect (`http`, `latency`,
`drip`, `tcp`, `tls`, `token`, `dns`, `smtp`, `mail`, `partial`, `status_source`, `packets`, `content`), where it hits, and the share it
hits. Where a fault names neither hosts nor operations nor services, it hits every host of Microsoft's and none else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from agent.drill import graph
from agent.drill.faults import (
    Content,
    Dns,
    Drip,
    Effect,
    Fault,
    Http,
    Latency,
    Mail,
    Packets,
    Partial,
    Smtp,
    StatusSource,
    Tcp,
    Tls,
    Token,
    Where,
)
from agent.drill.world import HOSTS

_LARGEST = 256 * 1024
_MINUTE = 60.0
_ONE_LINE = 10_000
_SPOKEN = StatusSource(state="serviceDegradation")
"""What service health says of Microsoft 365 as a whole once Microsoft has said anything."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "microsoft": (*HOSTS, "mail", "relay"),
    "portals": ("admin", "purview", "security", "exchange-admin", "teams-admin", "entra", "office"),
}
"""Words that stand for several hosts. `control` is the one host that is not Microsoft's, `mail` takes mail, `relay` media."""

KNOWN: Mapping[str, frozenset[str]] = {
    "hosts": frozenset({*GROUPS, *GROUPS["microsoft"], "control"}),
    "operations": frozenset(
        {*(operation.name for operation in graph.OPERATIONS), "discovery", "keys", "authorize", "device_code", "token"}
        | {"version", "endpoints", "changes"}
    ),
    "services": frozenset(operation.service for operation in graph.OPERATIONS),
    "grants": frozenset({"client_credentials", "refresh_token", "device_code", "password", "managed_identity"}),
}
"""What a fault can select by: a word that is not here would hit nothing, in silence."""


class OutageError(Exception):
    """An outage cannot be played; the message says which, where and why."""


def _listed(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


class _Entry(BaseModel):
    """One fault as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    http: Annotated[tuple[Annotated[int, Field(ge=400, le=599)], ...], BeforeValidator(_listed)] | None = None
    retry_after: Annotated[int, Field(ge=0)] | None = None
    latency: Annotated[float, Field(gt=0)] | None = None
    drip: Annotated[float, Field(ge=0)] | None = None
    tcp: Literal["reset", "silent", "timeout"] | None = None
    tls: Literal["handshake_fail", "wrong_name", "intercepted"] | None = None
    token: Annotated[int, Field(ge=16000, le=9_999_999)] | None = None
    dns: Literal["servfail", "nxdomain", "timeout", "stale", "mutate"] | None = None
    old: str = ""
    new: str = ""
    smtp: Annotated[str, Field(pattern=r"^[45]\d\d ")] | None = None
    stage: Literal["connect", "helo", "mail", "rcpt", "data", "dot"] = "rcpt"
    mail: Literal["delay", "lost", "junk", "bounce"] | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    status: Annotated[str, Field(pattern=r"^[45]\.\d{1,3}\.\d{1,3}$")] = "5.4.316"
    partial: Annotated[float, Field(ge=0, lt=1)] | None = None
    status_source: str | Annotated[int, Field(ge=400, le=599)] | None = None
    packets: Literal["lost", "late"] | None = None
    content: (
        Literal["hash", "nowhere", "elsewhere", "plain", "expired", "inline", "deleted", "overwritten", "truncated", "wrong"] | None
    ) = None

    hosts: frozenset[str] = frozenset()
    operations: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    grants: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    fades: bool = False

    @model_validator(mode="after")
    def _one_effect(self) -> Self:
        given = [name for name in _EFFECTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a fault has exactly one effect of {', '.join(_EFFECTS)}; here are {', '.join(given) or 'none'}")
        for selector, known in KNOWN.items():
            if unknown := sorted(getattr(self, selector) - known):
                raise ValueError(f"there is no {selector.removesuffix('s')} {unknown[0]!r}; there are {', '.join(sorted(known))}")
        return self


_EFFECTS = ("http", "latency", "drip", "tcp", "tls", "token", "dns", "smtp", "mail", "partial", "status_source", "packets", "content")


def _effect(entry: _Entry, speed: float) -> Effect:
    """Build the effect. A delay of mail shrinks with the time of the play; what a client waits for in one request does not."""
    made: Mapping[str, Any] = {
        "http": lambda: Http(entry.http or (), entry.retry_after),
        "latency": lambda: Latency(entry.latency or 0),
        "drip": lambda: Drip(entry.drip or 0),
        "tcp": lambda: Tcp(entry.tcp or "reset"),
        "tls": lambda: Tls(entry.tls or "handshake_fail"),
        "token": lambda: Token(entry.token or 0),
        "dns": lambda: Dns(entry.dns or "servfail", entry.old, entry.new),
        "smtp": lambda: Smtp(entry.smtp or "", entry.stage),
        "mail": lambda: Mail(entry.mail or "delay", entry.seconds / speed, entry.status),
        "partial": lambda: Partial(entry.partial or 0),
        "status_source": lambda: _status_source(entry.status_source),
        "packets": lambda: Packets(entry.packets or "lost", entry.seconds),
        "content": lambda: Content(entry.content or "wrong"),
    }
    effect: Effect = made[next(name for name in _EFFECTS if getattr(entry, name) is not None)]()
    return effect


def _status_source(given: str | int | None) -> StatusSource:
    return StatusSource(status=given) if isinstance(given, int) else StatusSource(state=given or "")


def _where(entry: _Entry) -> Where:
    """Build the place, with groups of hosts written out."""
    anywhere = not (entry.hosts or entry.operations or entry.services or entry.grants)
    named = entry.hosts or (frozenset({"microsoft"}) if anywhere and entry.dns is None else frozenset())
    hosts = frozenset(host for name in named for host in GROUPS.get(name, (name,)))
    return Where(hosts, entry.operations, entry.services, entry.regions, entry.grants, entry.sources, entry.names)


class Phase(BaseModel):
    """A part of an outage: minutes from the start of the impact, one sentence for people, and its faults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: float = Field(alias="from")
    until: float
    what: str
    faults: tuple[_Entry, ...] = ()

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.until <= self.first:
            raise ValueError(f"ends at {self.until:g}, before it begins at {self.first:g}")
        return self


class Outage(BaseModel):
    """A whole outage. `region` is where the tenant is meanwhile; `acknowledged` minutes until Microsoft's first public word, if known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Z]\d\d(_[a-z0-9_]+)?$")]
    title: str
    date: str = ""
    region: str = "na"
    acknowledged: float | None = None
    cause_named: float | None = None
    green: tuple[str, ...] = ()
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]

    @property
    def begins(self) -> float:
        """Minutes from the start of the impact at which the first phase begins."""
        return min(phase.first for phase in self.phases)

    @property
    def ends(self) -> float:
        """Minutes from the start of the impact at which the last phase ends."""
        return max(phase.until for phase in self.phases)

    @property
    def minutes(self) -> float:
        """How long it is, from the first phase's beginning to the last one's end."""
        return self.ends - self.begins


def schedule(outage: Outage, start: float, speed: float = 1.0) -> tuple[Fault, ...]:
    """Give the faults of an outage that begins at `start` (Unix seconds) and runs `speed` times as fast as it did.

    From its first public word on, service health has an issue as well.
    """

    def moment(minutes: float) -> float:
        return start + (minutes - outage.begins) * _MINUTE / speed

    spoken = () if outage.acknowledged is None else (Fault(_SPOKEN, first=moment(outage.acknowledged), until=moment(outage.ends)),)
    played = tuple(
        Fault(_effect(entry, speed), _where(entry), entry.share, moment(phase.first), moment(phase.until), entry.fades)
        for phase in outage.phases
        for entry in phase.faults
    )
    return played + spoken


def written(outage: Outage) -> tuple[str, ...]:
    """Write what its phase is about and then each fault of an outage, a line each, in the order of `schedule`."""
    return tuple(f"{phase.what}: {_written(entry)}" for phase in outage.phases for entry in phase.faults)


def _written(entry: _Entry) -> str:
    given = entry.model_dump(mode="json", exclude_defaults=True)
    plain = {name: sorted(value) if isinstance(value, list) else value for name, value in given.items()}
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=_ONE_LINE).strip()


def read(text: str, name: str) -> Outage:
    """Read one outage; `name` is how messages call the file.

    Raises:
        OutageError: with each mistake on a line of its own, with file, line and column.

    """
    if len(text) > _LARGEST:
        raise OutageError(f"{name}: larger than {_LARGEST} characters")
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        given = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        raise OutageError(f"{name}{_place(error.problem_mark)}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise OutageError(f"{name}: is not YAML: {str(error).splitlines()[0]}") from None
    try:
        return Outage.model_validate(given)
    except ValidationError as error:
        raise OutageError("\n".join(_mistakes(error, root, name))) from None


def _mistakes(error: ValidationError, root: yaml.Node | None, name: str) -> list[str]:
    """Say each mistake once, with its place. A list that is empty only because its entries are wrong is none of its own."""
    wrong = [one["loc"] for one in error.errors()]
    own = [one for one in error.errors() if not any(other[: len(one["loc"])] == one["loc"] != other for other in wrong)]
    return [f"{name}{_place(_node(root, one['loc']).start_mark)}: {_said(one['loc'], _WORDS.get(one['type'], one['msg']))}" for one in own]


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "model_type": "must be keys with values, such as `id: X01`",
    "too_short": "must not be empty",
}
"""Our words for the mistakes that pydantic calls by names of Python."""


@dataclass(frozen=True, slots=True)
class _Nowhere:
    """Stands for the node of an empty file."""

    start_mark: None = None


def _place(mark: yaml.Mark | None) -> str:
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""


def _node(root: yaml.Node | None, path: Sequence[int | str]) -> yaml.Node | _Nowhere:
    """Find the node that a path of the data leads to, or the last one on the way there."""
    if root is None:
        return _Nowhere()
    node = root
    for step in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        elif isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == step), node)
    return node


def _said(path: Sequence[int | str], message: str) -> str:
    where = ".".join(str(step) for step in path if not str(step).startswith("function-"))
    return f"{where}: {message.removeprefix('Value error, ')}" if where else message.removeprefix("Value error, ")


def shipped() -> tuple[Outage, ...]:
    """Read the outages that come with Fogbell, by id."""
    files = (resources.files("agent.drill") / "outages").iterdir()
    found = [read(file.read_text(encoding="utf-8"), file.name) for file in files if file.name.endswith(".yml")]
    return tuple(sorted(found, key=lambda outage: outage.id))


def find(wanted: str) -> Outage:
    """Find a shipped outage by its id or the beginning of it, in any case of letters, or read the YAML file of that path.

    Raises:
        OutageError: where there is none, or several; the message lists the ids.

    """
    if wanted.endswith((".yml", ".yaml")):
        try:
            return read(Path(wanted).read_text(encoding="utf-8"), wanted)
        except OSError as error:
            raise OutageError(f"{wanted}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise OutageError(f"{wanted}: is not UTF-8 text") from None
    everything = shipped()
    fitting = [outage for outage in everything if outage.id.lower().startswith(wanted.strip().lower())]
    if wanted.strip() and len(fitting) == 1:
        return fitting[0]
    listed = "\n".join(f"  {outage.id}: {outage.title}" for outage in everything)
    which = f"{len(fitting)} outages begin with {wanted!r}" if fitting else f"there is no outage {wanted!r}"
    raise OutageError(f"{which}; name one of these, or a YAML file of your own:\n{listed}")
