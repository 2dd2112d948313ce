"""Reloading: in a child, whole or not at all, and only what changed."""

import asyncio
import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.config import ConfigurationError, load
from agent.config.reload import Found, Limits, Reloader, _Child, assembled, changes, load_in_child
from tests.config.kinds import KINDS

NAMED = "tests.config.kinds:KINDS"


def text(**hosts: str) -> str:
    return "probes:\n" + "".join(f"  - {{name: {name}, kind: watch, host: {host}}}\n" for name, host in hosts.items())


def reloader(path: Path) -> Reloader:
    return Reloader(path, load(path, registry=KINDS), kinds=NAMED)


async def test_a_reload_builds_only_the_probes_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(text(a="a", b="b", c="c"))
    agent = reloader(path)
    before = {job.name: job for job in agent.configuration.jobs}
    path.write_text(text(d="d", c="other", a="a"))
    assert await agent.load() == []
    after = {job.name: job for job in agent.configuration.jobs}
    assert list(after) == ["d", "c", "a"]
    assert after["a"] is before["a"]
    found = changes(before.values(), after.values())
    assert (found.removed, [job.name for job in found.added], [job.name for job in found.changed]) == (("b",), ["d"], ["c"])


async def test_a_reload_gives_what_a_load_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGBELL_TEST", "hunter2")
    guid = "00000000-0000-0000-0000-000000000000"
    path = tmp_path / "fogbell.yml"
    path.write_text(text(a="a"))
    agent = reloader(path)
    path.write_text(
        f"""
state_dir: state
tenants:
  contoso: {{tenant_id: {guid}, client_id: {guid}, credential: {{secret: {{env: FOGBELL_TEST}}, expires: 2027-01-31}}}}
  fabrikam: {{tenant_id: {guid}, client_id: {guid}, credential: {{secret: hunter3}}}}
probes:
  - name: a
    kind: watch
    host: gehört
    tenant: contoso
    password: hunter2
    labels: {{team: "ü"}}
    tls: {{password: {{env: FOGBELL_TEST}}}}
    dialogue: [{{send: a}}]
""",
        encoding="utf-8",
    )
    assert await agent.load() == []
    assert agent.configuration == load(path, registry=KINDS)
    assert [agent.secrets(secret) for secret in agent.configuration.secrets] == ["hunter2", "hunter3", "hunter2"]


async def test_a_wrong_configuration_changes_nothing_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(text(a="a"))
    agent = reloader(path)
    before = agent.configuration
    path.write_text("probes:\n  - {name: a, kind: wacth, host: a}\n")
    assert await agent.load() == [f"{path}:2:21: probes[a].kind: there is no kind `wacth`; did you mean `watch`?"]
    assert agent.configuration is before
    path.unlink()
    assert await agent.load() == [f"{path}:1:1: file: there is no such file or folder"]


