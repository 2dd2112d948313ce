"""Runs and probes as a template wants them: every number already in words, every bar already in thousandths of its track."""

from dataclasses import dataclass

from agent.history import Past
from agent.job import Job
from agent.record import decode
from agent.web.areas import Area, area_of
from agent.web.overview import Moment, State
from agent.web.strip import Strip, strip
from agent.words import BLAME_WORDS, ago, duration, span, target, timestamp
from probes.core.contract import Run, Step
from probes.core.reasons import MEANING

TRACK = 1000
"""Width of a waterfall's track."""

PHASES = ("resolve", "connect", "proxy", "tls", "request", "processing", "transfer")
"""Phases with a colour of their own; any other is drawn as `other`."""

GLYPHS = {State.FAILING: "✕", State.STALE: "!", State.WAITING: "…", State.INCONCLUSIVE: "?", State.OK: "✓"}


@dataclass(frozen=True, slots=True)
class Bar:
    """One phase in the track of its step."""

    name: str
    colour: str
    x: float
    width: float
    words: str


@dataclass(frozen=True, slots=True)
class StepView:
    """One step's row in the waterfall. `open_x`, `open_width` are the step's own bar, under its phases."""

    name: str
    words: str
    failed: bool
    x: float
    width: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class RunView:
    """One whole run."""

    run: Run
    when: str
    ago: str
    took: str
    meaning: str
    blame: str
    steps: tuple[StepView, ...]


@dataclass(frozen=True, slots=True)
class ProbeView:
    """One probe's row."""

    job: Job
    state: State
    glyph: str
    area: Area
    target: str
    strip: Strip
    last: RunView | None
    last_good: RunView | None
    failures: tuple[RunView, ...]
    cause: RunView | None
    """The run that says why the probe is in its state; None while it is ok."""
    trouble: str
    """Since when something is wrong; empty where nothing is."""
    last_success: str
    """How long ago the last ok run was; empty where there was none."""


def probe_view(job: Job, state: State, past: Past, moment: Moment) -> ProbeView:
    """Look at one probe. A record that several fields share is decoded once."""
    records = {record for record in (past.last, past.last_good, *past.failures) if record is not None}
    views = {record: run_view(decode(record), moment.now) for record in records}
    last = None if past.last is None else views[past.last]
    failures = tuple(views[record] for record in past.failures)
    return ProbeView(
        job,
        state,
        GLYPHS[state],
        area_of(job),
        target(job.settings),
        strip(past.ring),
        last,
        None if past.last_good is None else views[past.last_good],
        failures,
        failures[0] if state is State.FAILING else last if last and last.run.reason else None,
        _trouble(state, past, moment),
        "" if past.last_success is None else ago(past.last_success, moment.now),
    )


def run_view(run: Run, now: float) -> RunView:
    """Look at one run."""
    reason, blame = run.reason, run.blame
    return RunView(
        run,
        timestamp(run.started),
        ago(run.started, now),
        duration(run.seconds),
        "" if reason is None else MEANING[reason],
        "" if blame is None else BLAME_WORDS[blame],
        tuple(_step_view(step, run) for step in run.steps),
    )


def _step_view(step: Step, run: Run) -> StepView:
    scale = TRACK / max(run.seconds, step.started + step.seconds, 1e-9)
    begin = step.started
    bars = []
    for name, seconds in step.phases:
        bars.append(Bar(name, name if name in PHASES else "other", round(begin * scale, 1), _width(seconds, scale), duration(seconds)))
        begin += seconds
    return StepView(
        step.name,
        duration(step.seconds),
        step.name == run.failed_step,
        round(step.started * scale, 1),
        _width(step.seconds, scale),
        tuple(bars),
    )


def _width(seconds: float, scale: float) -> float:
    """Return a bar's width; one that ran is never invisible."""
    return max(round(seconds * scale, 1), 2.0)


def _trouble(state: State, past: Past, moment: Moment) -> str:
    if past.failing_since is not None:
        return f"failing for {span(moment.now - past.failing_since)}"
    if state is State.STALE:
        return (
            "never a conclusive run" if past.last_conclusive is None else f"no conclusive run for {span(moment.now - past.last_conclusive)}"
        )
    if past.inconclusive_in_row:
        return f"{past.inconclusive_in_row} inconclusive in a row"
    return ""
