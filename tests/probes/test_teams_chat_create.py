"""A chat opened between two users: against the simulated tenant, and against answers no tenant should give."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent.drill.faults import Drip, Http
from agent.drill.graph.chats import Chats
from agent.drill.graph.members import Licences
from probes import REGISTRY
from probes.core.contract import Outcome
from probes.core.needs import Service
from probes.core.reasons import Reason
from tests.fakes.graph import answer, error, run_kind, scripted
from tests.probes.teams import NOBODY, Here, teams_of

on_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    async with teams_of("teams_chat_create", tmp_path_factory.mktemp("tenant")) as here:
        here.usual = {"users": here.users[:2]}
        yield here


@pytest.fixture
def here(tenant: Here) -> Here:
    tenant.restore()
    tenant.world.of(Chats).chats.clear()
    return tenant


@on_one_loop
async def test_a_chat_is_opened_once_and_is_the_same_ever_after_whoever_asks(here: Here) -> None:
    here.grant_least(REGISTRY["teams_chat_create"].permissions(REGISTRY["teams_chat_create"].settings.model_validate(here.usual)))
    agent = here.another_agent()
    runs = [
        await here.run(shared=agent),
        await here.run(shared=agent),
        await here.run(shared=here.another_agent(), users=here.users[1::-1]),
    ]
    assert [(run.outcome, run.message) for run in runs] == [(Outcome.OK, "")] * 3
    assert [step.name for step in runs[0].steps] == ["token", "create"]
    (chat,) = here.world.of(Chats).chats
    assert {dict(run.evidence)["chat"] for run in runs} == {chat}
    assert len({dict(run.evidence)["created"] for run in runs}) == 1
    assert here.world.of(Chats).chats[chat].messages == {}


@on_one_loop
@pytest.mark.parametrize(
    ("status", "outcome", "reason", "code"),
    [
        (503, Outcome.FAILED, Reason.HTTP_5XX, "ServiceUnavailable"),
        (504, Outcome.FAILED, Reason.HTTP_5XX, "GatewayTimeout"),
        (403, Outcome.FAILED, Reason.PERMISSION, "Forbidden"),
        (401, Outcome.FAILED, Reason.TOKEN_REJECTED, "InvalidAuthenticationToken"),
        (402, Outcome.FAILED, Reason.LICENCE_MISSING, "PaymentRequired"),
        (400, Outcome.FAILED, Reason.HTTP_4XX, "BadRequest"),
        (409, Outcome.FAILED, Reason.HTTP_4XX, "Conflict"),
        (429, Outcome.INCONCLUSIVE, Reason.THROTTLED, "TooManyRequests"),
    ],
)
async def test_what_graph_refuses_with_is_named(status: int, outcome: Outcome, reason: Reason, code: str, here: Here) -> None:
    here.wrong(Http((status,), retry_after=120), "chat_create")
    run = await here.run(shared=here.another_agent())
    assert (run.outcome, run.failed_step, run.reason, run.code, run.retry_after) == (outcome, "create", reason, code, 120.0)


@on_one_loop
async def test_an_answer_that_never_comes_is_a_timeout(here: Here) -> None:
    here.wrong(Drip(), "chat_create")
    run = await here.run(deadline=0.8)
    assert (run.failed_step, run.reason) == ("create", Reason.TIMEOUT)


@on_one_loop
async def test_a_user_whom_nobody_knows_is_told_by_the_setting_that_names_it(here: Here) -> None:
    run = await here.run(users=[here.users[0], NOBODY])
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, "create", Reason.APP_CONFIG)
    assert "`users` must be" in run.message


@on_one_loop
async def test_users_who_had_their_chat_before_are_missing_and_no_fault_of_the_settings(here: Here) -> None:
    agent = here.another_agent()
    assert (await here.run(shared=agent)).message == ""
    here.wrong(Http((404,)), "chat_create")
    run = await here.run(shared=agent, users=here.users[1::-1])
    assert (run.failed_step, run.reason) == ("create", Reason.NOT_FOUND)


@on_one_loop
async def test_a_user_without_a_licence_is_told_from_a_missing_permission(here: Here) -> None:
    here.world.of(Licences).missing.add(here.users[3])
    run = await here.run(users=[here.users[0], here.users[3]])
    assert (run.outcome, run.failed_step, run.reason) == (Outcome.FAILED, "create", Reason.LICENCE_MISSING)


@on_one_loop
async def test_without_the_permission_it_says_which(here: Here) -> None:
    here.grant(["Chat.ReadBasic.All"])
    run = await here.run(shared=here.another_agent())
    assert (run.failed_step, run.reason) == ("create", Reason.PERMISSION)
    assert dict(run.evidence)["missing_permissions"] == "Chat.Create"
    assert "API requires one of 'Chat.Create" in dict(run.evidence)["error_message"]


ONE, TWO, THREE = (f"6b5f1c1e-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
CHAT = {"id": f"19:{TWO.upper()}_{ONE}@unq.gbl.spaces", "chatType": "oneOnOne", "createdDateTime": "2020-12-04T23:10:28.51Z"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(CHAT, 201), None),
        (answer(CHAT, 200), None),
        (answer({**CHAT, "id": "19:another-form-of-id@thread.v2"}, 201), None),
        (answer({**CHAT, "id": f"19:{ONE}_{THREE}@unq.gbl.spaces"}, 201), Reason.CONTENT_MISMATCH),
        (answer({**CHAT, "chatType": "group"}, 201), Reason.CONTENT_MISMATCH),
        (answer({**CHAT, "id": ""}, 201), Reason.CONTENT_MISMATCH),
        (answer([CHAT], 201), Reason.CONTENT_MISMATCH),
        (answer(status=201), Reason.CONTENT_MISMATCH),
        (answer(CHAT, 202), Reason.CONTENT_MISMATCH),
        (answer(CHAT, 201)[:-4], Reason.TRUNCATED),
        (answer(b"<html>", 201), Reason.PROTOCOL_ERROR),
        (error(404, "NotFound"), Reason.APP_CONFIG),
    ],
    ids=[
        "theirs", "that was there", "id of a new form", "between others", "a group", "without an id", "a list", "nothing", "not yet",
        "cut off", "a web page", "no such user",
    ],
)  # fmt: skip
async def test_only_the_chat_of_these_two_is_right(said: bytes, reason: Reason | None) -> None:
    async with scripted({"/v1.0/chats": said}) as script:
        run = await run_kind("teams_chat_create", script.tenant, users=[ONE, TWO])
    assert (run.failed_step, run.reason) == ("create" if reason else "", reason)


async def test_the_users_are_named_in_the_tenants_own_cloud() -> None:
    async with scripted({"/v1.0/chats": answer(CHAT, 201)}) as script:
        await run_kind("teams_chat_create", script.tenant, users=[ONE, TWO])
    (asked,) = script.calls
    assert [one["user@odata.bind"] for one in json.loads(asked.body)["members"]] == [
        f"https://{script.tenant.where.graph}/v1.0/users('{user}')" for user in (ONE, TWO)
    ]
    (cost,) = REGISTRY["teams_chat_create"].costs(REGISTRY["teams_chat_create"].settings.model_validate({"users": [ONE, TWO]}))
    assert (cost.service, cost.weight) == (Service.TEAMS, len(script.calls))


@pytest.mark.parametrize(
    "users", [[ONE, ONE], [ONE], [ONE, TWO, THREE], [ONE, "alex@contoso.example"]], ids=["one twice", "1", "3", "a name"]
)
def test_two_different_ids_are_wanted(users: list[str]) -> None:
    with pytest.raises(ValidationError):
        REGISTRY["teams_chat_create"].settings.model_validate({"users": users})
