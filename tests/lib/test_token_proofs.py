"""The five ways to prove who we are, as a server sees them."""

import asyncio
import json
import ssl
from base64 import b64encode

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from probes.core.contract import Failed, Inconclusive, Secret, Stopped
from probes.core.reasons import Reason
from probes.lib.assertion import assertion
from probes.lib.tenant import ManagedIdentity
from tests.fakes import hostile
from tests.fakes.identity import CLIENT_ID, TENANT_ID, given, identity
from tests.fakes.identity import jwt as unsigned
from tests.lib.signing_in import SECRET, by, certificate, run, self_signed, shared, tenant, want

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def test_by_secret() -> None:
    async with identity() as server:
        token = await want(run(shared()), tenant(server.host))
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", f"/{TENANT_ID}/oauth2/v2.0/token")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.form == {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "scope": "https://graph.microsoft.com/.default",
        "client_secret": SECRET,
    }
    assert token.roles == {"Organization.Read.All"}


async def test_by_certificate_with_an_assertion_that_the_certificate_verifies() -> None:
    pem = certificate()
    async with identity() as server:
        of = tenant(server.host, by(certificate=Secret(inline=pem)))
        await want(run(shared()), of)
        await want(run(shared()), of)
    first, second = server.asked
    assert first.form["client_assertion_type"] == ASSERTION
    assert "client_secret" not in first.form
    signed = first.form["client_assertion"]
    known = x509.load_pem_x509_certificate(pem.encode())
    key = known.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    header = jwt.get_unverified_header(signed)
    claims = jwt.decode(signed, key, algorithms=["PS256"], audience=f"https://{server.host}/{TENANT_ID}/oauth2/v2.0/token")
    assert (header["alg"], header["typ"]) == ("PS256", "JWT")
    assert jwt.utils.base64url_decode(header["x5t#S256"]) == known.fingerprint(hashes.SHA256())
    assert (claims["iss"], claims["sub"]) == (CLIENT_ID, CLIENT_ID)
    assert 300 <= claims["exp"] - claims["nbf"] <= 600
    assert claims["jti"] not in second.form["client_assertion"]
    assert signed != second.form["client_assertion"]


async def test_by_a_token_of_somebody_else_read_anew_each_time() -> None:
    value = "first.token.x\n"
    async with identity() as server:
        agent = shared(secrets=lambda _: value)
        of = tenant(server.host, by(federated_token=Secret(file="/var/run/token")))
        await want(run(agent), of)
        value = "second.token.y"
        await want(run(agent), of)
    assert [asked.form["client_assertion"] for asked in server.asked] == ["first.token.x", "second.token.y"]
    assert server.asked[0].form["client_assertion_type"] == ASSERTION


def machine(address: hostile.Address, **more: object) -> ManagedIdentity:
    return ManagedIdentity.model_validate({"endpoint": f"http://127.0.0.1:{address[1]}/msi/token"} | more)


async def test_by_the_identity_of_an_app_service() -> None:
    """It says until when, in text, and not for how long."""
    heard: list[bytes] = []
    body = b'{"access_token": "a.e30.c", "expires_on": "4102444800", "resource": "https://graph.microsoft.com"}'
    async with hostile.serving(answering(body, heard)) as address:
        who = machine(address, client_id=CLIENT_ID, header={"inline": SECRET})
        token = await want(run(shared()), tenant("login.invalid", by(managed_identity=who)))
    (request,) = heard
    assert request.startswith(
        b"GET /msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fgraph.microsoft.com&client_id=" + CLIENT_ID.encode()
    )
    assert b"\r\nX-IDENTITY-HEADER: " + SECRET.encode() in request
    assert token.value == "a.e30.c"


def answering(body: bytes, heard: list[bytes], status: bytes = b"200 OK") -> hostile.Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()

    return talk


