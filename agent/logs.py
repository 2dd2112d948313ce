"""Logs for people or machines. Written by a thread of its own, so that a slow or full log never holds up the loop."""

import json
import logging
import logging.handlers
import os
import queue
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_QUEUE_LINES = 10_000
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Human(logging.Formatter):
    """One line: time, level, message, then the facts as key=value."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        head, newline, traceback = line.partition("\n")
        facts = "".join(f" {name}={_quoted(value)}" for name, value in _facts(record))
        return f"{head}{facts}{newline}{traceback}"


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_facts(record))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Patient(logging.handlers.QueueHandler):
    """Hands lines to the writing thread; drops them when it is far behind, rather than wait."""

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            return

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # the formatter runs in the writing thread


@contextmanager
def logging_to(stream: Any = None, *, level: str = "info", form: str = "human") -> Iterator[None]:
    """Log to the stream (default: standard error) while the block runs. `form` is human or json."""
    logging.raiseExceptions = False  # a full disk under the log is not ours to die of
    writer = logging.StreamHandler(stream or sys.stderr)
    writer.setFormatter(_Json() if form == "json" else _Human("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%SZ"))
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_QUEUE_LINES)
    handler = _Patient(lines)
    listener = logging.handlers.QueueListener(lines, writer)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    ours = logging.getLogger("fogbell")
    before = ours.level
    ours.setLevel(level.upper())
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        root.removeHandler(handler)
        ours.setLevel(before)
        _let_go(writer.stream)


def _let_go(stream: Any) -> None:
    """Drop what a full disk has not taken; Python would try again at its end and turn the exit status into 120."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _facts(record: logging.LogRecord) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in vars(record).items() if name not in _STANDARD]


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n') else text
