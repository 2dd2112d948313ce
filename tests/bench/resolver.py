"""Goal 7: twenty probes on dead names with the machine's resolver silent; a healthy probe beside them keeps its latency.

The agent gets a resolv.conf of its own through a mount namespace; it names an address of the loopback net where a socket takes queries and
never answers.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.bench.curl import follow
from tests.bench.figures import Figure
from tests.bench.processes import agent
from tests.bench.servers import nginx

_SILENT = "127.53.53.53"
_LIMIT = 1.5
"""A ratio above what two runs of the same thing differ by on a machine with neighbours; the fault it looks for is a factor of thousands."""


async def measure(folder: Path, seconds: float) -> list[Figure]:
    """Return the healthy probe's median latency beside twenty dead ones against its latency alone."""
    with nginx(folder) as (port, _, _), _silence():
        healthy = f"  - {{name: healthy, kind: http, url: 'http://127.0.0.1:{port}/', interval: 1s, timeout: 1s}}"
        dead = [f"  - {{name: dead{n}, kind: http, url: 'http://dead{n}.example.org/', interval: 2s, timeout: 2s}}" for n in range(20)]
        alone = await _healthy_latency(folder, [healthy], seconds)
        beside = await _healthy_latency(folder, [healthy, *dead], seconds)
    return [
        Figure("7 resolver", "median latency beside 20 dead names, resolver silent", beside * 1000, alone * 1000, "alone", "ms", _LIMIT)
    ]


@contextmanager
def _silence() -> Iterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((_SILENT, 53))
        yield


async def _healthy_latency(folder: Path, probes: list[str], seconds: float) -> float:
    config, resolv = folder / "resolver.yml", folder / "resolv.conf"
    config.write_text("\n".join(["probes:", *probes]))
    resolv.write_text(f"nameserver {_SILENT}\n")
    own_resolver = ["unshare", "--mount", "sh", "-c", f'mount --bind "{resolv}" /etc/resolv.conf && exec "$@"', "sh"]
    with agent(config, folder, wrap=own_resolver) as (_, address):
        seen = await follow(address, seconds, lambda run: float(run["seconds"]), only="healthy")
    return median(seen["healthy"])
