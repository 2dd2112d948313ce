"""Meetings without a tenant: settings, budget, and answers no tenant should give."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from agent.config.budget import budgets
from agent.job import Job
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.teams_meeting import PROBE, TeamsMeeting
from tests.fakes.graph import Asked, answer, run_kind, scripted, shared

SOMEBODY = "7f3c8f5e-2b6a-4c0e-9a43-5d1d5f1a9b10"


@pytest.mark.parametrize("organiser", ["", "probe1@contoso.example", "Me", f"{{{SOMEBODY}}}"])
def test_an_organiser_who_is_named_otherwise_is_refused(organiser: str) -> None:
    with pytest.raises(
        ValidationError, match=r"must be the organiser's object id, such as .* \(Graph takes no address or name here\), or me"
    ):
        TeamsMeeting(organiser=organiser)


def test_at_its_own_interval_it_stays_below_a_tenth_of_the_meetings_of_a_month() -> None:
    settings = TeamsMeeting(organiser=SOMEBODY)
    job = Job("one", "teams_meeting", PROBE, settings, PROBE.interval, 60.0, PROBE.place(settings), tenant="contoso")
    (asked,) = (one for one in budgets([job]) if one.service is Service.MEETINGS)
    assert (asked.calls, asked.units, asked.warning) == (18, 180, "")


@pytest.mark.parametrize(
    "said", [None, [], {}, {"id": ""}, {"id": 7}], ids=["nothing", "a list", "an empty object", "empty id", "a number"]
)
async def test_an_answer_to_making_that_is_no_meeting_is_a_failure(said: object) -> None:
    async def graph_says(_: Asked) -> bytes:
        return answer(said, 201)

    async with scripted(graph_says) as script:
        run = await run_kind("teams_meeting", script.tenant, organiser=SOMEBODY)
    assert (run.failed_step, run.reason) == ("create", Reason.CONTENT_MISMATCH)


async def test_an_answer_to_making_that_is_cut_off_leaves_the_meeting_to_the_ledger() -> None:
    async def graph_says(_: Asked) -> bytes:
        return answer({"id": "MSo1", "joinWebUrl": "https://teams.microsoft.com/l/meetup-join/1"}, 201)[:-3]

    async with scripted(graph_says) as script:
        among = shared(script.tenant)
        run = await run_kind("teams_meeting", among, organiser=SOMEBODY)
    assert (run.failed_step, run.reason, len(among.ledger.outstanding("probe"))) == ("create", Reason.TRUNCATED, 1)


async def test_a_meeting_without_a_join_link_is_a_failure() -> None:
    made: dict[str, Any] = {}

    async def graph_says(asked: Asked) -> bytes:
        if asked.method == "POST":
            made.update({"id": "MSo1", "subject": json.loads(asked.body)["subject"], "joinWebUrl": None})
            return answer(made, 201)
        return answer(made)

    async with scripted(graph_says) as script:
        run = await run_kind("teams_meeting", script.tenant, organiser=SOMEBODY)
    assert (run.failed_step, run.reason, run.message) == ("read", Reason.CONTENT_MISMATCH, "the meeting has no join link")
