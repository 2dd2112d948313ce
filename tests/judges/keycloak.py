"""Keycloak as a token server that nobody here wrote: it verifies secrets and assertions. Its path and grants differ from Entra's."""

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.certificates import key_pair
from tests.processes import accepts, eventually, free_port, running
from tests.servers import require, require_keycloak

REALM = "contoso"
TOKEN_PATH = f"/realms/{REALM}/protocol/openid-connect/token"
START_SECONDS = 200.0
"""It takes half a minute on two free cores."""

_QUICK_START = "-XX:TieredStopAtLevel=1"


@dataclass(frozen=True, slots=True)
class Client:
    """A client of the realm. It signs in with a secret, or with assertions that `certificate` (PEM) verifies."""

    client_id: str
    secret: str = ""
    certificate: str = ""


@contextmanager
def keycloak(folder: Path, clients: tuple[Client, ...], scope: str) -> Iterator[str]:
    """Run Keycloak with one realm while the block runs, and give its host and port, https. The clients may ask for `scope`."""
    java, archive = require("java"), require_keycloak()
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    (home,) = folder.iterdir()
    try:
        imported = home / "data" / "import"
        imported.mkdir(parents=True)
        (imported / f"{REALM}.json").write_text(json.dumps(_realm(clients, scope)))
        port = free_port()
        environ = {"JAVA": java, "JAVA_OPTS_KC_HEAP": "-Xmx400m", "JAVA_OPTS_APPEND": _QUICK_START}
        with running(_command(home, port), folder / "keycloak.log", lambda: True, environ) as program:
            eventually(lambda: accepts(port) or program.process.poll() is not None, "Keycloak listens", START_SECONDS, program.said)
            assert program.process.poll() is None, program.said()
            yield f"127.0.0.1:{port}"
    finally:
        shutil.rmtree(home)


def _command(home: Path, port: int) -> tuple[str, ...]:
    pair = key_pair()
    return (
        "sh",
        str(home / "bin" / "kc.sh"),
        "start-dev",
        "--import-realm",
        "--db=dev-mem",
        "--cache=local",
        "--http-host=127.0.0.1",
        f"--http-port={free_port()}",
        f"--https-port={port}",
        f"--https-certificate-file={pair.certificate}",
        f"--https-certificate-key-file={pair.key}",
    )


def _realm(clients: tuple[Client, ...], scope: str) -> Mapping[str, object]:
    known = {"name": scope, "protocol": "openid-connect", "attributes": {"include.in.token.scope": "true"}}
    return {"realm": REALM, "enabled": True, "clientScopes": [known], "clients": [_client(client, scope) for client in clients]}


def _client(client: Client, scope: str) -> Mapping[str, object]:
    common = {"clientId": client.client_id, "serviceAccountsEnabled": True, "standardFlowEnabled": False, "optionalClientScopes": [scope]}
    if client.secret:
        return common | {"clientAuthenticatorType": "client-secret", "secret": client.secret}
    body = "".join(client.certificate.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0].split())
    attributes = {"jwt.credential.certificate": body, "token.endpoint.auth.signing.alg": "PS256"}
    return common | {"clientAuthenticatorType": "client-jwt", "attributes": attributes}
