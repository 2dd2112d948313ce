"""`fogbell login`: a person signs in with a device code, the agent keeps the refresh token. Real sockets; only time jumps."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner

from agent.__main__ import app
from agent.job import Job
from agent.login import login, scopes_for
from probes.core.contract import Failed, Layer, Place, Probe, Settings, Stopped, Workload, always
from probes.core.needs import Api, Grant, Permission
from probes.core.reasons import Reason
from tests.fakes.certificates import ca_file
from tests.fakes.identity import CLIENT_ID, TENANT_ID, Asked, Identity, given, identity, jwt, refused
from tests.lib.signing_in import shared, tenant

CODE = {
    "device_code": "canary-device-code",
    "user_code": "ABC-DEF",
    "verification_uri": "https://microsoft.com/devicelogin",
    "expires_in": 900,
    "interval": 5,
}
SCOPES = ("openid", "offline_access", "https://graph.microsoft.com/ChatMessage.Send")


def pending() -> web.Response:
    return refused(70016, 400, "authorization_pending")


def signed_in() -> web.Response:
    claims = {"upn": "probe1@contoso.example", "scp": "ChatMessage.Send openid"}
    return given(claims=claims, refresh_token="canary-refresh", id_token=jwt({"preferred_username": "other"}))


def answering(*later: Callable[[], web.Response], code: dict[str, object] | None = None) -> Callable[[Asked], web.Response]:
    """Give a code, then one of `later` after another, the last for ever."""
    left = list(later)

    def answer(asked: Asked) -> web.Response:
        if asked.path.endswith("/devicecode"):
            return web.json_response(CODE if code is None else code)
        return (left.pop(0) if len(left) > 1 else left[0])()

    return answer


async def signing_in(server: Identity, folder: Path, said: list[str] | None = None) -> None:
    lines = [] if said is None else said
    await login("contoso", tenant(server.host), SCOPES, shared(state_dir=str(folder)), lines.append)


def asked_at(server: Identity) -> list[float]:
    return [round(asked.at - server.asked[0].at) for asked in server.asked]


@pytest.mark.looptime
async def test_a_person_signs_in_and_the_grant_is_stored(tmp_path: Path) -> None:
    said: list[str] = []
    async with identity(answering(pending, pending, signed_in)) as server:
        await signing_in(server, tmp_path, said)
    first, *_, last = server.asked
    assert (first.path, first.form) == (f"/{TENANT_ID}/oauth2/v2.0/devicecode", {"client_id": CLIENT_ID, "scope": " ".join(SCOPES)})
    assert last.form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": CLIENT_ID,
        "device_code": "canary-device-code",
    }
    assert asked_at(server) == [0, 5, 10, 15]
    stored = json.loads((tmp_path / "grants" / "contoso.json").read_text())
    assert (stored["refresh_token"], stored["user"], stored["tenant_id"]) == ("canary-refresh", "probe1@contoso.example", TENANT_ID)
    text = "\n".join(said)
    assert "open https://microsoft.com/devicelogin in any browser and enter the code ABC-DEF" in text
    assert "Signed in as probe1@contoso.example." in text
    assert "90 days" in text
    assert "canary" not in text


@pytest.mark.looptime
async def test_who_is_told_to_slow_down_asks_five_seconds_later_from_then_on(tmp_path: Path) -> None:
    async with identity(answering(lambda: refused(0, 400, "slow_down"), pending, signed_in)) as server:
        await signing_in(server, tmp_path)
    assert asked_at(server) == [0, 5, 15, 25]


@pytest.mark.looptime
async def test_the_interval_is_the_servers(tmp_path: Path) -> None:
    async with identity(answering(pending, signed_in, code=CODE | {"interval": 7})) as server:
        await signing_in(server, tmp_path)
    assert asked_at(server) == [0, 7, 14]


@pytest.mark.parametrize(
    ("interval", "asked"),
    [(1e-9, [0, 1, 2]), (-1, [0, 5, 10]), ("x", [0, 5, 10]), (1e6, [0, 60, 120])],
    ids=["none", "negative", "no number", "long"],
)
@pytest.mark.looptime
async def test_an_interval_that_nobody_means_is_bounded(tmp_path: Path, interval: object, asked: list[float]) -> None:
    async with identity(answering(pending, signed_in, code=CODE | {"interval": interval})) as server:
        await signing_in(server, tmp_path)
    assert asked_at(server) == asked


@pytest.mark.looptime
async def test_nothing_that_a_terminal_obeys_and_no_secret_comes_out_of_a_sign_in(tmp_path: Path) -> None:
    said: list[str] = []
    hostile = "\x1b]0;gone\x07\x1b[2JSigned in; Y2FuYXJ5LWRldmljZS1jb2Rl"

    def down() -> web.Response:
        return web.json_response({"error": "x", "error_description": "\x1b[2Jgone"}, status=503)

    def refusal(text: str) -> Callable[[], web.Response]:
        return lambda: web.json_response({"error": "invalid_grant", "error_description": text}, status=400)

    async with identity(answering(down, refusal("\x1b]0;gone\x07"))) as server:
        with pytest.raises(Stopped) as stopped:
            await signing_in(server, tmp_path, said)
    assert "\x1b" not in "".join([stopped.value.message, *said])
    assert any("gone; going on" in line for line in said)
    async with identity(answering(refusal(hostile))) as server:
        with pytest.raises(Stopped, match="it repeats a secret"):
            await signing_in(server, tmp_path)


@pytest.mark.looptime
async def test_an_overloaded_provider_is_asked_again_later(tmp_path: Path) -> None:
    said: list[str] = []
    async with identity(answering(lambda: web.Response(status=503), signed_in)) as server:
        await signing_in(server, tmp_path, said)
    assert asked_at(server) == [0, 5, 15]
    assert "no token, status 503; going on" in said


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(lambda: refused(0, 400, "authorization_declined"), "declined", id="declined"),
        pytest.param(lambda: refused(0, 400, "access_denied"), "declined", id="denied"),
        pytest.param(lambda: refused(70019, 400, "expired_token"), "before the code expired", id="expired"),
        pytest.param(pending, "before the code expired", id="nobody came"),
        pytest.param(lambda: refused(7000218, 401, "invalid_client"), "allow public client flows", id="no public client"),
        pytest.param(lambda: refused(53003, 400, "invalid_grant"), "AADSTS53003", id="conditional access"),
        pytest.param(given, "offline_access", id="no refresh token"),
        pytest.param(lambda: web.json_response({"error": ["authorization_pending"]}, status=400), "status 400", id="a list for an error"),
        pytest.param(lambda: web.json_response({"error": {"code": "x"}}, status=400), "status 400", id="an object for an error"),
    ],
)
@pytest.mark.looptime
async def test_what_comes_of_nothing_is_told(tmp_path: Path, answer: Callable[[], web.Response], says: str) -> None:
    async with identity(answering(answer)) as server:
        with pytest.raises(Stopped) as stopped:
            await signing_in(server, tmp_path)
    assert says in stopped.value.message
    assert "canary" not in stopped.value.message
    assert not (tmp_path / "grants").exists()


@pytest.mark.parametrize("body", [{}, {"device_code": 5, "user_code": "", "verification_uri": None}], ids=["nothing", "wrong types"])
async def test_an_answer_that_is_no_code_breaks_the_protocol(tmp_path: Path, body: dict[str, object]) -> None:
    async with identity(answering(pending, code=body)) as server:
        with pytest.raises(Failed) as failed:
            await signing_in(server, tmp_path)
    assert failed.value.reason is Reason.PROTOCOL_ERROR


@pytest.mark.looptime
async def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "grants").write_text("no folder")
    async with identity(answering(signed_in, code=CODE | {"interval": 1})) as server:
        with pytest.raises(Failed, match="could not be stored"):
            await signing_in(server, tmp_path)


def job(name: str, of: str, *needs: Permission) -> Job:
    async def run(*_: object) -> None:
        """Do nothing."""

    place = Place(Layer.WORKLOAD, Workload.TEAMS)
    probe = Probe(run, Settings, place=lambda _: place, steps=(), tenant=always, permissions=lambda _: needs)
    return Job(name, "kind", probe, Settings(), 60, 20, place, tenant=of)


def needs(name: str, grant: Grant = Grant.DELEGATED, api: Api = Api.GRAPH) -> Permission:
    return Permission(name, "to try it", grant=grant, api=api)


@pytest.mark.parametrize(
    ("jobs", "scopes"),
    [
        pytest.param([], (), id="nothing"),
        pytest.param(
            [
                job("a", "contoso", needs("Chat.Create"), needs("ChatMessage.Send"), needs("Mail.Send", Grant.APPLICATION)),
                job("b", "contoso", needs("ChatMessage.Send"), needs("IMAP.AccessAsUser.All", api=Api.EXCHANGE)),
                job("c", "fabrikam", needs("Files.Read")),
            ],
            ("https://graph.microsoft.com/Chat.Create", "https://graph.microsoft.com/ChatMessage.Send"),
            id="those of the tenant's probes for Graph, each once",
        ),
        pytest.param(
            [job("a", "contoso", needs("IMAP.AccessAsUser.All", api=Api.EXCHANGE))],
            ("https://outlook.example/IMAP.AccessAsUser.All",),
            id="those for Exchange where there is none for Graph",
        ),
    ],
)
def test_what_is_asked_for_is_what_probes_need(jobs: list[Job], scopes: tuple[str, ...]) -> None:
    assert scopes_for(tenant("outlook.example"), "contoso", jobs) == ("openid", "offline_access", *scopes)


def configuration(folder: Path, host: str, *, state: bool = True) -> Path:
    path = folder / "fogbell.yml"
    path.write_text(
        (f"state_dir: {folder}/state\n" if state else "")
        + f"""
