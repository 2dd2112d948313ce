"""Teams read as people see them: against the simulated tenant, and against answers no tenant should give."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent.drill.faults import Drip, Http
from agent.drill.graph.presence import Presences
from agent.drill.graph.teams import Teams
from agent.drill.graph.throttle import Limit, Span, Throttle
from probes import REGISTRY
from probes.core.contract import Outcome, Run
from probes.core.needs import Service
from probes.core.reasons import Reason
from tests.fakes.graph import answer, error, run_kind, scripted
from tests.probes.teams import NOBODY, Here, teams_of

ALL = ["token", "teams", "channels", "presence"]
on_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    async with teams_of("teams_read", tmp_path_factory.mktemp("tenant")) as here:
        here.usual = {"user": here.users[0], "team": here.team.id}
        yield here


@pytest.fixture
def here(tenant: Here) -> Here:
    tenant.restore()
    return tenant


def measured(run: Run) -> dict[str, float]:
    return {sample.name: sample.value for sample in run.measured if sample.name in {"teams", "channels"}}


@on_one_loop
async def test_everything_is_read_and_counted(here: Here) -> None:
    run = await here.run()
    assert (run.outcome, run.message) == (Outcome.OK, "")
    assert [step.name for step in run.steps] == ALL
    assert measured(run) == {"teams": 2, "channels": 2}
    assert {"request_id", "client_request_id", "datacenter"} <= dict(run.evidence).keys()


@on_one_loop
async def test_without_a_team_the_first_one_is_looked_into(here: Here) -> None:
    run = await here.run(team=None)
    assert (run.message, dict(run.evidence)["team"]) == ("", here.team.id)


@on_one_loop
@pytest.mark.parametrize(
    ("parts", "steps"),
    [
        (["teams"], ["token", "teams"]),
        (["channels"], ["token", "channels"]),
        (["presence"], ["token", "presence"]),
        (["presence", "teams"], ["token", "teams", "presence"]),
    ],
    ids=str,
)
async def test_each_part_can_be_had_alone_with_the_permission_it_asks_for(parts: list[str], steps: list[str], here: Here) -> None:
    probe = REGISTRY["teams_read"]
    here.grant_least(probe.permissions(probe.settings.model_validate({**here.usual, "parts": parts})))
    run = await here.run(parts=parts, shared=here.another_agent())
    assert (run.outcome, run.message, [step.name for step in run.steps]) == (Outcome.OK, "", steps)
    assert "missing_permissions" not in dict(run.evidence)


@on_one_loop
async def test_who_is_not_there_is_no_failure_and_is_told(here: Here) -> None:
    here.world.of(Presences).change(here.world.people[0], "PresenceUnknown", "PresenceUnknown")
    run = await here.run(parts=["presence"])
    assert (run.outcome, dict(run.evidence)["presence"]) == (Outcome.OK, "PresenceUnknown")


@on_one_loop
@pytest.mark.parametrize(
    ("user", "change", "step", "said"),
    [
        (0, {"team": NOBODY}, "teams", "none of them"),
        (3, {"team": None}, "teams", "in no team"),
        (2, {}, "teams", "none of them"),
        (0, {"team": NOBODY, "parts": ["channels"]}, "channels", "`team` must be"),
        (None, {}, "teams", "`user` must be"),
        (None, {"parts": ["presence"]}, "presence", "`user` must be"),
    ],
    ids=["another team", "in no team", "not in the team", "team that is gone", "nobody's teams", "nobody's presence"],
)
async def test_what_is_not_there_is_told_by_the_setting_that_names_it(
    user: int | None, change: dict[str, Any], step: str, said: str, here: Here
) -> None:
    run = await here.run(**{"user": NOBODY if user is None else here.users[user], **change})
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, step, Reason.APP_CONFIG)
    assert said in run.message


@on_one_loop
@pytest.mark.parametrize(
    ("parts", "operation"),
    [(["teams"], "team_list"), (["channels"], "channel_list"), (["presence"], "presence"), (["teams", "channels"], "channel_list")],
    ids=["teams", "channels", "presence", "channels of a team in the list"],
)
async def test_what_was_there_before_is_missing_and_no_fault_of_the_settings(parts: list[str], operation: str, here: Here) -> None:
    agent = here.another_agent()
    assert (await here.run(shared=agent, parts=parts)).message == ""
    here.wrong(Http((404,)), operation)
    run = await here.run(shared=agent, parts=parts)
    assert (run.failed_step, run.reason) == (parts[-1], Reason.NOT_FOUND)


@on_one_loop
@pytest.mark.parametrize("team", [True, False], ids=["in the team", "in any"])
async def test_a_user_who_was_in_a_team_before_and_is_in_none_any_more_is_missing(
    team: bool,  # noqa: FBT001 - a table
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = here.another_agent()
    settings: dict[str, Any] = {"parts": ["teams"]} | ({} if team else {"team": None})
    assert (await here.run(shared=agent, **settings)).message == ""
    for one in here.world.of(Teams).teams.values():
        monkeypatch.setattr(one, "members", [])
    run = await here.run(shared=agent, **settings)
    assert (run.failed_step, run.reason) == ("teams", Reason.NOT_FOUND)


@on_one_loop
@pytest.mark.parametrize("step", ALL[1:])
@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (503, Outcome.FAILED, Reason.HTTP_5XX),
        (504, Outcome.FAILED, Reason.HTTP_5XX),
        (403, Outcome.FAILED, Reason.PERMISSION),
        (401, Outcome.FAILED, Reason.TOKEN_REJECTED),
        (429, Outcome.INCONCLUSIVE, Reason.THROTTLED),
    ],
)
async def test_what_graph_refuses_with_is_named(status: int, outcome: Outcome, reason: Reason, step: str, here: Here) -> None:
    here.wrong(Http((status,), retry_after=120), {"teams": "team_list", "channels": "channel_list", "presence": "presence"}[step])
    run = await here.run(shared=here.another_agent())
    assert (run.outcome, run.failed_step, run.reason, run.retry_after) == (outcome, step, reason, 120.0)


@on_one_loop
async def test_an_answer_that_never_comes_is_a_timeout_of_its_step(here: Here) -> None:
    here.wrong(Drip(), "channel_list")
    run = await here.run(deadline=0.8)
    assert (run.failed_step, run.reason) == ("channels", Reason.TIMEOUT)


@on_one_loop
@pytest.mark.parametrize(
    ("granted", "step", "missing"),
    [
        (["Team.ReadBasic.All", "Channel.ReadBasic.All"], "presence", "Presence.Read.All"),
        (["Team.ReadBasic.All", "Presence.Read.All"], "channels", None),
        (["Presence.Read.All"], "teams", "Team.ReadBasic.All"),
    ],
    ids=["presence", "consent of the team", "teams"],
)
async def test_a_permission_that_is_missing_is_told_where_it_is_needed(
    granted: list[str], step: str, missing: str | None, here: Here
) -> None:
    here.grant(granted)
    run = await here.run(shared=here.another_agent())
    assert (run.failed_step, run.reason, run.code) == (step, Reason.PERMISSION, run.code)
    assert dict(run.evidence).get("missing_permissions") == missing


@on_one_loop
async def test_too_many_calls_of_our_own_say_nothing_about_teams(here: Here) -> None:
    here.world.of(Throttle).limits["teams"] = Limit((Span(1, 3600),))
    run = await here.run()
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.INCONCLUSIVE, "channels", Reason.THROTTLED)
    assert run.retry_after > 0


USER, TEAM = "6b5f1c1e-0000-4000-8000-000000000001", "6b5f1c1e-0000-4000-8000-000000000007"
JOINED, CHANNELS, PRESENCE = f"/v1.0/users/{USER}/joinedTeams", f"/v1.0/teams/{TEAM}/channels", f"/v1.0/users/{USER}/presence"
GOOD = {
    JOINED: answer({"value": [{"id": TEAM.upper()}]}),
    CHANNELS: answer({"value": [{"id": "19:a@thread.tacv2"}]}),
    PRESENCE: answer({"id": USER, "availability": "Away"}),
}


@pytest.mark.parametrize(
    ("path", "said", "step", "reason"),
    [
        (JOINED, answer({"value": []}), "teams", Reason.APP_CONFIG),
        (JOINED, answer({"value": [{"displayName": "Fog"}]}), "teams", Reason.CONTENT_MISMATCH),
        (JOINED, answer({"id": TEAM}), "teams", Reason.CONTENT_MISMATCH),
        (JOINED, answer({"value": [{"id": TEAM}]})[:-4], "teams", Reason.TRUNCATED),
        (JOINED, answer(b"<html>"), "teams", Reason.PROTOCOL_ERROR),
        (CHANNELS, answer({"value": []}), "channels", Reason.CONTENT_MISMATCH),
        (CHANNELS, answer({"value": [{"id": None}]}), "channels", Reason.CONTENT_MISMATCH),
        (CHANNELS, error(404, "NotFound", "ItemNotFound"), "channels", Reason.NOT_FOUND),
        (PRESENCE, answer({"id": TEAM, "availability": "Away"}), "presence", Reason.CONTENT_MISMATCH),
        (PRESENCE, answer({"id": USER}), "presence", Reason.CONTENT_MISMATCH),
        (PRESENCE, answer(), "presence", Reason.CONTENT_MISMATCH),
    ],
    ids=[
        "no team", "a team without a name", "no list", "cut off", "a web page", "no channel", "a channel without a name", "no such team",
        "somebody else's presence", "no presence", "nothing",
    ],
)  # fmt: skip
async def test_answers_no_tenant_should_give_are_named(path: str, said: bytes, step: str, reason: Reason) -> None:
    async with scripted({**GOOD, path: said}) as script:
        run = await run_kind("teams_read", script.tenant, user=USER, team=TEAM)
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, step, reason)


async def test_an_id_that_is_a_path_leads_nowhere_else() -> None:
    async with scripted(GOOD | {JOINED: answer({"value": [{"id": f"x/../{TEAM}?a=b"}]})}) as script:
        await run_kind("teams_read", script.tenant, user=USER)
    assert script.calls[1].target.partition("?")[0] == f"/v1.0/teams/x%2F..%2F{TEAM}%3Fa%3Db/channels"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user": "probe1@contoso.example"}, "identifier"),
        ({"parts": []}, "parts must name"),
        ({"parts": ["channels"]}, "need a team"),
        ({"parts": ["chats"]}, "parts"),
    ],
    ids=["a name for an id", "nothing", "channels of no team", "an unknown part"],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        REGISTRY["teams_read"].settings.model_validate({"user": USER, **change})


@pytest.mark.parametrize(
    ("parts", "team", "names", "costs"),
    [
        (ALL[1:], TEAM, ["Team.ReadBasic.All", "ChannelSettings.Read.Group", "Presence.Read.All"], {Service.TEAMS: 2, Service.PRESENCE: 1}),
        (["teams", "channels"], None, ["Team.ReadBasic.All", "Channel.ReadBasic.All"], {Service.TEAMS: 2}),
        (["presence"], None, ["Presence.Read.All"], {Service.PRESENCE: 1}),
    ],
    ids=["all", "any team", "presence"],
)
def test_it_asks_for_what_its_parts_need(parts: list[str], team: str | None, names: list[str], costs: dict[Service, int]) -> None:
    probe = REGISTRY["teams_read"]
    settings = probe.settings.model_validate({"user": USER, "team": team, "parts": parts})
    assert [need.name for need in probe.permissions(settings)] == names
    assert {cost.service: cost.weight for cost in probe.costs(settings)} == costs
    assert [need.targets for need in probe.permissions(settings) if need.targets] == ([(TEAM,)] if team else [])
