"""Goals of the identity layer: CPU of a Graph probe against a bare aiohttp client with the same calls, and how often a token is asked."""

import asyncio
import base64
import json
import sys
from pathlib import Path

import aiohttp
import trustme

from tests.bench.cost import runs_ok, still_true
from tests.bench.figures import Figure
from tests.bench.processes import OTHER_CORE, PROBE_CORE, agent, program, running
from tests.processes import free_port

TENANT = "00000000-0000-0000-0000-00000000000a"
APPLICATION = "00000000-0000-0000-0000-00000000000b"
_PROBES, _RATE, _ROUNDS, _LIMIT = 200, 100.0, 3, 1.5

_NGINX = """
worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; default_type application/json;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096; listen [::1]:{port} ssl backlog=4096;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/cert.pem; ssl_session_cache off; ssl_session_tickets off;
    location /{tenant}/oauth2/v2.0/token {{ access_log {folder}/tokens.log; return 200 '{token}'; }}
    location /v1.0/organization {{ return 200 '{organization}'; }}
  }}
}}
"""

_AGENT = """
defaults: {{interval: {interval}s, timeout: 1s}}
tenants:
  contoso:
    tenant_id: {tenant}
    client_id: {application}
    hosts: {{login: "localhost:{port}", graph: "localhost:{port}", exchange: "localhost:{port}"}}
    credential: {{secret: {{file: {folder}/secret}}}}
    tls: {{ca_file: {folder}/ca.pem}}
probes:
"""


async def measure(folder: Path, seconds: float) -> list[Figure]:
    """Return microseconds of CPU per run, the least of three alternating rounds, and token requests per credential."""
    port = _prepare(folder)
    ours: list[float] = []
    peer: list[float] = []
    with running([program("nginx"), "-c", str(folder / "nginx.conf")], OTHER_CORE, port, log=folder / "nginx.log"):
        for _ in range(_ROUNDS):
            peer.append(await _peer(folder, port, seconds))
            ours.append(await _ours(folder, seconds))
    # The peer asks once a round as well.
    asked = len((folder / "tokens.log").read_text().splitlines()) - _ROUNDS
    return [
        Figure("8 graph", f"CPU per Graph probe at {_RATE:g}/s", min(ours), min(peer), "bare aiohttp", "µs", _LIMIT),
        Figure("8 graph", f"token requests of {_PROBES} probes that share a credential", asked / _ROUNDS, 1.0, "bound", "", 1.0),
    ]


def _prepare(folder: Path) -> int:
    """Write what nginx and the agent need, and return nginx's port."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
    (folder / "secret").write_text("a secret of nobody\n")
    port = free_port()
    fields = {"folder": folder, "port": port, "tenant": TENANT}
    organization = json.dumps({"value": [{"id": TENANT, "displayName": "Contoso"}]})
    (folder / "nginx.conf").write_text(_NGINX.format(token=_token_answer(), organization=organization, **fields))
    probes = [f"  - {{name: p{n}, kind: graph_ping, allow_short_interval: true}}" for n in range(_PROBES)]
    head = _AGENT.format(interval=_PROBES / _RATE, application=APPLICATION, **fields)
    (folder / "graph.yml").write_text("\n".join([head.rstrip(), *probes]))
    return port


def _token_answer() -> str:
    """Return what a token endpoint says; the signature is nobody's, because clients do not look at it."""
    claims = {"aud": "https://graph.microsoft.com", "tid": TENANT, "appid": APPLICATION, "roles": ["Organization.Read.All"]}
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims | {"iat": 1, "nbf": 1, "exp": 1 << 32}))
    token = ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "c2lnbmVk"])
    return json.dumps({"token_type": "Bearer", "expires_in": 3599, "access_token": token})


async def _ours(folder: Path, seconds: float) -> float:
    with agent(folder / "graph.yml", folder) as (process, url):
        async with aiohttp.ClientSession() as session:
            await asyncio.sleep(2 * _PROBES / _RATE)
            runs, before = await runs_ok(session, url), process.cpu_seconds()
            await asyncio.sleep(seconds)
            spent = process.cpu_seconds() - before
            done = await runs_ok(session, url) - runs
    still_true(done, _RATE * seconds)
    return spent / done * 1e6


async def _peer(folder: Path, port: int, seconds: float) -> float:
    """Run the bare client as a process of its own, which counts its own CPU."""
    arguments = (str(folder / "ca.pem"), str(port), TENANT, str(_RATE), str(seconds))
    command = ("taskset", "-c", str(PROBE_CORE), sys.executable, "-m", "tests.bench.bare_graph", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    done, spent = output.split()
    still_true(int(done), _RATE * seconds)
    return float(spent) / int(done) * 1e6
