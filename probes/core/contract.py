"""What a probe is, and what one run of it leaves behind.

A probe is an async function and a settings model. Returning means ok; raising `Failed` or `Inconclusive` does not. All values that cross
from here to the agent are frozen.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from probes.core.needs import Cost, Permission, Registration
from probes.core.reasons import BLAME, Blame, Reason

if TYPE_CHECKING:
    from probes.core.context import Context


class Outcome(StrEnum):
    """How a run ended."""

    OK = "ok"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Layer(StrEnum):
    """Where in the path between a person and a service a probe looks."""

    CONTROL = "control"
    RESOLVER = "resolver"
    PATH = "path"
    TLS = "tls"
    EDGE = "edge"
    IDENTITY = "identity"
    WORKLOAD = "workload"
    FEATURE = "feature"
    MAIL_TRANSPORT = "mail_transport"
    STATUS = "status"


class Workload(StrEnum):
    """What people would say is broken."""

    EXCHANGE = "exchange"
    SHAREPOINT = "sharepoint"
    ONEDRIVE = "onedrive"
    TEAMS = "teams"
    ENTRA = "entra"
    PURVIEW = "purview"
    DEFENDER = "defender"
    ADMIN = "admin"
    DNS = "dns"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Place:
    """Layer and workload of a probe."""

    layer: Layer
    workload: Workload


@dataclass(frozen=True, slots=True)
class Step:
    """One step that ran.

    `started` counts seconds from the start of the run. `phases` are (name, seconds) in the order they began; a phase that did not run is
    absent, one that ran several times is summed.
    """

    name: str
    started: float
    seconds: float
    phases: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value. `labels` are values in the order the measurement declares its labels."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run of one probe: all that ever crosses from a probe to the rest of the agent.

    `started` is Unix time in seconds; `seconds` is from the monotonic clock. `reason` and `failed_step` are set exactly when the outcome is
    not ok (`failed_step` is empty when no step was open). `code` is a protocol's own number from a known table, else empty. `tainted` says
    that the agent itself was late during the run, so its times are an upper bound. `retry_after` are the seconds for which the service
    asked us to stay away, 0 where it did not. `cleanup_failed` says that something the probe created could not be removed.
    """

    probe: str
    started: float
    seconds: float
    outcome: Outcome
    reason: Reason | None = None
    failed_step: str = ""
    message: str = ""
    code: str = ""
    steps: tuple[Step, ...] = ()
    measured: tuple[Sample, ...] = ()
    evidence: tuple[tuple[str, str], ...] = ()
    tainted: bool = False
    retry_after: float = 0.0
    cleanup_failed: bool = False

    @property
    def blame(self) -> Blame | None:
        """Who has to act, or None for a run that is ok."""
        return None if self.reason is None else BLAME[self.reason]


class Stopped(Exception):  # noqa: N818 - reads as what happened
    """A run that did not end ok, with the reason an operator sees. Raise one of its two children."""

    def __init__(self, reason: Reason, message: str, *, code: str = "", step: str = "", retry_after: float = 0.0) -> None:
        """`message` is one plain sentence for people; `step` overrides the innermost open step as the one to blame.

        `retry_after` are the seconds for which the service asks us to stay away (RFC 9110 10.2.3), 0 where it does not.
        """
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code
        self.step = step
        self.retry_after = retry_after

    def reword(self, message: str) -> None:
        """Say it in other words."""
        self.message, self.args = message, (message,)


class Failed(Stopped):
    """The thing probed does not work."""


class Inconclusive(Stopped):
    """The run says nothing about the thing probed: we were throttled, or the agent could not run it."""


class Settings(BaseModel):
    """Base of every kind's settings. The docstring under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Secret(BaseModel):
    """Where a secret is found; never its value. Written as `{env: NAME}` or `{file: PATH}`.

    The value is read with `ctx.secret(...)` at the time of use, so that a rotated secret does not change the probe.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    env: str | None = None
    """Name of the environment variable that holds it."""
    file: str | None = None
    """Path of the file that holds it; one trailing newline is dropped."""
    inline: str | None = Field(default=None, repr=False)
    """Set by the configuration when a secret was written in place. Allowed with a warning."""


class FilePath(str):
    """The path of a file, as a setting holds it: text like any other, but known as a path wherever it stands."""

    __slots__ = ()


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError("must be the path of a file")
    return FilePath(text)


File = Annotated[str, Field(min_length=1, json_schema_extra={"format": "path"}), AfterValidator(_path)]
"""A setting that names a file. A relative path begins at the folder of the configuration's file; a run finds the whole path.

Loading looks whether the file can be read, and does not follow its content: whoever uses it looks for changes at the time of use.
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number of a kind's own, exported as `fogbell_<kind>_<name>`.

    `name` ends in its base unit where it has one; `help` is one sentence that ends with a period; `labels` have closed sets of values. A
    `counter` adds up what runs measure, inconclusive ones too, and its name ends in `_total`. What is `fleeting` is not shown after a
    restart or a run that could not measure it, an inconclusive one too: better unknown than of yesterday.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    counter: bool = False
    fleeting: bool = False


S = TypeVar("S", bound=Settings)


def always(_: Settings) -> bool:
    """Whatever the settings: for kinds that need something in any case."""
    return True


def _never(_: Settings) -> bool:
    return False


def _nothing(_: Settings) -> tuple[()]:
    return ()


def _no_doubts(_: Settings) -> tuple[()]:
    return ()


def _nothing_special(_: Settings) -> Registration:
    return Registration()


@dataclass(frozen=True, slots=True)
class Probe(Generic[S]):
    """One kind of probe: everything the agent knows about it.

    `steps` are all step names the run may open; `interval`, `floor` and `timeout` are the kind's defaults in seconds, the floor being the
    shortest interval that needs no override. An interval of the configuration's defaults that is below the floor, and a timeout of them
    that is below `least_timeout`, do not count for the kind. `tenant` says whether the probe signs in to a tenant, and so needs one;
    `remembers` whether it keeps something over a restart, such as what it created, and so needs a `state_dir`; `permissions` are the least
    it needs of the tenant, `registration` is what the application's registration has to say besides, and `costs` what a good run asks of
    services. `clear` removes what the ledger says is left of earlier runs; the agent calls it where there is something. `warnings` are
    sentences on settings that work and have a price that nobody would guess; the configuration tells them with their place.
    """

    run: "Callable[[Context, S], Awaitable[None]]"
    settings: type[S]
    place: Callable[[S], Place]
    steps: tuple[str, ...]
    measurements: tuple[Measurement, ...] = ()
    interval: float = 60.0
    timeout: float = 20.0
    floor: float = 1.0
    least_timeout: float = 0.0
    tenant: Callable[[S], bool] = _never
    remembers: Callable[[S], bool] = _never
    permissions: Callable[[S], tuple[Permission, ...]] = _nothing
    registration: Callable[[S], Registration] = _nothing_special
    costs: Callable[[S], tuple[Cost, ...]] = _nothing
    clear: "Callable[[Context, S], Awaitable[None]] | None" = None
    warnings: Callable[[S], tuple[str, ...]] = _no_doubts
