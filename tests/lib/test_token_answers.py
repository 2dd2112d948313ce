"""What each answer of a token server means: every AADSTS number, every status, answers that are none. The exact reason, and no secret."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web

from probes.core.aadsts import FAULTS
from probes.core.codes import known
from probes.core.context import Context
from probes.core.contract import Failed, Inconclusive, Secret, Stopped
from probes.core.reasons import BLAME, Blame, Reason
from probes.lib.grants import Grant, Grants, grant_path
from probes.lib.tenant import Tenant
from tests.fakes import hostile
from tests.fakes.certificates import Flaw, server_context
from tests.fakes.identity import Answer, Asked, given, identity, jwt, refused
from tests.lib.signing_in import SECRET, by, certificate, run, shared, tenant, want

CLASSES = {
    Reason.CREDENTIAL_EXPIRED: "7000222 50012 500133 50013 700024",
    Reason.CREDENTIAL_INVALID: "700027 7000215 70002 7000218 700025 700030 50126 50053 50055 50057 50034 50027 700021 700023",
    Reason.APP_CONFIG: "700016 700011 7000112 70001 500011 70011 28002 1002 700022 650056 650057 65005 900144 9002313 50194 9001023 "
    "50011 900561 700211 700212 700213 90002 90038 900432 900382 50059",
    Reason.CONSENT: "65001 90094 90008 65004",
    Reason.INTERACTION_REQUIRED: "50076 50079 50074 50072 50078 50158 50097 53000 53001 53002 53003 530032 530035 50131 50005 "
    "70016 70018 70019 90119 90120",
    Reason.GRANT_DEAD: "70008 700082 70000 50173 70043 50089 50132 50133",
    Reason.TENANT_RESTRICTED: "500021 500022",
    Reason.THROTTLED: "50196 90055",
    Reason.IDENTITY_FAULT: "90033 90006 90012 90024 50033 50000 50087 90090 90091 80001 80002 80003 80004 80005 80006 80007 80008 80009 "
    "80010 80011 80012 80013 80014",
}
NUMBERS = [pytest.param(int(number), reason, id=number) for reason, numbers in CLASSES.items() for number in numbers.split()]


async def stopped(answer: Answer) -> tuple[Stopped, Context]:
    """Return how one run ends where the server answers so."""
    async with identity(answer) as server:
        return await stopped_at(tenant(server.host))


async def stopped_at(of: Tenant) -> tuple[Stopped, Context]:
    ctx = run(shared())
    with pytest.raises(Stopped) as raised:
        await want(ctx, of)
    return raised.value, ctx


def test_the_table_holds_these_numbers_and_no_other() -> None:
    assert {int(number) for numbers in CLASSES.values() for number in numbers.split()} == set(FAULTS)


@pytest.mark.parametrize(("number", "reason"), NUMBERS)
async def test_each_number_has_its_reason(number: int, reason: Reason) -> None:
    error, ctx = await stopped(lambda _: refused(number, 400))
    # Nobody can ask an application for a second factor: there it is a policy that blocks.
    ours = Reason.BLOCKED_BY_POLICY if reason is Reason.INTERACTION_REQUIRED else reason
    assert (error.reason, error.code, known(error.code)) == (ours, f"AADSTS{number}", f"AADSTS{number}")
    assert isinstance(error, Inconclusive if reason is Reason.THROTTLED else Failed)
    assert ctx.evidence_found["trace_id"] == "aaaaaaaa-0000-0000-0000-000000000000"
    assert ctx.evidence_found["correlation_id"] == "bbbbbbbb-0000-0000-0000-000000000000"
    assert error.message.startswith(f"no token, status 400: AADSTS{number}: So it is.")
    assert "Trace ID" not in error.message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("invalid_client", Reason.CREDENTIAL_INVALID),
        ("invalid_grant", Reason.GRANT_DEAD),
        ("interaction_required", Reason.BLOCKED_BY_POLICY),
        ("consent_required", Reason.CONSENT),
        ("unauthorized_client", Reason.APP_CONFIG),
        ("invalid_scope", Reason.APP_CONFIG),
        ("invalid_request", Reason.APP_CONFIG),
        ("something_new", Reason.APP_CONFIG),
        ("server_error", Reason.IDENTITY_FAULT),
        ("temporarily_unavailable", Reason.IDENTITY_FAULT),
    ],
)
async def test_an_unknown_number_is_judged_by_its_error_word(error: str, reason: Reason) -> None:
    failure, _ = await stopped(lambda _: refused(1234567, 400, error))
    assert (failure.reason, known(failure.code)) == (reason, "other")


@pytest.mark.parametrize(("number", "reason"), NUMBERS)
async def test_each_number_has_its_reason_for_a_person_too(number: int, reason: Reason, tmp_path: Path) -> None:
    async with identity(lambda _: refused(number, 400)) as server:
        of = tenant(server.host)
        among = shared(state_dir=str(tmp_path))
        signed_in = Grant(of.tenant_id, of.client_id, of.where.login, "a refresh token")
        assert await among.part(Grants).keep(grant_path(str(tmp_path), "contoso"), signed_in)
        with pytest.raises(Stopped) as raised:
            await want(run(among), of, delegated=True)
    assert raised.value.reason is reason


@pytest.mark.parametrize(("days", "reason"), [(30, Reason.CREDENTIAL_INVALID), (-3, Reason.CREDENTIAL_EXPIRED)], ids=["not known", "over"])
async def test_a_certificate_that_is_not_known_is_told_from_one_that_has_ended(days: int, reason: Reason) -> None:
    async with identity(lambda _: refused(700027, 401, "invalid_client")) as server:
        error, _ = await stopped_at(tenant(server.host, by(certificate=Secret(inline=certificate(days=days)))))
    assert (error.reason, error.code) == (reason, "AADSTS700027")
    assert ("our certificate has ended on " in error.message) == (days < 0)


async def test_a_number_is_found_in_the_description_too() -> None:
    error, _ = await stopped(
        lambda _: web.json_response({"error": "x", "error_description": "AADSTS7000222: The key is over."}, status=401)
    )
    assert (error.reason, error.code) == (Reason.CREDENTIAL_EXPIRED, "AADSTS7000222")


@pytest.mark.parametrize("error", ["temporarily_unavailable", "invalid_client"])
@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 507, 509])
async def test_a_status_of_500_and_more_is_a_fault_of_the_provider_whatever_it_says(status: int, error: str) -> None:
    failure, _ = await stopped(lambda _: refused(7000222, status, error, {"Retry-After": "30"}))
    assert (failure.reason, failure.code, BLAME[failure.reason]) == (Reason.IDENTITY_FAULT, str(status), Blame.SERVICE)


FOURS = [400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 412, 413, 415, 416, 422, 423]


@pytest.mark.parametrize("status", FOURS)
async def test_a_status_of_400_and_more_means_what_its_number_says(status: int) -> None:
    failure, _ = await stopped(lambda _: refused(700016, status))
    assert (failure.reason, failure.code) == (Reason.APP_CONFIG, "AADSTS700016")


@pytest.mark.parametrize("status", FOURS)
async def test_a_refusal_that_cannot_be_read_breaks_the_protocol(status: int) -> None:
    failure, _ = await stopped(lambda _: web.Response(status=status, text="<html>Blocked by your administrator</html>"))
    assert (failure.reason, failure.code) == (Reason.PROTOCOL_ERROR, str(status))


@pytest.mark.parametrize("body", ['{"error": "x"}', "<html>slow down</html>"], ids=["JSON", "HTML"])
@pytest.mark.parametrize(("header", "seconds"), [("70", 70), ("0", 0), ("", 0), ("soon", 0), ("-5", 0), ("9" * 400, 86_400)])
async def test_429_is_throttling_for_as_long_as_it_says(body: str, header: str, seconds: float) -> None:
    failure, _ = await stopped(lambda _: web.Response(status=429, text=body, headers={"Retry-After": header}))
    assert (type(failure), failure.reason, failure.code, failure.retry_after) == (Inconclusive, Reason.THROTTLED, "429", seconds)


async def test_retry_after_may_be_a_date_which_counts_from_the_servers_own() -> None:
    server_time = datetime.now(UTC) + timedelta(hours=3)
    headers = {
        "Date": format_datetime(server_time, usegmt=True),
        "Retry-After": format_datetime(server_time + timedelta(seconds=50), usegmt=True),
    }
    failure, _ = await stopped(lambda _: web.Response(status=429, headers=headers))
    assert failure.retry_after == 50


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirect_is_followed_nowhere_with_a_secret(status: int) -> None:
    async with identity() as elsewhere:
        failure, _ = await stopped(lambda _: web.Response(status=status, headers={"Location": f"https://{elsewhere.host}/"}))
    assert (failure.reason, failure.code) == (Reason.HTTP_REDIRECT, str(status))
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param("<html>Welcome to the hotel</html>", id="a captive portal"),
        pytest.param("[1]", id="a list"),
        pytest.param("[" * 100_000, id="depth without end"),
        pytest.param("{}", id="an empty object"),
        pytest.param('{"access_token": null, "expires_in": 3599}', id="null"),
        pytest.param('{"access_token": "", "expires_in": 3599}', id="an empty token"),
        pytest.param('{"access_token": "a\\r\\nX: y", "expires_in": 3599}', id="a token with another header in it"),
        pytest.param('{"access_token": "\\u00e4", "expires_in": 3599}', id="a token that no header can hold"),
        pytest.param('{"access_token": "a"}', id="no life"),
        pytest.param('{"access_token": "a", "expires_in": "soon"}', id="a life in words"),
        pytest.param('{"access_token": "a", "expires_in": 0}', id="dead on arrival"),
        pytest.param('{"access_token": "a", "expires_in": -5}', id="dead before"),
        pytest.param('{"access_token": "a", "expires_in": NaN}', id="no number"),
        pytest.param('{"access_token": "a", "expires_in": Infinity}', id="immortal"),
        pytest.param('{"access_token": "a", "expires_in": ' + "9" * 400 + "}", id="a number too large"),
    ],
)
async def test_a_good_status_without_a_good_token_breaks_the_protocol(body: str) -> None:
    failure, _ = await stopped(lambda _: web.Response(text=body, content_type="application/json"))
    assert (failure.reason, failure.code) == (Reason.PROTOCOL_ERROR, "200")


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    failure, _ = await stopped(lambda _: web.Response(body=b"x" * 400_000))
    assert failure.reason is Reason.CONTENT_MISMATCH


@pytest.mark.parametrize(
    "token",
    ["opaque", "a.b", "a.!!!.c", "a." + "W10" + ".c", "a." + "e30" + ".c", jwt({"roles": "text", "scp": 5}), jwt({"roles": [1, None]})],
)
async def test_a_token_that_says_nothing_is_a_token_all_the_same(token: str) -> None:
    async with identity(lambda _: given(access_token=token)) as server:
        got = await want(run(shared()), tenant(server.host))
    assert (got.value, got.roles, got.scopes) == (token, frozenset(), frozenset())
    assert token not in repr(got)


@pytest.mark.parametrize("number", [500133, 700024, 50013])
async def test_an_assertion_out_of_time_says_to_look_at_the_clock_and_how_far_it_is_off(number: int) -> None:
    date = format_datetime(datetime.now(UTC) - timedelta(minutes=10), usegmt=True)
    failure, ctx = await stopped(lambda _: refused(number, 401, "invalid_client", {"Date": date}))
    assert failure.reason is Reason.CREDENTIAL_EXPIRED
    assert "clock" in failure.message
    assert ctx.evidence_found["clock_skew"] in {"+600 s against the server's clock", "+601 s against the server's clock"}


async def test_a_clock_that_is_ten_minutes_off_leaves_a_token_its_whole_life() -> None:
    """How long a token lives is said in seconds, not in times of day."""
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    response = given(life=3599)
    response.headers["Date"] = date
    async with identity(lambda _: response) as server:
        token = await want(run(shared()), tenant(server.host))
    assert token.expires - token.issued == 3599


def echo(asked: Asked) -> web.Response:
    """Send the form back in every way there is."""
    form = json.dumps(dict(asked.form)) + " ".join(asked.form.values())
    body = {
        "error": form,
        "error_description": "AADSTS7000215: " + "x" * 270 + form,
        "trace_id": form,
        "correlation_id": SECRET,
        "error_codes": [form],
    }
    return web.json_response(body, status=401, headers={"x-ms-request-id": form[:900], "x-ms-ests-server": form[:900]})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(echo, id="all fields of a refusal"),
        pytest.param(lambda asked: web.Response(text=str(asked.form), status=503), id="a page of an error"),
        pytest.param(lambda asked: web.json_response({"access_token": asked.form["client_secret"]}), id="as the token itself"),
        pytest.param(lambda asked: web.Response(text="x", headers={"Content-Encoding": asked.form["client_secret"]}), id="a header"),
    ],
)
async def test_a_secret_that_a_server_sends_back_is_shown_nowhere(answer: Callable[[Asked], web.Response]) -> None:
    failure, ctx = await stopped(answer)
    shown = f"{failure.message} {failure!r} {failure} {ctx.evidence_found} {failure.code}"
    for piece in (SECRET, SECRET[:12], "canary"):
        assert piece not in shown


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        pytest.param(hostile.refuses(), Reason.CONNECT_REFUSED, id="nothing listens"),
        pytest.param(hostile.resets_at_once(), Reason.CONNECTION_RESET, id="dropped"),
        pytest.param(hostile.tls_page(Flaw.EXPIRED), Reason.TLS_EXPIRED, id="an expired certificate"),
        pytest.param(hostile.tls_page(Flaw.UNTRUSTED), Reason.TLS_UNTRUSTED, id="somebody else"),
        pytest.param(hostile.tls_page(Flaw.WRONG_NAME), Reason.TLS_WRONG_NAME, id="a wrong name"),
        pytest.param(hostile.sends(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Reason.TLS_HANDSHAKE, id="no TLS"),
        pytest.param(hostile.sends(b"garbage\r\n\r\n", server_context()), Reason.PROTOCOL_ERROR, id="no HTTP"),
        pytest.param(
            hostile.closes_after(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", tls=server_context()),
            Reason.TRUNCATED,
            id="half an answer",
        ),
    ],
)
async def test_a_server_that_is_not_there_has_the_networks_reason(server: hostile.Server, reason: Reason) -> None:
    async with server as address:
        failure, _ = await stopped_at(tenant(f"127.0.0.1:{address[1]}"))
    assert failure.reason is reason


async def test_a_name_that_does_not_exist_is_told_so() -> None:
    failure, _ = await stopped_at(tenant("login.invalid"))
    assert failure.reason in {Reason.DNS_NXDOMAIN, Reason.DNS_TIMEOUT, Reason.DNS_SERVFAIL, Reason.DNS_REFUSED, Reason.DNS_NO_DATA}


async def test_through_a_proxy_the_token_is_fetched_in_a_tunnel() -> None:
    async with identity() as server, hostile.proxy() as proxy:
        ctx = run(shared())
        await want(ctx, tenant(server.host, proxy=f"http://127.0.0.1:{proxy[1]}"))
    assert "proxy" in dict(ctx.steps[0].phases)


async def test_a_proxy_that_refuses_is_never_the_providers_fault() -> None:
    async with identity() as server, hostile.proxy_refuses() as proxy:
        failure, _ = await stopped_at(tenant(server.host, proxy=f"http://127.0.0.1:{proxy[1]}"))
    assert (failure.reason, server.asked) == (Reason.PROXY_REFUSED, [])


async def test_each_run_has_a_failure_of_its_own() -> None:
    async with identity(lambda _: refused(7000215)) as server:
        agent = shared()
        errors = await asyncio.gather(*[want(run(agent), tenant(server.host)) for _ in range(3)], return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
