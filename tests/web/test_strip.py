"""The strip of runs: what it draws, and what it says."""

import re

from agent.history import History
from agent.web.strip import HEIGHT, PITCH, strip
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason


def drawn(*runs: tuple[float, Outcome]) -> tuple[dict[str, list[tuple[int, int]]], str]:
    history = History()
    for number, (seconds, outcome) in enumerate(runs):
        reason = None if outcome is Outcome.OK else Reason.THROTTLED
        history.record(Run("page", 1000.0 + number, seconds, outcome, reason))
    made = strip(history.of("page").ring)
    bars = {colour: [(int(x), int(height)) for x, height in re.findall(r"M(\d+) \d+v-(\d+)", path)] for colour, path in made.paths}
    return bars, made.summary


def test_a_probe_that_has_not_run_has_an_empty_strip() -> None:
    assert drawn() == ({}, "No run yet")


def test_the_newest_run_is_at_the_right() -> None:
    bars, _ = drawn((0.1, Outcome.OK), (0.1, Outcome.FAILED))
    assert bars["ok"][0][0] == 98 * PITCH + PITCH // 2
    assert bars["failed"][0][0] == 99 * PITCH + PITCH // 2


def test_a_failure_has_full_height_however_short_it_was() -> None:
    bars, _ = drawn((5.0, Outcome.OK), (0.0, Outcome.FAILED))
    assert bars["failed"][0][1] == HEIGHT
    assert bars["ok"][0][1] < HEIGHT


def test_ok_runs_stand_on_a_logarithmic_scale() -> None:
    bars, _ = drawn(*((seconds, Outcome.OK) for seconds in (0.01, 0.1, 1.0)))
    low, middle, high = (height for _, height in bars["ok"])
    assert low < middle < high < HEIGHT
    assert middle - low == high - middle


def test_noise_of_a_tenth_hardly_shows() -> None:
    bars, _ = drawn((0.1, Outcome.OK), (0.11, Outcome.OK))
    assert abs(bars["ok"][0][1] - bars["ok"][1][1]) <= 1


def test_a_run_of_no_time_at_all_is_drawn() -> None:
    bars, _ = drawn((0.0, Outcome.OK))
    assert bars["ok"][0][1] > 0


def test_the_summary_counts_and_tells_the_speed_of_ok_runs() -> None:
    _, summary = drawn((0.1, Outcome.OK), (0.2, Outcome.OK), (0.4, Outcome.OK), (9.0, Outcome.FAILED), (9.0, Outcome.INCONCLUSIVE))
    assert summary == "Last 5 runs: 3 ok, 1 failed, 1 inconclusive; ok runs took 200 ms in the median, 400 ms at most"
