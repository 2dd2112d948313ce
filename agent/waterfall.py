"""One run drawn for a terminal: the steps as a waterfall with their phases, the outcome, the evidence."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agent.words import reading
from probes.core.contract import Outcome, Run, Step

_WIDTH = 40
_COLOURS = {
    "resolve": "cyan",
    "connect": "blue",
    "proxy": "yellow",
    "tls": "magenta",
    "request": "green",
    "processing": "green",
    "transfer": "bright_black",
}
_OUTCOMES = {
    Outcome.OK: ("✓ ok", "bold green"),
    Outcome.FAILED: ("✗ failed", "bold red"),
    Outcome.INCONCLUSIVE: ("? inconclusive", "bold yellow"),
}


def draw(run: Run) -> RenderableType:
    """Return the run as rich shows it."""
    return Group(_headline(run), *_parts(run))


def _headline(run: Run) -> Text:
    words, style = _OUTCOMES[run.outcome]
    line = Text.assemble((words, style), "  ", (run.probe, "bold"), f"  {_milliseconds(run.seconds)}")
    if run.tainted:
        line.append("  (the agent itself was late: times are upper bounds)", "yellow")
    return line


def _parts(run: Run) -> Iterator[RenderableType]:
    if run.reason is not None:
        where = f" in step {run.failed_step}" if run.failed_step else ""
        code = f", code {run.code}" if run.code else ""
        yield Text(f"  {run.reason}{where}{code}; blame: {run.blame}", "red")
        yield Text(f"  {run.message}")
    if run.steps:
        yield Padding(_waterfall(run), (1, 2))
    if run.measured:
        yield Padding(_pairs("measured", [(_labelled(m.name, m.labels), reading(m.value, m.name)) for m in run.measured]), (0, 2, 1, 2))
    if run.evidence:
        yield Padding(_pairs("evidence", list(run.evidence)), (0, 2))


def _waterfall(run: Run) -> Table:
    table = Table("step", "", "took", "phases", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for step in run.steps:
        name = Text(step.name, "red" if step.name == run.failed_step else "")
        phases = Text("  ".join(f"{phase} {_milliseconds(seconds)}" for phase, seconds in step.phases), "dim")
        table.add_row(name, _bar(step, run.seconds), _milliseconds(step.seconds), phases)
    return table


def _bar(step: Step, whole: float) -> Text:
    scale = _WIDTH / whole if whole else 0.0
    bar = Text(" " * round(step.started * scale))
    drawn = 0.0
    for phase, seconds in step.phases:
        bar.append("█" * max(1, round(seconds * scale)), _COLOURS.get(phase, "white"))
        drawn += seconds
    bar.append("▒" * max(0 if step.phases else 1, round((step.seconds - drawn) * scale)), "white")
    return bar


def _pairs(title: str, pairs: list[tuple[str, str]]) -> Table:
    table = Table(title, "", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, value in pairs:
        table.add_row(name, Text(value, overflow="fold"))
    return table


def _labelled(name: str, labels: tuple[str, ...]) -> str:
    return f"{name}{{{', '.join(labels)}}}" if labels else name


def _milliseconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"
