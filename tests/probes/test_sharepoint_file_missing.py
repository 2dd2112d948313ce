"""A site, library or file that is not there: a fault of the settings until it has answered once, missing from then on."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.drill.faults import Http
from agent.drill.graph.sites import BINARY_CANARY
from probes.core.contract import Outcome
from probes.core.reasons import Blame, Reason
from tests.probes.files import SITE, Files, serving


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    async with serving(tmp_path, "sharepoint_file") as running:
        yield running


def unknown(operation: str) -> Callable[[Files], None]:
    return lambda files: files.fail(Http((404,)), operations=[operation])


def well(_: Files) -> None:
    """Let all be well."""


def deleted(files: Files) -> None:
    if item := files.drive.at(BINARY_CANARY):
        files.drive.remove(item, files.world.now(), for_good=False)


ELSEWHERE = "https://contosso.sharepoint.com/sites/Probe"
NEVER: dict[str, tuple[Callable[[Files], None], dict[str, Any], str, str, str]] = {
    "no such site": (well, {"site": f"{SITE}X"}, "site", "itemNotFound", f"there is no site {SITE}X"),
    "a host of nobody's": (well, {"site": ELSEWHERE}, "site", "invalidRequest", "`site` is right, so look for the mistake there first"),
    "no library": (unknown("drive"), {}, "drive", "ResourceNotFound", "the site has no library"),
    "no such file": (well, {"path": "probe/none.bin"}, "metadata", "itemNotFound", "there is no file probe/none.bin; upload one there"),
    "another file": (well, {"path": "probe/none.bin"}, "metadata", "itemNotFound", "`path` is right, so look for the mistake there first"),
}
BEFORE: dict[str, tuple[Callable[[Files], None], str, str]] = {
    "site": (unknown("site"), "site", "`site` was right before"),
    "library": (unknown("drive"), "drive", "`site` was right before"),
    "file": (deleted, "metadata", "`path` was right before"),
}


@pytest.mark.parametrize("way", NEVER.values(), ids=NEVER)
async def test_what_has_never_answered_is_a_fault_of_the_settings(
    way: tuple[Callable[[Files], None], dict[str, Any], str, str, str], files: Files
) -> None:
    prepare, settings, step, code, words = way
    prepare(files)
    run = await files.run(**settings)
    assert (run.outcome, run.failed_step, run.reason, run.code) == (Outcome.FAILED, step, Reason.APP_CONFIG, code)
    assert (run.blame, words in run.message) == (Blame.OURS, True)


@pytest.mark.parametrize("way", BEFORE.values(), ids=BEFORE)
async def test_what_was_there_before_is_missing_and_no_fault_of_the_settings(
    way: tuple[Callable[[Files], None], str, str], files: Files
) -> None:
    prepare, step, words = way
    assert (await files.run()).message == ""
    prepare(files)
    run = await files.run()
    assert (run.failed_step, run.reason, run.blame) == (step, Reason.NOT_FOUND, Blame.SERVICE)
    assert words in run.message
