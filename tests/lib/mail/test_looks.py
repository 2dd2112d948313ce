"""When to look."""

from itertools import islice, pairwise

from probes.lib.mail.looks import looks


def test_looks_are_close_at_first_and_then_every_quarter_of_a_minute() -> None:
    assert list(islice(looks(), 14)) == [1, 2, 4, 7, 11, 16, 22, 30, 40, 50, 60, 75, 90, 105]


def test_looks_never_end_and_never_go_back() -> None:
    assert {later > earlier for earlier, later in pairwise(islice(looks(), 1000))} == {True}


def test_a_wait_of_two_minutes_costs_no_more_than_twenty_looks() -> None:
    assert sum(1 for at in islice(looks(), 30) if at <= 120) <= 20
