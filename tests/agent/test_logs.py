"""Logs: both forms, and a log that cannot be written."""

import io
import json
import logging
import queue
from pathlib import Path

import pytest

from agent.logs import _Patient, logging_to

log = logging.getLogger("fogbell.trial")


def test_a_human_line_ends_with_its_facts() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        log.warning("probe started failing", extra={"probe": "mx", "reason": "dns_timeout", "why": "no answer"})
        log.debug("not shown")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith('WARNING probe started failing probe=mx reason=dns_timeout why="no answer"')


def test_a_json_line_is_one_object_with_its_traceback() -> None:
    stream = io.StringIO()
    with logging_to(stream, level="debug", form="json"):
        log.debug("run", extra={"probe": "mx"})
        try:
            raise ValueError("x")
        except ValueError:
            log.exception("bug")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["message"], first["probe"]) == ("debug", "run", "mx")
    assert first["time"].endswith("Z")
    assert "ValueError: x" in second["traceback"]


def test_a_full_disk_under_the_log_ends_nothing_and_leaves_nothing_that_fails_later() -> None:
    with Path("/dev/full").open("w") as full:
        with logging_to(full):
            for _ in range(100):
                log.warning("line")
        full.flush()


def test_dev_full_would_fail_without_that() -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, and must
    full.write("line")
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_a_log_that_nobody_writes_loses_lines_and_holds_up_nothing() -> None:
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(1)
    handler = _Patient(waiting)
    for text in ("first", "second"):
        handler.handle(logging.LogRecord("fogbell", logging.INFO, "", 0, text, None, None))
    assert waiting.get_nowait().getMessage() == "first"
    assert waiting.empty()
