"""The systemd unit, judged by systemd's own tool; the rule it lives under is tried on the libraries themselves."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.places import DEPLOY
from tests.servers import require

UNIT = DEPLOY / "fogbell.service"
EXPOSURE = "20"
"""Highest exposure accepted, in tenths of systemd's scale from 0 (safe) to 10."""


def analyse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([require("systemd-analyze"), *map(str, arguments)], capture_output=True, text=True, check=False)


def verified(folder: Path, text: str) -> str:
    """Return what systemd complains of in a unit whose program is one that exists here."""
    unit = folder / UNIT.name
    unit.write_text(text.replace("/opt/fogbell/bin/fogbell", require("true")))
    judged = analyse("verify", "--man=no", unit)
    return judged.stdout + judged.stderr


@pytest.mark.real
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    assert verified(tmp_path, UNIT.read_text()) == ""


@pytest.mark.real
def test_systemd_refuses_a_misspelt_setting(tmp_path: Path) -> None:
    assert "ProtectSistem" in verified(tmp_path, UNIT.read_text().replace("ProtectSystem", "ProtectSistem"))


@pytest.mark.real
def test_the_unit_may_do_little() -> None:
    judged = analyse("security", "--offline=yes", f"--threshold={EXPOSURE}", UNIT)
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.real
def test_a_unit_that_may_do_much_is_refused(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert analyse("security", "--offline=yes", f"--threshold={EXPOSURE}", unit).returncode != 0


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "WatchdogSec=30s",
        "Restart=always",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "DynamicUser=yes",
        "StateDirectory=fogbell",
        "MemoryDenyWriteExecute=yes",
    ],
)
def test_the_unit_says(line: str) -> None:
    assert line in UNIT.read_text().splitlines()


_REFUSE_WRITABLE_CODE = """
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    raise SystemExit("this kernel has no PR_SET_MDWE")
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
_USE_THE_LIBRARIES = """
import asyncio, mmap, sqlite3, ssl
import bcrypt, cryptography.x509, dns.message, httptools, lxml.etree, pydantic, re2, uvloop
from probes.lib.resolve import SystemResolver
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    print("refused")
async def main():
    re2.compile('a+').search('aa')
    print((await SystemResolver()("localhost", 0))[0])
uvloop.run(main())
bcrypt.hashpw(b"x", bcrypt.gensalt(4))
ssl.create_default_context()
sqlite3.connect(":memory:").execute("create table t (x)")
"""


@pytest.mark.skipif(
    sys.platform != "linux" or tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < (6, 3),
    reason="PR_SET_MDWE needs Linux 6.3",
)
def test_the_libraries_need_no_memory_that_is_both_writable_and_executable() -> None:
    done = subprocess.run([sys.executable, "-c", _REFUSE_WRITABLE_CODE, _USE_THE_LIBRARIES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused")
