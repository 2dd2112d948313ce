"""Every way in which Graph refuses has one reason and one code, and our own fault is told from the service's."""

import time
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from probes.core.codes import known
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.graph_codes import REASONS, spelled
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.graph import call
from probes.lib.tokens import Token
from probes.lib.usage import Usage
from tests.fakes.graph import answer, context, error, scripted, shared, token

R = Reason


async def refused(
    said: bytes, given: Token | None = None, service: Service = Service.GRAPH, busy: int = 0
) -> tuple[Stopped, dict[str, str]]:
    async with scripted({"/v1.0/me": said}) as script:
        parts = shared(script.tenant)
        for _ in range(busy):
            parts.part(Usage).count("contoso", script.tenant, service)
        ctx = context(parts)
        with pytest.raises(Stopped) as caught:
            await call(ctx, script.tenant, given or script.token, service, "GET", "/me")
        return caught.value, ctx.evidence_found


@pytest.mark.parametrize(
    ("status", "said", "kind", "reason", "code"),
    [
        (400, "invalidRequest", Failed, R.HTTP_4XX, "invalidRequest"),
        (401, "InvalidAuthenticationToken", Failed, R.TOKEN_REJECTED, "InvalidAuthenticationToken"),
        (402, "", Failed, R.LICENCE_MISSING, "402"),
        (403, "Authorization_RequestDenied", Failed, R.PERMISSION, "Authorization_RequestDenied"),
        (404, "itemNotFound", Failed, R.NOT_FOUND, "itemNotFound"),
        (405, "", Failed, R.HTTP_4XX, "405"),
        (406, "", Failed, R.HTTP_4XX, "406"),
        (409, "nameAlreadyExists", Failed, R.HTTP_4XX, "nameAlreadyExists"),
        (410, "resyncRequired", Failed, R.HTTP_4XX, "resyncRequired"),
        (411, "", Failed, R.HTTP_4XX, "411"),
        (412, "resourceModified", Failed, R.HTTP_4XX, "resourceModified"),
        (413, "maxFileSizeExceeded", Failed, R.HTTP_4XX, "maxFileSizeExceeded"),
        (415, "", Failed, R.HTTP_4XX, "415"),
        (416, "invalidRange", Failed, R.HTTP_4XX, "invalidRange"),
        (422, "", Failed, R.HTTP_4XX, "422"),
        (423, "lockMismatch", Failed, R.HTTP_4XX, "lockMismatch"),
        (429, "TooManyRequests", Inconclusive, R.THROTTLED, "TooManyRequests"),
        (500, "generalException", Failed, R.HTTP_5XX, "generalException"),
        (501, "notSupported", Failed, R.HTTP_5XX, "notSupported"),
        (502, "", Failed, R.HTTP_5XX, "502"),
        (503, "serviceNotAvailable", Failed, R.HTTP_5XX, "serviceNotAvailable"),
        (504, "", Failed, R.HTTP_5XX, "504"),
        (507, "quotaLimitReached", Failed, R.STORAGE_FULL, "quotaLimitReached"),
        (509, "", Failed, R.HTTP_5XX, "509"),
    ],
)
async def test_each_status_has_its_reason_and_code(status: int, said: str, kind: type[Stopped], reason: Reason, code: str) -> None:
    stopped, evidence = await refused(error(status, said))
    assert (type(stopped), stopped.reason, stopped.code) == (kind, reason, code)
    assert known(stopped.code) == code
    assert evidence["status"] == str(status)


