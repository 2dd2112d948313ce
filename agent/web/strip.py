"""The last hundred runs as a strip of bars: one path per colour, so that a page of many strips stays small.

A bar's height is the run's duration on a logarithmic scale of the probe's own, a failure is a bar of full height, and a slot without a run
stays empty. The newest run is at the right.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from agent.history import RING_RUNS, Beat, Ring
from agent.words import duration
from probes.core.contract import Outcome

PITCH = 6
"""Distance from bar to bar; the strip is a hundred of them wide."""
HEIGHT = 32
_LOWEST = 8
_INCONCLUSIVE = 20
_DECADES = 1.0
"""The scale spans at least this, so that noise does not look like an event."""


@dataclass(frozen=True, slots=True)
class Strip:
    """What a template needs to draw a strip: (class, path data) pairs, and what it shows in words."""

    paths: tuple[tuple[str, str], ...]
    summary: str


def strip(ring: Ring) -> Strip:
    """Draw the ring."""
    beats = tuple(ring)
    low, decades = _scale(beats)
    paths: dict[Outcome, list[str]] = {outcome: [] for outcome in Outcome}
    for slot, beat in enumerate(beats, RING_RUNS - len(beats)):
        height = _height(beat, low, decades)
        paths[beat.outcome].append(f"M{slot * PITCH + PITCH // 2} {HEIGHT}v-{height}")
    return Strip(tuple((outcome.value, "".join(path)) for outcome, path in paths.items() if path), _summary(beats))


def _scale(beats: Iterable[Beat]) -> tuple[float, float]:
    logarithms = [math.log10(max(beat.seconds, 1e-6)) for beat in beats if beat.outcome is Outcome.OK]
    if not logarithms:
        return 0.0, _DECADES
    low = min(logarithms)
    return low, max(_DECADES, max(logarithms) - low)


def _height(beat: Beat, low: float, decades: float) -> int:
    if beat.outcome is Outcome.FAILED:
        return HEIGHT
    if beat.outcome is Outcome.INCONCLUSIVE:
        return _INCONCLUSIVE
    share = (math.log10(max(beat.seconds, 1e-6)) - low) / decades
    return round(_LOWEST + share * (HEIGHT - _LOWEST - 4))


def _summary(beats: tuple[Beat, ...]) -> str:
    if not beats:
        return "No run yet"
    good = [beat.seconds for beat in beats if beat.outcome is Outcome.OK]
    failed = sum(beat.outcome is Outcome.FAILED for beat in beats)
    inconclusive = len(beats) - len(good) - failed
    counts = [f"{len(good)} ok", f"{failed} failed" if failed else "", f"{inconclusive} inconclusive" if inconclusive else ""]
    speed = f"; ok runs took {duration(median(good))} in the median, {duration(max(good))} at most" if good else ""
    runs = "Last run" if len(beats) == 1 else f"Last {len(beats)} runs"
    return f"{runs}: {', '.join(filter(None, counts))}{speed}"
