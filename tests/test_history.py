"""What is remembered of runs, and what a run changes."""

import gc
import struct
import tracemalloc

import pytest

from agent.history import Change, ChangeKind, History
from agent.record import decode
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason


def run(number: int, reason: Reason | None = None, outcome: Outcome | None = None, *, probe: str = "page", tainted: bool = False) -> Run:
    ending = outcome or (Outcome.FAILED if reason else Outcome.OK)
    return Run(probe, 1000.0 + number, 0.25 + number / 1000, ending, reason, tainted=tainted)


def inconclusive(number: int) -> Run:
    return run(number, Reason.THROTTLED, Outcome.INCONCLUSIVE)


def played(*runs: Run) -> tuple[History, list[Change | None]]:
    history = History()
    return history, [history.record(one) for one in runs]


def kinds(changes: list[Change | None]) -> list[str]:
    return ["" if change is None else change.kind for change in changes]


def test_a_probe_that_has_not_run_has_an_empty_past() -> None:
    past = History().of("page")
    assert (past.last, past.last_good, past.failures, list(past.ring), past.ring.newest()) == (None, None, (), [], None)
    assert past.last_conclusive_record is None


def test_the_ring_keeps_the_last_hundred_runs_oldest_first() -> None:
    history, _ = played(*(run(number, tainted=number == 249) for number in range(250)))
    ring = history.of("page").ring
    assert [beat.started for beat in ring] == [1000.0 + number for number in range(150, 250)]
    assert [beat.tainted for beat in ring] == [False] * 99 + [True]
    assert len(ring) == 100


def test_the_ring_keeps_a_duration_as_a_32_bit_float() -> None:
    history, _ = played(run(7))
    beat = history.of("page").ring.newest()
    assert beat is not None
    assert beat.seconds == struct.unpack("f", struct.pack("f", 0.257))[0]


@pytest.mark.parametrize("outcome", Outcome)
def test_the_ring_gives_every_outcome_back(outcome: Outcome) -> None:
    history, _ = played(run(0, None if outcome is Outcome.OK else Reason.THROTTLED, outcome))
    assert [beat.outcome for beat in history.of("page").ring] == [outcome]


def test_three_failures_outlive_any_number_of_good_runs() -> None:
    failures = [run(number, Reason.HTTP_5XX) for number in range(5)]
    good = [run(number) for number in range(5, 500)]
    history, _ = played(*failures, *good)
    past = history.of("page")
    assert [decode(record) for record in past.failures] == [failures[4], failures[3], failures[2]]
    assert past.last is past.last_good
    assert past.last is not None
    assert decode(past.last) == good[-1]


def test_a_change_is_told_when_a_failure_begins_changes_its_reason_and_ends() -> None:
    runs = run(0), run(1, Reason.HTTP_5XX), run(2, Reason.HTTP_5XX), run(3, Reason.TIMEOUT), run(4), run(5)
    _, changes = played(*runs)
    assert kinds(changes) == ["", "failing", "", "reason", "recovered", ""]
    assert changes[3] == Change(ChangeKind.REASON, runs[3], 1001.0, Reason.HTTP_5XX)
    assert changes[4] == Change(ChangeKind.RECOVERED, runs[4], 1001.0, Reason.TIMEOUT)


def test_an_inconclusive_run_neither_ends_nor_starts_a_failure() -> None:
    history, changes = played(run(0, Reason.TIMEOUT), inconclusive(1), inconclusive(2), run(3, Reason.TIMEOUT))
    assert kinds(changes) == ["failing", "", "", ""]
    assert history.of("page").failing_since == 1000.0


def test_inconclusive_runs_are_counted_until_a_conclusive_one() -> None:
    history, _ = played(run(0), inconclusive(1), inconclusive(2))
    past = history.of("page")
    assert (past.inconclusive_in_row, past.last_conclusive, past.last_success) == (2, 1000.0, 1000.0)
    history.record(run(3, Reason.TIMEOUT))
    assert (past.inconclusive_in_row, past.last_conclusive, past.last_success) == (0, 1003.0, 1000.0)


def test_the_record_for_the_state_is_that_of_the_last_conclusive_run() -> None:
    history, _ = played(run(0), run(1, Reason.TIMEOUT), inconclusive(2))
    record = history.of("page").last_conclusive_record
    assert record is not None
    assert decode(record) == run(1, Reason.TIMEOUT)


def test_a_failure_goes_on_over_a_restart() -> None:
    history = History()
    history.restore(run(0, Reason.TIMEOUT), failing_since=400.0, last_success=300.0)
    assert history.of("page").last_success == 300.0
    assert history.record(run(1, Reason.TIMEOUT)) is None
    assert history.record(run(2)) == Change(ChangeKind.RECOVERED, run(2), 400.0, Reason.TIMEOUT)


def test_a_probe_that_was_ok_before_a_restart_starts_to_fail_after_it() -> None:
    history = History()
    history.restore(run(0), failing_since=None, last_success=1000.0)
    assert history.of("page").last_good is history.of("page").last
    assert kinds([history.record(run(1, Reason.TIMEOUT))]) == ["failing"]


def test_a_forgotten_probe_has_no_past() -> None:
    history, _ = played(run(0), Run("other", 1.0, 1.0, Outcome.OK))
    history.forget("page")
    history.forget("never-there")
    assert history.of("page").last is None
    assert history.of("other").last is not None


def test_a_full_ring_costs_less_than_two_kilobytes_and_hardly_an_object() -> None:
    history = History()
    runs = [run(number) for number in range(120)]
    gc.collect()
    objects = len(gc.get_objects())
    tracemalloc.start()
    for number in range(100):
        for one in runs:
            history.record(Run(f"p{number}", one.started, one.seconds, one.outcome))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.collect()
    assert size / 100 < 2000
    assert (len(gc.get_objects()) - objects) / 100 < 4