async def test_a_change_of_content_is_seen_once_and_a_touch_is_not(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    secret = tmp_path / "secret"
    secret.write_text("old")
    path.write_text("probes:\n  - {name: a, kind: watch, host: a, password: {file: secret}}\n")
    agent = reloader(path)
    seen = [await agent.differs()]
    path.touch()
    seen.append(await agent.differs())
    secret.write_text("new")
    seen += [await agent.differs(), await agent.differs()]
    secret.unlink()
    seen += [await agent.differs(), await agent.differs()]
    path.write_text("[")
    seen += [await agent.differs(), await agent.differs()]
    assert seen == [False, False, True, False, True, False, True, False]
    agent.close()


async def test_a_file_added_to_a_folder_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(text(a="a"))
    agent = reloader(tmp_path)
    (tmp_path / "b.yml").write_text(text(b="b"))
    assert await agent.differs()
    assert await agent.load() == []
    assert [job.name for job in agent.configuration.jobs] == ["a", "b"]
    assert not await agent.differs()


async def test_a_rotated_secret_is_swapped_and_its_probe_stays(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old")
    path = tmp_path / "fogbell.yml"
    path.write_text("probes:\n  - {name: a, kind: watch, host: a, password: {file: secret}}\n")
    agent = reloader(path)
    (job,) = agent.configuration.jobs
    (tmp_path / "secret").write_text("new")
    assert await agent.load() == []
    assert agent.configuration.jobs[0] is job
    assert agent.secrets(agent.configuration.secrets[0]) == "new"


async def test_a_secret_that_comes_after_its_configuration_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(text(a="a"))
    agent = reloader(path)
    path.write_text("probes:\n  - {name: a, kind: watch, host: a, password: {file: late}}\n")
    assert await agent.differs()
    assert await agent.load() == [f"{path}:2:54: probes[a].password: this file does not exist"]
    assert not await agent.differs()
    (tmp_path / "late").write_text("here")
    assert await agent.differs()
    assert await agent.load() == []
    agent.close()


async def test_a_file_that_comes_after_its_configuration_is_noticed_and_then_left_to_its_probe(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(text(a="a"))
    agent = reloader(path)
    path.write_text("probes:\n  - {name: a, kind: watch, host: a, tls: {ca_file: late}}\n")
    assert await agent.load() == [f"{path}:2:52: probes[a].tls.ca_file: this file does not exist"]
    assert not await agent.differs()
    (tmp_path / "late").write_bytes(b"\xff")
    assert await agent.differs()
    assert await agent.load() == []
    settings: Any = agent.configuration.jobs[0].settings
    assert settings.tls.ca_file == str(tmp_path / "late")
    assert agent.configuration == load(path, registry=KINDS)
    (tmp_path / "late").write_text("rotated")
    assert not await agent.differs()
    agent.close()


async def test_a_rotated_secret_is_swapped_also_beside_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old")
    path = tmp_path / "fogbell.yml"
    path.write_text("probes:\n  - {name: a, kind: watch, host: a, password: {file: secret}}\n")
    agent = reloader(path)
    path.write_text("[")
    assert await agent.load() != []
    (tmp_path / "secret").write_text("new")
    assert await agent.differs()
    assert await agent.load() != []
    assert agent.secrets(agent.configuration.secrets[0]) == "new"
    agent.close()


async def test_a_child_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(text(a="a"))
    with pytest.raises(ConfigurationError, match=r"reading it took more than 0\.01 seconds and was given up"):
        await load_in_child(path, kinds=NAMED, limits=Limits(seconds=0.01))


async def test_a_child_that_says_too_much_or_dies_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(text(a="a"))
    with pytest.raises(ConfigurationError, match=r"fogbell.yml:1:1: file: the process that reads it ended badly \(status -9\)"):
        await load_in_child(path, kinds=NAMED, limits=Limits(answer_bytes=10))
    with pytest.raises(ConfigurationError, match=r"ended badly \(status 1\)"):
        await load_in_child(path, kinds="tests.config.kinds:NO_SUCH_KINDS")


async def test_where_no_process_can_be_started_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match="no process could be started to read it: No such file or directory"):
        await load_in_child(tmp_path, kinds=NAMED)


def test_a_child_given_up_before_it_is_started_does_not_live(tmp_path: Path) -> None:
    child = _Child()
    child.give_up()
    answer, status = child.answer(tmp_path, NAMED, 1000)
    assert (answer, status) == (b"", -9)


async def test_building_many_probes_gives_way_to_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(text(**{f"p{number}": "a" for number in range(2000)}))
    built = load(path, registry=KINDS).built
    head: dict[str, Any] = {"tenants": {}, "state_dir": None, "warnings": [], "sources": [], "digest": ""}
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    configuration = await assembled(Found(head, tuple(one.line for one in built), b""), (), KINDS)
    counting.cancel()
    assert configuration.jobs == tuple(one.job for one in built)
    assert turns > 5


async def test_hostile_bytes_end_the_child_at_worst(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text("[" * 1_000_000)
    with pytest.raises(ConfigurationError, match="1:65: YAML: nested deeper than 64 levels"):
        await load_in_child(path, kinds=NAMED)


async def test_a_cancelled_reload_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(text(a="a"))
    before = _children()
    task = asyncio.create_task(load_in_child(path, kinds=NAMED))
    async with asyncio.timeout(10):
        while _children() == before:  # noqa: ASYNC110 - a process does not announce itself
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _children() == before


def _children() -> set[str]:
    return {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


async def test_a_folder_that_can_no_longer_be_looked_into_is_a_mistake_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "conf"
    path.mkdir()
    (path / "fogbell.yml").write_text(text(a="a"))
    agent = reloader(path)
    real = os.stat

    def refusing(of: Any, **options: Any) -> os.stat_result:
        if str(of) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(of, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refusing)
        assert await agent.differs()
    assert await agent.differs()
    assert await agent.load() == []
