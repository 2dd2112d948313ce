"""The machine: clocks that are set, limits, notices to systemd."""

import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent import machine, systemd


def test_a_clock_that_was_set_is_told_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "fogbell")
    clocks = machine.Clocks()
    clocks.look()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    clocks.look()
    clocks.look()
    assert len(caplog.records) == 1
    assert "+3600" in caplog.text


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    program = (
        "import resource; from agent import machine\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 400)); machine.prepare()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(400, 400)"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_changes_nothing(tmp_path: Path, closed: str) -> None:
    config = tmp_path / "fogbell.yml"
    config.write_text("probes: [{name: nobody, kind: tcp, host: 127.0.0.1, port: 1}]")
    command = f'exec "$0" -m agent once nobody --config "$1" {closed}'
    assert subprocess.run(["sh", "-c", command, sys.executable, str(config)], check=False).returncode == 1


def test_what_lives_at_the_start_is_out_of_later_collections() -> None:
    machine.settle_garbage()
    assert gc.get_freeze_count() > 1000
    gc.unfreeze()


def test_systemd_hears_when_the_agent_is_ready(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(5)
        systemd.notify("READY=1", {"NOTIFY_SOCKET": address})
        assert listener.recv(100) == b"READY=1"


def test_an_abstract_socket_works_too() -> None:
    name = f"fogbell-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(5)
        systemd.notify("STOPPING=1", {"NOTIFY_SOCKET": "@" + name})
        assert listener.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}], ids=["none", "gone"])
def test_no_systemd_is_no_trouble(environ: dict[str, str]) -> None:
    systemd.notify("READY=1", environ)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
    ids=["none", "asked", "not meant for us", "nonsense", "zero"],
)
def test_the_watchdog_is_fed_twice_within_its_limit(environ: dict[str, str], seconds: float | None) -> None:
    assert systemd.watchdog_seconds(environ) == seconds


def test_a_hangup_before_anybody_listens_ends_nothing() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        machine.outlive_early_hangups()
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
