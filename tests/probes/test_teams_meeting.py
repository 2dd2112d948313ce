"""A meeting made, read, looked in on and removed: against the simulated tenant, and against answers no tenant should give."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import web

from agent.drill import graph
from agent.drill.entra.directory import GRAPH, Directory
from agent.drill.entra.site import login_site
from agent.drill.faults import Drip, Fault, Http, Where
from agent.drill.graph.meetings import EVERYBODY, Meeting, Meetings
from agent.drill.graph.members import Licences
from agent.drill.hosting import Site, serve_sites
from agent.drill.join import join_site
from agent.drill.world import World
from probes.core.context import Shared
from probes.core.contract import Outcome, Run
from probes.core.ledger import Artefact, MemoryLedger
from probes.core.reasons import Reason
from probes.lib.tenant import Tenant
from probes.teams_meeting import ME, PROBE, TeamsMeeting, subject_of
from tests.probes.once import cleared, once
from tests.probes.signed_in import sign_in
from tests.probes.tenants import among, drilled

on_one_loop = pytest.mark.asyncio(loop_scope="module")
Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
TAG = "0123456789abcdef" * 2
SOMEBODY = "7f3c8f5e-2b6a-4c0e-9a43-5d1d5f1a9b10"


@dataclass(slots=True)
class Door:
    """Where meetings are joined: what it answers, and what it was asked."""

    usual: Page = join_site().respond
    page: Page = join_site().respond
    asked: list[web.BaseRequest] = field(default_factory=list)

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        return await self.page(request)


@dataclass(frozen=True, slots=True)
class Here:
    """A tenant, where its meetings are joined, and what the runs of one agent share."""

    world: World
    tenant: Tenant
    shared: Shared
    door: Door

    async def run(self, *, deadline: float = 10.0, **settings: Any) -> Run:
        return await once("teams_meeting", deadline=deadline, shared=self.shared, tenant="contoso", **self._settings(settings))

    async def clear(self, *, deadline: float = 10.0, **settings: Any) -> Any:
        return await cleared("teams_meeting", self.shared, deadline=deadline, **self._settings(settings))

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {"join_hosts": ["localhost"], "organiser": self.world.people[0].id, **settings}

    @property
    def there(self) -> dict[str, Meeting]:
        return self.world.of(Meetings).meetings

    @property
    def outstanding(self) -> tuple[Artefact, ...]:
        return self.shared.ledger.outstanding("one")

    def fail(self, effect: Any, operation: str) -> None:
        self.world.faults.set(Fault(effect, Where(operations=frozenset({operation}))))

    def grant(self, *roles: str) -> None:
        self.world.of(Directory).grant(self.world.app_id, roles)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[World, Tenant, Door]]:
    world, door = World(), Door()
    async with serve_sites(world, login_site(world), graph.site(world), Site("teams", door.respond)) as authority:
        yield world, drilled(world, authority, tmp_path_factory.mktemp("tenant")), door


@pytest_asyncio.fixture(loop_scope="module")
async def here(place: tuple[World, Tenant, Door], tmp_path: Path) -> AsyncIterator[Here]:
    world, tenant, door = place
    await sign_in(world, tmp_path)
    app = world.of(Directory).apps[world.app_id]
    roles, scopes = set(app.roles[GRAPH]), set(app.scopes[GRAPH])
    yield Here(world, tenant, among(tenant, tmp_path), door)
    world.faults.set()
    state = world.of(Meetings)
    state.meetings, state.policies = {}, {(world.app_id, EVERYBODY)}
    world.of(Licences).missing.clear()
    app.roles[GRAPH], app.scopes[GRAPH] = roles, scopes
    door.page = door.usual
    door.asked.clear()


BY: dict[str, dict[str, Any]] = {"app": {}, "user": {"organiser": ME}}
"""What the settings say more where the application makes the meeting, or a user."""


@on_one_loop
@pytest.mark.parametrize("who", ["app", "user"])
async def test_a_meeting_is_made_read_looked_in_on_and_removed(here: Here, who: str) -> None:
    run = await here.run(**BY[who])
    assert (run.outcome, run.message, run.cleanup_failed) == (Outcome.OK, "", False)
    assert [step.name for step in run.steps] == ["token", "create", "read", "join", "cleanup"]
    assert (here.there, here.outstanding) == ({}, ())
    teams = here.world.address("teams")
    assert dict(run.evidence)["join"] == f"302 from {teams}, 200 from {teams}"
    assert {"request_id", "client_request_id", "datacenter"} <= dict(run.evidence).keys()


@on_one_loop
async def test_nothing_of_ours_goes_to_where_meetings_are_joined(here: Here) -> None:
    await here.run()
    fields = {name.lower() for request in here.door.asked for name in request.headers}
    assert (len(here.door.asked), fields & {"authorization", "cookie", "client-request-id"}) == (2, set())


@on_one_loop
async def test_a_meeting_is_short_and_says_what_it_is(here: Here) -> None:
    here.fail(Http((503,)), "meeting_delete")
    await here.run()
    (meeting,) = here.there.values()
    assert meeting.end - meeting.start == 900.0
    assert abs(meeting.start - here.world.now()) < 60
    assert meeting.subject == subject_of("one", here.outstanding[0].id)
    assert all(part in subject_of("meeting in Bonn", TAG) for part in ("Test meeting of Fogbell", "probe meeting in Bonn", f"[{TAG}]"))


class Altered(dict[str, Meeting]):
    """Meetings to which something happens on the way in."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self._changes = changes

    def __setitem__(self, name: str, meeting: Meeting) -> None:
        super().__setitem__(name, replace(meeting, **self._changes))


