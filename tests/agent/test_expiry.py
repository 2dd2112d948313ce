"""When our own credentials end: read from files and YAML, told in the metrics and by `fogbell check`."""

import datetime as dt
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from agent import expiry
from agent.__main__ import app
from agent.config import Secrets, load
from agent.daemon import Daemon
from probes.lib.credential_expiry import CredentialExpiry
from tests.agent.test_daemon import agent

DAY = 86_400.0
NOW = 1_800_000_000.0
IDS = "tenant_id: 11111111-1111-1111-1111-111111111111, client_id: 22222222-2222-2222-2222-222222222222"


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


def pem(end: float, *, key_first: bool = False, other_first: bool = False) -> str:
    """Return a certificate that ends then, with its private key, as `openssl` and administrators put them into one file."""
    key = _key()
    own = _certificate(key, end)
    other = _certificate(rsa.generate_private_key(65_537, 2_048), NOW) if other_first else ""
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return private + other + own if key_first else other + own + private


def _certificate(key: rsa.RSAPrivateKey, end: float) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fogbell")])
    until = dt.datetime.fromtimestamp(end, dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    signed = builder.not_valid_before(until - dt.timedelta(days=365)).not_valid_after(until).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def configured(folder: Path, credential: str, more: str = "") -> Path:
    path = folder / "fogbell.yml"
    probe = "probes: [{name: a, kind: tcp, host: 127.0.0.1, port: 1}]"
    path.write_text(f"tenants:\n  contoso: {{{IDS}, credential: {{{credential}}}}}\n{more}{probe}\n", encoding="utf-8")
    return path


def known(path: Path) -> expiry.Expiries:
    configuration = load(path)
    return expiry.known(configuration.tenants, Secrets(configuration.secrets))


@pytest.mark.parametrize(
    ("key_first", "other_first"), [(False, False), (True, False), (False, True)], ids=["certificate first", "key first", "another's first"]
)
def test_the_end_of_a_certificate_is_that_of_the_one_we_sign_with(tmp_path: Path, *, key_first: bool, other_first: bool) -> None:
    (tmp_path / "own.pem").write_text(pem(NOW + 90 * DAY, key_first=key_first, other_first=other_first))
    assert known(configured(tmp_path, "certificate: {file: own.pem}")) == {("contoso", "certificate"): NOW + 90 * DAY}


def test_a_secret_ends_with_the_day_the_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    found = known(configured(tmp_path, "secret: {file: secret}, expires: 2027-01-31"))
    assert found == {("contoso", "secret"): dt.datetime(2027, 1, 31, 23, 59, 59, tzinfo=dt.UTC).timestamp()}


@pytest.mark.parametrize(
    "credential",
    ["secret: {file: secret}", "managed_identity: {}", "federated_token: {file: secret}", "certificate: {file: secret}"],
    ids=["a secret without a day", "a machine's identity", "another provider's token", "a file without a certificate"],
)
def test_what_nothing_tells_is_not_known(tmp_path: Path, credential: str) -> None:
    (tmp_path / "secret").write_text("hunter2")
    assert known(configured(tmp_path, credential)) == {}


def test_without_secrets_only_the_configuration_is_asked(tmp_path: Path) -> None:
    tenants = load(configured(tmp_path, "certificate: {file: not-there.pem}"), secrets=False).tenants
    assert expiry.known(tenants, None) == {}
    assert expiry.unusable(tenants, None) == ()


def test_what_the_tenant_told_counts_where_we_do_not_know_and_only_for_what_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    tenants = load(configured(tmp_path, "secret: {file: secret}")).tenants
    told = {("contoso", "secret"): 1.0, ("contoso", "certificate"): 2.0, ("gone", "secret"): 3.0}
    assert expiry.together({}, told, tenants) == {("contoso", "secret"): 1.0}
    assert expiry.together({("contoso", "secret"): 9.0}, told, tenants) == {("contoso", "secret"): 9.0}


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (40, None),
        (29.5, "the secret expires on 2027-02-13, in 29 days"),
        (1.5, "the secret expires on 2027-01-16, in 1 day"),
        (-2.5, "the secret has expired on 2027-01-12, 2 days ago"),
    ],
    ids=["far", "within thirty days", "tomorrow", "over"],
)
def test_an_end_is_told_thirty_days_ahead(days: float, words: str | None) -> None:
    lines = [str(one) for one in expiry.ending({("contoso", "secret"): NOW + days * DAY}, NOW)]
    assert lines == ([f"tenants.contoso.credential: {words}"] if words else [])


def test_check_refuses_a_credential_that_has_ended_or_cannot_be_used_and_shows_neither(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    other = f"  fabrikam: {{{IDS}, credential: {{certificate: {{file: secret}}}}}}\n"
    path = configured(tmp_path, "secret: {file: secret}, expires: 2020-01-31", other)
    done = CliRunner().invoke(app, ["check", "--config", str(path)])
    assert done.exit_code == 1
    assert "mistake: tenants.contoso.credential: the secret has expired on 2020-01-31, " in done.output
    assert "mistake: tenants.fabrikam.credential: the certificate's file holds no " in done.output
    assert "hunter2" not in done.output


def test_check_without_secrets_says_what_the_configuration_alone_tells(tmp_path: Path) -> None:
    path = configured(tmp_path, "secret: {file: not-there}, expires: 2020-01-31")
    done = CliRunner().invoke(app, ["check", "--no-secrets", "--config", str(path)])
    assert done.exit_code == 1
    assert "the secret has expired on 2020-01-31" in done.output


def shown(daemon: Daemon) -> expiry.Expiries:
    """Return what a scrape would see."""
    (family,) = (one for one in daemon._own.registry.collect() if one.name == "fogbell_credential_expiry_timestamp_seconds")
    return {(sample.labels["tenant"], sample.labels["credential"]): sample.value for sample in family.samples}


async def test_the_agent_tells_it_from_the_start_anew_after_a_rotation_and_what_a_probe_learns(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text(pem(NOW))
    (tmp_path / "secret").write_text("hunter2")
    more = f"  fabrikam: {{{IDS}, credential: {{secret: {{file: secret}}}}}}\n"
    path = configured(tmp_path, "certificate: {file: own.pem}", more)
    path.write_text(path.read_text().replace("kind: tcp, host: 127.0.0.1, port: 1", "kind: watch, host: a"))
    async with agent(path) as (daemon, told, reloader):
        await told.until("watching")
        assert shown(daemon) == {("contoso", "certificate"): NOW}
        daemon._shared.part(CredentialExpiry).known["fabrikam", "secret"] = NOW + 1
        (tmp_path / "own.pem").write_text(pem(NOW + DAY))
        assert await reloader.differs()
        assert await daemon.reload() == []
        assert shown(daemon) == {("contoso", "certificate"): NOW + DAY, ("fabrikam", "secret"): NOW + 1}
