"""Every metric family of probes: name, type, help. Names are a promise; tests/agent/__snapshots__ holds them."""

from dataclasses import dataclass
from typing import Literal

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the latency histogram in seconds: from a name server on loopback to a mail that takes ten minutes."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family. `name` is that of the samples, so a counter's ends in `_total`."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str

    def header(self, *, openmetrics: bool) -> bytes:
        """Return the HELP and TYPE lines. OpenMetrics names a counter's family without its suffix (OpenMetrics 1.0, section 5.1)."""
        name = self.name.removesuffix("_total") if openmetrics and self.kind == "counter" else self.name
        return f"# HELP {name} {self.help}\n# TYPE {name} {self.kind}\n".encode()


def _probe(suffix: str, kind: Literal["gauge", "counter", "histogram"], text: str) -> Family:
    return Family(f"fogbell_probe_{suffix}", kind, text)


INFO = _probe("info", "gauge", "What the probe is; always 1. Join on the label probe.")
INTERVAL = _probe("interval_seconds", "gauge", "Time from one start of the probe to the next.")
SUCCESS = _probe("success", "gauge", "Whether the last conclusive run was ok (1) or failed (0).")
DURATION = _probe("duration_seconds", "gauge", "Duration of the last conclusive run.")
STEP_DURATION = _probe("step_duration_seconds", "gauge", "Duration of each step that ran in the last conclusive run.")
PHASE = _probe("phase_seconds", "gauge", "Duration of each phase that ran in the last conclusive run, summed over a step's calls.")
FAILED = _probe("failed", "gauge", "Present with 1 while the last conclusive run failed. For tables and annotations; reasons may flap.")
RUNS = _probe("runs_total", "counter", "Runs that ended, whatever their outcome.")
FAILURES = _probe("failures_total", "counter", "Runs that failed.")
INCONCLUSIVE = _probe(
    "inconclusive_total", "counter", "Runs that say nothing about the target: throttled, or the agent could not run them."
)
SKIPPED = _probe("skipped_total", "counter", "Starts that did not happen because the previous run was still going or was held back.")
TAINTED = _probe("tainted_total", "counter", "Runs during which the agent itself was late; their times are upper bounds.")
CLEANUP_FAILURES = _probe(
    "cleanup_failures_total", "counter", "Attempts to remove what the probe created that failed, in its runs and between them."
)
REASONS = _probe("failure_reasons_total", "counter", "Failed runs by reason.")
LATENCY = _probe("latency_seconds", "histogram", "Duration of runs that were ok and not tainted.")
LAST_RUN = _probe("last_run_timestamp_seconds", "gauge", "Start of the last run.")
LAST_CONCLUSIVE = _probe("last_conclusive_timestamp_seconds", "gauge", "Start of the last conclusive run.")
LAST_SUCCESS = _probe("last_success_timestamp_seconds", "gauge", "Start of the last run that was ok.")
FAILING_SINCE = _probe("failing_since_timestamp_seconds", "gauge", "Start of the first failed run of the present failure; absent while ok.")

CATALOGUE = (
    INFO,
    INTERVAL,
    SUCCESS,
    DURATION,
    STEP_DURATION,
    PHASE,
    FAILED,
    RUNS,
    FAILURES,
    INCONCLUSIVE,
    SKIPPED,
    TAINTED,
    CLEANUP_FAILURES,
    REASONS,
    LATENCY,
    LAST_RUN,
    LAST_CONCLUSIVE,
    LAST_SUCCESS,
    FAILING_SINCE,
)
