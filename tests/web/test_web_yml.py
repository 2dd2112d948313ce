"""The file of --web.config.file: what it may say, and the whole message for what it may not."""

import ssl
from pathlib import Path

import pytest

from agent.config.mistakes import ConfigurationError
from agent.web.web_yml import digest, load
from tests.fakes.certificates import Flaw, ca_file, key_pair

HASH = "$2b$04$abcdefghijklmnopqrstuuvwxyz0123456789ABCDEFGHIJKLMNOP"
PAIR = key_pair()
TLS = f"tls_server_config:\n  cert_file: {PAIR.certificate}\n  key_file: {PAIR.key}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "web.yml"
    path.write_text(text)
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(written(folder, text))
    return str(caught.value).replace(f"{folder}/", "").replace(PAIR.certificate, "CERT").replace(PAIR.key, "KEY")


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    text = (
        f"{TLS}  client_ca_file: {ca_file()}\n  client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\n"
        "http_server_config:\n  http2: false\n  headers:\n    Strict-Transport-Security: max-age=3600\n"
        f"basic_auth_users:\n  prometheus: {HASH}\n"
    )
    protection = load(written(tmp_path, text))
    assert protection.tls is not None
    assert (protection.tls.minimum_version, protection.tls.verify_mode) == (ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED)
    assert protection.users == {"prometheus": HASH}
    assert protection.headers == {"Strict-Transport-Security": "max-age=3600"}
    assert len(protection.files) == 4


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(Path(PAIR.certificate).read_bytes())
    (tmp_path / "key.pem").write_bytes(Path(PAIR.key).read_bytes())
    assert load(written(tmp_path, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}")).tls is not None


def test_the_digest_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(Path(PAIR.certificate).read_bytes())
    path = written(tmp_path, f"tls_server_config: {{cert_file: cert.pem, key_file: {PAIR.key}}}")
    protection = load(path)
    assert digest(protection.files) == protection.digest
    (tmp_path / "cert.pem").write_text("other")
    assert digest(protection.files) != protection.digest
    (tmp_path / "cert.pem").unlink()
    assert digest(protection.files) != protection.digest


WRONG = "clients are verified only where both client_ca_file and a client_auth_type that verifies are set"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "web.yml:1:1: web.yml: the file is empty and protects nothing; leave --web.config.file out instead"),
        ("basic_auth_user: {}", "web.yml:1:1: basic_auth_user: unknown key; did you mean `basic_auth_users`?"),
        (f"{TLS}  cert_flie: x", "web.yml:4:3: tls_server_config.cert_flie: unknown key"),
        ("tls_server_config: {cert_file: a}", "web.yml:1:20: tls_server_config: the key `key_file` is missing"),
        ("rate_limit: {interval: 1s}", "web.yml:1:1: rate_limit: Fogbell has no rate limit; put a proxy in front"),
        (f"{TLS}  cipher_suites: [X]", "web.yml:4:3: tls_server_config.cipher_suites: not supported; Python's own secure choice is used"),
        (f"{TLS}  min_version: TLS10", "web.yml:4:16: tls_server_config.min_version: must be one of TLS12, TLS13"),
        (f"{TLS}  client_auth_type: RequireAndVerifyClientCert", f"web.yml:4:21: tls_server_config.client_auth_type: {WRONG}"),
        (f"{TLS}  client_ca_file: /x", f"web.yml:4:19: tls_server_config.client_ca_file: {WRONG}"),
        (f"{TLS}  min_version: TLS13\n  max_version: TLS12", "web.yml:4:16: tls_server_config.min_version: is above max_version, TLS12"),
        (
            f"tls_server_config:\n  cert_file: /no/such\n  key_file: {PAIR.key}",
            "web.yml:2:14: tls_server_config.cert_file: certificate and key cannot be used: No such file or directory",
        ),
        (
            f"tls_server_config:\n  cert_file: {PAIR.certificate}\n  key_file: {key_pair(Flaw.EXPIRED).key}",
            "web.yml:2:14: tls_server_config.cert_file: certificate and key cannot be used: the key is of another certificate",
        ),
        (
            "basic_auth_users: {alice: hunter2}",
            "web.yml:1:27: basic_auth_users.alice: must be a bcrypt hash, such as `htpasswd -nB NAME` prints, and never the password",
        ),
    ],
    ids=[
        "empty", "typing error", "typing error below", "no key", "rate limit", "ciphers", "old version", "no authority", "no verifying",
        "versions crossed", "no certificate", "wrong key", "plain password",
    ],
)  # fmt: skip
def test_a_mistake_names_file_line_and_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    assert complaint(tmp_path, text).startswith(message)


@pytest.mark.parametrize("name", ["missing.yml", "."])
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / name)


def test_a_huge_file_and_a_deep_one_are_refused(tmp_path: Path) -> None:
    assert "larger than 1 MB" in complaint(tmp_path, "#" * 1_000_001)
    assert "nested deeper" in complaint(tmp_path, "[" * 500_000)


def test_a_plain_password_is_never_repeated(tmp_path: Path) -> None:
    assert "hunter2" not in complaint(tmp_path, "basic_auth_users: {alice: hunter2}")
