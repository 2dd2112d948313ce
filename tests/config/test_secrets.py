"""The values of secrets: read, read again, kept when they vanish, shown nowhere."""

import logging
import os
from pathlib import Path

import pytest

from agent.config.secrets import SecretError, Secrets, read
from probes.core.contract import Inconclusive, Secret
from probes.core.reasons import Reason


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"s3cret", "s3cret"), (b"s3cret\n", "s3cret"), (b"s3cret\r\n", "s3cret"), (b" s\n\n", " s\n"), ("gehört".encode(), "gehört")],
    ids=["bare", "newline", "crlf", "only-one-newline", "utf-8"],
)
def test_a_file_gives_its_text_without_one_newline(content: bytes, value: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert read(Secret(file=str(tmp_path / "secret"))) == value


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the secret is empty"),
        (b"\n", "the secret is empty"),
        (b"\xff", "this file is not UTF-8 text"),
        (b"x" * 1_000_001, "this file is larger than a secret can be (1 MB)"),
    ],
    ids=["empty", "newline", "binary", "large"],
)
def test_a_file_that_holds_no_secret_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(SecretError, match=f"^{problem.replace('(', '.').replace(')', '.')}$"):
        read(Secret(file=str(tmp_path / "secret")))


def test_a_variable_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGBELL_TEST", os.fsdecode(b"hunter\xff2"))
    with pytest.raises(SecretError, match="not UTF-8"):
        read(Secret(env="FOGBELL_TEST"))


def test_paths_and_names_that_cannot_be_are_refused() -> None:
    for secret in (Secret(file="a\0b"), Secret(env="A\0B"), Secret(env="A=B"), Secret(file="/" + "x" * 5000), Secret(env="")):
        with pytest.raises(SecretError):
            read(secret)


def test_a_rotated_secret_is_seen_at_the_next_look(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    secret = Secret(file=str(file))
    secrets = Secrets([secret])
    file.write_text("new")
    assert secrets(secret) == "old"
    secrets.refresh()
    assert secrets(secret) == "new"


def test_a_secret_that_vanishes_keeps_its_value_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2")
    secret = Secret(file=str(file))
    with caplog.at_level(logging.INFO, "fogbell.secrets"):
        secrets = Secrets([secret])
        file.unlink()
        secrets.refresh()
        secrets.refresh()
        assert secrets(secret) == "hunter2"
        assert secrets.unreadable == (f"{{file: {file}}}",)
        file.write_text("hunter3")
        secrets.refresh()
    assert [record.message for record in caplog.records] == ["a secret cannot be read; its last value stays", "a secret can be read again"]
    assert secrets(secret) == "hunter3"
    assert not secrets.unreadable


def test_a_secret_that_could_never_be_read_leaves_its_run_inconclusive_and_heals(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    secret = Secret(file=str(file))
    secrets = Secrets([secret])
    with pytest.raises(Inconclusive) as caught:
        secrets(secret)
    assert caught.value.reason is Reason.AGENT_RESOURCES
    assert caught.value.message == f"the secret {{file: {file}}} cannot be read: this file does not exist"
    file.write_text("there")
    assert secrets(secret) == "there"


def test_secrets_no_longer_named_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGBELL_A", "a")
    monkeypatch.setenv("FOGBELL_B", "b")
    secrets = Secrets([Secret(env="FOGBELL_A"), Secret(env="FOGBELL_B")])
    secrets.refresh([Secret(env="FOGBELL_B")])
    assert repr(secrets) == "<1 secrets>"


def test_no_value_is_shown() -> None:
    secret = Secret(inline="hunter2")
    assert "hunter2" not in repr(Secrets([secret]))
    assert "hunter2" not in repr(secret)