@pytest.mark.parametrize(
    ("said", "reason", "code"),
    [
        (error(403, "Forbidden", "ErrorAccessDenied"), R.PERMISSION, "ErrorAccessDenied"),
        (error(403, "extensionError"), R.BLOCKED_BY_POLICY, "ExtensionError"),
        (error(500, "ExtensionError"), R.HTTP_5XX, "ExtensionError"),
        (error(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant"), R.LICENCE_MISSING, None),
        (error(400, "AccessDenied"), R.PERMISSION, "accessDenied"),
        (error(400, "ErrorInvalidUser"), R.NOT_FOUND, "ErrorInvalidUser"),
        (error(507, "ErrorQuotaExceeded"), R.MAILBOX_FULL, "ErrorQuotaExceeded"),
        (error(403, "Brand_New", "accessDenied", "Newer_Still"), R.PERMISSION, "accessDenied"),
        (error(400, "accessDenied", *["Brand_New"] * 20, "itemNotFound"), R.PERMISSION, "accessDenied"),
        (error(400, "Brand_New"), R.HTTP_4XX, "400"),
        (answer(b"<html>Forbidden</html>", 403), R.PERMISSION, "403"),
        (answer(b'{"error":' * 5000, 400), R.HTTP_4XX, "400"),
        (answer({"error": "invalid_grant"}, 400), R.HTTP_4XX, "400"),
        (answer({"error": {"code": 7, "innerError": [1]}}, 400), R.HTTP_4XX, "400"),
        (answer([], 404), R.NOT_FOUND, "404"),
    ],
    ids=[
        "deeper code",
        "OData access disabled",
        "an outage stays one",
        "no licence",
        "code knows better",
        "no such user",
        "mailbox full",
        "deepest known",
        "deeper than anyone looks",
        "unknown",
        "a page",
        "deep nest",
        "OAuth's shape",
        "wrong types",
        "a list",
    ],
)
async def test_the_deepest_known_code_counts(said: bytes, reason: Reason, code: str | None) -> None:
    stopped, _ = await refused(said)
    assert stopped.reason is reason
    assert code is None or stopped.code == code


@pytest.mark.parametrize(
    ("status", "code", "message", "reason"),
    [
        (400, "BadRequest", "Tenant does not have a SPO license.", R.LICENCE_MISSING),
        (400, "BadRequest", "Request not applicable to target tenant.", R.LICENCE_MISSING),
        (403, "Forbidden", "Failed to get license information for the user. Ensure user has a valid Office365 license.", R.LICENCE_MISSING),
        (403, "Forbidden", "Account is not provisioned.", R.LICENCE_MISSING),
        (403, "Forbidden", "The tenant is not licensed for this feature.", R.LICENCE_MISSING),
        (400, "UnknownError", '{"Message":"Status: AuditingDisabledTenant"}', R.BLOCKED_BY_POLICY),
        (401, "UnknownError", "App:1 dont have any permissions", R.PERMISSION),
        (500, "Forbidden", "Account is not provisioned.", R.HTTP_5XX),
        (503, "Forbidden", "Failed to get license information for the user.", R.HTTP_5XX),
        (404, "NotFound", "Account is not provisioned.", R.NOT_FOUND),
    ],
)
async def test_words_tell_what_neither_status_nor_code_does(status: int, code: str, message: str, reason: Reason) -> None:
    stopped, evidence = await refused(error(status, code, message=message))
    assert (stopped.reason, evidence["error_message"]) == (reason, message)


async def test_all_codes_are_evidence() -> None:
    _, evidence = await refused(error(403, "Brand_New", "accessDenied", "Newer_Still", message="No way."))
    assert (evidence["error_code"], evidence["error_message"]) == ("Brand_New / accessDenied / Newer_Still", "No way.")


@pytest.mark.parametrize("code", sorted(REASONS))
def test_codes_of_the_table_are_labels_in_one_spelling(code: str) -> None:
    assert known(code.upper()) == spelled(code) != ""


@pytest.mark.parametrize(
    ("claims", "reason"), [({"scp": "User.Read"}, R.INTERACTION_REQUIRED), ({"roles": ["User.Read.All"]}, R.BLOCKED_BY_POLICY)]
)
@pytest.mark.parametrize(
    "said",
    [
        error(403, "insufficient_claims"),
        error(401, "InvalidAuthenticationToken", WWW_Authenticate='Bearer realm="", error="insufficient_claims", claims="e30="'),
    ],
    ids=["conditional access", "continuous evaluation"],
)
async def test_conditional_access_asks_a_person_or_stops_an_application(said: bytes, claims: Any, reason: Reason) -> None:
    stopped, _ = await refused(said, token(**claims))
    assert stopped.reason is reason


def at(seconds: float) -> str:
    """Date header of a server whose clock is off by so much."""
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("lives", "age", "date", "kind", "reason"),
    [
        (3600.0, 0.0, at(0), Failed, R.TOKEN_REJECTED),
        (20.0, 3580.0, at(-600), Failed, R.TOKEN_REJECTED),
        (20.0, 3580.0, at(600), Inconclusive, R.AGENT_RESOURCES),
        (20.0, 3580.0, "no date", Inconclusive, R.AGENT_RESOURCES),
        (3000.0, 600.0, at(7200), Failed, R.TOKEN_REJECTED),
        (3000.0, 600.0, "no date", Failed, R.TOKEN_REJECTED),
    ],
    ids=["good", "not over by their clock", "over by both clocks", "over by ours, theirs unknown", "over by theirs alone", "no clock"],
)
async def test_a_token_that_ended_on_the_way_is_not_the_services_fault(
    lives: float, age: float, date: str, kind: type[Stopped], reason: Reason
) -> None:
    stopped, _ = await refused(error(401, "InvalidAuthenticationToken", date=date), token(lives=lives, age=age))
    assert (type(stopped), stopped.reason) == (kind, reason)


async def test_a_token_that_was_dead_when_it_came_is_the_services_fault() -> None:
    stopped, _ = await refused(error(401, "InvalidAuthenticationToken", date=at(0)), replace(token(), claims={"exp": time.time() - 60}))
    assert (type(stopped), stopped.reason) == (Failed, R.TOKEN_REJECTED)


@pytest.mark.parametrize("status", [503])
@pytest.mark.parametrize(
    ("service", "busy", "kind", "reason"),
    [
        (Service.SECURITY, 14, Failed, R.HTTP_5XX),
        (Service.SECURITY, 15, Inconclusive, R.THROTTLED),
        (Service.LOGIN, 500, Failed, R.HTTP_5XX),
    ],
    ids=["a tenth", "more than a tenth", "no limit known"],
)
async def test_overload_is_an_outage_unless_our_own_calls_explain_it(
    status: int, service: Service, busy: int, kind: type[Stopped], reason: Reason
) -> None:
    stopped, _ = await refused(error(status, "serviceNotAvailable", Retry_After="120"), service=service, busy=busy)
    assert (type(stopped), stopped.reason, stopped.retry_after) == (kind, reason, 120.0)


@pytest.mark.parametrize(
    ("after", "date", "seconds"),
    [("7", at(0), 7.0), (at(660), at(600), 60.0), (at(-540), at(-600), 60.0), ("soon", at(0), 0.0), ("-5", at(0), 0.0)],
    ids=["seconds", "a date and an early clock", "a date and a late clock", "nonsense", "negative"],
)
async def test_retry_after_is_told_by_the_services_own_clock(after: str, date: str, seconds: float) -> None:
    stopped, evidence = await refused(error(429, "TooManyRequests", Retry_After=after, date=date))
    assert stopped.retry_after == pytest.approx(seconds, abs=1.0)
    assert evidence["retry_after"] == after


async def test_a_token_that_is_said_back_stays_secret() -> None:
    given = token()
    stopped, evidence = await refused(error(400, "BadRequest", message=f"cannot read {given.value}"), given)
    assert given.value not in f"{stopped.message} {evidence}"
