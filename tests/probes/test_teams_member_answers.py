"""Clearing members up by script: what stands on the ledger that cannot be ours, and a list that no tenant should give."""

import time
from typing import Any

import pytest

from probes import teams_member
from probes.core.context import Context
from probes.core.ledger import Artefact
from probes.core.reasons import Reason
from probes.teams_member import TeamsMember
from tests.fakes.graph import Asked, answer, error, run_kind, scripted, shared
from tests.probes.test_teams_member import EMPTY, SEEN, TEAM, THEM, USER, told


@pytest.mark.parametrize("facts", [("../users", USER), (TEAM, "' or 1 eq 1 or '"), ("", "")], ids=["a path", "a quote", "nothing"])
async def test_what_can_be_no_membership_of_ours_is_struck_off_unasked(facts: tuple[str, str]) -> None:
    async with scripted(told(SEEN)) as script:
        parts = shared(script.tenant)
        named = tuple(zip(("team", "user"), facts, strict=True))
        await parts.ledger.record("one", Artefact("tag", "membership", time.time(), (*named, ("membership", "M"))))
        await teams_member.clear(Context("one", parts, "contoso"), TeamsMember(team=TEAM, user=USER))
    assert (script.calls, parts.ledger.outstanding("one")) == ([], ())


@pytest.mark.parametrize("roles", [True, 7, "owner", {"owner": 1}], ids=["yes", "a number", "a word", "an object"])
async def test_a_member_whose_roles_cannot_be_read_is_left_in_the_team(roles: object) -> None:
    async with scripted(told(answer({"value": [{**THEM, "roles": roles}]}))) as script:
        parts = shared(script.tenant)
        await parts.ledger.record("one", Artefact("tag", "membership", time.time(), (("team", TEAM), ("user", USER))))
        ctx = Context("one", parts, "contoso")
        await teams_member.clear(ctx, TeamsMember(team=TEAM, user=USER))
    assert (ctx.cleanup_failed, [asked.method for asked in script.calls]) == (True, ["GET"])


async def test_a_run_that_may_not_take_long_looks_more_than_once_before_it_blames_teams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams_member, "PACE_SECONDS", 0.01)
    async with scripted(told(EMPTY, EMPTY, EMPTY, SEEN)) as script:
        run = await run_kind("teams_member", script.tenant, deadline=10.0, team=TEAM, user=USER)
    assert (run.message, dict(run.evidence)["looks"]) == ("", "3")


@pytest.mark.parametrize(
    ("second", "step"),
    [(told(error(404, "NotFound")), "look"), (told(EMPTY, added=error(404, "NotFound")), "add")],
    ids=["team", "user"],
)
async def test_what_was_there_before_is_missing_and_no_fault_of_the_settings(
    second: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teams_member, "PACE_SECONDS", 0.01)
    says = [told(EMPTY, SEEN), second]

    async def say(asked: Asked) -> bytes:
        said: bytes = await says[0](asked)
        return said

    async with scripted(say) as script:
        parts = shared(script.tenant)
        assert (await run_kind("teams_member", parts, team=TEAM, user=USER)).message == ""
        del says[0]
        run = await run_kind("teams_member", parts, team=TEAM, user=USER)
    assert (run.failed_step, run.reason, parts.ledger.outstanding("probe")) == (step, Reason.NOT_FOUND, ())
