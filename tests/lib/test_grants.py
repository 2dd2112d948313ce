"""The refresh token of a tenant's probe user: stored safely, rotated, read again, never lost, never shown."""

import asyncio
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from probes.core.contract import Failed, Inconclusive
from probes.core.reasons import Reason
from probes.lib.grants import Grant, Grants, grant_path
from tests.fakes.identity import CLIENT_ID, TENANT_ID, Asked, Identity, given, identity, refused
from tests.lib.signing_in import run, shared, tenant, want

FIRST = "canary-refresh-1"


def grant(host: str, refresh_token: str = FIRST) -> Grant:
    return Grant(tenant_id=TENANT_ID, client_id=CLIENT_ID, login=host, refresh_token=refresh_token, user="probe1@contoso.example")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return grant_path(str(tmp_path), "contoso")


def stored(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text())
    return found


def rotating(server: Identity) -> None:
    """Give another refresh token with each access token, and take each only once."""
    good = {FIRST}

    def answer(asked: Asked) -> object:
        if asked.form["refresh_token"] not in good:
            return refused(50173, 400, "invalid_grant")
        good.clear()
        good.add(f"canary-refresh-{len(server.asked) + 1}")
        return given(claims={"scp": "User.Read"}, refresh_token=next(iter(good)))

    server.answer = answer  # type: ignore[assignment]  # a Response in any case


