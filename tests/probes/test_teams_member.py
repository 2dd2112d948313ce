"""A user added to a team, seen, and taken out: against the simulated tenant, and against answers no tenant should give."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent.drill.faults import Drip, Http
from agent.drill.graph.members import Member, membership_id
from agent.drill.graph.teams import Teams
from agent.drill.graph.throttle import Limit, Span, Throttle
from probes import REGISTRY, teams_member
from probes.core.context import Context
from probes.core.contract import Outcome, Run
from probes.core.ledger import Artefact
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.teams_member import TeamsMember
from tests.fakes.graph import Asked, answer, error, run_kind, scripted, shared
from tests.probes.teams import NOBODY, Here, teams_of

ALL = ["token", "look", "add", "seen", "cleanup"]
HOUR = 3_600.0
on_one_loop = pytest.mark.asyncio(loop_scope="module")


class Roll(Here):
    """The tenant, and who is in its probe team."""

    @property
    def known(self) -> list[Artefact]:
        """What is on the ledger."""
        return list(self.shared.ledger.outstanding("one"))

    def has(self, person: int) -> bool:
        """Whether somebody is in the team for good, whether it shows or not."""
        return any(member.person == self.world.people[person] and member.until == math.inf for member in self.team.members)

    def put(self, person: int, *roles: str) -> Member:
        """Put somebody into the team."""
        found = self.world.people[person]
        made = Member(membership_id(self.team.id, found.id), found, roles, self.world.now())
        self.team.members.append(made)
        return made

    async def know(self, age: float, **facts: str) -> None:
        """Let the ledger know of a membership that was made `age` seconds ago."""
        told = {"team": self.team.id, "user": self.users[3], **facts}
        await self.shared.ledger.record("one", Artefact("tag", "membership", time.time() - age, tuple(told.items())))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    async with teams_of("teams_member", tmp_path_factory.mktemp("tenant")) as here:
        yield here


@pytest.fixture
def here(tenant: Here, monkeypatch: pytest.MonkeyPatch) -> Roll:
    """Return the tenant with all in order: two people in the team, changes that show at once, an empty ledger, and no time to lose."""
    for name, seconds in {"PACE_SECONDS": 0.02, "_PATIENCE": 2.0, "_RESERVE": 1.0}.items():
        monkeypatch.setattr(teams_member, name, seconds)
    tenant.restore()
    tenant.world.of(Teams).shows_after = 0.0
    tenant.team.members[:] = [member for member in tenant.team.members if member.person in tenant.world.people[:2]]
    roll = Roll(tenant.kind, tenant.world, tenant.tenant, tenant.another_agent())
    roll.usual = {"team": roll.team.id, "user": roll.users[3]}
    return roll


def ended(run: Run) -> tuple[Outcome, str, Reason | None]:
    return run.outcome, run.failed_step, run.reason


@on_one_loop
async def test_a_user_is_added_seen_and_taken_out(here: Roll) -> None:
    run = await here.run()
    assert (run.outcome, run.message, run.cleanup_failed, run.tainted) == (Outcome.OK, "", False, False)
    assert [step.name for step in run.steps] == ALL
    assert [sample.value > 0.01 for sample in run.measured if sample.name == "seen_seconds"] == [True]
    assert dict(run.evidence)["looks"] == "1"
    assert (here.has(3), here.known) == (False, [])


@on_one_loop
async def test_the_waits_that_microsoft_asks_for_are_in_no_step(here: Roll, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams_member, "PACE_SECONDS", 0.1)
    run = await here.run()
    ends = {step.name: (step.started, step.started + step.seconds) for step in run.steps}
    assert ends["seen"][0] - ends["add"][1] > 0.09
    assert ends["cleanup"][0] - ends["seen"][1] > 0.09
    assert [phase for step in run.steps for phase, _ in step.phases if phase == "wait"] == []


@on_one_loop
async def test_it_needs_no_more_than_it_says(here: Roll) -> None:
    probe = REGISTRY["teams_member"]
    here.grant_least(probe.permissions(probe.settings.model_validate(here.usual)))
    run = await here.run()
    assert (run.message, run.cleanup_failed, "missing_permissions" in dict(run.evidence)) == ("", False, False)


REFUSALS = [
    pytest.param(503, Outcome.FAILED, Reason.HTTP_5XX, 1, id="503"),
    pytest.param(504, Outcome.FAILED, Reason.HTTP_5XX, 1, id="504"),
    pytest.param(403, Outcome.FAILED, Reason.PERMISSION, 0, id="403"),
    pytest.param(409, Outcome.FAILED, Reason.HTTP_4XX, 0, id="409"),
    pytest.param(400, Outcome.FAILED, Reason.HTTP_4XX, 0, id="400"),
    pytest.param(401, Outcome.FAILED, Reason.TOKEN_REJECTED, 0, id="401"),
    pytest.param(429, Outcome.INCONCLUSIVE, Reason.THROTTLED, 0, id="429"),
]


@on_one_loop
@pytest.mark.parametrize(("status", "outcome", "reason", "uncertain"), REFUSALS)
async def test_an_addition_that_is_refused_is_named_and_forgotten_unless_nobody_knows(
    status: int, outcome: Outcome, reason: Reason, uncertain: int, here: Roll
) -> None:
    here.wrong(Http((status,), retry_after=120), "member_add")
    run = await here.run()
    assert (*ended(run), run.retry_after) == (outcome, "add", reason, 120.0)
    assert (here.has(3), len(here.known)) == (False, uncertain)


@on_one_loop
@pytest.mark.parametrize(("status", "outcome", "reason", "uncertain"), REFUSALS)
async def test_a_look_that_is_refused_adds_nobody(status: int, outcome: Outcome, reason: Reason, uncertain: int, here: Roll) -> None:
    del uncertain
    here.wrong(Http((status,)), "member_list")
    assert ended(await here.run()) == (outcome, "look", reason)
    assert (here.has(3), here.known) == (False, [])


@on_one_loop
@pytest.mark.parametrize("status", [503, 403, 429])
async def test_a_removal_that_is_refused_is_counted_and_made_up_for(status: int, here: Roll) -> None:
    here.wrong(Http((status,)), "member_remove")
    run = await here.run()
    assert (run.outcome, run.message, run.cleanup_failed, here.has(3)) == (Outcome.OK, "", True, True)
    assert f"answered with {status}" in dict(run.evidence)["cleanup"]
    assert (await here.clear()).cleanup_failed
    here.restore()
    assert not (await here.clear()).cleanup_failed
    assert (here.has(3), here.known) == (False, [])


@on_one_loop
@pytest.mark.parametrize(
    ("settings", "step", "said"),
    [({"team": NOBODY}, "look", "`team` must be"), ({"user": NOBODY}, "add", "`user` must be")],
    ids=["team", "user"],
)
async def test_what_is_not_there_is_told_by_the_setting_that_names_it(settings: dict[str, Any], step: str, said: str, here: Roll) -> None:
    run = await here.run(**settings)
    assert ended(run) == (Outcome.FAILED, step, Reason.APP_CONFIG)
    assert said in run.message
    assert here.known == []


@on_one_loop
@pytest.mark.parametrize(("granted", "step"), [("TeamMember.Read.All", "add"), ("TeamMember.ReadWriteNonOwnerRole.All", "look")])
async def test_a_permission_that_is_missing_is_told_where_it_is_needed(granted: str, step: str, here: Roll) -> None:
    here.grant([granted])
    assert ended(await here.run()) == (Outcome.FAILED, step, Reason.PERMISSION)


@on_one_loop
async def test_too_many_calls_of_our_own_say_nothing_about_teams(here: Roll) -> None:
    here.world.of(Throttle).limits["teams"] = Limit((Span(1, HOUR),))
    run = await here.run()
    assert (*ended(run), run.retry_after > 0) == (Outcome.INCONCLUSIVE, "add", Reason.THROTTLED, True)
    assert here.known == []


@on_one_loop
async def test_a_member_who_never_shows_is_not_found_and_taken_out_all_the_same(here: Roll, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams_member, "_reserve", lambda _: HOUR)
    here.world.of(Teams).shows_after = math.inf
    run = await here.run()
    assert ended(run) == (Outcome.FAILED, "seen", Reason.NOT_FOUND)
    assert "not among the members in" in run.message
    assert here.has(3)
    await here.clear()
    assert (here.has(3), here.known) == (False, [])


@on_one_loop
@pytest.mark.parametrize(("roles", "said"), [((), "is in the team already"), (("owner",), "is an owner")], ids=["member", "owner"])
async def test_who_was_in_the_team_before_is_told_and_stays(
    roles: tuple[str, ...], said: str, here: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teams_member, "_PATIENCE", 0.0)
    here.put(3, *roles)
    run = await here.run()
    assert ended(run) == (Outcome.FAILED, "look", Reason.APP_CONFIG)
    assert said in run.message
    assert (here.has(3), here.known) == (True, [])


@on_one_loop
async def test_who_was_left_by_an_earlier_run_is_taken_out_first(here: Roll) -> None:
    here.put(3)
    await here.know(age=HOUR)
    run = await here.run()
    assert (run.message, here.has(3), here.known) == ("", False, [])


@on_one_loop
async def test_two_agents_with_the_same_user_do_not_disturb_each_other(here: Roll) -> None:
    here.world.of(Teams).shows_after = 0.05
    other = here.another_agent()
    runs = await asyncio.gather(here.run(), here.run(shared=other))
    assert [run.message for run in runs] == ["", ""]
    for agent in (here.shared, other):
        await here.clear(agent)
    assert not here.has(3)


@on_one_loop
async def test_two_probes_of_one_agent_take_turns(here: Roll) -> None:
    runs = await asyncio.gather(here.run(), here.run(name="two"))
    first, second = sorted(runs, key=lambda run: run.tainted)
    assert [(run.message, run.tainted) for run in (first, second)] == [("", False), ("", True)]
    assert [step.name for step in second.steps] == ["token", "turn", *ALL[1:]]
    assert (here.has(3), here.known, here.shared.ledger.outstanding("two")) == (False, [], ())


@on_one_loop
async def test_a_turn_that_does_not_come_says_nothing_about_teams(here: Roll) -> None:
    async with here.shared.part(teams_member.Turns).of(here.tenant, here.team.id, here.users[3]):
        run = await here.run(deadline=1.0)
    assert ended(run) == (Outcome.INCONCLUSIVE, "turn", Reason.THROTTLED)


@on_one_loop
async def test_a_run_that_ends_while_it_adds_somebody_leaves_nobody_after_the_next_start(here: Roll) -> None:
    here.wrong(Drip(), "member_add")
    assert ended(await here.run(deadline=1.0)) == (Outcome.FAILED, "add", Reason.TIMEOUT)
    assert (here.has(3), [artefact.fact("membership") for artefact in here.known]) == (True, [""])
    await here.clear()
    assert (here.has(3), here.known) == (False, [])


@on_one_loop
async def test_a_run_that_ends_while_it_takes_somebody_out_leaves_nobody_after_the_next_start(here: Roll) -> None:
    here.wrong(Drip(), "member_remove")
    run = await here.run(deadline=1.0)
    assert (run.outcome, run.cleanup_failed, len(here.known)) == (Outcome.OK, True, 1)
    here.restore()
    await here.know(HOUR, membership=here.known[0].fact("membership"))
    await here.clear()
    assert (here.has(3), [artefact.id for artefact in here.known if artefact.id == "tag"]) == (False, [])


@on_one_loop
@pytest.mark.parametrize(
    ("age", "facts", "left"),
    [(10.0, {}, 1), (HOUR, {}, 0), (10.0, {"team": NOBODY}, 1), (25 * HOUR, {"team": NOBODY}, 0), (10.0, {"membership": "bm8="}, 1)],
    ids=["added a moment ago", "never added", "team not found", "team gone for a day", "already taken out, as it seems"],
)
async def test_what_is_not_there_is_forgotten_in_time(age: float, facts: dict[str, str], left: int, here: Roll) -> None:
    await here.know(age, **facts)
    ctx = await here.clear()
    assert (len(here.known), ctx.cleanup_failed) == (left, bool(left and "team" in facts))


@on_one_loop
async def test_who_has_become_an_owner_is_left_alone(here: Roll) -> None:
    here.put(3, "owner")
    await here.know(HOUR)
    ctx = await here.clear()
    assert (here.has(3), here.known) == (True, [])
    assert "owner" in ctx.evidence_found["cleanup"]


USER, TEAM = "6b5f1c1e-0000-4000-8000-000000000001", "6b5f1c1e-0000-4000-8000-000000000007"
MEMBERS = f"/v1.0/teams/{TEAM}/members"
THEM = {"id": "bWVt##YmVy", "roles": [], "userId": USER.upper()}
EMPTY = answer({"value": []})


def told(*lists: bytes, added: bytes | None = None, removed: bytes | None = None) -> Any:
    """Return what answers: the lists one after the other, the last of them for ever."""
    left = list(lists)

    async def say(asked: Asked) -> bytes:
        match asked.method:
            case "POST":
                return added or answer(THEM, 201)
            case "DELETE":
                return removed or answer(status=204)
            case _:
                return left.pop(0) if len(left) > 1 else left[0]

    return say


SEEN = answer({"value": [THEM]})


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PACE_SECONDS": 0.01, "_PATIENCE": 0.03, "_RESERVE": HOUR, "_RESERVED_SHARE": 1.0}.items():
        monkeypatch.setattr(teams_member, name, seconds)


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize(
    ("say", "step", "reason"),
    [
        (told(EMPTY, added=answer({**THEM, "userId": TEAM}, 201)), "add", Reason.CONTENT_MISMATCH),
        (told(EMPTY, added=answer({**THEM, "id": ""}, 201)), "add", Reason.CONTENT_MISMATCH),
        (told(EMPTY, added=answer(status=201)), "add", Reason.CONTENT_MISMATCH),
        (told(EMPTY, added=answer(THEM, 201)[:-3]), "add", Reason.TRUNCATED),
        (told(EMPTY, error(503)), "seen", Reason.HTTP_5XX),
        (told(EMPTY, error(403, "Forbidden")), "seen", Reason.PERMISSION),
        (told(EMPTY, answer({"value": [{**THEM, "userId": TEAM}]})), "seen", Reason.NOT_FOUND),
        (told(EMPTY, answer({"value": [{**THEM, "id": None}]})), "seen", Reason.CONTENT_MISMATCH),
        (told(answer({"members": []})), "look", Reason.CONTENT_MISMATCH),
    ],
    ids=[
        "somebody else is added", "a membership without a name", "no membership", "cut off", "overload while looking",
        "permission removed while running", "another is a member", "a member without a name", "no list",
    ],
)  # fmt: skip
async def test_answers_no_tenant_should_give_are_named(say: Any, step: str, reason: Reason) -> None:
    async with scripted(say) as script:
        run = await run_kind("teams_member", script.tenant, team=TEAM, user=USER)
    assert ended(run) == (Outcome.FAILED, step, reason)


@pytest.mark.usefixtures("_hurried")
async def test_a_member_whom_another_agent_took_out_is_gone() -> None:
    async with scripted(told(EMPTY, SEEN, EMPTY, removed=error(404, "NotFound"))) as script:
        run = await run_kind("teams_member", script.tenant, team=TEAM, user=USER)
    assert (run.message, run.cleanup_failed) == ("", False)
    assert [asked.method for asked in script.calls] == ["GET", "POST", "GET", "DELETE", "GET"]


@pytest.mark.usefixtures("_hurried")
async def test_another_agent_that_has_the_user_in_the_team_is_given_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams_member, "_PATIENCE", HOUR)
    async with scripted(told(SEEN, SEEN, EMPTY, SEEN)) as script:
        run = await run_kind("teams_member", script.tenant, team=TEAM, user=USER)
    assert (run.message, run.tainted, run.cleanup_failed) == ("", True, False)
    assert [asked.method for asked in script.calls] == ["GET", "GET", "GET", "POST", "GET", "DELETE"]
    assert [step.name for step in run.steps if "wait" in dict(step.phases)] == ["look"]


@pytest.mark.usefixtures("_hurried")
async def test_a_member_who_shows_late_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams_member, "_RESERVE", 0.0)
    async with scripted(told(EMPTY, EMPTY, EMPTY, SEEN)) as script:
        run = await run_kind("teams_member", script.tenant, team=TEAM, user=USER)
    assert (run.message, dict(run.evidence)["looks"]) == ("", "3")
    assert [step.name for step in run.steps if "wait" in dict(step.phases)] == ["seen"]
    assert next(sample.value for sample in run.measured if sample.name == "seen_seconds") > 0.02


async def test_runs_that_failed_one_after_the_other_are_cleared_with_one_look() -> None:
    async with scripted(told(SEEN)) as script:
        parts = shared(script.tenant)
        for number in range(3):
            facts = (("team", TEAM), ("user", USER))
            await parts.ledger.record("one", Artefact(f"tag{number}", "membership", time.time(), facts))
        await teams_member.clear(Context("one", parts, "contoso"), TeamsMember(team=TEAM, user=USER))
    assert [asked.method for asked in script.calls] == ["GET", "DELETE"]
    assert parts.ledger.outstanding("one") == ()


@pytest.mark.usefixtures("_hurried")
async def test_a_good_run_makes_four_calls_and_names_the_membership_as_it_was_told() -> None:
    async with scripted(told(EMPTY, SEEN)) as script:
        run = await run_kind("teams_member", script.tenant, team=TEAM, user=USER)
    assert run.message == ""
    assert [(asked.method, asked.path) for asked in script.calls] == [
        ("GET", MEMBERS), ("POST", MEMBERS), ("GET", MEMBERS), ("DELETE", f"{MEMBERS}/{THEM['id']}"),
    ]  # fmt: skip
    probe = REGISTRY["teams_member"]
    settings = probe.settings.model_validate({"team": TEAM, "user": USER})
    assert {cost.service: cost.weight for cost in probe.costs(settings)} == {Service.TEAMS: len(script.calls)}
    assert [need.targets for need in probe.permissions(settings)] == [(), (TEAM,)]


@pytest.mark.parametrize(("kind", "floor"), [("teams_read", 300.0), ("teams_chat_create", 900.0), ("teams_member", 900.0)])
def test_teams_is_not_asked_more_often_than_its_terms_bear(kind: str, floor: float) -> None:
    probe = REGISTRY[kind]
    assert (probe.floor, probe.interval) == (floor, 900.0 if kind == "teams_read" else 21_600.0)


@pytest.mark.parametrize("change", [{"user": "alex@contoso.example"}, {"team": "Probes"}, {"team": None}], ids=str)
def test_ids_are_wanted(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        REGISTRY["teams_member"].settings.model_validate({"team": TEAM, "user": USER, **change})
