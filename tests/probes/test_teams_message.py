"""A message in a chat, sent, read back and deleted: against the simulated tenant, and against answers no tenant should give."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from agent.drill.entra.directory import GRAPH, Directory
from agent.drill.faults import Drip, Fault, Http, Where
from agent.drill.graph.chats import Chat, Chats, Message
from agent.drill.graph.members import Licences
from agent.drill.graph.throttle import Limit, Throttle
from agent.drill.world import Person, World
from probes.core.context import Shared
from probes.core.contract import Outcome, Run
from probes.core.ledger import Artefact, MemoryLedger
from probes.core.reasons import Reason
from probes.lib.grants import grant_path
from probes.lib.tenant import Tenant
from probes.teams_message import PROBE, TeamsMessage, text_of
from tests.killed import Telling
from tests.probes.once import cleared, once
from tests.probes.signed_in import sign_in
from tests.probes.tenants import among, simulated

on_one_loop = pytest.mark.asyncio(loop_scope="module")
TAG = "0123456789abcdef" * 2


@dataclass(frozen=True, slots=True)
class Here:
    """A tenant, a chat of its first two people, and what the runs of one agent share."""

    world: World
    tenant: Tenant
    shared: Shared
    chat: Chat

    async def run(self, *, deadline: float = 10.0, **settings: Any) -> Run:
        given = {"chat": self.chat.id, **settings}
        return await once("teams_message", deadline=deadline, shared=self.shared, tenant="contoso", **given)

    async def clear(self) -> Any:
        return await cleared("teams_message", self.shared, chat=self.chat.id)

    @property
    def there(self) -> list[str]:
        """Texts that can still be read."""
        return [message.content for message in self.chat.messages.values() if not message.deleted]

    @property
    def outstanding(self) -> tuple[Artefact, ...]:
        return self.shared.ledger.outstanding("one")

    def fail(self, effect: Any, operation: str) -> None:
        self.world.faults.set(Fault(effect, Where(operations=frozenset({operation}))))

    async def killed(self, operation: str) -> None:
        """Run until the tenant does this without answering, and end there, as an agent that is killed does."""
        faults, stored = Telling(self.world.now), asyncio.Event()
        self.world.faults, self.chat.messages = faults, Altered(_told_to(stored))
        self.fail(Drip(0), operation)
        run = asyncio.create_task(self.run(deadline=60))
        async with asyncio.timeout(30):
            await faults.hit.wait()
            await stored.wait()
        run.cancel()
        await asyncio.wait({run})
        faults.set()

    def say(self, text: str, person: int = 0) -> Message:
        """Let somebody write something."""
        chats = self.world.of(Chats)
        message = Message(chats.message_id(), self.world.people[person], "", "text", text, self.world.now())
        self.chat.messages[message.id] = message
        return message


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[World, Tenant]]:
    async with simulated(tmp_path_factory.mktemp("tenant")) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def here(place: tuple[World, Tenant], tmp_path: Path) -> AsyncIterator[Here]:
    world, tenant = place
    world.of(Throttle).limits["teams"] = Limit()  # many runs within a minute, which the tenant would refuse a fast machine
    await sign_in(world, tmp_path)
    chat = world.of(Chats).group("Fog", tuple((person, ("owner",)) for person in world.people[:2]))
    yield Here(world, tenant, among(tenant, tmp_path), chat)
    world.faults.set()


def steps(run: Run) -> list[str]:
    return [step.name for step in run.steps]


@on_one_loop
async def test_a_message_is_sent_read_back_and_deleted(here: Here) -> None:
    said = here.say("Good morning", person=1)
    run = await here.run()
    assert (run.outcome, run.message, run.cleanup_failed) == (Outcome.OK, "", False)
    assert steps(run) == ["token", "send", "read_back", "cleanup"]
    assert (here.there, here.outstanding, said.deleted) == (["Good morning"], (), None)
    (ours,) = (message for message in here.chat.messages.values() if message.deleted)
    assert (ours.sender, ours.kind) == (here.world.people[0], "text")
    assert {"request_id", "client_request_id", "datacenter"} <= dict(run.evidence).keys()


def test_a_message_says_what_it_is_who_sent_it_and_which_it_is() -> None:
    text = text_of("teams in Bonn", TAG)
    assert all(part in text for part in ("test message of Fogbell", "probe teams in Bonn", f"[{TAG}]"))


class Altered(dict[str, Message]):
    """The messages of a chat to which something happens on the way in."""

    def __init__(self, change: Callable[[Message], bool]) -> None:
        super().__init__()
        self._change = change

    def __setitem__(self, name: str, message: Message) -> None:
        if self._change(message):
            super().__setitem__(name, message)


def _another_text(message: Message) -> bool:
    message.content = "Good morning"
    return True


def _cut(message: Message) -> bool:
    message.content = message.content[:-1]
    return True


def _from_another(person: Person) -> Callable[[Message], bool]:
    def change(message: Message) -> bool:
        message.sender = person
        return True

    return change


def _told_to(event: asyncio.Event) -> Callable[[Message], bool]:
    def change(_: Message) -> bool:
        event.set()
        return True

    return change


def _deleted(message: Message) -> bool:
    message.deleted = message.created
    return True


def _lost(_: Message) -> bool:
    return False


def altered(change: Callable[[Message], bool]) -> Callable[[Here], None]:
    def prepare(here: Here) -> None:
        here.chat.messages = Altered(change)

    return prepare


def broken(operation: str, *statuses: int) -> Callable[[Here], None]:
    return lambda here: here.fail(Http(statuses), operation)


def _from_somebody_else(here: Here) -> None:
    here.chat.messages = Altered(_from_another(here.world.people[1]))


def _out_of_the_chat(here: Here) -> None:
    here.chat.members = [member for member in here.chat.members if member.person != here.world.people[0]]


def _no_chat(here: Here) -> None:
    del here.world.of(Chats).chats[here.chat.id]


Told = tuple[str, Reason, str, int]
"""Step, reason, code, and how many messages stay on the ledger."""
FAILURES = [
    pytest.param(_no_chat, ("send", Reason.APP_CONFIG, "NotFound", 0), id="there is no such chat"),
    pytest.param(_out_of_the_chat, ("send", Reason.PERMISSION, "not_entitled", 0), id="the probe user has left the chat"),
    pytest.param(broken("message_send", 503), ("send", Reason.HTTP_5XX, "ServiceUnavailable", 1), id="sending fails"),
    pytest.param(broken("message_send", 404), ("send", Reason.APP_CONFIG, "ResourceNotFound", 0), id="404 to sending"),
    pytest.param(broken("message_get", 503), ("read_back", Reason.HTTP_5XX, "ServiceUnavailable", 1), id="reading fails"),
    pytest.param(broken("message_get", 403), ("read_back", Reason.PERMISSION, "not_entitled", 1), id="no right to read while running"),
    pytest.param(broken("message_get", 401), ("read_back", Reason.TOKEN_REJECTED, "InvalidAuthenticationToken", 1), id="token refused"),
    pytest.param(broken("message_get", 423), ("read_back", Reason.HTTP_4XX, "locked", 1), id="locked"),
    pytest.param(altered(_another_text), ("read_back", Reason.CONTENT_MISMATCH, "", 1), id="another text"),
    pytest.param(altered(_cut), ("read_back", Reason.CONTENT_MISMATCH, "", 1), id="a text that lacks its end"),
    pytest.param(_from_somebody_else, ("read_back", Reason.CONTENT_MISMATCH, "", 1), id="another sender"),
    pytest.param(altered(_deleted), ("read_back", Reason.CONTENT_MISMATCH, "", 1), id="deleted by somebody else"),
    pytest.param(altered(_lost), ("read_back", Reason.NOT_FOUND, "NotFound", 1), id="gone"),
]


@on_one_loop
@pytest.mark.parametrize(("prepare", "told"), FAILURES)
async def test_what_fails_is_told_by_step_and_reason(here: Here, prepare: Callable[[Here], None], told: Told) -> None:
    prepare(here)
    run = await here.run()
    assert run.outcome is Outcome.FAILED
    assert (run.failed_step, run.reason, run.code, len(here.outstanding)) == told
    assert ("`chat` must be" in run.message) is (told[:2] == ("send", Reason.APP_CONFIG))


@on_one_loop
async def test_a_chat_that_was_there_before_is_missing_and_no_fault_of_the_settings(here: Here) -> None:
    assert (await here.run()).message == ""
    _no_chat(here)
    run = await here.run()
    assert (run.failed_step, run.reason, here.outstanding) == ("send", Reason.NOT_FOUND, ())
    assert "`chat` was right before" in run.message


@on_one_loop
async def test_too_many_calls_of_ours_say_nothing_of_teams(here: Here) -> None:
    here.fail(Http((429,), retry_after=120), "message_send")
    run = await here.run()
    assert (run.outcome, run.failed_step, run.reason, run.retry_after) == (Outcome.INCONCLUSIVE, "send", Reason.THROTTLED, 120.0)
    assert here.outstanding == ()


@on_one_loop
async def test_a_user_without_a_licence_is_told_from_one_without_permission(here: Here) -> None:
    unlicensed = here.world.of(Licences).missing
    unlicensed.add(here.world.people[0].id)
    run = await here.run()
    unlicensed.clear()
    assert (run.failed_step, run.reason, here.outstanding) == ("send", Reason.LICENCE_MISSING, ())


@on_one_loop
async def test_where_nobody_signed_in_the_remedy_is_told(here: Here) -> None:
    grant_path(here.shared.state_dir, "contoso").unlink()
    run = await here.run()
    assert (run.failed_step, run.reason) == ("token", Reason.GRANT_DEAD)
    assert "run `fogbell login contoso`" in run.message


@on_one_loop
async def test_a_sign_in_that_was_revoked_is_dead(here: Here) -> None:
    account = here.world.of(Directory).accounts[here.world.people[0].upn]
    account.valid_from = here.world.now() + 60
    run = await here.run()
    account.valid_from = 0.0
    assert (run.failed_step, run.reason, run.code) == ("token", Reason.GRANT_DEAD, "AADSTS50173")


@on_one_loop
@pytest.mark.parametrize(
    ("granted", "step", "missing"),
    [
        ({"Chat.Read"}, "send", "ChatMessage.Send Chat.ReadWrite"),
        ({"ChatMessage.Send"}, "read_back", "Chat.ReadWrite"),
    ],
)
async def test_a_permission_that_lacks_is_named(here: Here, granted: set[str], step: str, missing: str) -> None:
    scopes = here.world.of(Directory).apps[here.world.app_id].scopes
    before, scopes[GRAPH] = scopes[GRAPH], granted
    run = await here.run()
    scopes[GRAPH] = before
    assert (run.failed_step, run.reason, run.code) == (step, Reason.PERMISSION, "Forbidden")
    assert dict(run.evidence)["missing_permissions"] == missing


@on_one_loop
async def test_the_permissions_it_asks_for_are_enough_to_run_and_to_clear_up(here: Here) -> None:
    scopes = here.world.of(Directory).apps[here.world.app_id].scopes
    before, scopes[GRAPH] = scopes[GRAPH], {need.name for need in PROBE.permissions(TeamsMessage(chat=here.chat.id))}
    await here.killed("message_send")
    await here.clear()
    run = await here.run()
    scopes[GRAPH] = before
    assert (run.outcome, run.message, here.there, here.outstanding) == (Outcome.OK, "", [], ())


@on_one_loop
async def test_the_deadline_ends_a_step_that_hangs_and_leaves_the_message_to_the_ledger(here: Here) -> None:
    await here.run()
    here.fail(Drip(0), "message_get")
    run = await here.run(deadline=1.0)
    assert (run.failed_step, run.reason, len(here.outstanding)) == ("read_back", Reason.TIMEOUT, 1)


@on_one_loop
@pytest.mark.parametrize("operation", ["message_send", "message_get", "message_delete"])
async def test_what_a_run_left_that_was_ended_is_cleared_up_and_nothing_else(here: Here, operation: str) -> None:
    await here.killed(operation)
    assert len(here.outstanding) == 1
    quoted = text_of("one", here.outstanding[0].id)
    said = (("Good morning", 1), (text_of("one", TAG), 0), ("What is this?", 0), (f"> {quoted}", 1))
    kept = [here.say(text, person) for text, person in said]
    ctx = await here.clear()
    assert (len(here.outstanding), ctx.cleanup_failed) == (0, False)
    assert here.there == [message.content for message in kept]


@on_one_loop
async def test_a_message_that_was_never_sent_is_forgotten_once_it_can_come_no_more(here: Here) -> None:
    here.fail(Http((503,)), "message_send")
    await here.run()
    here.world.faults.set()
    await here.clear()
    (young,) = here.outstanding
    await here.shared.ledger.record("one", replace(young, created=young.created - 600))
    await here.clear()
    assert here.outstanding == ()


@on_one_loop
@pytest.mark.parametrize("gone", ["message", "chat", "words"])
async def test_what_somebody_else_has_removed_is_gone(here: Here, gone: str) -> None:
    message = here.say(text_of("one", TAG))
    facts = (("chat", here.chat.id), ("message", message.id), ("sender", here.world.people[0].id))
    await here.shared.ledger.record("one", Artefact(TAG, "message", here.world.now(), facts))
    if gone == "chat":
        _no_chat(here)
    elif gone == "message":
        del here.chat.messages[message.id]
    else:
        message.content = "Good morning"
    ctx = await here.clear()
    assert (here.outstanding, ctx.cleanup_failed) == ((), False)
    assert here.there == {"chat": [text_of("one", TAG)], "message": [], "words": ["Good morning"]}[gone]


@on_one_loop
async def test_an_answer_that_says_nothing_strikes_no_message_off(here: Here) -> None:
    here.fail(Http((503,)), "message_delete")
    await here.run()
    here.world.faults.set(Fault(Http((200,)), Where(operations=frozenset({"message_get"}))))
    ctx = await here.clear()
    assert (ctx.cleanup_failed, len(here.outstanding), len(here.there)) == (True, 1, 1)


@on_one_loop
async def test_a_message_is_found_that_was_sent_when_our_clock_was_ahead(here: Here) -> None:
    await here.killed("message_send")
    (artefact,) = here.outstanding
    await here.shared.ledger.record("one", replace(artefact, created=artefact.created + 40_000))
    await here.clear()
    assert (here.there, here.outstanding) == ([], ())


@on_one_loop
async def test_a_message_that_cannot_be_deleted_stays_on_the_ledger_and_is_counted(here: Here) -> None:
    here.fail(Http((503,)), "message_delete")
    run = await here.run()
    assert (run.outcome, run.cleanup_failed, len(here.outstanding)) == (Outcome.OK, True, 1)
    ctx = await here.clear()
    assert (ctx.cleanup_failed, len(here.outstanding)) == (True, 1)


@on_one_loop
async def test_a_message_that_is_gone_when_it_is_to_be_deleted_is_deleted(here: Here) -> None:
    here.fail(Http((404,)), "message_delete")
    run = await here.run()
    assert (run.outcome, run.cleanup_failed, here.outstanding) == (Outcome.OK, False, ())


@on_one_loop
async def test_two_agents_in_one_chat_leave_each_others_messages_alone(here: Here) -> None:
    other = replace(here, shared=replace(here.shared, ledger=MemoryLedger(), parts=dict(here.shared.parts)))
    here.fail(Http((503,)), "message_delete")
    for agent in (here, other):
        await agent.run()
    here.world.faults.set()
    assert len(here.there) == 2
    await other.clear()
    assert (len(here.there), len(here.outstanding), other.outstanding) == (1, 1, ())
    assert here.outstanding[0].id in here.there[0]


@pytest.mark.parametrize(
    "text", ["", "19:abc", "https://teams.microsoft.com/l/chat/19:a@thread.v2/0", "19%3Aabc%40thread.v2", "19:a/b@thread.v2"]
)
def test_what_is_no_id_of_a_chat_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="must be the id of a chat, like 19:"):
        TeamsMessage(chat=text)
