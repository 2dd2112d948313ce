"""The kinds of probe. A new one is one file here, one test, and one line below."""

from typing import Any

from probes import dns, http, tcp
from probes.core.contract import Probe

REGISTRY: dict[str, Probe[Any]] = {
    "dns": dns.PROBE,
    "http": http.PROBE,
    "tcp": tcp.PROBE,
}
"""Kind, as written in YAML, to probe. Alphabetical."""
