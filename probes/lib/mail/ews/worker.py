"""The process in which exchangelib lives: JSON lines in, JSON lines out, one account for its whole life.

The first line says who it is. Then each line is one thing to do, with an `id`; the answers are `step` (a call of EWS begins), `http` (a
request to carry, answered with one line), and at the end `done` or `error`. The process ends by itself when its input ends, when it has had
nothing to do for long enough, and when one thing takes longer than it may: the kernel's alarm clock sees to the last two, whatever Python
is doing then.

It imports nothing of the agent but its neighbour, so it starts within a second and stays small.
"""

import json
import logging
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

_CAUSE = re.compile(r"Reraised from (Error\w+)\((.*)\)", re.DOTALL)
# Of some errors exchangelib makes others.
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_GRACE_SECONDS = 1.0
_STUMBLES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
# What exchangelib trips over in answers that are XML, but not those of Exchange.


class Lines:
    """Lines of JSON to and from the agent."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self.current = 0
        """The id of what is being done."""

    def read(self) -> dict[str, Any]:
        """Return the next line; the process ends where there is none."""
        line = self._source.readline()
        if not line.endswith(b"\n"):
            sys.exit(0)
        found: dict[str, Any] = json.loads(line)
        return found

    def write(self, **fields: object) -> None:
        """Send one line about what is being done."""
        self._sink.write(json.dumps({"id": self.current, **fields}).encode() + b"\n")
        self._sink.flush()


def main() -> None:
    """Serve until the input ends."""
    lines = Lines(sys.stdin.buffer, sys.stdout.buffer)
    sys.stdout = sys.stderr  # what a library prints must not get between the lines
    logging.disable()
    who = lines.read()
    from probes.lib.mail.ews import exchange  # noqa: PLC0415 - only here, and only now: it takes half a second

    account = exchange.open_account(who, lines)
    lines.write(ready=True)
    while True:
        _alarm(who["idle_seconds"])
        asked = lines.read()
        _alarm(asked["seconds"] + _GRACE_SECONDS)
        lines.current = asked["id"]
        lines.write(**_attempt(exchange.OPERATIONS[asked["do"]], account, asked), kib=_kib())


def _attempt(operation: Callable[[Any, Mapping[str, Any]], Any], account: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    from exchangelib.errors import EWSError, ResponseMessageError, TransportError  # noqa: PLC0415 - see main

    try:
        return {"done": operation(account, asked)}
    except ResponseMessageError as error:
        found = _CAUSE.match(str(error))
        return {"error": found[1] if found else type(error).__name__, "message": found[2] if found else str(error)}
    except (EWSError, TransportError, *_STUMBLES) as error:
        # Their words quote the answer, and so perhaps the request.
        return {"error": "", "message": type(error).__name__}


def _alarm(seconds: float) -> None:
    """Let the kernel end this process in so many seconds, unless it is told otherwise before."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _kib() -> int:
    """Return the memory in use, in KiB; the most there ever was where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not needed for anything else here
            return int(file.read().split()[1]) * _PAGE_KIB
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
