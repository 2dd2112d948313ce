"""Secrets in the output of tests are found."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.canaries import CANARY, secret_in

HEADER = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9"


@pytest.mark.parametrize(
    "text",
    [f"secret={CANARY}", f"Authorization: Bearer {HEADER}.eyJhdWQiOiJodHRwczovL2dyYXBoIn0.c2ln", "-----BEGIN PRIVATE KEY-----"],
    ids=["a secret", "a token", "a key"],
)
def test_a_secret_is_found_in_a_text_and_is_not_told_whole(text: str) -> None:
    assert secret_in(f"before {text} after") not in ("", text)


@pytest.mark.parametrize(
    "text", ["", "no secrets here", "trace_id: 5f3c0000-0000", HEADER], ids=["nothing", "words", "an id", "half a token"]
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert secret_in(text) == ""


def test_a_test_that_prints_a_secret_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_makereport\n")
    (tmp_path / "test_it.py").write_text(f"def test_good(): print('nothing')\ndef test_bad(): print('{CANARY}')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1], timeout=60)
    assert "1 failed, 1 passed" in result.stdout, result.stdout
    assert "test_bad, call: Captured stdout call holds a secret: canary-" in result.stdout
