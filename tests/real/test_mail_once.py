"""One round trip by hand, on a pair of real servers: what an administrator sees."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.mail.ends import imap, submission, write_configuration
from tests.real.mail.pair import Pair
from tests.real.mail.postfix import AWAY

pytestmark = pytest.mark.real


def test_once_draws_the_round_trip_with_its_hops(tmp_path: Path, mail: Pair) -> None:
    config = tmp_path / "mail.yml"
    write_configuration(config, {"mail": {"send": submission(mail), "receive": imap(mail), "to": f"probe2@{AWAY}"}})
    command = [sys.executable, "-m", "agent", "once", "mail", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    steps = [line.split()[0] for line in done.stdout.partition("measured")[0].splitlines()[3:] if line[2:3].isalpha()]
    assert steps == ["sign_in", "submit", "transit", "seen", "headers", "cleanup"]
    assert "submission mail.contoso.example > transport mx.away.example" in done.stdout
    assert "hop_seconds{delivery}" in done.stdout
