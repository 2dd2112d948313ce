import pytest

from agent.drill.story import DEMO, Effect, Fault, effect_on, holds

OUTAGE = Fault("www.example", Effect.SERVFAIL, first=10, lasts=5, every=60, what="it stops resolving")


@pytest.mark.parametrize(
    ("seconds", "there"),
    [(0, False), (9.9, False), (10, True), (14.9, True), (15, False), (69, False), (70, True), (75, False), (6010, True)],
)
def test_a_fault_comes_goes_and_comes_again(seconds: float, *, there: bool) -> None:
    assert holds(OUTAGE, seconds) is there


def test_a_fault_hits_its_target_alone() -> None:
    assert effect_on((OUTAGE,), "www.example", 12) is Effect.SERVFAIL
    assert effect_on((OUTAGE,), "mail.example", 12) is None


@pytest.mark.parametrize("lasts", [0, 60, 61])
def test_a_fault_that_would_never_begin_or_end_is_refused(lasts: float) -> None:
    with pytest.raises(ValueError, match="must last longer than 0 s and end"):
        Fault("www.example", Effect.SERVFAIL, first=0, lasts=lasts, every=60, what="")


def test_the_demo_shows_something_within_twenty_seconds_and_recovers() -> None:
    assert any(fault.first <= 15 for fault in DEMO)
    assert all(any(not holds(fault, second) for fault in DEMO) for second in range(1200))
    for fault in DEMO:
        seen = [holds(fault, second) for second in range(1200)]
        assert seen.count(True) > 30
        assert seen.count(False) > 600
