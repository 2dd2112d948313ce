"""What the agent sets and watches on its machine: open files, clocks, garbage collection."""

import gc
import logging
import os
import signal
import sys
import time
from pathlib import Path

log = logging.getLogger("fogbell.machine")

_SWITCH_SECONDS = 0.0005
"""How long another thread may keep the loop waiting for the interpreter; Python's own 5 ms would show in measurements."""

CLOCK_JUMP_SECONDS = 1.0


def prepare() -> None:
    """Raise the soft limit of open files to the hard one, and keep other threads from holding up the loop."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 1_048_576) if hard != resource.RLIM_INFINITY else 1_048_576
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("the limit of open files stays at %d: %s", soft, error)


def outlive_early_hangups() -> None:
    """Let a SIGHUP that comes before anybody listens for it pass: what it asks for, reading the configuration, is about to happen."""
    number = getattr(signal, "SIGHUP", None)
    if number is not None:
        signal.signal(number, signal.SIG_IGN)


_RESERVED_FILES = 40
"""Open files kept back for the agent itself: pages, scrapes, state, log, a reload."""
_FILES_A_RUN = 2


def runs_at_once() -> int:
    """Return how many runs may be going at once, so that probes never take the descriptors by which anybody could hear of it."""
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ImportError:
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(1, (soft - _RESERVED_FILES) // _FILES_A_RUN)


_YOUNG_OBJECTS = 5000
"""How many new objects a collection waits for. Python's own 700 makes one every few runs."""


def fill_standard_streams() -> None:
    """Put nothing in the place of closed standard streams; a socket would take their number, and libuv aborts when it closes such a one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115


def drop_standard_output() -> None:
    """Let what is still to be written to a full or closed output go nowhere, or the interpreter would complain of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def settle_garbage() -> None:
    """Take all that lives now out of future collections, each of which is a pause, and make them rarer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])


class Clocks:
    """Notices when the wall clock was set, or the machine slept: one line each time; nothing else changes."""

    def __init__(self) -> None:
        self._offset = time.time() - time.perf_counter()

    def look(self) -> None:
        """Compare the clocks; call it about once a second."""
        offset = time.time() - time.perf_counter()
        jump = offset - self._offset
        if abs(jump) >= CLOCK_JUMP_SECONDS:
            log.warning("the wall clock moved by %+.1f s against the monotonic one (set, or the machine slept); no start moves", jump)
            self._offset = offset
