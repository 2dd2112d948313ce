"""Send a message to one fixed Teams chat as the probe user, read it back by its id, and delete it.

That chats open and show what was said says nothing about writing: only somebody who writes notices when that no longer works.

```yaml
probes:
  - name: teams-message
    kind: teams_message
    tenant: contoso
    chat: 19:2da4c29f6d7041eca70b638b43d45437@thread.v2
```

An application alone may not send messages to a chat, so this needs a person: a user for probes with a Teams licence, who is a member of the
chat and signs in once with `fogbell login contoso`. The id of a chat is the part of its link (in Teams: Copy link) between `/chat/` and the
next slash, with `%3A` written as a colon and `%40` as @.

Teams is no log file: Microsoft's terms allow only messages that people will read, and may slow down or stop an application that sends
others. So make a chat for this alone with the people who want to know, and keep to the interval of 60 minutes; below 15 minutes takes
`allow_short_interval: true`, which is for tenants made for tests. The message says in a plain sentence what it is and which probe sent it,
and carries a tag by which it is found again.

| step | what it does |
|---|---|
| token | gets a token in the probe user's name |
| send | posts the message |
| read_back | reads it by its id; text and sender have to be those that were sent |
| cleanup | deletes it (softDelete); a message that somebody else has deleted is gone, too |

The message is on the ledger of `state_dir` before it is sent, and struck off when it is deleted. A message that a run could not delete, or
of which nobody knows whether it was sent, is looked for by id or tag and deleted when the agent clears up; nothing but our own message is
ever touched, so that several agents may use one chat. Where Teams deletes a message it leaves its place empty ("This message has been
deleted").

| what is wrong | step | reason |
|---|---|---|
| nobody signed in, or the sign-in is over: run `fogbell login` | token | grant_dead, interaction_required |
| the delegated permission is missing, also where it was removed since | send, read_back | permission |
| the permission is there, and the probe user is no member of the chat (any more) | send, read_back | permission, code not_entitled |
| the probe user has no Teams licence | send, read_back | licence_missing |
| there is no such chat, and nothing was sent to it since the agent's start | send | app_config |
| the chat, which was there before, or the message is gone | send, read_back | not_found |
| the text or the sender is another | read_back | content_mismatch |
| Teams limits our own calls | send, read_back | throttled (inconclusive) |

It needs the delegated permissions ChatMessage.Send and Chat.ReadWrite, and makes three calls a run.
"""

import re
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Place, Probe, Settings, Workload, always
from probes.core.graph_codes import NOT_ENTITLED
from probes.core.ledger import Artefact
from probes.core.needs import Cost, Grant, Permission, Service
from probes.core.reasons import Reason
from probes.lib.cleanup import CLEANUP, cleanup, clear_each, complete, creating, is_settled, strike
from probes.lib.entitled import entitled
from probes.lib.graph import MEASUREMENTS, Answer, call, pages, segment, sign_in, text_in
from probes.lib.known import named
from probes.lib.tenant import Tenant, tenant_of
from probes.lib.tokens import Token, token_for

_CHAT = re.compile(r"19:[A-Za-z0-9_.-]+@[a-z0-9.]+")
_SEND, _WRITE = "ChatMessage.Send", "Chat.ReadWrite"
_NEEDS = (
    Permission(_SEND, "send the test message", Grant.DELEGATED),
    Permission(_WRITE, "read it back and delete it", Grant.DELEGATED),
)
_NOT_ENTITLED = "the probe user is no member of the chat, or Teams does not let this user write there"
_UNKNOWN_CHAT = "`chat` must be the id of a chat that is still there"
_SKEW = 86_400.0
# Seconds by which our clock may have been ahead of Teams' when the message was sent.
_LARGEST_PAGE = "50"


def _chat_id(text: str) -> str:
    if not _CHAT.fullmatch(text):
        raise ValueError("must be the id of a chat, like 19:2da4c29f6d7041eca70b638b43d45437@thread.v2, as the link to the chat holds it")
    return text


class TeamsMessage(Settings):
    """Where to write to."""

    chat: Annotated[str, AfterValidator(_chat_id)]
    """Id of the chat: one of its own for probes, in which the probe user is, and whose people want to read this."""


async def run(ctx: Context, settings: TeamsMessage) -> None:
    """Send, read back, delete."""
    tenant = tenant_of(ctx)
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _NEEDS, delegated=True)
    unknown = named(ctx, "chat", settings.chat, hint=_UNKNOWN_CHAT)
    with unknown, entitled(token, _SEND, NOT_ENTITLED, _NOT_ENTITLED), ctx.step("send"):
        async with creating(ctx, "message", chat=settings.chat) as artefact:
            text = text_of(ctx.probe, artefact.id)
            message = await _send(ctx, tenant, token, settings.chat, text)
        artefact = await complete(ctx, artefact, message=str(message["id"]), sender=_sender(message))
    with entitled(token, _WRITE, NOT_ENTITLED, _NOT_ENTITLED), ctx.step("read_back"):
        answer = await call(ctx, tenant, token, Service.TEAMS, "GET", _path(artefact))
        _judge(answer.data, text, str(token.claims.get("oid") or _sender(message)))
    async with cleanup(ctx):
        await _delete(ctx, tenant, token, artefact)
        await strike(ctx, artefact)


