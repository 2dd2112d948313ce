"""Durations as people write them."""

import pytest
from pydantic import TypeAdapter, ValidationError

from probes.lib.durations import Duration

READ: TypeAdapter[float] = TypeAdapter(Duration)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(60, 60.0), (0.25, 0.25), ("60", 60.0), ("1.5", 1.5), (" 500ms ", 0.5), ("1h30m", 5400.0), ("7d", 604800.0), ("1m0.5s", 60.5)],
)
def test_a_duration_is_read(written: object, seconds: float) -> None:
    assert READ.validate_python(written) == seconds


@pytest.mark.parametrize("written", ["", "  ", "soon", "5 minutes", "30m1h", "-1s", "1" * 41, True, None, [60]])
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValidationError, match="must be a duration, such as 500ms"):
        READ.validate_python(written)


@pytest.mark.parametrize("written", [0, "0s", 0.0009, "8d", 604801, float("inf"), float("nan")])
def test_no_duration_is_too_short_or_too_long(written: object) -> None:
    with pytest.raises(ValidationError, match="must be a duration from 1ms to 7d"):
        READ.validate_python(written)
