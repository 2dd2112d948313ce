"""The peer: Debian's prometheus-blackbox-exporter, driven at a steady rate as Prometheus would."""

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.bench.processes import PROBE_CORE, Watched, program, running
from tests.processes import free_port

_MODULES = """
modules:
  http: {prober: http, timeout: 10s, http: {preferred_ip_protocol: ip4}}
  dns: {prober: dns, timeout: 5s, dns: {query_name: www.example.org, query_type: A, preferred_ip_protocol: ip4, transport_protocol: udp}}
"""
_PHASE = re.compile(r'^probe_(?:http|dns)_duration_seconds\{phase="(\w+)"\} (\S+)$', re.MULTILINE)


@contextmanager
def blackbox(folder: Path) -> Iterator[tuple[Watched, int]]:
    """Run the exporter pinned to the probing core; gives the process and its port."""
    config, port = folder / "blackbox.yml", free_port()
    config.write_text(_MODULES)
    command = [
        program("prometheus-blackbox-exporter"),
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with running(command, PROBE_CORE, port, log=folder / "blackbox.log") as watched:
        yield watched, port


async def drive(port: int, module: str, targets: Sequence[str], rate: float, seconds: float) -> list[tuple[str, float, dict[str, float]]]:
    """Ask for one target after the other at `rate` a second; return (target, Unix time asked, phases in seconds) of each."""
    done: list[tuple[str, float, dict[str, float]]] = []
    tasks: set[asyncio.Task[None]] = set()
    began = time.perf_counter()
    for n in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
        task = asyncio.create_task(_ask(port, module, targets[n % len(targets)], done))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return done


async def _ask(port: int, module: str, target: str, done: list[tuple[str, float, dict[str, float]]]) -> None:
    asked = time.time()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path = f"/probe?module={module}&target={quote(target, safe='')}"
    writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    if "\nprobe_success 1\n" not in answer:
        raise RuntimeError(f"the peer's probe failed:\n{answer}")
    done.append((target, asked, {phase: float(value) for phase, value in _PHASE.findall(answer)}))