class Lost(dict[str, Meeting]):
    """Meetings that somebody removes as soon as they are made."""

    def __setitem__(self, name: str, meeting: Meeting) -> None:
        """Keep nothing."""


def kept_in(meetings: dict[str, Meeting]) -> Callable[[Here], None]:
    def prepare(here: Here) -> None:
        here.world.of(Meetings).meetings = meetings

    return prepare


def broken(operation: str, *statuses: int) -> Callable[[Here], None]:
    return lambda here: here.fail(Http(statuses), operation)


def granted(*roles: str) -> Callable[[Here], None]:
    return lambda here: here.grant(*roles)


def _no_policy(here: Here) -> None:
    here.world.of(Meetings).policies = {(here.world.app_id, here.world.people[1].id)}


def _no_licence(here: Here) -> None:
    here.world.of(Licences).missing.add(here.world.people[0].id)


def joined_at(status: int, location: str | None = None, **fields: str) -> Callable[[Here], None]:
    """Let the join link be answered so; `{path}` in the location is what was asked."""

    def prepare(here: Here) -> None:
        async def page(request: web.BaseRequest) -> web.StreamResponse:
            there = {} if location is None else {"Location": location.format(path=request.path_qs)}
            return web.Response(status=status, headers={**there, **fields})

        here.door.page = page

    return prepare


Told = tuple[str, Reason, str, int]  # step, reason, code, and how many meetings stay on the ledger
FAILURES = [
    pytest.param(_no_policy, ("create", Reason.PERMISSION, "access_policy", 0), id="no access policy"),
    pytest.param(_no_licence, ("create", Reason.LICENCE_MISSING, "Forbidden", 0), id="no licence"),
    pytest.param(granted("User.Read.All"), ("create", Reason.PERMISSION, "Authorization_RequestDenied", 0), id="no permission"),
    pytest.param(granted("OnlineMeetings.Read.All"), ("create", Reason.PERMISSION, "Authorization_RequestDenied", 0), id="only reading"),
    pytest.param(broken("meeting_create", 503), ("create", Reason.HTTP_5XX, "ServiceUnavailable", 1), id="making fails"),
    pytest.param(broken("meeting_create", 400), ("create", Reason.HTTP_4XX, "BadRequest", 0), id="making is refused"),
    pytest.param(broken("meeting_get", 503), ("read", Reason.HTTP_5XX, "ServiceUnavailable", 1), id="reading fails"),
    pytest.param(broken("meeting_get", 403), ("read", Reason.PERMISSION, "access_policy", 1), id="policy removed while running"),
    pytest.param(broken("meeting_get", 401), ("read", Reason.TOKEN_REJECTED, "InvalidAuthenticationToken", 1), id="token refused"),
    pytest.param(kept_in(Lost()), ("read", Reason.NOT_FOUND, "NotFound", 1), id="removed by somebody else"),
    pytest.param(kept_in(Altered(subject="Lunch")), ("read", Reason.CONTENT_MISMATCH, "", 1), id="another subject"),
    pytest.param(kept_in(Altered(id="MSo1")), ("read", Reason.CONTENT_MISMATCH, "", 1), id="another meeting"),
    pytest.param(kept_in(Altered(thread="19:meeting_other@thread.v2")), ("read", Reason.CONTENT_MISMATCH, "", 1), id="another link"),
    pytest.param(joined_at(404), ("join", Reason.HTTP_4XX, "404", 1), id="join link unknown"),
    pytest.param(joined_at(503), ("join", Reason.HTTP_5XX, "503", 1), id="join page down"),
    pytest.param(joined_at(204), ("join", Reason.CONTENT_MISMATCH, "204", 1), id="no join page"),
    pytest.param(joined_at(302), ("join", Reason.HTTP_REDIRECT, "302", 1), id="redirect without a place"),
    pytest.param(joined_at(302, "{path}"), ("join", Reason.HTTP_REDIRECT, "302", 1), id="redirect loop"),
    pytest.param(joined_at(307, "https://example.org/"), ("join", Reason.HTTP_REDIRECT, "307", 1), id="redirect elsewhere"),
    pytest.param(joined_at(302, "http://localhost/"), ("join", Reason.HTTP_REDIRECT, "302", 1), id="redirect without TLS"),
    pytest.param(joined_at(302, "https://["), ("join", Reason.HTTP_REDIRECT, "302", 1), id="redirect to no address"),
]