async def test_a_file_is_for_the_agent_alone(path: Path) -> None:
    assert await Grants().keep(path, grant("login"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["contoso.json"]


async def test_a_folder_that_is_a_link_is_refused_and_nothing_behind_it_touched(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever owns the state's folder could otherwise have root give away any other."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = elsewhere.stat()
    os.chown(tmp_path, 1234 if os.geteuid() == 0 else -1, -1)
    path.parent.symlink_to(elsewhere)
    assert not await Grants().keep(path, grant("login"))
    assert (list(elsewhere.iterdir()), elsewhere.stat()) == ([], before)
    assert "is a link, and has to be a folder" in caplog.text


async def test_what_a_killed_process_left_beside_the_file_is_removed(path: Path) -> None:
    await Grants().keep(path, grant("login"))
    left, lately, other = (path.parent / name for name in (".contoso.json.a1b2c3d4", ".contoso.json.0123456789abcdef", "fabrikam.json"))
    for file in (left, lately, other):
        file.write_text(FIRST)
    for file in (left, other):
        os.utime(file, (1.0, 1.0))
    await Grants().keep(path, grant("login"))
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, lately.name, other.name}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_writes_belongs_to_whom_the_state_belongs(tmp_path: Path, path: Path) -> None:
    os.chown(tmp_path, 1234, 2345)
    assert await Grants().keep(path, grant("login"))
    assert {(entry.stat().st_uid, entry.stat().st_gid) for entry in (path, path.parent)} == {(1234, 2345)}


async def test_what_was_stored_is_found_again(path: Path) -> None:
    one = grant("login")
    await Grants().keep(path, one)
    assert await Grants().read(path) == one


def test_the_refresh_token_is_shown_nowhere() -> None:
    assert FIRST not in repr(grant("login"))


async def test_a_token_in_the_name_of_a_person(tmp_path: Path, path: Path) -> None:
    async with identity() as server:
        rotating(server)
        await Grants().keep(path, grant(server.host))
        ctx = run(shared(state_dir=str(tmp_path)))
        token = await want(ctx, tenant(server.host), delegated=True)
    assert token.scopes == {"User.Read"}
    assert server.asked[0].form == {
        "client_id": CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_token": FIRST,
        "scope": "https://graph.microsoft.com/.default openid offline_access",
    }
    assert "canary" not in str(ctx.evidence_found)


async def test_the_new_refresh_token_is_on_disk_before_the_access_token_is_used(tmp_path: Path, path: Path) -> None:
    async with identity() as server:
        rotating(server)
        await Grants().keep(path, grant(server.host))
        await want(run(shared(state_dir=str(tmp_path))), tenant(server.host), delegated=True)
        assert stored(path)["refresh_token"] == "canary-refresh-2"
        assert stored(path)["user"] == "probe1@contoso.example"


async def test_rotation_makes_no_other_credential_of_it(tmp_path: Path, path: Path) -> None:
    """The access token that came with it is still the one in use."""
    async with identity() as server:
        rotating(server)
        await Grants().keep(path, grant(server.host))
        agent = shared(state_dir=str(tmp_path))
        for _ in range(3):
            await want(run(agent), tenant(server.host), delegated=True)
    assert len(server.asked) == 1


async def test_each_request_uses_the_refresh_token_that_the_one_before_brought(tmp_path: Path, path: Path) -> None:
    async with identity() as server:
        rotating(server)
        await Grants().keep(path, grant(server.host))
        agent = shared(state_dir=str(tmp_path))
        wanted = ["", "https://outlook.office365.com", "https://other.example"]
        await asyncio.gather(*[want(run(agent), tenant(server.host), resource, delegated=True) for resource in wanted])
    assert [asked.form["refresh_token"] for asked in server.asked] == [FIRST, "canary-refresh-2", "canary-refresh-3"]


async def test_an_application_and_a_person_are_two_credentials(tmp_path: Path, path: Path) -> None:
    async with identity() as server:
        await Grants().keep(path, grant(server.host))
        agent = shared(state_dir=str(tmp_path))
        await want(run(agent), tenant(server.host))
        await want(run(agent), tenant(server.host), delegated=True)
    assert [asked.form["grant_type"] for asked in server.asked] == ["client_credentials", "refresh_token"]


async def test_a_new_sign_in_is_used_at_once_also_after_a_dead_one(tmp_path: Path, path: Path) -> None:
    async with identity() as server:
        rotating(server)
        await Grants().keep(path, grant(server.host, "dead"))
        agent = shared(state_dir=str(tmp_path))
        with pytest.raises(Failed) as failed:
            await want(run(agent), tenant(server.host), delegated=True)
        await Grants().keep(path, grant(server.host))
        await want(run(agent), tenant(server.host), delegated=True)
    assert (failed.value.reason, failed.value.code) == (Reason.GRANT_DEAD, "AADSTS50173")


async def test_without_a_sign_in_the_run_says_what_to_do(tmp_path: Path) -> None:
    async with identity() as server:
        with pytest.raises(Failed, match="run `fogbell login contoso`") as failed:
            await want(run(shared(state_dir=str(tmp_path))), tenant(server.host), delegated=True)
    assert (failed.value.reason, server.asked) == (Reason.GRANT_DEAD, [])


async def test_without_a_state_dir_there_is_no_place_for_it() -> None:
    async with identity() as server:
        with pytest.raises(Failed, match="state_dir") as failed:
            await want(run(shared()), tenant(server.host), delegated=True)
    assert failed.value.reason is Reason.APP_CONFIG


async def test_a_sign_in_to_another_application_is_not_sent_there(tmp_path: Path, path: Path) -> None:
    async with identity() as server:
        await Grants().keep(path, replace(grant(server.host), client_id="00000000-0000-0000-0000-000000000000"))
        with pytest.raises(Failed, match="another tenant or application") as failed:
            await want(run(shared(state_dir=str(tmp_path))), tenant(server.host), delegated=True)
    assert (failed.value.reason, server.asked) == (Reason.GRANT_DEAD, [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"refresh_token": "x", "more": 1}',
        "[" * 100_000,
        '{"tenant_id": "t", "client_id": "c", "login": "l", "refresh_token": 5}',
    ],
    ids=["nothing", "half", "a list", "null", "an empty object", "unknown keys", "depth", "a number"],
)
async def test_a_file_that_holds_no_sign_in_is_told_so(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(Failed, match="holds no sign-in") as failed:
        await Grants().read(path)
    assert failed.value.reason is Reason.GRANT_DEAD


async def test_a_file_that_cannot_be_read_is_our_own_matter(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(Inconclusive) as stopped:
        await Grants().read(path)
    assert stopped.value.reason is Reason.AGENT_RESOURCES


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["a pipe", "a device"])
async def test_what_is_no_file_is_not_waited_for(path: Path, put: Callable[[Path], None]) -> None:
    path.parent.mkdir()
    put(path)
    with pytest.raises(Inconclusive, match="it is no file") as stopped:
        await Grants().read(path)
    assert stopped.value.reason is Reason.AGENT_RESOURCES


async def test_a_disk_that_hangs_is_our_own_matter_and_holds_up_no_other_tenant(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grants, answers, original = Grants(), threading.Event(), Path.stat
    await grants.keep(path, grant("login"))

    def stat_of_a_dead_share(self: Path, **how: bool) -> os.stat_result:
        if self == path:
            answers.wait()
        return original(self, **how)

    with monkeypatch.context() as patched:
        patched.setattr("probes.lib.grants.SECONDS", 0.05)
        patched.setattr(Path, "stat", stat_of_a_dead_share)
        with pytest.raises(Inconclusive, match="its disk does not answer") as stopped:
            await grants.read(path)
        await grants.rotate(path, FIRST, "canary-refresh-2", 1.0)
        assert await grants.read(path.with_name("fabrikam.json")) is None
        with pytest.raises(Inconclusive):
            await asyncio.gather(*[grants.read(path) for _ in range(30)])
        assert sum(thread.name == "grants" for thread in threading.enumerate()) == 1
    answers.set()
    found = await grants.read(path)
    assert (stopped.value.reason, found and found.refresh_token) == (Reason.AGENT_RESOURCES, "canary-refresh-2")
    assert stored(path)["refresh_token"] == "canary-refresh-2"


def test_a_disk_that_hangs_does_not_hold_up_the_end() -> None:
    """A grant that is read for ever, in a process that is to end."""
    script = (
        "import asyncio, threading\nfrom pathlib import Path\nfrom probes.lib.grants import Grants\n"
        "Path.stat = lambda *_, **__: threading.Event().wait()\n"
        "async def main():\n    asyncio.create_task(Grants().read(Path('x.json')))\n    await asyncio.sleep(0.1)\n"
        "asyncio.run(main())\nprint('ended')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)


def test_what_is_being_written_at_the_end_is_written(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, sys, time\nfrom pathlib import Path\nfrom probes.lib.grants import Grant, Grants\n"
        "sync = os.fsync\ndef slow(descriptor):\n    time.sleep(0.2)\n    sync(descriptor)\nos.fsync = slow\n"
        "async def main():\n    asyncio.create_task(Grants().keep(Path(sys.argv[1]), Grant('t', 'c', 'l', 'r')))\n"
        "    await asyncio.sleep(0.05)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "grants" / "contoso.json"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stderr, done.returncode, stored(path)["refresh_token"]) == ("", 0, "r")


@pytest.mark.parametrize("useless", ["a\ud800", " ", "\0", "two words", "x" * 200_000], ids=ascii)
async def test_a_refresh_token_that_could_not_be_sent_does_not_take_the_place_of_a_good_one(
    tmp_path: Path, path: Path, useless: str
) -> None:
    async with identity(lambda _: given(claims={"scp": "User.Read"}, refresh_token=useless)) as server:
        await Grants().keep(path, grant(server.host))
        for _ in range(2):
            await want(run(shared(state_dir=str(tmp_path))), tenant(server.host), delegated=True)
    assert [asked.form["refresh_token"] for asked in server.asked] == [FIRST, FIRST]
    assert stored(path)["refresh_token"] == FIRST


async def test_a_file_that_was_spoilt_during_a_request_costs_neither_token(tmp_path: Path, path: Path) -> None:
    def answer(_: Asked) -> web.Response:
        path.write_text("{torn")
        return given(claims={"scp": "User.Read"}, refresh_token="canary-refresh-2")

    async with identity(answer) as server:
        await Grants().keep(path, grant(server.host))
        agent = shared(state_dir=str(tmp_path))
        token = await want(run(agent), tenant(server.host), delegated=True)
    assert token.scopes == {"User.Read"}
    assert stored(path)["refresh_token"] == "canary-refresh-2"


async def test_what_the_disk_refuses_stays_in_memory_and_is_written_later(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grants = Grants()
    await grants.keep(path, grant("login"))
    path.parent.rename(tmp_path / "moved")
    path.parent.write_text("not a folder")
    assert not await grants.keep(path, grant("login", "second"))
    assert not await grants.keep(path, grant("login", "third"))
    while_broken = await grants.read(path)
    assert while_broken is not None
    assert while_broken.refresh_token == "third"
    assert caplog.text.count("cannot be stored") == 1
    path.parent.unlink()
    (tmp_path / "moved").rename(path.parent)
    found = await grants.read(path)
    assert found is not None
    assert found.refresh_token == "third"
    assert stored(path)["refresh_token"] == "third"
    assert FIRST not in caplog.text


async def test_files_are_touched_in_a_thread_of_their_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    original = Path.stat

    def watched(self: Path, **how: bool) -> object:
        threads.append(threading.current_thread().name)
        return original(self, **how)

    monkeypatch.setattr(Path, "stat", watched)
    await Grants().read(path)
    assert {name.partition("_")[0] for name in threads} == {"grants"}


async def test_the_file_of_a_crash_in_the_middle_is_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grants = Grants()
    await grants.keep(path, grant("login"))

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    assert not await grants.keep(path, grant("login", "second"))
    assert stored(path)["refresh_token"] == FIRST
    assert [entry.name for entry in path.parent.iterdir()] == ["contoso.json"]
