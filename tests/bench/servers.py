"""The targets: nginx and NSD, one process each, on the core that does not probe."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.bench.processes import OTHER_CORE, program, running
from tests.processes import free_port

_NGINX = """
worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{plain} backlog=4096;
    listen 127.0.0.1:{tls} ssl backlog=4096;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/cert.pem; ssl_session_cache off; ssl_session_tickets off;
    location / {{ return 200 "fog\\n"; }}
    location /delayed/ {{ proxy_pass http://127.0.0.1:{delayed}/d/50/; }}
  }}
}}
"""

_NSD = """
server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  logfile: "{folder}/nsd.log"
  do-ip6: no
remote-control:
  control-enable: no
zone:
  name: example.org
  zonefile: example.org.zone
"""

_ZONE = """$ORIGIN example.org.
$TTL 60
@ IN SOA ns.example.org. host.example.org. 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
www IN A 192.0.2.1
"""


@contextmanager
def nginx(folder: Path, delayed: int = 9) -> Iterator[tuple[int, int, Path]]:
    """Run nginx; gives its plain port, its TLS port and the file of the CA. `/delayed/` is passed on to the port `delayed`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
    plain, tls = free_port(), free_port()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, plain=plain, tls=tls, delayed=delayed))
    with running([program("nginx"), "-c", str(folder / "nginx.conf")], OTHER_CORE, plain, log=folder / "nginx.log"):
        yield plain, tls, folder / "ca.pem"


@contextmanager
def nsd(folder: Path) -> Iterator[int]:
    """Run NSD with the zone example.org, rate limiting off; gives its port."""
    port = free_port()
    (folder / "nsd.conf").write_text(_NSD.format(folder=folder, port=port))
    (folder / "example.org.zone").write_text(_ZONE)
    with running([program("nsd"), "-d", "-c", str(folder / "nsd.conf")], OTHER_CORE, port, log=folder / "nsd.out"):
        yield port
