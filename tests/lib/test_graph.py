"""What the Graph client sends, what it makes of good answers, how it follows pages, and whom it never tells a token."""

import asyncio
import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Context
from probes.core.contract import Failed, Layer, Outcome, Place, Probe, Settings, Stopped, Workload
from probes.core.needs import Grant, Permission, Scope, Service
from probes.core.reasons import Reason
from probes.lib.graph import Answer, Lanes, address, call, note_missing, pages, segment
from probes.lib.tls import Trust
from probes.lib.tokens import Token, Tokens
from probes.lib.usage import Usage
from tests.fakes import hostile
from tests.fakes.certificates import ca_file
from tests.fakes.graph import Asked, answer, context, error, scripted, shared, tenant_at, token

ME = {"id": "1"}


async def ask(answers: Any, path: str = "/me", **how: Any) -> tuple[Answer, Context, Asked]:
    async with scripted(answers) as script:
        ctx = context(shared(script.tenant))
        found = await call(ctx, script.tenant, script.token, Service.GRAPH, how.pop("method", "GET"), path, **how)
        return found, ctx, script.calls[-1]


async def failure(answers: Any, **how: Any) -> Stopped:
    with pytest.raises(Stopped) as caught:
        await ask(answers, **how)
    return caught.value


async def test_a_call_carries_who_we_are_and_a_number_of_its_own() -> None:
    async with scripted({"/v1.0/me": answer(ME)}) as script:
        parts = shared(script.tenant)
        contexts = [context(parts) for _ in range(2)]
        for ctx in contexts:
            await call(ctx, script.tenant, script.token, Service.GRAPH, "GET", "/me")
    first, second = script.calls
    assert first.headers["authorization"] == f"Bearer {script.token.value}"
    assert first.headers["accept"] == "application/json"
    assert first.headers["user-agent"].startswith("NONISV|Fogbell|Fogbell/")
    assert [asked.headers["client-request-id"] for asked in script.calls] == [ctx.evidence_found["client_request_id"] for ctx in contexts]
    assert first.headers["client-request-id"] != second.headers["client-request-id"]


async def test_an_answer_leaves_its_phases_and_what_a_ticket_needs() -> None:
    found, ctx, _ = await ask({"/v1.0/me": answer(ME, date="Mon, 23 Nov 2026 08:00:00 GMT")})
    assert (found.status, found.data, json.loads(found.body)) == (200, ME, ME)
    assert {"connect", "tls", "processing", "transfer"} <= set(ctx.open_steps[-1].phases)
    told = {name: ctx.evidence_found[name] for name in ("status", "request_id", "date", "datacenter", "ring", "scale_unit", "slice")}
    assert told == {
        "status": "200",
        "request_id": "0b0e",
        "date": "Mon, 23 Nov 2026 08:00:00 GMT",
        "datacenter": "West Europe",
        "ring": "5",
        "scale_unit": "003",
        "slice": "E",
    }


@pytest.mark.parametrize("told", ["no JSON", "[]", '{"ServerInfo": 7}', '{"ServerInfo": {"Ring": {"deep": 1}}}'])
async def test_a_strange_diagnostic_is_passed_over(told: str) -> None:
    _, ctx, _ = await ask({"/v1.0/me": answer(ME, x_ms_ags_diagnostic=told)})
    assert "ring" not in ctx.evidence_found


async def test_a_call_without_an_answer_shows_no_evidence_of_the_one_before() -> None:
    async with scripted({"/v1.0/me": answer(ME)}) as script:
        ctx = context(shared(script.tenant))
        await call(ctx, script.tenant, script.token, Service.GRAPH, "GET", "/me")
        before = ctx.evidence_found["client_request_id"]
        elsewhere = tenant_at("nowhere.test")
        with pytest.raises(Failed):
            await call(ctx, elsewhere, script.token, Service.GRAPH, "GET", "/me")
    assert "request_id" not in ctx.evidence_found
    assert ctx.evidence_found["client_request_id"] != before


async def test_json_and_bytes_are_sent_as_what_they_are() -> None:
    _, _, asked = await ask({"/v1.0/me": answer(status=202)}, method="POST", body={"a": "ü"}, accept=(202,))
    assert (asked.headers["content-type"], json.loads(asked.body)) == ("application/json", {"a": "ü"})
    _, _, asked = await ask(
        {"/v1.0/me": answer(status=202)}, method="PUT", body=b"x\0", headers=(("Content-Type", "text/plain"),), accept=(202,)
    )
    assert (asked.headers["content-type"], asked.body) == ("text/plain", b"x\0")