async def test_by_the_identity_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    async with hostile.serving(answering(b'{"access_token": "a.e30.c", "expires_in": "3599"}', heard)) as address:
        monkeypatch.setattr("probes.lib.oauth.METADATA", f"http://127.0.0.1:{address[1]}/metadata/identity/oauth2/token")
        await want(run(shared()), tenant("login.invalid", by(managed_identity={}), proxy="http://127.0.0.1:1"))
    (request,) = heard
    assert request.startswith(
        b"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fgraph.microsoft.com HTTP/1.1"
    )
    assert b"\r\nMetadata: true\r\n" in request


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (b"400 Bad Request", Reason.APP_CONFIG),
        (b"403 Forbidden", Reason.APP_CONFIG),
        (b"404 Not Found", Reason.IDENTITY_FAULT),
        (b"410 Gone", Reason.IDENTITY_FAULT),
        (b"429 Too Many Requests", Reason.THROTTLED),
        (b"500 Internal Server Error", Reason.IDENTITY_FAULT),
    ],
)
async def test_refusals_of_the_metadata_service(status: bytes, reason: Reason) -> None:
    async with hostile.serving(
        answering(b'{"error": "invalid_request", "error_description": "Identity not found"}', [], status)
    ) as address:
        with pytest.raises(Stopped) as stopped:
            await want(run(shared()), tenant("login.invalid", by(managed_identity=machine(address))))
    assert (stopped.value.reason, stopped.value.code) == (reason, status[:3].decode())


@pytest.mark.parametrize("encoding", [b"", b"Content-Encoding: " + SECRET.encode() + b"\r\n"], ids=["in the body", "in a header"])
async def test_the_word_of_an_app_service_is_shown_nowhere(encoding: bytes) -> None:
    body = json.dumps({"error": "x", "error_description": SECRET, "trace_id": SECRET}).encode()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 Bad\r\n%sContent-Length: %d\r\n\r\n%s" % (encoding, len(body), body))
        await writer.drain()

    async with hostile.serving(talk) as address:
        ctx = run(shared())
        with pytest.raises(Failed) as failed:
            await want(ctx, tenant("login.invalid", by(managed_identity=machine(address, header={"inline": SECRET}))))
    assert "canary" not in f"{failed.value} {ctx.evidence_found}"


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
PLAIN = NoEncryption()


def key_text(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b"") -> str:
    guard = BestAvailableEncryption(password) if password else PLAIN
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, guard).decode()


def certificate_text(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return self_signed(key, "fogbell").public_bytes(Encoding.PEM).decode()


SM2 = """-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUKT/XpoeJznR6JKSL8L9v6BNh+J4wCgYIKoEcz1UBg3Uw
DTELMAkGA1UEAwwCY2EwHhcNMjYxMTIzMTQxNDQxWhcNMzYxMTIwMTQxNDQxWjAN
MQswCQYDVQQDDAJjYTBZMBMGByqGSM49AgEGCCqBHM9VAYItA0IABC7Q1jOpbk8N
W+NuLv8NWjcpzos8JxtLZmAViflaWc61ixFG9skYoUS1A91W7PM5SVw/2srAtRvY
z175LlTnNM6jUzBRMB0GA1UdDgQWBBRVpoBvXK0F2Sz+T8u1W1E1FYcz7jAfBgNV
HSMEGDAWgBRVpoBvXK0F2Sz+T8u1W1E1FYcz7jAPBgNVHRMBAf8EBTADAQH/MAoG
CCqBHM9VAYN1A0gAMEUCICD6Qq81kK7r1vX2RUXAJ2iXGjfzfFiSGBnLsQDRz3Bo
AiEAhqBv+FT8PHuRiRCbnuJFy1FjHqophdc9d9QAP70BO7M=
-----END CERTIFICATE-----
"""
"""An authority of a kind that the library does not know."""


def of_another_version(pem: str) -> str:
    """Return a certificate that says it is of a version of X.509 that does not exist."""
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    version_3, version_8 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"
    return ssl.DER_cert_to_PEM_cert(der.replace(version_3, version_8, 1))


SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is what the test is about
GARBAGE = "-----BEGIN {0}-----\nbm90aGluZw==\n-----END {0}-----\n"


@pytest.mark.parametrize(
    ("pem", "says"),
    [
        pytest.param("", "no whole private key", id="nothing"),
        pytest.param("hello", "no whole private key", id="something else"),
        pytest.param(certificate_text(KEY), "no whole private key", id="only the certificate"),
        pytest.param(key_text(KEY), "no certificate", id="only the key"),
        pytest.param(certificate_text(KEY) + key_text(OTHER), "belongs to the private key", id="a key of another certificate"),
        pytest.param(certificate_text(KEY) + key_text(KEY, b"pass"), "has a password", id="a key with a password"),
        pytest.param(certificate_text(CURVE) + key_text(CURVE), "not RSA", id="a key of another kind"),
        pytest.param(
            certificate_text(KEY) + GARBAGE.format("PRIVATE KEY"), "private key in the certificate's file cannot be read", id="a broken key"
        ),
        pytest.param(
            GARBAGE.format("CERTIFICATE") + key_text(KEY), "certificate in the certificate's file cannot be read", id="a broken certificate"
        ),
        pytest.param(certificate_text(KEY) + "-----BEGIN PRIVATE KEY-----\n", "no whole private key", id="cut off"),
        pytest.param("-----BEGIN PRIVATE KEY-----" * 30_000, "no whole private key", id="nothing but beginnings"),
        pytest.param(certificate_text(SMALL) + key_text(SMALL), "has 1024 bits; PS256 needs 2048", id="a key too short"),
        pytest.param(SM2 + key_text(KEY), "certificate in the certificate's file cannot be read", id="an unknown kind of certificate"),
        pytest.param(
            of_another_version(certificate_text(KEY)) + key_text(KEY), "certificate's file cannot be read", id="an unknown version"
        ),
        pytest.param(key_text(KEY) + "\ud800" + certificate_text(KEY), "half a character", id="half a character"),
    ],
)
async def test_a_file_that_is_no_certificate_with_its_key_is_told_in_words(pem: str, says: str) -> None:
    async with identity() as server:
        with pytest.raises(Failed, match=says) as failed:
            await want(run(shared()), tenant(server.host, by(certificate=Secret(inline=pem))))
    assert failed.value.reason is Reason.CREDENTIAL_INVALID
    assert server.asked == []


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(certificate_text(KEY) + key_text(KEY), id="certificate first"),
        pytest.param(key_text(KEY) + certificate_text(KEY), id="key first"),
        pytest.param(certificate_text(OTHER) + certificate_text(KEY) + key_text(KEY), id="behind another certificate"),
        pytest.param(SM2 + certificate_text(KEY) + key_text(KEY), id="behind a certificate of an unknown kind"),
        pytest.param(of_another_version(certificate_text(KEY)) + certificate_text(KEY) + key_text(KEY), id="behind one of no version"),
        pytest.param(GARBAGE.format("CERTIFICATE") + certificate_text(KEY) + key_text(KEY), id="behind a broken certificate"),
        pytest.param((certificate_text(KEY) + "\nBag Attributes\n" + key_text(KEY)).replace("\n", "\r\n"), id="with lines of Windows"),
        pytest.param(
            certificate_text(KEY) + KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, PLAIN).decode(),
            id="an old form of key",
        ),
    ],
)
def test_certificate_and_key_may_stand_in_any_order(pem: str) -> None:
    signed = assertion(pem, CLIENT_ID, "https://login/")
    jwt.decode(signed, KEY.public_key(), algorithms=["PS256"], audience="https://login/")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(signed, OTHER.public_key(), algorithms=["PS256"], audience="https://login/")


