"""The media probe against coturn, a STUN and TURN server that is not ours; and what it does where coturn says no."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from probes.core.contract import Outcome
from probes.core.reasons import Reason
from tests.probes.once import once
from tests.probes.pages import measured
from tests.processes import accepts, free_port, running
from tests.servers import require

pytestmark = pytest.mark.real

QUICK: dict[str, Any] = {"packets": 20, "pace": 0.005, "patience": 0.5, "max_rtt": 0.2, "max_jitter": 0.2}
CREDENTIALS = ("--lt-cred-mech", "--realm", "media.example", "--user", "probe:word")


@contextmanager
def coturn(folder: Path, *options: str) -> Iterator[int]:
    """Run coturn on loopback, with a file for a configuration that is empty, and give its port."""
    port, empty = free_port(), folder / "turnserver.conf"
    empty.touch()
    where = ("--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", str(port))
    files = ("-c", str(empty), "--pidfile", str(folder / "pid"), "--userdb", str(folder / "turndb"), "--log-file", "stdout")
    command = [require("turnserver"), *files, *where, "--allow-loopback-peers", "--cli-password", "none", "--no-tls", "--no-dtls", *options]
    with running(command, folder / "turnserver.log", lambda: accepts(port)):
        yield port


async def test_coturn_tells_from_where_it_sees_us(tmp_path: Path) -> None:
    with coturn(tmp_path, "--no-cli") as port:
        run = await once("teams_media", host="127.0.0.1", port=port, fallback=port, **QUICK)
    evidence = dict(run.evidence)
    assert (run.outcome, run.message) == (Outcome.OK, "")
    assert evidence["seen_from"] == evidence["sent_from"]
    assert evidence["software"].startswith("Coturn")
    assert evidence["fallback"] == f"TCP {port} answers"
    assert measured(run)["loss_ratio"] == 0


async def test_coturn_with_credentials_refuses_whoever_has_none(tmp_path: Path) -> None:
    with coturn(tmp_path, "--no-cli", "--secure-stun", *CREDENTIALS) as port:
        refused = await once("teams_media", host="127.0.0.1", port=port, **QUICK)
        allocated = await once("teams_media", host="127.0.0.1", port=port, ask="allocate", **QUICK)
    assert (refused.failed_step, refused.reason, refused.code) == ("binding", Reason.PROTOCOL_ERROR, "401")
    assert (allocated.outcome, allocated.message) == (Outcome.OK, "")