async def test_names_and_values_arrive_as_they_were_meant() -> None:
    filtered = "internetMessageId eq '<a+b&c#d@x=y>'"
    path = f"/users/{segment('probe1@contoso.example')}/messages/{segment('a/b?c==')}"
    _, _, asked = await ask(
        {"/v1.0/users/probe1@contoso.example/messages/a/b?c==": answer(ME)}, path, query=(("$filter", filtered), ("$top", "1"))
    )
    assert asked.query == {"$filter": filtered, "$top": "1"}
    assert "/a%2Fb%3Fc%3D%3D?" in asked.target


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(b"<html>sign in to the WLAN</html>", Content_Type="text/html"), Reason.PROTOCOL_ERROR),
        (answer(b'{"id": "1"'), Reason.PROTOCOL_ERROR),
        (answer(b"[" * 40_000), Reason.PROTOCOL_ERROR),
        (answer(b"[" * 100_000), Reason.CONTENT_MISMATCH),
        (answer(b'{"id": "1"}')[:-4], Reason.TRUNCATED),
        (answer(b'"' + b"x" * 2000 + b'"'), Reason.CONTENT_MISMATCH),
        (answer(ME, 201), Reason.CONTENT_MISMATCH),
        (answer(status=302, Location="https://elsewhere.test/"), Reason.HTTP_REDIRECT),
    ],
    ids=["a page", "half of JSON", "too deep", "too many values", "cut off", "over the limit", "another success", "a redirect"],
)
async def test_an_answer_that_cannot_be_used_has_a_name(said: bytes, reason: Reason) -> None:
    assert (await failure({"/v1.0/me": said}, limit=200_000 if b"[[[" in said else 1000)).reason is reason


async def test_a_raw_answer_need_not_be_json_and_an_empty_one_has_no_data() -> None:
    found, _, _ = await ask({"/v1.0/me": answer(b"\x89PNG", Content_Type="image/png")}, raw=True)
    assert (found.body, found.data, found.header("content-type")) == (b"\x89PNG", None, "image/png")
    found, _, _ = await ask({"/v1.0/me": answer(status=204)}, method="DELETE", accept=(204,))
    assert found.data is None


async def listed(answers: Any, **how: Any) -> list[dict[str, Any]]:
    async with scripted(answers) as script:
        return await pages(context(shared(script.tenant)), script.tenant, script.token, Service.GRAPH, "/items", **how)


async def paged(asked: Asked) -> bytes:
    """Three pages of two."""
    skip = int(asked.query.get("$skiptoken", "0"))
    link = {"@odata.nextLink": f"https://{asked.headers['host']}/v1.0/items?$skiptoken={skip + 2}"} if skip < 4 else {}
    return answer({"value": [{"n": skip}, {"n": skip + 1}], **link})


