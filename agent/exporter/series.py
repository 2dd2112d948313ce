"""The text of one probe's series, made when its result arrives. Plain functions from values to bytes."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from agent.exporter.catalogue import BUCKETS, LATENCY
from agent.job import Job
from probes.core.contract import Run

_LABEL_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_BOUNDS = (*(f"{bound:g}" if bound % 1 else f"{bound:.1f}" for bound in BUCKETS), "+Inf")
_LATENCY_LINES = (
    "".join(f'{LATENCY.name}_bucket{{probe="\0",le="{bound}"}} %d\n' for bound in _BOUNDS)
    + f'{LATENCY.name}_count{{probe="\0"}} %d\n{LATENCY.name}_sum{{probe="\0"}} %r\n'
)


def escape(value: str) -> str:
    """Return a label value as both text formats want it."""
    return value.translate(_LABEL_ESCAPES)


def line(name: str, probe: str, value: float, labels: Iterable[tuple[str, str]] = ()) -> str:
    """Return one sample line. Label names and the probe's name are safe by validation; values are escaped."""
    more = "".join([f',{label}="{escape(text)}"' for label, text in labels]) if labels else ""
    return f'{name}{{probe="{probe}"{more}}} {value!r}\n'


def info(name: str, job: Job) -> str:
    """Return the info line: what the probe is, with the user's own labels."""
    labels = (
        ("kind", job.kind),
        ("workload", job.place.workload),
        ("layer", job.place.layer),
        ("role", job.role),
        ("tenant", job.tenant),
        *job.labels,
    )
    return line(name, job.name, 1, labels)


def steps(name: str, run: Run) -> str:
    """Return one line per step that ran."""
    return "".join([f'{name}{{probe="{run.probe}",step="{step.name}"}} {step.seconds!r}\n' for step in run.steps])


def phases(name: str, run: Run) -> str:
    """Return one line per phase that ran."""
    return "".join(
        [
            f'{name}{{probe="{run.probe}",step="{step.name}",phase="{phase}"}} {seconds!r}\n'
            for step in run.steps
            for phase, seconds in step.phases
        ]
    )


def failed(name: str, run: Run) -> str:
    """Return the line that names a failure, or nothing."""
    if run.reason is None or run.blame is None:
        return ""
    return line(name, run.probe, 1, (("step", run.failed_step), ("reason", run.reason), ("blame", run.blame), ("code", run.code)))


class Histogram:
    """Counts of one probe's latency, compact: one integer per bucket."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = array("Q", bytes(8 * len(_BOUNDS)))
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def lines(self, probe: str) -> str:
        """Return the histogram's lines, cumulative as the formats want it."""
        cumulative = _cumulate(self.counts)
        return _LATENCY_LINES.replace("\0", probe) % (*cumulative, cumulative[-1], self.total)


def _cumulate(counts: Sequence[int]) -> list[int]:
    total = 0
    return [total := total + count for count in counts]