def text_of(probe: str, tag: str) -> str:
    """Return what a message says: for the people in the chat what it is, and our tag."""
    return (
        f"Hello, this is a test message of Fogbell, which checks that Teams works (probe {probe}). "
        f"It is deleted again in a moment, and needs no answer. [{tag}]"
    )


async def _send(ctx: Context, tenant: Tenant, token: Token, chat: str, text: str) -> dict[str, Any]:
    """Post the text, and return the message that it became."""
    body = {"body": {"contentType": "text", "content": text}}
    answer = await call(ctx, tenant, token, Service.TEAMS, "POST", f"/chats/{segment(chat)}/messages", body=body, accept=(200, 201))
    wrong = "the answer to sending is no message with an id and a sender"
    text_in(answer.data, "id", wrong)
    message: dict[str, Any] = answer.data
    if not _sender(message):
        raise Failed(Reason.CONTENT_MISMATCH, wrong)
    return message


def _judge(message: object, text: str, sender: str) -> None:
    """See that a message is the one that was sent."""
    if not isinstance(message, dict) or message.get("deletedDateTime"):
        raise Failed(Reason.CONTENT_MISMATCH, "what is read back is no message, or a deleted one")
    if _content(message) != text:
        raise Failed(Reason.CONTENT_MISMATCH, "the message that is read back holds another text than was sent")
    if _sender(message).lower() != sender.lower():
        raise Failed(Reason.CONTENT_MISMATCH, "the message that is read back is from somebody else")


def _content(message: dict[str, Any]) -> str:
    body = message.get("body")
    content = body.get("content") if isinstance(body, dict) else None
    return content.strip() if isinstance(content, str) else ""


def _sender(message: dict[str, Any]) -> str:
    """Return the id of the user that a message is from, "" where it is from none."""
    found: Any = message
    for name in ("from", "user", "id"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def _path(artefact: Artefact) -> str:
    return f"/chats/{segment(artefact.fact('chat'))}/messages/{segment(artefact.fact('message'))}"


async def _delete(ctx: Context, tenant: Tenant, token: Token, artefact: Artefact) -> None:
    """Delete a message; one that is not there, or whose chat is not, is gone already."""
    path = f"/users/{segment(artefact.fact('sender'))}{_path(artefact)}/softDelete"
    await call(ctx, tenant, token, Service.TEAMS, "POST", path, accept=(204, 404))


async def clear(ctx: Context, _: TeamsMessage) -> None:
    """Delete the messages that earlier runs have left, by id or, where none is known, by tag."""

    async def remove(artefact: Artefact) -> bool:
        tenant = tenant_of(ctx)
        token = await token_for(ctx, tenant, delegated=True)
        sender = artefact.fact("sender") or str(token.claims.get("oid") or "")
        found = [one for one in await _there(ctx, tenant, token, artefact) if _is_left(one, artefact, sender)]
        for message in found:
            await _delete(ctx, tenant, token, _known(artefact, message))
        return bool(found or artefact.fact("message")) or is_settled(artefact)

    await clear_each(ctx, remove)


async def _there(ctx: Context, tenant: Tenant, token: Token, artefact: Artefact) -> list[dict[str, Any]]:
    """Return the message of an artefact or, where nobody knows its id, what was written since it was sent."""
    if artefact.fact("message"):
        return _message_of(await call(ctx, tenant, token, Service.TEAMS, "GET", _path(artefact), accept=(200, 404)))
    since = datetime.fromtimestamp(max(0.0, min(artefact.created, time.time()) - _SKEW), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    order = "lastModifiedDateTime"
    query = (("$top", _LARGEST_PAGE), ("$orderby", f"{order} desc"), ("$filter", f"{order} gt {since}"))
    return await pages(ctx, tenant, token, Service.TEAMS, f"/chats/{segment(artefact.fact('chat'))}/messages", query=query)


def _is_left(message: dict[str, Any], artefact: Artefact, sender: str) -> bool:
    """Say whether a message is what is left of an artefact: with its tag, from `sender` and not from somebody who quotes it."""
    by = _sender(message)
    is_ours = f"[{artefact.id}]" in _content(message) and by and by.lower() == (sender or by).lower()
    return bool(is_ours and message.get("id") and not message.get("deletedDateTime"))


def _message_of(answer: Answer) -> list[dict[str, Any]]:
    if answer.status == 404:  # noqa: PLR2004 - gone
        return []
    text_in(answer.data, "id", "the answer is no message with an id")
    return [answer.data]


def _known(artefact: Artefact, message: dict[str, Any]) -> Artefact:
    facts = ("chat", artefact.fact("chat")), ("message", str(message["id"])), ("sender", _sender(message))
    return Artefact(artefact.id, artefact.kind, artefact.created, facts)


PROBE = Probe(
    run,
    TeamsMessage,
    place=lambda _: Place(Layer.FEATURE, Workload.TEAMS),
    steps=("token", "send", "read_back", CLEANUP),
    measurements=MEASUREMENTS,
    interval=3600.0,
    timeout=60.0,
    floor=900.0,
    tenant=always,
    remembers=always,
    permissions=lambda _: _NEEDS,
    costs=lambda _: (Cost(Service.TEAMS, calls=3),),
    clear=clear,
)
