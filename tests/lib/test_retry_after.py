"""For how long a server asks us to stay away."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.lib.retry_after import MOST_SECONDS, retry_after


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        pytest.param(None, 0, id="absent"),
        pytest.param("", 0, id="empty"),
        pytest.param("120", 120, id="seconds"),
        pytest.param(" 7 ", 7, id="seconds with spaces"),
        pytest.param("-5", 0, id="negative"),
        pytest.param("1.5", 0, id="no whole number"),
        pytest.param("soon", 0, id="a word"),
        pytest.param("9" * 400, MOST_SECONDS, id="for ever"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 GMT", 0, id="a date that has passed"),
        pytest.param("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0, id="a year that is none"),
        pytest.param("Mon, 01 Jan 2001 99999999999:00:00 GMT", 0, id="an hour that is none"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", MOST_SECONDS, id="a date that will not come"),
    ],
)
def test_a_field_says_how_long(field: str | None, seconds: float) -> None:
    assert retry_after(field) == seconds


def test_a_date_counts_from_now() -> None:
    assert 3500 < retry_after(formatdate(time.time() + 3600, usegmt=True)) <= 3600


@pytest.mark.parametrize("skew", [-600, 0, 600])
def test_a_date_counts_from_the_servers_own_clock_where_it_tells_the_time(skew: int) -> None:
    now = 1_795_421_400 + skew
    assert retry_after(formatdate(now + 60, usegmt=True), formatdate(now, usegmt=True)) == 60


@given(st.text())
def test_whatever_a_server_sends_is_a_time_within_bounds(field: str) -> None:
    assert 0 <= retry_after(field) <= MOST_SECONDS