async def test_pages_are_followed_to_the_last() -> None:
    assert [item["n"] for item in await listed(paged)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("how", [{"most": 2}, {"limit": 150}], ids=["pages", "bytes"])
async def test_a_list_is_bounded(how: dict[str, int]) -> None:
    with pytest.raises(Failed) as caught:
        await listed(paged, **how)
    assert caught.value.reason is Reason.CONTENT_MISMATCH


@pytest.mark.parametrize("value", [None, {}, "x", [1], [{}, None]], ids=repr)
async def test_what_is_no_list_of_objects_does_not_fit(value: object) -> None:
    with pytest.raises(Failed) as caught:
        await listed({"/v1.0/items": answer({"value": value})})
    assert caught.value.reason is Reason.CONTENT_MISMATCH


async def test_an_answer_that_is_no_object_does_not_fit() -> None:
    with pytest.raises(Failed) as caught:
        await listed({"/v1.0/items": answer([1])})
    assert caught.value.reason is Reason.CONTENT_MISMATCH


@pytest.mark.parametrize(
    "link",
    [
        "https://{other}/v1.0/items",
        "http://{host}/v1.0/items",
        "https://127.0.0.1:{port}/v1.0/items",
        "//{other}/x",
        "ftp://x/",
        "",
        7,
        None,
    ],
    ids=repr,
)
async def test_the_token_follows_no_link_to_another_origin(link: object) -> None:
    async with scripted(paged) as other:

        async def leads_away(asked: Asked) -> bytes:
            host = asked.headers["host"]
            there = (
                link.replace("{other}", other.host).replace("{host}", host).replace("{port}", host.partition(":")[2])
                if isinstance(link, str)
                else link
            )
            return answer({"value": [], "@odata.nextLink": there})

        with pytest.raises(Failed) as caught:
            await listed(leads_away)
        assert caught.value.reason is Reason.PROTOCOL_ERROR
        assert other.asked == []


def test_calls_are_made_over_tls_to_the_cloud_of_the_tenant() -> None:
    assert str(address(tenant_at("graph.microsoft.us"), "/me")) == "https://graph.microsoft.us/v1.0/me"


async def test_a_token_that_breaks_out_of_its_line_is_never_sent() -> None:
    async with scripted({"/v1.0/me": answer(ME)}) as script:
        broken = Token("x\r\nX-More: 1", script.token.expires, script.token.issued, {})
        with pytest.raises(Failed) as caught:
            await call(context(shared(script.tenant)), script.tenant, broken, Service.GRAPH, "GET", "/me")
        assert (caught.value.reason, script.asked) == (Reason.IDENTITY_FAULT, [])


async def test_a_run_that_outlives_its_token_goes_on_with_the_next() -> None:
    async with scripted({"/v1.0/me": answer(ME)}) as script:
        ctx = context(shared(script.tenant))
        await call(ctx, script.tenant, token(lives=1.0), Service.GRAPH, "GET", "/me")
    assert script.token_requests == 1
    assert script.calls[0].headers["authorization"] != f"Bearer {script.token.value}"
    assert ctx.tainted


@pytest.mark.parametrize(
    ("ahead", "age", "kept"),
    [(0.0, 10.0, True), (0.0, 400.0, False), (7200.0, 10.0, True), (7200.0, 20.0, False)],
    ids=["young", "old", "over and just given", "over by their clock"],
)
async def test_a_refused_token_is_not_used_again_unless_another_would_fare_no_better(ahead: float, age: float, kept: bool) -> None:  # noqa: FBT001 - a table
    async with scripted({"/v1.0/me": error(401, date=formatdate(time.time() + ahead, usegmt=True))}) as script:
        parts = shared(script.tenant)
        now = [1000.0]
        parts.parts[Tokens] = tokens = Tokens(clock=lambda: now[0])
        resource = f"https://{script.host}"
        given = await tokens.token(context(parts), script.tenant, resource, fresh=False, delegated=False)
        now[0] += age
        with pytest.raises(Stopped):
            await call(context(parts), script.tenant, given, Service.GRAPH, "GET", "/me")
        again = await tokens.token(context(parts), script.tenant, resource, fresh=False, delegated=False)
    assert (again is given) is kept


@pytest.mark.parametrize(
    ("claims", "missing"),
    [
        ({"roles": ["Mail.Read", "Mail.Send"]}, ""),
        ({"roles": ["Mail.ReadWrite", "Mail.Send"]}, ""),
        ({"roles": ["Mail.ReadWrite"]}, "Mail.Send"),
        ({"roles": ["Mail.ReadBasic.All", "Mail.Send"]}, "Mail.Read"),
        ({}, "Mail.Read Mail.Send"),
        ({"scp": "Chat.Create"}, "ChatMessage.Send"),
        ({"scp": "ChatMessage.Send Chat.Create"}, ""),
    ],
    ids=["has it", "has a wider one", "has another", "has a narrower one", "has none", "a person has another", "a person has it"],
)
def test_least_permissions_that_a_token_lacks_are_noted(claims: dict[str, Any], missing: str) -> None:
    ctx = context(shared(tenant_at("graph.microsoft.com")))
    in_one_team = Permission("TeamMember.Read.Group", "look", scope=Scope.TEAM, targets=("its id",))
    mail = (Permission("Mail.Read", "read"), Permission("Mail.Send", "send"))
    needed = (*mail, Permission("ChatMessage.Send", "post", Grant.DELEGATED), in_one_team)
    note_missing(ctx, token(**claims), needed)
    assert (ctx.lacking, ctx.evidence_found) == (missing, {})


async def test_every_call_is_counted_with_the_one_that_fails() -> None:
    async with scripted({"/v1.0/me": error(500)}) as script:
        parts = shared(script.tenant)
        with pytest.raises(Failed):
            await call(context(parts), script.tenant, script.token, Service.OUTLOOK, "GET", "/me")
    assert parts.part(Usage).calls() == [("contoso", Service.OUTLOOK, 1)]


async def test_four_calls_at_once_go_to_outlook_and_the_fifth_says_that_it_waited() -> None:
    held, arrived, most = asyncio.Event(), asyncio.Semaphore(0), [0, 0]

    async def slow(_: Asked) -> bytes:
        most[0] += 1
        most[1] = max(most)
        arrived.release()
        await held.wait()
        most[0] -= 1
        return answer(ME)

    async with scripted(slow) as script:
        parts = shared(script.tenant)
        contexts = [context(parts) for _ in range(5)]
        running = [asyncio.ensure_future(call(ctx, script.tenant, script.token, Service.OUTLOOK, "GET", "/me")) for ctx in contexts]
        for _ in range(4):
            await arrived.acquire()
        other = context(parts)
        free = asyncio.ensure_future(call(other, script.tenant, script.token, Service.FILES, "GET", "/me"))
        await arrived.acquire()
        await asyncio.sleep(0.03)
        held.set()
        await asyncio.gather(*running, free)
    assert most[1] == 5  # four and the one to another service
    assert [(ctx.tainted, "queued" in ctx.evidence_found) for ctx in contexts] == [(False, False)] * 4 + [(True, True)]
    assert not other.tainted


async def test_a_short_wait_for_calls_of_our_own_is_not_worth_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.lib.graph.QUEUED_SECONDS", 60.0)
    async with scripted({"/v1.0/me": answer(ME)}) as script:
        parts = shared(script.tenant)
        lane = parts.part(Lanes).outlook(script.tenant.client_id)
        for _ in range(4):
            await lane.acquire()
        asyncio.get_running_loop().call_soon(lane.release)
        ctx = context(parts)
        await call(ctx, script.tenant, script.token, Service.OUTLOOK, "GET", "/me")
    assert (ctx.tainted, "queued" in ctx.evidence_found, "queue" in ctx.open_steps[-1].phases) == (False, False, True)


async def test_a_call_goes_through_the_tenants_proxy_and_shows_it_no_token() -> None:
    seen: list[bytes] = []

    async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with scripted({"/v1.0/me": answer(ME)}) as script, hostile.proxy() as (_, good), hostile.serving(listens) as (_, bad):
        ways = [script.tenant.model_copy(update={"proxy": f"http://127.0.0.1:{port}"}) for port in (good, bad)]
        ctx = context(shared(ways[0]))
        await call(ctx, ways[0], script.token, Service.GRAPH, "GET", "/me")
        assert ctx.evidence_found["proxy"] == f"127.0.0.1:{good}"
        with pytest.raises(Failed) as caught:
            await call(context(shared(ways[1])), ways[1], script.token, Service.GRAPH, "GET", "/me")
    assert caught.value.reason is Reason.PROXY_REFUSED
    assert script.token.value.encode() not in b"".join(seen)


async def test_who_cannot_be_trusted_gets_no_token() -> None:
    async with scripted({"/v1.0/me": answer(ME)}) as script:
        careful = script.tenant.model_copy(update={"tls": Trust(ca_file=ca_file(), issuers=("DigiCert",))})
        for tenant, reason in (
            (script.tenant.model_copy(update={"tls": Trust()}), Reason.TLS_UNTRUSTED),
            (careful, Reason.TLS_INTERCEPTED),
        ):
            with pytest.raises(Failed) as caught:
                await call(context(shared(tenant)), tenant, script.token, Service.GRAPH, "GET", "/me")
            assert caught.value.reason is reason
    assert script.asked == []


async def test_a_run_that_ends_while_it_waits_for_calls_of_our_own_blames_nobody() -> None:
    async with scripted({"/v1.0/me": answer(ME)}) as script:
        parts = shared(script.tenant)
        lane = parts.part(Lanes).outlook(script.tenant.client_id)
        for _ in range(4):
            await lane.acquire()

        async def work(ctx: Context, _: Settings) -> None:
            with ctx.step("mail"):
                await call(ctx, script.tenant, script.token, Service.OUTLOOK, "GET", "/me")

        place = Place(Layer.WORKLOAD, Workload.EXCHANGE)
        probe = Probe(work, Settings, place=lambda _: place, steps=("mail",))
        run = await run_once(Job("probe", "mail", probe, Settings(), 60.0, 0.05, place, tenant="contoso"), parts)
    assert (run.outcome, run.reason, run.failed_step, script.asked) == (Outcome.INCONCLUSIVE, Reason.THROTTLED, "mail", [])
