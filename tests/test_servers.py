"""The finder of real programs must skip where it may and fail where it must."""

import os

import pytest

from tests.servers import require


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
