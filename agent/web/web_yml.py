"""The file of `--web.config.file`: TLS and passwords of the agent's own pages, in the format of Prometheus' exporter-toolkit.

What Python's TLS cannot do, or Fogbell does not, is refused with a sentence rather than ignored: a setting that protects nothing is worse
than none. Paths are relative to the file.
"""

import hashlib
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from agent.config.document import parse
from agent.config.mistakes import START, Notes, Page
from agent.config.nodes import Mapping, child, plain
from agent.config.wording import findings, place
from probes.core.contract import Settings

_BYTES_MOST = 1_000_000
_BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

_REFUSED = {
    ("rate_limit",): "Fogbell has no rate limit; put a proxy in front",
    ("tls_server_config", "cert"): "inline certificates are not supported; name a file with `cert_file`",
    ("tls_server_config", "key"): "inline keys are not supported; name a file with `key_file`",
    ("tls_server_config", "client_ca"): "inline authorities are not supported; name a file with `client_ca_file`",
    ("tls_server_config", "client_allowed_sans"): "not supported; every certificate of `client_ca_file` is let in",
    ("tls_server_config", "cipher_suites"): "not supported; Python's own secure choice is used",
    ("tls_server_config", "prefer_server_cipher_suites"): "not supported; Python's own secure choice is used",
    ("tls_server_config", "curve_preferences"): "not supported; Python's own secure choice is used",
}


def _hash(text: str) -> str:
    if not _BCRYPT.fullmatch(text):
        raise ValueError("must be a bcrypt hash, such as `htpasswd -nB NAME` prints, and never the password itself")
    return text


class TlsServer(Settings):
    """TLS of the agent's own pages."""

    cert_file: str
    """PEM file with the certificate and those between it and the root."""
    key_file: str
    """PEM file with the private key."""
    client_ca_file: str | None = None
    """PEM file with the authorities whose client certificates are let in."""
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = "NoClientCert"
    """Whether clients show a certificate."""
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    """Lowest TLS version."""
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    """Highest TLS version."""


class Headers(Settings):
    """Headers that replace Fogbell's own."""

    content_security_policy: str | None = Field(None, alias="Content-Security-Policy")
    """Replaces Fogbell's policy, which allows its own files and nothing else."""
    x_frame_options: Literal["deny", "sameorigin", "DENY", "SAMEORIGIN"] | None = Field(None, alias="X-Frame-Options")
    """Who may put the page into a frame."""
    x_content_type_options: Literal["nosniff"] | None = Field(None, alias="X-Content-Type-Options")
    """Forbids guessing types."""
    x_xss_protection: str | None = Field(None, alias="X-XSS-Protection")
    """For very old browsers."""
    strict_transport_security: str | None = Field(None, alias="Strict-Transport-Security")
    """Makes browsers insist on TLS."""


class HttpServer(Settings):
    """HTTP of the agent's own pages."""

    http2: Literal[False] = False
    """Fogbell speaks HTTP/1.1."""
    headers: Headers = Headers()
    """Headers of every answer."""


class WebYml(Settings):
    """The whole file."""

    tls_server_config: TlsServer | None = None
    """TLS; without it the pages are plain HTTP."""
    http_server_config: HttpServer = HttpServer()
    """HTTP."""
    basic_auth_users: dict[str, Annotated[str, AfterValidator(_hash)]] = Field(default_factory=dict)
    """User to bcrypt hash of the password; without any, everybody is let in."""


@dataclass(frozen=True, slots=True)
class Protection:
    """What protects the pages: the server's TLS or None, users with their hashes, headers, and the files it was read from.

    `digest` is that of the files' content at the time.
    """

    tls: ssl.SSLContext | None
    users: dict[str, str]
    headers: dict[str, str]
    files: tuple[Path, ...]
    digest: str


OPEN = Protection(None, {}, {}, (), "")
"""No protection: plain HTTP for everybody."""


def load(path: Path) -> Protection:
    """Read the file and those it names. Blocks; call it in a thread.

    Raises:
        agent.config.mistakes.ConfigurationError: with every mistake, its file, line and column.

    """
    notes = Notes()
    page = Page(str(path), notes)
    settings, tree = _settings(path, page)
    notes.raise_if_any()
    files = (path, *_named(settings, path.parent))
    before = digest(files)  # before they are read for good: a change in between is seen at the next look
    tls = _context(settings.tls_server_config, path.parent, tree, page) if settings.tls_server_config else None
    notes.raise_if_any()
    headers = settings.http_server_config.headers.model_dump(by_alias=True, exclude_none=True)
    return Protection(tls, settings.basic_auth_users, headers, files, before)