tenants:
  contoso:
    tenant_id: {TENANT_ID}
    client_id: {CLIENT_ID}
    hosts: {{login: "{host}", graph: graph.microsoft.com, exchange: outlook.office365.com}}
    credential: {{secret: {{env: NOBODY_SET_THIS}}}}
    tls: {{ca_file: {ca_file()}}}
probes:
  - {{name: control, kind: tcp, host: 127.0.0.1, port: 1}}
"""
    )
    return path


@pytest.mark.parametrize(
    ("name", "state", "says"),
    [("fabrikam", True, "no tenant is called 'fabrikam'; there are: contoso"), ("contoso", False, "needs state_dir")],
)
def test_a_mistake_in_the_configuration_ends_with_2(tmp_path: Path, name: str, *, state: bool, says: str) -> None:
    done = CliRunner().invoke(app, ["login", name, "--config", str(configuration(tmp_path, "login.invalid", state=state))])
    assert done.exit_code == 2
    assert says in done.output


async def command(path: Path) -> "asyncio.subprocess.Process":
    arguments = sys.executable, "-m", "agent", "login", "contoso", "--config", str(path)
    return await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ))


async def test_the_command_signs_in_and_ends_with_0(tmp_path: Path) -> None:
    async with identity(answering(pending, signed_in, code=CODE | {"interval": 1})) as server:
        process = await command(configuration(tmp_path, server.host))
        said, _ = await process.communicate()
    assert process.returncode == 0, said
    assert b"Signed in as probe1@contoso.example" in said
    assert (tmp_path / "state" / "grants" / "contoso.json").exists()
    assert b"canary" not in said


async def test_a_refusal_ends_with_1_and_one_sentence(tmp_path: Path) -> None:
    async with identity(answering(lambda: refused(0, 400, "access_denied"), code=CODE | {"interval": 1})) as server:
        process = await command(configuration(tmp_path, server.host))
        said, _ = await process.communicate()
    assert process.returncode == 1
    assert said.decode().splitlines()[-1] == "fogbell: nobody is signed in: the sign-in was declined in the browser"
    assert b"Traceback" not in said


async def test_ctrl_c_gives_up_plainly(tmp_path: Path) -> None:
    waiting = asyncio.Event()

    def answer(asked: Asked) -> web.Response:
        if not asked.path.endswith("/devicecode"):
            waiting.set()
        return answering(pending, code=CODE | {"interval": 1})(asked)

    async with identity(answer) as server:
        process = await command(configuration(tmp_path, server.host))
        await waiting.wait()
        process.send_signal(signal.SIGINT)
        said, _ = await process.communicate()
    assert process.returncode == 1
    assert said.decode().splitlines()[-1] == "fogbell: given up; nothing was stored"
    assert b"Traceback" not in said
