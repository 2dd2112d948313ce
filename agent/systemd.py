"""Readiness and watchdog notices for systemd (sd_notify(3)). Silent where `NOTIFY_SOCKET` is not set."""

import os
import socket
from collections.abc import Mapping


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send a notice such as `READY=1`. A socket that is gone is not ours to fail of."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.setblocking(False)  # noqa: FBT003 - the standard library has it so
        try:
            notices.sendto(state.encode(), address)
        except OSError:
            return


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return how often the watchdog wants to hear from us (half its limit), or None where there is none."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    meant_for = environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdigit() or meant_for != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000 or None