def test_a_key_that_cannot_sign_is_told_in_words() -> None:
    """One of its primes is even; nothing tells before it is used."""
    prime = KEY.private_numbers().p.to_bytes(128, "big")
    plain = KEY.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, PLAIN)
    broken = b64encode(plain.replace(prime, prime[:-1] + bytes([prime[-1] ^ 1]))).decode()
    pem = f"{certificate_text(KEY)}-----BEGIN RSA PRIVATE KEY-----\n{broken}\n-----END RSA PRIVATE KEY-----\n"
    with pytest.raises(Failed, match="nothing can be signed") as failed:
        assertion(pem, CLIENT_ID, "https://login/")
    assert failed.value.reason is Reason.CREDENTIAL_INVALID


async def test_a_secret_with_half_a_character_is_told_in_words() -> None:
    async with identity() as server:
        with pytest.raises(Failed, match="the tenant's secret holds half a character") as failed:
            await want(run(shared()), tenant(server.host, by(secret=Secret(inline="a\ud800"))))
    assert (failed.value.reason, server.asked) == (Reason.CREDENTIAL_INVALID, [])


async def test_a_secret_that_cannot_be_read_is_our_own_matter() -> None:
    def unreadable(secret: Secret) -> str:
        raise Inconclusive(Reason.AGENT_RESOURCES, f"the secret {{file: {secret.file}}} cannot be read")

    async with identity() as server:
        with pytest.raises(Inconclusive):
            await want(run(shared(secrets=unreadable)), tenant(server.host))
    assert server.asked == []


async def test_permissions_in_a_token_of_a_person_are_scopes() -> None:
    async with identity(lambda _: given(access_token=unsigned({"scp": "ChatMessage.Send User.Read"}))) as server:
        ctx = run(shared())
        token = await want(ctx, tenant(server.host))
    assert token.scopes == {"ChatMessage.Send", "User.Read"}
    assert not token.roles
    assert ctx.evidence_found["token_roles"] == "ChatMessage.Send User.Read"
