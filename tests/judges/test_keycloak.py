"""Keycloak judges the token client: it gives tokens for the right secret and certificate, and refuses wrong ones."""

from collections.abc import Iterator

import pytest

from probes.core.contract import Failed, Secret
from probes.core.reasons import Reason
from probes.lib.tenant import Credential, Tenant
from probes.lib.tokens import Token, Tokens
from tests.fakes.identity import CLIENT_ID
from tests.judges.keycloak import TOKEN_PATH, Client, keycloak
from tests.lib.signing_in import SECRET, by, certificate, run, shared, tenant, want

pytestmark = [pytest.mark.real, pytest.mark.timeout(280)]

SIGNING = "77777777-7777-8888-9999-000000000000"
SCOPE = "https://graph.microsoft.com/.default"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    clients = Client(CLIENT_ID, secret=SECRET), Client(SIGNING, certificate=certificate())
    with keycloak(tmp_path_factory.mktemp("keycloak"), clients, SCOPE) as address:
        yield address


async def token(host: str, client_id: str, credential: Credential) -> Token:
    of = tenant(host, credential)
    return await want(run(shared(Tokens(path=TOKEN_PATH))), Tenant(**(dict(of) | {"client_id": client_id})))


async def test_the_right_secret_gets_a_token_for_what_was_asked(host: str) -> None:
    got = await token(host, CLIENT_ID, by(secret=Secret(inline=SECRET)))
    assert (got.claims["azp"], got.claims["scope"]) == (CLIENT_ID, SCOPE)
    assert got.expires > got.issued


async def test_an_assertion_signed_with_our_certificate_gets_a_token(host: str) -> None:
    got = await token(host, SIGNING, by(certificate=Secret(inline=certificate())))
    assert (got.claims["azp"], got.claims["scope"]) == (SIGNING, SCOPE)


@pytest.mark.parametrize(
    ("client_id", "credential"),
    [
        pytest.param(CLIENT_ID, by(secret=Secret(inline="wrong")), id="a wrong secret"),
        pytest.param(SIGNING, by(certificate=Secret(inline=certificate("another"))), id="a wrong key"),
        pytest.param(SIGNING, by(secret=Secret(inline=SECRET)), id="a secret where an assertion is due"),
        pytest.param(CLIENT_ID, by(certificate=Secret(inline=certificate())), id="an assertion where a secret is due"),
        pytest.param(SIGNING, by(federated_token=Secret(inline="a.b.c")), id="no assertion at all"),
    ],
)
async def test_who_cannot_prove_it_is_refused(host: str, client_id: str, credential: Credential) -> None:
    with pytest.raises(Failed) as failed:
        await token(host, client_id, credential)
    assert failed.value.reason is Reason.CREDENTIAL_INVALID
