"""nginx, with and without TLS, from a throw-away authority."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.processes import Program, accepts, free_port, running
from tests.servers import require

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{tls} ssl;
    ssl_certificate {folder}/chain.pem;
    ssl_certificate_key {folder}/key.pem;
    location / {{ default_type text/plain; return 200 "hello from nginx\\n"; }}
    location /broken {{ return 503; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class WebServer:
    """nginx that runs: its ports without and with TLS, and the file of the authority to trust."""

    plain: int
    tls: int
    authority: Path
    program: Program


@contextmanager
def nginx(folder: Path) -> Iterator[WebServer]:
    """Run nginx for the names localhost, www.plain.example and 127.0.0.1 while the block runs."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    leaf = authority.issue_cert("localhost", "www.plain.example", "127.0.0.1")
    leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
    for part in leaf.cert_chain_pems:
        part.write_to_path(str(folder / "chain.pem"), append=True)
    plain, tls = free_port(), free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, plain=plain, tls=tls))
    command = [require("nginx"), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with running(command, folder / "log", lambda: accepts(plain) and accepts(tls)) as program:
        yield WebServer(plain, tls, folder / "authority.pem", program)
