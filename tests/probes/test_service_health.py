"""What Microsoft says is told as it says it; what cannot be read is unknown, and never healthy."""

from typing import Any

import pytest
from pydantic import ValidationError

from agent.exporter import Exporter
from agent.job import Job
from probes.core.contract import Outcome, Run
from probes.core.reasons import Reason
from probes.service_health import PROBE, PRODUCTS, STATES, ServiceHealth
from tests.fakes.graph import Asked, answer, error, run_kind, scripted
from tests.judges.openapi import needs_slice, slice_

ROOT = "/v1.0/admin/serviceAnnouncement"
NAMES = {"Exchange": "Exchange Online", "microsoftteams": "Microsoft Teams", "SharePoint": "SharePoint Online", "BrandNew": "Brand New"}


def states(**by_id: str) -> bytes:
    return answer({"value": [{"id": key, "service": NAMES.get(key, key), "status": status} for key, status in by_id.items()]})


def issue(service: str, *posts: str, kind: str = "advisory", **more: Any) -> dict[str, Any]:
    return {
        "id": "EX1",
        "service": service,
        "classification": kind,
        "isResolved": False,
        "posts": [{"createdDateTime": post} for post in posts],
        **more,
    }


def issues(*listed: dict[str, Any]) -> bytes:
    return answer({"value": list(listed)})


async def read(overviews: bytes, open_issues: bytes = issues(), **settings: Any) -> Run:
    async with scripted({f"{ROOT}/healthOverviews": overviews, f"{ROOT}/issues": open_issues}) as script:
        return await run_kind("service_health", script.tenant, **settings)


def told(run: Run, name: str) -> dict[str, float]:
    return {sample.labels[0]: sample.value for sample in run.measured if sample.name == name}


async def test_states_and_open_issues_are_told_by_product() -> None:
    run = await read(
        states(Exchange="ServiceDegradation", microsoftteams="serviceOperational", SharePoint="extendedRecovery"),
        issues(
            issue("Exchange Online", "2026-11-23T08:30:00Z", "2026-11-23T08:10:07.97Z", kind="incident"),
            issue("exchange online", "2026-11-23T09:00:00.1234567Z"),
            issue("SharePoint Online", "2026-11-22T00:00:00Z"),
        ),
    )
    assert run.outcome is Outcome.OK
    assert told(run, "healthy") == {"Exchange": 0, "microsoftteams": 1, "SharePoint": 0}
    assert told(run, "open_issues") == {"Exchange": 2, "microsoftteams": 0, "SharePoint": 1}
    assert told(run, "open_incidents") == {"Exchange": 1, "microsoftteams": 0, "SharePoint": 0}
    assert {sample.labels[:2] for sample in run.measured if sample.labels} == {
        ("Exchange", "exchange"),
        ("microsoftteams", "teams"),
        ("SharePoint", "sharepoint"),
    }
    assert dict(run.evidence)["open_issues"] == "Exchange: 2, SharePoint: 1"


async def test_an_old_advisory_does_not_hide_when_a_new_incident_was_first_mentioned() -> None:
    run = await read(
        states(Exchange="serviceDegradation", SharePoint="serviceDegradation"),
        issues(
            issue("Exchange Online", "2026-10-01T00:00:00Z"),
            issue("Exchange Online", "2026-11-23T08:30:00Z", "2026-11-23T08:10:07.97Z", kind="Incident"),
            issue("Exchange Online", "2026-11-23T09:00:00Z", kind="incident"),
            issue("SharePoint Online", "2026-11-22T00:00:00Z", kind="unknownFutureValue"),
            issue("SharePoint Online", kind="incident"),
        ),
    )
    assert {sample.labels: sample.value for sample in run.measured if sample.name == "first_mention_timestamp_seconds"} == {
        ("Exchange", "exchange", "advisory"): 1790812800.0,
        ("Exchange", "exchange", "incident"): 1795421407.97,
        ("SharePoint", "sharepoint", "advisory"): 1795305600.0,
    }


async def test_only_open_issues_are_asked_for_and_resolved_ones_passed_over() -> None:
    async with scripted(
        {
            f"{ROOT}/healthOverviews": states(Exchange="serviceOperational"),
            f"{ROOT}/issues": issues(issue("Exchange Online", isResolved=True)),
        }
    ) as script:
        run = await run_kind("service_health", script.tenant)
    assert [(call.method, call.path, call.query) for call in script.calls] == [
        ("GET", f"{ROOT}/healthOverviews", {}),
        ("GET", f"{ROOT}/issues", {"$filter": "isResolved eq false"}),
    ]
    assert told(run, "open_issues") == {"Exchange": 0}


