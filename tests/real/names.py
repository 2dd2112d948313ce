"""NSD with a plain and a signed zone, and Unbound that validates the signed one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import Program, accepts, free_port, running
from tests.servers import require

PLAIN = """
$ORIGIN plain.example.
$TTL 60
@ IN SOA ns.plain.example. admin.plain.example. 1 3600 600 86400 60
@ IN NS ns
@ IN MX 0 mx
ns IN A 127.0.0.1
mx IN A 192.0.2.25
www IN CNAME edge
edge IN A 127.0.0.1
"""
SIGNED = PLAIN.replace("plain.example", "signed.example")

NSD = """
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: plain.example
  zonefile: plain.example.zone
zone:
  name: signed.example
  zonefile: signed.example.zone.signed
"""

UNBOUND = """
server:
  interface: 127.0.0.1
  port: {port}
  do-daemonize: no
  use-syslog: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  do-not-query-localhost: no
  do-ip6: no
  num-threads: 1
  cache-max-ttl: 0
  cache-max-negative-ttl: 0
  infra-host-ttl: 0
  trust-anchor-file: "{anchor}"
remote-control:
  control-enable: no
stub-zone:
  name: plain.example
  stub-addr: 127.0.0.1@{upstream}
stub-zone:
  name: signed.example
  stub-addr: 127.0.0.1@{upstream}
"""


@dataclass(frozen=True, slots=True)
class NameServer:
    """A name server that runs: its port for UDP and TCP, and the DS record file of its signed zone where it has one."""

    port: int
    program: Program
    anchor: Path


def sign(folder: Path, zone: str) -> Path:
    """Sign the zone file `<zone>.zone` of the folder into `<zone>.zone.signed` and return the file with its DS record."""
    made = subprocess.run(
        [require("ldns-keygen"), "-r", "/dev/urandom", "-a", "ECDSAP256SHA256", "-k", zone],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    key = made.stdout.strip()
    subprocess.run([require("ldns-signzone"), "-o", zone, f"{zone}.zone", key], cwd=folder, check=True)
    return folder / f"{key}.ds"


@contextmanager
def nsd(folder: Path, port: int = 0) -> Iterator[NameServer]:
    """Run NSD with plain.example and signed.example while the block runs."""
    folder.mkdir()
    port = port or free_port()
    (folder / "plain.example.zone").write_text(PLAIN)
    (folder / "signed.example.zone").write_text(SIGNED)
    anchor = sign(folder, "signed.example")
    config = folder / "nsd.conf"
    config.write_text(NSD.format(port=port, folder=folder))
    with running([require("nsd"), "-d", "-c", str(config)], folder / "log", lambda: accepts(port)) as program:
        yield NameServer(port, program, anchor)


@contextmanager
def unbound(folder: Path, upstream: NameServer) -> Iterator[NameServer]:
    """Run Unbound, which asks the upstream about both zones and validates signed.example, while the block runs."""
    folder.mkdir()
    port = free_port()
    config = folder / "unbound.conf"
    config.write_text(UNBOUND.format(port=port, folder=folder, upstream=upstream.port, anchor=upstream.anchor))
    with running([require("unbound"), "-d", "-c", str(config)], folder / "log", lambda: accepts(port)) as program:
        yield NameServer(port, program, upstream.anchor)