def digest(files: tuple[Path, ...]) -> str:
    """Return a digest of the files' content. Blocks; call it in a thread."""
    whole = hashlib.sha256()
    for file in files:
        try:
            whole.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError:
            whole.update(b"unreadable")
    return whole.hexdigest()


def _named(settings: WebYml, folder: Path) -> Iterator[Path]:
    tls = settings.tls_server_config
    if tls is not None:
        yield from (folder / name for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if name)


def _settings(path: Path, page: Page) -> tuple[WebYml, Mapping | None]:
    data = _bytes(path, page)
    tree = parse(data, page) if data.strip() else None
    if tree is None:
        if not page.notes.mistakes:
            page.mistake(START, "web.yml", "the file is empty and protects nothing; leave --web.config.file out instead")
        return WebYml(), None
    written = plain(tree)
    for keys, sentence in _REFUSED.items():
        _refuse(keys, sentence, written, tree, page)
    try:
        return WebYml.model_validate(written), tree
    except ValidationError as error:
        for finding in findings(error, tree, WebYml):
            page.mistake(finding.at, place("", finding.path) or "web.yml", finding.what)
        return WebYml(), tree


def _bytes(path: Path, page: Page) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES_MOST + 1)
    except OSError as error:
        page.mistake(START, "web.yml", f"cannot be read: {error.strerror}")
        return b""
    if len(data) > _BYTES_MOST:
        page.mistake(START, "web.yml", "is larger than 1 MB")
        return b""
    return data


def _refuse(keys: tuple[str, ...], sentence: str, written: dict[str, object], tree: Mapping, page: Page) -> None:
    """Note a key that the format knows and Fogbell does not, and take it out of what is judged further."""
    *path, last = keys
    node, block = tree, written
    for key in path:
        below, inner = child(node, key), block.get(key)
        if not isinstance(below, Mapping) or not isinstance(inner, dict):
            return
        node, block = below, inner
    if last in block:
        page.mistake(node.keys[last], ".".join(keys), sentence)
        del block[last]


def _context(tls: TlsServer, folder: Path, tree: Mapping | None, page: Page) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    block = child(tree, "tls_server_config") if tree is not None else None
    for key, sentence in (*_chain(context, tls, folder), *_clients(context, tls, folder)):
        page.mistake((block and child(block, key)) or block or START, f"tls_server_config.{key}", sentence)
    return context


def _chain(context: ssl.SSLContext, tls: TlsServer, folder: Path) -> Iterator[tuple[str, str]]:
    """Load the server's certificate; yield what is wrong, with its key."""
    if context.minimum_version > context.maximum_version:
        yield "min_version", f"is above max_version, {tls.max_version}"
    try:
        context.load_cert_chain(folder / tls.cert_file, folder / tls.key_file, password=_no_password)
    except (OSError, ValueError) as error:
        yield "cert_file", f"certificate and key cannot be used: {_sentence(error)}"


def _clients(context: ssl.SSLContext, tls: TlsServer, folder: Path) -> Iterator[tuple[str, str]]:
    """Load the authorities of clients; yield what is wrong, with its key."""
    if (tls.client_auth_type == "NoClientCert") != (tls.client_ca_file is None):
        key = "client_auth_type" if tls.client_ca_file is None else "client_ca_file"
        yield key, "clients are verified only where both client_ca_file and a client_auth_type that verifies are set"
    elif tls.client_ca_file is not None:
        context.verify_mode = ssl.CERT_OPTIONAL if tls.client_auth_type == "VerifyClientCertIfGiven" else ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(folder / tls.client_ca_file)
        except OSError as error:
            yield "client_ca_file", f"cannot be used: {_sentence(error)}"


def _no_password() -> str:
    raise ValueError("the key has a password, and nobody is there to type it")


def _sentence(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return {"KEY_VALUES_MISMATCH": "the key is of another certificate"}.get(error.reason or "", "one of them is not PEM")
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
