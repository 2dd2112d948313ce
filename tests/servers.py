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
    "dovecot": "dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-sieve",
    "java": "default-jre-headless",
    "ldns-keygen": "ldnsutils",
    "ldns-signzone": "ldnsutils",
    "mailexporter": "prometheus-mailexporter",
    "nginx": "nginx-light",
    "nsd": "nsd",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
    "postqueue": "postfix",
    "postsuper": "postfix",
    "promtool": "prometheus",
    "sievec": "dovecot-sieve",
    "systemd-analyze": "systemd",
    "turnserver": "coturn",
    "unbound": "unbound",
    "unshare": "util-linux",
}
"""Program to the Debian package that brings it; a program that is not here has a package of its own name."""

_FETCHED = Path(__file__).parent.parent / ".cache"
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
    raise missing(f"{program} is not installed (Debian package: {PACKAGES.get(program, program)})")


def require_keycloak() -> Path:
    """Path of Keycloak's archive, which `.ci/run` fetches from Maven Central. Skips or fails as `require`."""
    found = sorted(_FETCHED.glob("keycloak-quarkus-dist-*.zip"))
    if found:
        return found[-1]
    raise missing(f"there is no Keycloak in {_FETCHED.name}/ (.ci/run fetches it from Maven Central)")


def missing(message: str) -> BaseException:
    """Return what skips a test that cannot run here, or fails it where FOGBELL_REQUIRE_SERVERS=1 says it must."""
    if os.environ.get("FOGBELL_REQUIRE_SERVERS") == "1":
        return pytest.fail.Exception(f"{message}, and FOGBELL_REQUIRE_SERVERS=1 says it must be", pytrace=False)
    return pytest.skip.Exception(message)
