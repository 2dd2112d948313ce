"""What a configuration will do, counted before it runs: runs a day, series on /metrics, calls to Microsoft. No clocks, no sockets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.config.budget import Budget, budgets
from agent.config.configuration import Configuration
from agent.config.durations import in_words
from agent.job import Job
from probes.core.contract import Settings

DAY = 86_400.0
ROWS = 50
"""Most probes that get a row each; more are shown by kind alone."""

_UNITS = (
    "Busiest and limit are in the service's own units: some calls cost several. A limit for each mailbox, organiser, team or chat says so, "
    "and is taken as if there were one of these."
)
_ALWAYS = 13
# info, interval, success, duration, six counters, three timestamps.
_HISTOGRAM = 22
# Nineteen bounds and +Inf, count and sum.
_PHASES = 5
# resolve, connect, tls, processing, transfer: a run goes through each about once, whichever of its steps it belongs to.
_FAILING = 3
# What a probe has more while it fails: failed, the counter of the reason, failing since.


@dataclass(frozen=True, slots=True)
class Planned:
    """One probe: its rhythm in seconds, runs a day, and about how many series it has."""

    name: str
    kind: str
    role: str
    interval: float
    timeout: float
    runs: float
    series: int


@dataclass(frozen=True, slots=True)
class Total:
    """A number of probes together, runs a day and series."""

    what: str
    probes: int
    runs: float
    series: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration will do. `probes` and `kinds` are in order of kind, then name, `budgets` of tenant and service."""

    probes: tuple[Planned, ...]
    kinds: tuple[Total, ...]
    total: Total
    budgets: tuple[Budget, ...] = ()


def plan(configuration: Configuration) -> Plan:
    """Count what the configuration will do."""
    probes = tuple(sorted(map(_planned, configuration.jobs), key=lambda one: (one.kind, one.name)))
    kinds = tuple(_total(kind, tuple(group)) for kind, group in groupby(probes, key=lambda one: one.kind))
    return Plan(probes, kinds, _total("total", probes), budgets(configuration.jobs))


def _planned(job: Job) -> Planned:
    return Planned(job.name, job.kind, job.role, job.interval, job.timeout, DAY / job.interval, series_of(job))


def _total(what: str, probes: Sequence[Planned]) -> Total:
    return Total(what, len(probes), sum(one.runs for one in probes), sum(one.series for one in probes))


def series_of(job: Job) -> int:
    """Estimate the series of a probe whose runs go through all its steps and measure all they can, and that has failed for one reason."""
    measured = sum(_samples(job, measurement.labels) for measurement in job.probe.measurements)
    return _ALWAYS + _HISTOGRAM + len(job.probe.steps) + _PHASES + measured + _FAILING


def _samples(job: Job, labels: Iterable[str]) -> int:
    """Count the samples of a measurement: a label `resolver` has the values of the setting `resolvers`, `check` those of `checks`."""
    count = 1
    for label in labels:
        values = getattr(job.settings, f"{label}s", ())
        count *= len(type(values).model_fields) if isinstance(values, Settings) else len(values) or 1
    return count


def table(planned: Plan) -> RenderableType:
    """Return the plan as `fogbell check` shows it: probes where they are few, kinds, what is asked of Microsoft, all in one sentence."""
    parts: list[RenderableType] = [_by_probe(planned.probes), ""] if len(planned.probes) <= ROWS else []
    parts += [_by_kind(planned), ""]
    if planned.budgets:
        parts += [_by_service(planned.budgets), Text(_UNITS), Text(_in_all(planned.budgets)), ""]
    warnings = [Text(f"warning: {one.warning}") for one in planned.budgets if one.warning]
    return Group(*parts, *warnings, Text(sentence(planned)))


def _in_all(budgets: Sequence[Budget]) -> str:
    """Say how near all of it comes to Microsoft's limits. Where a single call is more than a tenth, it is said here and not warned of."""
    above = dict.fromkeys(f"{one.service} of {one.tenant}" for one in budgets if one.is_above)
    if not above:
        return "All of it stays under a tenth of every limit that is known; limits for a second are told for a minute."
    return f"Above a tenth of a limit: {', '.join(above)}."


def sentence(planned: Plan) -> str:
    """Return the plan in one line."""
    total = planned.total
    probes = "1 probe" if total.probes == 1 else f"{total.probes:,} probes"
    return f"{probes}, {total.runs:,.0f} runs a day, about {total.series:,} series on /metrics; valid."


def _grid(words: Iterable[str], numbers: Iterable[str]) -> Table:
    grid = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    for title in words:
        grid.add_column(title, overflow="fold")
    for title in numbers:
        grid.add_column(title, justify="right", no_wrap=True)
    return grid


def _by_probe(probes: Iterable[Planned]) -> Table:
    grid = _grid(("probe", "kind", "role"), ("every", "timeout", "runs/day", "series"))
    for one in probes:
        every, timeout = in_words(one.interval), in_words(one.timeout)
        grid.add_row(one.name, one.kind, one.role, every, timeout, f"{one.runs:,.0f}", f"{one.series:,}")
    return grid


def _by_kind(planned: Plan) -> Table:
    grid = _grid(("kind",), ("probes", "runs/day", "series"))
    for total in (*planned.kinds, planned.total):
        is_sum = total is planned.total
        if is_sum:
            grid.add_section()
        grid.add_row(total.what, f"{total.probes:,}", f"{total.runs:,.0f}", f"{total.series:,}", style="bold" if is_sum else "")
    return grid


def _by_service(budgets: Iterable[Budget]) -> Table:
    grid = _grid(("tenant", "service"), ("calls/day", "busiest", "limit", "share"))
    for one in budgets:
        known = ("", "", "")
        if one.limit is not None:
            window = in_words(one.limit.seconds)
            each = " each" if one.limit.each else ""
            known = f"{one.units:,.0f} in {window}", f"{one.limit.units:,.0f}{each}", f"{one.share:.1%}"
        grid.add_row(one.tenant, one.service, f"{one.calls:,.0f}", *known, style="bold" if one.warning else "")
    return grid
