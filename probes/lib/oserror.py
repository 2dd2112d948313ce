"""The one table from the operating system's errors to reasons."""

import errno
import os

from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.reasons import Reason

REASONS: dict[int | None, Reason] = {
    errno.ECONNREFUSED: Reason.CONNECT_REFUSED,
    errno.ETIMEDOUT: Reason.CONNECT_TIMEOUT,
    errno.EHOSTUNREACH: Reason.UNREACHABLE,
    errno.ENETUNREACH: Reason.UNREACHABLE,
    errno.EHOSTDOWN: Reason.UNREACHABLE,
    errno.ENETDOWN: Reason.UNREACHABLE,
    # A local firewall's reject arrives as EPERM or EACCES.
    errno.EPERM: Reason.UNREACHABLE,
    errno.EACCES: Reason.UNREACHABLE,
    # An address family that this machine does not speak, or an address it cannot reach from any of its own.
    errno.EAFNOSUPPORT: Reason.UNREACHABLE,
    errno.EINVAL: Reason.UNREACHABLE,
    errno.ECONNRESET: Reason.CONNECTION_RESET,
    errno.ECONNABORTED: Reason.CONNECTION_RESET,
    errno.EPIPE: Reason.CONNECTION_RESET,
    errno.ENOTCONN: Reason.CONNECTION_RESET,
    errno.EMFILE: Reason.AGENT_RESOURCES,
    errno.ENFILE: Reason.AGENT_RESOURCES,
    errno.ENOMEM: Reason.AGENT_RESOURCES,
    errno.ENOBUFS: Reason.AGENT_RESOURCES,
    errno.EADDRNOTAVAIL: Reason.AGENT_RESOURCES,
}
"""errno of a socket call to reason. EADDRNOTAVAIL is what Linux says when no local port is left."""


def stopped_by(error: OSError, peer: str) -> Stopped:
    """Return what to raise for a socket error while talking to `peer`: Inconclusive where the agent's machine is to blame, else Failed."""
    reason = REASONS.get(error.errno, Reason.CONNECTION_RESET if isinstance(error, ConnectionError) else Reason.UNREACHABLE)
    # asyncio writes words of its own into strerror.
    message = f"{peer}: {os.strerror(error.errno).lower() if error.errno else error}"
    return Inconclusive(reason, message) if reason is Reason.AGENT_RESOURCES else Failed(reason, message)
