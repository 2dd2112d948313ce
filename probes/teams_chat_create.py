"""Open a chat between two users, as people do when they write to somebody for the first time.

```yaml
probes:
  - name: teams-new-chat
    kind: teams_chat_create
    tenant: contoso
    users: [00000000-0000-0000-0000-000000000003, 00000000-0000-0000-0000-000000000004]
```

Two people have one chat and never a second. The first run creates it, each later one makes the same request and is answered with the chat
that is there (learn.microsoft.com/graph/api/chat-post): so nothing piles up, nothing has to be removed, any number of agents may have the
same two users, and nobody is notified, for nothing is written into it. What a later run does not show is whether a chat that nobody has
had before can be kept; that Teams finds both users and answers for their chat it does. A group chat would be new each time, and an
application may delete only those of a whole tenant (Chat.ManageDeletion.All): too wide a permission for a probe.

It is right when the answer is a chat of two, and of these two. Graph tells who is in it only with a wider permission, but the id of a chat
of two names both; where an id is made otherwise one day, only the type of the chat is judged. The id is the evidence `chat`, the same in
each run, and `created` says since when the chat is there.

The application permission Chat.Create is needed. `users` are two users for probes, both of the tenant and both with Teams.

Special reasons:

- content_mismatch: the answer is not the chat of these two.
- app_config: Graph does not know one of the users, and the two have had no chat since the agent's start: a wrong id is the likelier cause.
- not_found: the same, of two who have.
- licence_missing: one of the users may not use Teams.

Microsoft's terms of Teams let an app look for changes once a day. This looks for none, and out of respect for the terms runs every 6
hours, and more often than every 15 minutes only with `allow_short_interval: true`. It costs one call.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Place, Probe, Settings, Workload, always
from probes.core.needs import Cost, Permission, Service
from probes.core.reasons import Reason
from probes.lib.graph import MEASUREMENTS, call, sign_in, text_in
from probes.lib.known import named
from probes.lib.teams import member
from probes.lib.tenant import Guid, tenant_of

_NEEDS = (Permission("Chat.Create", "opens a chat between two users"),)
_OF_TWO = re.compile(r"19:([0-9a-f-]{36})_([0-9a-f-]{36})@unq\.gbl\.spaces", re.IGNORECASE)
# The id of a chat of two, as it stands in the examples of Microsoft's page chat-post: both users' object ids.


def _two(users: tuple[str, str]) -> tuple[str, str]:
    if users[0] == users[1]:
        raise ValueError("must be two different users")
    return users


class TeamsChatCreate(Settings):
    """Between whom the chat is."""

    users: Annotated[tuple[Guid, Guid], AfterValidator(_two)]
    """Object ids of the two users."""


async def run(ctx: Context, settings: TeamsChatCreate) -> None:
    """Get a token, ask for the chat, and see that it is theirs."""
    tenant = tenant_of(ctx)
    with ctx.step("token"):
        token = await sign_in(ctx, tenant, _NEEDS)
    with ctx.step("create"):
        body = {"chatType": "oneOnOne", "members": [member(tenant, user, "owner") for user in settings.users]}
        with named(ctx, "users", *sorted(settings.users), hint="`users` must be object ids of users who may use Teams"):
            answer = await call(ctx, tenant, token, Service.TEAMS, "POST", "/chats", body=body, accept=(200, 201))
        _judge(ctx, answer.data, settings)


def _judge(ctx: Context, chat: Any, settings: TeamsChatCreate) -> None:
    name = text_in(chat, "id", "the answer is no chat with an id")
    ctx.evidence("chat", name)
    ctx.evidence("created", chat.get("createdDateTime"))
    if chat.get("chatType") != "oneOnOne":
        raise Failed(Reason.CONTENT_MISMATCH, "the answer is no chat of two")
    found = _OF_TWO.fullmatch(name)
    if found and {user.lower() for user in found.groups()} != set(settings.users):
        raise Failed(Reason.CONTENT_MISMATCH, "the chat in the answer is between others")


PROBE = Probe(
    run,
    TeamsChatCreate,
    place=lambda _: Place(Layer.FEATURE, Workload.TEAMS),
    steps=("token", "create"),
    measurements=MEASUREMENTS,
    interval=21_600.0,
    timeout=30.0,
    floor=900.0,
    tenant=always,
    permissions=lambda _: _NEEDS,
    costs=lambda _: (Cost(Service.TEAMS, calls=1),),
)
