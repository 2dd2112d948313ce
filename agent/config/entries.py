"""One entry of `probes:` to one job."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from agent.config.configuration import Built
from agent.config.durations import in_words
from agent.config.keys import Defaults, Keys
from agent.config.mistakes import meant_or_known, shown
from agent.config.models import Read, Reading, canonical, note_traps, read_model
from agent.config.nodes import Mapping as Block
from agent.config.nodes import Node, Scalar, plain
from agent.job import Job
from probes.core.contract import Layer, Place, Probe, Settings, Workload

COMMON = frozenset(Keys.model_fields)

Registry = Mapping[str, Probe[Any]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What entries are judged by.

    `tenants` is None where they are not all known, because a file could not be read; `remembers` says that there is a `state_dir`.
    """

    registry: Registry
    defaults: Defaults
    tenants: Collection[str] | None
    remembers: bool = True


def read_entry(node: Node, where: str, reading: Reading, rules: Rules) -> Built | None:
    """Return the probe of one entry, or note everything that is wrong with it and return None."""
    if not isinstance(node, Block):
        reading.page.mistake(node, where, "a probe is a block of keys, with at least `name` and `kind`")
        return None
    trapped = note_traps(node, reading, where)
    data = plain(node)
    keys = read_model(Keys, node, reading, where, data={key: data.pop(key) for key in COMMON & data.keys()})
    probe = _kind(node, where, reading, rules.registry)
    settings = None if probe is None else read_model(probe.settings, node, reading, where, also=COMMON, data=data)
    if keys is None or probe is None or trapped:
        return None
    rhythm = _Judge(node, where, reading, rules).rhythm(keys.value, probe, None if settings is None else settings.value)
    if rhythm is None or settings is None:
        return None
    for warning in probe.warnings(settings.value):
        reading.page.warning(node.values["name"], where, warning)
    return _built(keys.value, probe, settings, rhythm, rules)


def _kind(node: Block, where: str, reading: Reading, registry: Registry) -> Probe[Any] | None:
    kind = node.values.get("kind")
    if not isinstance(kind, Scalar) or not isinstance(kind.value, str):
        return None
    if kind.value not in registry:
        reading.page.mistake(kind, f"{where}.kind", f"there is no kind {shown(kind.value)}{meant_or_known(kind.value, registry.keys())}")
    return registry.get(kind.value)


@dataclass(frozen=True, slots=True)
class _Judge:
    """What is left to judge once every common key by itself is right."""

    node: Block
    where: str
    reading: Reading
    rules: Rules

    def mistake(self, key: str, what: str) -> None:
        at = self.node.values.get(key) or self.node.values["name"]
        self.reading.page.mistake(at, f"{self.where}.{key}", what)

    def rhythm(self, keys: Keys, probe: Probe[Any], settings: Settings | None) -> tuple[float, float] | None:
        """Return interval and timeout, or note everything that is wrong with them, the tenant and the state and return None."""
        interval = self.interval(keys, probe)
        timeout = None if interval is None else self.timeout(keys, probe, interval)
        right = self.tenant_is_right(keys, probe, settings), self.is_remembered(keys, probe, settings)
        if not all(right) or interval is None or timeout is None:
            return None
        return interval, timeout

    def interval(self, keys: Keys, probe: Probe[Any]) -> float | None:
        if keys.interval is None:
            least = 0.0 if keys.allow_short_interval else probe.floor
            return self._common(self.rules.defaults.interval, least) or probe.interval
        if keys.interval < probe.floor and not keys.allow_short_interval:
            floor, own = in_words(probe.floor), f" (its own is {in_words(probe.interval)})" if probe.interval > probe.floor else ""
            words = f"{in_words(keys.interval)} is below {floor}, the floor of the kind {keys.kind}; write at least {floor}{own}, or add"
            self.mistake("interval", f"{words} `allow_short_interval: true`")
            return None
        return keys.interval

    def timeout(self, keys: Keys, probe: Probe[Any], interval: float) -> float | None:
        chosen = keys.timeout or self._common(self.rules.defaults.timeout, probe.least_timeout)
        if chosen is not None and chosen > interval:
            source = "" if keys.timeout else " (from defaults)"
            words = f"{in_words(chosen)}{source} is more than the interval of {in_words(interval)}"
            self.mistake("timeout", f"{words}; a run has to end before the next begins")
            return None
        return chosen or min(probe.timeout, interval)

    def _common(self, given: float | None, least: float) -> float | None:
        """Return what `defaults` says for all probes, unless it is too short for this kind: then nobody meant it for this one."""
        return given if given is not None and given >= least else None

    def is_remembered(self, keys: Keys, probe: Probe[Any], settings: Settings | None) -> bool:
        if self.rules.remembers or settings is None or not probe.remembers(settings):
            return True
        self.mistake("kind", f"the kind {keys.kind} has to remember things over a restart, as it is set here: give a `state_dir`")
        return False

    def tenant_is_right(self, keys: Keys, probe: Probe[Any], settings: Settings | None) -> bool:
        known = self.rules.tenants
        signs_in = settings is not None and probe.tenant(settings)
        if signs_in and keys.tenant is None and known is not None and len(known) != 1:
            what = f"say which of the tenants: {', '.join(sorted(known))}" if known else "none is configured; add one under `tenants:`"
            self.mistake("tenant", f"the kind {keys.kind} signs in to a tenant; {what}")
            return False
        if keys.tenant is None or known is None or keys.tenant in known:
            return True
        self.mistake("tenant", f"there is no tenant {shown(keys.tenant)} under `tenants`{meant_or_known(keys.tenant, known)}")
        return False


def _built(keys: Keys, probe: Probe[Any], settings: Read[Settings], rhythm: tuple[float, float], rules: Rules) -> Built:
    own = probe.place(settings.value)
    place = Place(keys.layer or own.layer, keys.workload or own.workload)
    labels = tuple(sorted((rules.defaults.labels | keys.labels).items()))
    job = Job(
        keys.name, keys.kind, probe, settings.value, *rhythm, place, keys.role, _tenant(keys, probe.tenant(settings.value), rules), labels
    )
    return Built(_line(job, settings.text), job, settings.secrets)


def _tenant(keys: Keys, signs_in: bool, rules: Rules) -> str:  # noqa: FBT001 - what the settings say
    """Return the tenant's name; where there is only one, a probe that signs in need not name it."""
    only = next(iter(rules.tenants), "") if signs_in and rules.tenants else ""
    return keys.tenant or only


def _line(job: Job, settings: str) -> bytes:
    head = [job.name, job.kind, job.interval, job.timeout, job.place.layer, job.place.workload, job.role, job.tenant, job.labels]
    return f"{canonical(head)}\t{settings}".encode()


def settings_of(built: Built) -> dict[str, Any]:
    """Return the settings of a probe as they were written, as plain data."""
    data: dict[str, Any] = json.loads(built.line.partition(b"\t")[2])
    return data


def rebuilt(line: bytes, registry: Registry) -> Job:
    """Build the job of a line that was found right elsewhere.

    Raises:
        ValueError: where it is not right (pydantic's own error is one).
        KeyError: where its kind is not known here.

    """
    head, _, settings = line.partition(b"\t")
    name, kind, interval, timeout, layer, workload, role, tenant, labels = json.loads(head)
    probe = registry[kind]
    value = probe.settings.model_validate_json(settings, strict=True)
    place = Place(Layer(layer), Workload(workload))
    return Job(name, kind, probe, value, interval, timeout, place, role, tenant, tuple((label, text) for label, text in labels))
