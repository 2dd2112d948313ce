"""What the kinds of Defender and Purview ask for is what the builders and models of Microsoft's own SDK make, and what its pages show."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.request_information import RequestInformation
from kiota_serialization_json.json_serialization_writer import JsonSerializationWriter
from msgraph.generated.models.security.audit_log_query import AuditLogQuery
from msgraph.generated.security.alerts_v2.alerts_v2_request_builder import Alerts_v2RequestBuilder
from msgraph.generated.security.cases.ediscovery_cases.ediscovery_cases_request_builder import EdiscoveryCasesRequestBuilder
from msgraph.generated.security.data_security_and_governance.sensitivity_labels.sensitivity_labels_request_builder import (
    SensitivityLabelsRequestBuilder,
)
from msgraph.generated.security.incidents.incidents_request_builder import IncidentsRequestBuilder
from msgraph.generated.security.microsoft_graph_security_run_hunting_query.run_hunting_query_post_request_body import (
    RunHuntingQueryPostRequestBody,
)
from msgraph.generated.security.secure_scores.secure_scores_request_builder import SecureScoresRequestBuilder

from probes import purview_audit
from probes.core.contract import Outcome
from tests.fakes.graph import Asked, answer, run_kind, scripted
from tests.judges.openapi import REFERENCE, needs_slice, request_errors
from tests.judges.requests import CLIENT, Said, by_sdk, said

SECURITY = CLIENT.security
SEARCH = "0b0e/1+="
SELECT = ["id", "status", "severity", "lastUpdateDateTime"]


def made(builder: Any, query: Any) -> RequestInformation:
    request: RequestInformation = builder.to_get_request_information(RequestConfiguration(query_parameters=query))
    return request


def hunted(body: bytes) -> RunHuntingQueryPostRequestBody:
    """Say with the SDK's model what a body asks for."""
    return RunHuntingQueryPostRequestBody(query=json.loads(body)["query"], timespan="P1D")


_Incidents = IncidentsRequestBuilder.IncidentsRequestBuilderGetQueryParameters
_Alerts = Alerts_v2RequestBuilder.Alerts_v2RequestBuilderGetQueryParameters
_Scores = SecureScoresRequestBuilder.SecureScoresRequestBuilderGetQueryParameters
_Labels = SensitivityLabelsRequestBuilder.SensitivityLabelsRequestBuilderGetQueryParameters
_Cases = EdiscoveryCasesRequestBuilder.EdiscoveryCasesRequestBuilderGetQueryParameters

SENT: list[Any] = [
    pytest.param("incidents", 0, lambda: made(SECURITY.incidents, _Incidents(top=1, select=SELECT)), id="incidents"),
    pytest.param("alerts", 0, lambda: made(SECURITY.alerts_v2, _Alerts(top=1)), id="alerts"),
    pytest.param("secure_scores", 0, lambda: made(SECURITY.secure_scores, _Scores(top=1)), id="scores"),
    pytest.param(
        "hunting",
        0,
        lambda: SECURITY.microsoft_graph_security_run_hunting_query.to_post_request_information(RunHuntingQueryPostRequestBody()),
        id="hunting",
    ),
    pytest.param("labels", 0, lambda: made(SECURITY.data_security_and_governance.sensitivity_labels, _Labels(top=1)), id="labels"),
    pytest.param("ediscovery", 0, lambda: made(SECURITY.cases.ediscovery_cases, _Cases(top=1)), id="cases"),
    pytest.param("audit", 0, lambda: SECURITY.audit_log.queries.to_post_request_information(AuditLogQuery()), id="new search"),
    pytest.param(
        "audit", 1, lambda: SECURITY.audit_log.queries.by_audit_log_query_id(SEARCH).to_get_request_information(), id="look at search"
    ),
]


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purview_audit, "pauses", lambda: repeat(0.001))


async def heard(part: str) -> list[Asked]:
    """Let the kind that has a part do it, and return what was asked."""

    async def answers(asked: Asked) -> bytes:
        if part == "audit":
            return answer({"id": SEARCH, "status": "notStarted"}, 201) if asked.method == "POST" else answer({"status": "succeeded"})
        return answer({"value": []})

    kind = "purview_audit" if part == "audit" else "purview" if part in {"labels", "ediscovery"} else "defender"
    settings: dict[str, Any] = {} if part == "audit" else {"parts": [part]}
    async with scripted(answers) as script:
        await run_kind(kind, script.tenant, **settings)
    return script.calls


def short(request: RequestInformation) -> Said:
    """Take an action's namespace out of a path: Microsoft's pages show the short form, its SDK makes the long one, and Graph takes both."""
    sent = by_sdk(request)
    return replace(sent, path=tuple(each.removeprefix("microsoft.graph.security.") for each in sent.path))


@pytest.mark.parametrize(("part", "number", "by"), SENT)
async def test_a_request_is_what_the_sdk_makes_of_it(part: str, number: int, by: Callable[[], RequestInformation]) -> None:
    asked = (await heard(part))[number]
    assert said(asked.method, asked.target) == short(by())


@needs_slice
@pytest.mark.parametrize(("part", "number", "by"), SENT)
async def test_a_request_is_one_of_microsofts_description(part: str, number: int, by: Callable[[], RequestInformation]) -> None:
    del by
    asked = (await heard(part))[number]
    body = json.loads(asked.body) if asked.body else None
    assert request_errors(asked.method, asked.target.partition("?")[0], asked.query, body) == []


def written(model: Any) -> dict[str, Any]:
    writer = JsonSerializationWriter()
    writer.write_object_value(None, model)
    found: dict[str, Any] = json.loads(writer.get_serialized_content())
    return {name: value for name, value in found.items() if name != "@odata.type"}


async def test_a_hunting_query_has_the_names_of_the_sdk() -> None:
    (asked,) = await heard("hunting")
    assert json.loads(asked.body) == written(hunted(asked.body))


async def test_a_new_search_has_the_names_and_times_of_the_sdk() -> None:
    body = json.loads((await heard("audit"))[0].body)
    times = {name: datetime.fromisoformat(body[name]) for name in ("filterStartDateTime", "filterEndDateTime")}
    model = AuditLogQuery(
        display_name=body["displayName"],
        filter_start_date_time=times["filterStartDateTime"],
        filter_end_date_time=times["filterEndDateTime"],
        operation_filters=["UserLoggedIn"],
    )
    of_sdk = written(model)
    assert of_sdk | {name: datetime.fromisoformat(of_sdk[name]) for name in times} == body | times


@needs_slice
async def test_the_secure_score_of_microsofts_page_is_asked_for_and_understood() -> None:
    examples = json.loads((Path(str(REFERENCE)) / "graph-doc-examples.json").read_text(encoding="utf-8"))["examples"]
    request, response = (one for one in examples if one["page"] == "security-list-securescores")
    async with scripted({"/v1.0/security/secureScores": answer(response["body"])}) as script:
        run = await run_kind("defender", script.tenant, parts=["secure_scores"])
    assert run.outcome is Outcome.OK
    (asked,) = script.calls
    assert f"{asked.method} https://graph.microsoft.com{asked.target}" == request["line"]


async def test_a_request_that_differs_is_noticed() -> None:
    (asked,) = await heard("incidents")
    assert said(asked.method, asked.target) != short(made(SECURITY.incidents, _Incidents(top=1)))
    assert said(asked.method, asked.target) != short(made(SECURITY.alerts_v2, _Alerts(top=1, select=SELECT)))