@on_one_loop
@pytest.mark.parametrize(("prepare", "told"), FAILURES)
async def test_what_fails_is_told_by_step_and_reason(here: Here, prepare: Callable[[Here], None], told: Told) -> None:
    prepare(here)
    run = await here.run()
    assert run.outcome is Outcome.FAILED
    assert (run.failed_step, run.reason, run.code, len(here.outstanding)) == told


@on_one_loop
async def test_a_join_page_that_is_down_is_told_with_who_answered(here: Here) -> None:
    joined_at(503, **{"X-MSEdge-Ref": "Ref A: 1"})(here)
    found = dict((await here.run()).evidence)
    assert (found["join"], found["header_x-msedge-ref"]) == (f"503 from {here.world.address('teams')}", "Ref A: 1")


@on_one_loop
async def test_no_passcode_is_shown_wherever_the_link_goes_on_to(here: Here) -> None:
    passcode = "cana+ry7Zq"
    joined_at(302, f"msteams://teams.example/meet/21?p={quote(passcode)}")(here)
    astray = await here.run()
    here.door.page = _down_with(passcode)
    down = await here.run()
    assert [(run.failed_step, run.reason) for run in (astray, down)] == [("join", Reason.HTTP_REDIRECT), ("join", Reason.HTTP_5XX)]
    assert not any(passcode in text or quote(passcode) in text for run in (astray, down) for text in (run.message, str(run.evidence)))