async def test_all_pages_of_issues_count() -> None:
    async def answers(asked: Asked) -> bytes:
        if asked.path.endswith("healthOverviews"):
            return states(Exchange="serviceDegradation")
        link = {} if "$skiptoken" in asked.query else {"@odata.nextLink": f"https://{asked.headers['host']}{ROOT}/issues?$skiptoken=1"}
        return answer({"value": [issue("Exchange Online", "2026-11-23T08:30:00Z")], **link})

    async with scripted(answers) as script:
        run = await run_kind("service_health", script.tenant)
    assert told(run, "open_issues") == {"Exchange": 2}


async def test_services_that_nobody_knows_share_a_label_and_the_worst_counts() -> None:
    run = await read(
        states(BrandNew="serviceOperational", Other365="serviceInterruption", Exchange="serviceOperational"),
        issues(issue("Brand New", "2026-11-23T08:30:00Z"), issue("Never heard of", "2026-11-23T08:20:00Z")),
    )
    assert told(run, "healthy") == {"other": 0, "Exchange": 1}
    assert told(run, "open_issues") == {"other": 2, "Exchange": 0}
    labels = [(sample.name, sample.labels) for sample in run.measured]
    assert len(set(labels)) == len(labels)


async def test_a_state_that_nobody_knows_is_told_as_neither() -> None:
    run = await read(states(Exchange="unknownFutureValue", SharePoint="serviceOperational"))
    assert told(run, "healthy") == {"SharePoint": 1}
    assert told(run, "open_issues") == {"Exchange": 0, "SharePoint": 0}
    assert dict(run.evidence)["unknown_states"] == "Exchange: unknownFutureValue"


async def test_only_the_services_that_were_asked_for_are_told() -> None:
    run = await read(states(Exchange="serviceOperational", SharePoint="serviceOperational"), services=["sharepoint", "microsoftTEAMS"])
    assert told(run, "healthy") == {"SharePoint": 1}


def test_a_service_that_does_not_exist_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ValidationError, match="no service that we know"):
        ServiceHealth(services=("Exchagne",))
    assert ServiceHealth().products == (*PRODUCTS, "other")


@pytest.mark.parametrize(
    ("overviews", "open_issues", "step", "reason"),
    [
        (error(503), issues(), "overviews", Reason.HTTP_5XX),
        (error(403, "Forbidden"), issues(), "overviews", Reason.PERMISSION),
        (answer({"value": []}), issues(), "overviews", Reason.CONTENT_MISMATCH),
        (answer({"value": [{"id": "Exchange", "status": None}]}), issues(), "overviews", Reason.CONTENT_MISMATCH),
        (answer({"value": [{"status": "serviceOperational"}]}), issues(), "overviews", Reason.CONTENT_MISMATCH),
        (answer(b"<html>sign in</html>"), issues(), "overviews", Reason.PROTOCOL_ERROR),
        (states(Exchange="serviceOperational"), error(500), "issues", Reason.HTTP_5XX),
        (states(Exchange="serviceOperational"), issues(issue("Exchange Online", posts=None)), "issues", Reason.CONTENT_MISMATCH),
        (states(Exchange="serviceOperational"), issues(issue("Exchange Online", posts=["x"])), "issues", Reason.CONTENT_MISMATCH),
        (states(Exchange="serviceOperational"), issues(issue("Exchange Online", "soon")), "issues", Reason.CONTENT_MISMATCH),
        (states(Exchange="serviceOperational"), issues()[:-2], "issues", Reason.TRUNCATED),
    ],
    ids=[
        "overload",
        "no permission",
        "nothing",
        "no state",
        "no id",
        "a page",
        "issues fail",
        "no posts",
        "posts are none",
        "no moment",
        "issues cut off",
    ],
)
async def test_what_cannot_be_read_has_a_reason_and_no_samples(overviews: bytes, open_issues: bytes, step: str, reason: Reason) -> None:
    run = await read(overviews, open_issues)
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, step, reason)
    assert [sample.name for sample in run.measured if sample.labels] == []


async def test_what_was_healthy_is_unknown_on_metrics_once_it_cannot_be_read() -> None:
    exporter, settings = Exporter(), ServiceHealth()
    exporter.describe(Job("probe", "service_health", PROBE, settings, 300.0, 20.0, PROBE.place(settings), tenant="contoso"))

    def lines() -> str:
        return "".join(text.decode() for _, by_probe in exporter.families() for text in by_probe.values())

    exporter.publish(await read(states(Exchange="serviceOperational")), None)
    assert 'fogbell_service_health_healthy{probe="probe",product="Exchange",workload="exchange"} 1.0\n' in lines()
    exporter.publish(await read(error(503)), 60.0)
    assert "product=" not in lines()
    assert 'fogbell_probe_success{probe="probe"} 0\n' in lines()


@needs_slice
def test_every_state_of_the_metadata_but_the_unknown_one_is_judged() -> None:
    schema = slice_()["components"]["schemas"]["microsoft.graph.serviceHealthStatus"]
    assert {state.lower() for state in schema["enum"]} - set(STATES) == {"unknownfuturevalue"}
    assert set(STATES) <= {state.lower() for state in schema["enum"]}
