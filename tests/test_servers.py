"""The finder of real programs must skip where it may and fail where it must."""

import os
from pathlib import Path

import pytest

from tests.servers import require, require_keycloak


def test_a_program_that_is_there_is_found_by_its_whole_path() -> None:
    assert os.access(require("sh"), os.X_OK)


def test_a_missing_program_skips_with_the_package_that_would_bring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOGBELL_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no-such-program is not installed \(Debian package: no-such-program\)"):
        require("no-such-program")


def test_a_missing_program_fails_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGBELL_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="must be"):
        require("no-such-program")


def test_keycloak_that_was_not_fetched_skips_and_says_who_fetches_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FOGBELL_REQUIRE_SERVERS", raising=False)
    monkeypatch.setattr("tests.servers._FETCHED", tmp_path)
    with pytest.raises(pytest.skip.Exception, match=r"\.ci/run fetches it"):
        require_keycloak()


def test_keycloak_is_the_newest_that_was_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.servers._FETCHED", tmp_path)
    for version in ("26.0.1", "26.0.7"):
        (tmp_path / f"keycloak-quarkus-dist-{version}.zip").touch()
    assert require_keycloak().name == "keycloak-quarkus-dist-26.0.7.zip"
