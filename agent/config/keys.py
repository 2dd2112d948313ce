"""The keys that every probe has, whatever its kind, and the defaults for them."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from probes.core.contract import Layer, Settings, Workload
from probes.lib.durations import Duration

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_OURS = ("probe", "kind", "workload", "layer", "role", "tenant", "step", "phase", "reason", "blame", "code", "verdict")
_PROMETHEUS = ("job", "instance", "le", "quantile")
_RESERVED = frozenset((*_OURS, *_PROMETHEUS))
_LABELS = 16
_LABEL_VALUE = 200


def named(text: str) -> str:
    """Return a name as it is.

    Raises:
        ValueError: in plain words, where it cannot be one.

    """
    if not _NAME.fullmatch(text):
        raise ValueError("must be 1 to 100 of the characters A-Z a-z 0-9 . _ - and begin with a letter or digit")
    return text


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise ValueError("is not a label name of Prometheus: letters, digits and _, not beginning with a digit, at most 64")
    if name.startswith("__"):
        raise ValueError("must not begin with __, which Prometheus keeps for itself")
    if name in _RESERVED:
        raise ValueError("is a label that Fogbell or Prometheus sets itself; choose another name")
    return name


Name = Annotated[str, AfterValidator(named), Field(json_schema_extra={"pattern": _NAME.pattern.join("^$")})]
"""A name of a probe or tenant: a label value, a part of an address, and what people say on the telephone."""

LabelName = Annotated[str, AfterValidator(_label)]
Labels = Annotated[dict[LabelName, Annotated[str, Field(max_length=_LABEL_VALUE)]], Field(max_length=_LABELS)]


class Keys(Settings):
    """Keys of every probe."""

    name: Name
    """Name of the probe, unique over all files: 1 to 100 letters, digits, `.`, `_`, `-`. It decides when in its interval a run starts."""
    kind: str
    """Kind of the probe; each has a section below."""
    interval: Duration | None = None
    """Time from start to start, such as `30s` or `5m`. Without it that of `defaults`, unless it is below the kind's floor; else the kind's
    own."""
    timeout: Duration | None = None
    """When a run that has not ended counts as failed; at most the interval. Without it that of `defaults`, else the kind's own."""
    allow_short_interval: bool = False
    """Permit an interval below the kind's floor."""
    role: Literal["probe", "control"] = "probe"
    """`control` for a target that is not Microsoft's: it tells our own fault from theirs."""
    tenant: str | None = None
    """Name of the tenant it belongs to, one of `tenants`; it may be left out where there is only one."""
    labels: Labels = Field(default_factory=dict)
    """Labels of your own on `fogbell_probe_info`, at most 16."""
    layer: Layer | None = None
    """Where between people and the service the probe looks, in place of what its kind says."""
    workload: Workload | None = None
    """What people would say is broken, in place of what its kind says."""


class Defaults(Settings):
    """What probes have that do not say it themselves."""

    interval: Duration | None = None
    """Time from start to start. Kinds with a floor above it keep their own."""
    timeout: Duration | None = None
    """When a run that has not ended counts as failed. Kinds whose good runs take longer keep their own."""
    labels: Labels = Field(default_factory=dict)
    """Labels of all probes; a probe's own of the same name wins."""