def _down_with(passcode: str) -> Page:
    """Send to an address with the passcode, and say there that it does not open."""

    async def page(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/meet/21":
            return web.Response(status=503, text=f"cannot join with {passcode}", headers={"X-MSEdge-Ref": quote(passcode)})
        return web.Response(status=302, headers={"Location": f"/meet/21?p={quote(passcode)}"})

    return page


@on_one_loop
async def test_a_missing_access_policy_is_told_with_its_remedy(here: Here) -> None:
    _no_policy(here)
    run = await here.run()
    assert all(word in run.message for word in ("New-CsApplicationAccessPolicy", "Grant-CsApplicationAccessPolicy", "30 minutes"))
    assert "missing_permissions" not in dict(run.evidence)


@on_one_loop
async def test_an_organiser_who_is_not_there_is_told(here: Here) -> None:
    run = await here.run(organiser=SOMEBODY)
    assert (run.failed_step, run.reason, run.code) == ("create", Reason.APP_CONFIG, "NotFound")
    assert "`organiser` must be the object id of a user of this tenant" in run.message


@on_one_loop
async def test_an_organiser_who_was_there_before_is_missing_and_no_fault_of_the_settings(here: Here) -> None:
    assert (await here.run()).message == ""
    here.fail(Http((404,)), "meeting_create")
    run = await here.run()
    assert (run.failed_step, run.reason, len(here.outstanding)) == ("create", Reason.NOT_FOUND, 0)


@on_one_loop
@pytest.mark.parametrize(
    ("target", "outcome"),
    [("https://login.microsoftonline.com/common/oauth2/authorize", Outcome.OK), ("https://login.example.org/", Outcome.FAILED)],
)
async def test_a_join_link_may_lead_to_where_people_sign_in(here: Here, target: str, outcome: Outcome) -> None:
    joined_at(302, target)(here)
    assert (await here.run()).outcome is outcome


@on_one_loop
@pytest.mark.parametrize("operation", ["meeting_create", "meeting_get"])
async def test_too_many_calls_of_ours_say_nothing_of_teams(here: Here, operation: str) -> None:
    here.fail(Http((429,), retry_after=120), operation)
    run = await here.run()
    assert (run.outcome, run.reason, run.retry_after) == (Outcome.INCONCLUSIVE, Reason.THROTTLED, 120.0)
    assert len(here.outstanding) == {"meeting_create": 0, "meeting_get": 1}[operation]


@on_one_loop
async def test_as_a_user_a_sign_in_is_needed_and_its_permission(here: Here) -> None:
    here.world.of(Directory).apps[here.world.app_id].scopes[GRAPH] = {"User.Read"}
    lacking = await here.run(organiser=ME)
    (Path(here.shared.state_dir or "") / "grants/contoso.json").unlink()
    nobody = await here.run(organiser=ME)
    assert [(run.failed_step, run.reason) for run in (lacking, nobody)] == [("create", Reason.PERMISSION), ("token", Reason.GRANT_DEAD)]
    assert "run `fogbell login contoso`" in nobody.message


@on_one_loop
@pytest.mark.parametrize("who", ["app", "user"])
async def test_the_permission_it_asks_for_is_enough_to_run_and_to_clear_up(here: Here, who: str) -> None:
    names = {need.name for need in PROBE.permissions(TeamsMeeting(organiser={"app": SOMEBODY, "user": ME}[who]))}
    app = here.world.of(Directory).apps[here.world.app_id]
    app.roles[GRAPH], app.scopes[GRAPH] = (names, set()) if who == "app" else (set(), names)
    here.fail(Http((503,)), "meeting_delete")
    run = await here.run(**BY[who])
    assert (run.outcome, run.cleanup_failed, len(here.there)) == (Outcome.OK, True, 1)
    here.world.faults.set()
    ctx = await here.clear(**BY[who])
    assert (ctx.cleanup_failed, here.there, here.outstanding) == (False, {}, ())


@on_one_loop
async def test_what_a_run_left_that_was_ended_is_removed_and_nothing_else(here: Here) -> None:
    await here.run()
    here.fail(Drip(0), "meeting_get")
    run = await here.run(deadline=1.0)
    assert (run.failed_step, run.reason, len(here.outstanding)) == ("read", Reason.TIMEOUT, 1)
    here.world.faults.set()
    (ours,) = here.there.values()
    for name, subject in (("other agent", subject_of("one", TAG)), ("people", "Lunch")):
        here.there[name] = replace(ours, id=name, subject=subject)
    ctx = await here.clear()
    assert (ctx.cleanup_failed, sorted(here.there), here.outstanding) == (False, ["other agent", "people"], ())


@on_one_loop
@pytest.mark.parametrize(("effect", "made"), [(Drip(0), 1), (Http((503,)), 0)], ids=["made without an answer", "not made"])
async def test_a_meeting_of_which_nobody_knows_whether_it_was_made_is_found_and_removed(here: Here, effect: Any, made: int) -> None:
    await here.run()
    here.fail(effect, "meeting_create")
    run = await here.run(deadline=1.0)
    assert (run.failed_step, len(here.there), len(here.outstanding)) == ("create", made, 1)
    ctx = await here.clear(deadline=0.7)
    assert (ctx.cleanup_failed, len(here.outstanding)) == (True, 1)
    here.world.faults.set()
    ctx = await here.clear()
    assert (ctx.cleanup_failed, here.there, here.outstanding) == (False, {}, ())


@on_one_loop
async def test_with_its_organiser_a_meeting_has_gone(here: Here) -> None:
    await here.shared.ledger.record("one", Artefact(TAG, "meeting", here.world.now(), (("organiser", SOMEBODY),)))
    ctx = await here.clear()
    assert (ctx.cleanup_failed, here.outstanding) == (False, ())


@on_one_loop
@pytest.mark.parametrize("change", ["gone", "another subject"])
async def test_what_is_gone_or_no_longer_ours_is_left_alone(here: Here, change: str) -> None:
    here.fail(Http((503,)), "meeting_delete")
    await here.run()
    here.world.faults.set()
    (name,) = here.there
    here.there[name] = replace(here.there[name], subject="Lunch")
    if change == "gone":
        del here.there[name]
    ctx = await here.clear()
    assert (ctx.cleanup_failed, len(here.there), here.outstanding) == (False, int(change != "gone"), ())


@on_one_loop
async def test_an_answer_that_says_nothing_strikes_no_meeting_off(here: Here) -> None:
    here.fail(Http((503,)), "meeting_delete")
    await here.run()
    here.fail(Http((200,)), "meeting_get")
    ctx = await here.clear()
    assert (ctx.cleanup_failed, len(here.outstanding), len(here.there)) == (True, 1, 1)


@on_one_loop
async def test_a_meeting_that_is_gone_when_it_is_to_be_removed_is_removed(here: Here) -> None:
    here.fail(Http((404,)), "meeting_delete")
    run = await here.run()
    assert (run.outcome, run.cleanup_failed, here.outstanding) == (Outcome.OK, False, ())


@on_one_loop
async def test_two_agents_with_one_organiser_leave_each_others_meetings_alone(here: Here) -> None:
    other = replace(here, shared=replace(here.shared, ledger=MemoryLedger()))
    here.fail(Http((503,)), "meeting_delete")
    runs = [await agent.run() for agent in (here, other)]
    assert [(run.message, run.cleanup_failed) for run in runs] == [("", True)] * 2
    here.world.faults.set()
    await other.clear()
    assert [meeting.subject for meeting in here.there.values()] == [subject_of("one", here.outstanding[0].id)]
    assert other.outstanding == ()
