"""Real programs that tests judge with: found on this machine, or the test says plainly that it is skipped."""

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "blackbox_exporter": "prometheus-blackbox-exporter",
    "curl": "curl",
    "ldns-keygen": "ldnsutils",
    "ldns-signzone": "ldnsutils",
    "nginx": "nginx-light",
    "nsd": "nsd",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "unbound": "unbound",
    "unshare": "util-linux",
}
"""Program to the Debian package that brings it; a program that is not here has a package of its own name."""

_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(program: str) -> str | None:
    """Absolute path of `program`, or None. Besides PATH the system's folders are searched: /usr/sbin is not on everybody's."""
    found = shutil.which(program) or shutil.which(program, path=_PLACES)
    return None if found is None else str(Path(found).absolute())


def require(program: str) -> str:
    """Absolute path of `program`. Skips the test where it is missing, and fails it where FOGBELL_REQUIRE_SERVERS=1 says it must be."""
    found = find(program)
    if found is not None:
        return found
    message = f"{program} is not installed (Debian package: {PACKAGES.get(program, program)})"
    if os.environ.get("FOGBELL_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{message}, and FOGBELL_REQUIRE_SERVERS=1 says it must be", pytrace=False)
    pytest.skip(message)
