"""A file of somebody's OneDrive is read, and written where that is wanted, as that of a site is; the ways to fail that are its own."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.drill.faults import Drip, Http
from agent.drill.graph.sites import BINARY_BYTES
from probes import REGISTRY
from probes.core.contract import Outcome
from probes.core.needs import Scope
from probes.core.reasons import Reason
from tests.probes.files import SAID, WROTE, Files, names, serving, told


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    async with serving(tmp_path, "onedrive_file") as running:
        yield running


async def test_a_file_is_read_and_one_is_written_without_a_site(files: Files) -> None:
    run = await files.run(write=True)
    assert (run.outcome, run.message, names(run)) == (Outcome.OK, "", ["token", "drive", *SAID, *WROTE])
    assert told(run)["file_bytes"] == BINARY_BYTES
    assert {"request_id", "sp_request_guid", "sp_health_score"} <= dict(run.evidence).keys()


def locked(files: Files) -> None:
    files.put(b"old").locked = True


def full(files: Files) -> None:
    files.drive.quota = files.drive.used


Way = tuple[Callable[[Files], None], dict[str, Any], Outcome, str, Reason, str]
F, INC, R = Outcome.FAILED, Outcome.INCONCLUSIVE, Reason
WAYS: dict[str, Way] = {
    "nobody": (lambda _: None, {"user": "nobody@contoso.example"}, F, "drive", R.APP_CONFIG, "ResourceNotFound"),
    "a site's permission": (lambda files: files.grant("Sites.Selected"), {}, F, "drive", R.PERMISSION, "accessDenied"),
    "throttled": (lambda files: files.fail(Http((429,), 120)), {}, INC, "token", R.THROTTLED, ""),
    "read only": (lambda files: files.grant("Files.Read.All"), {}, F, "upload", R.PERMISSION, "accessDenied"),
    "full": (full, {}, F, "upload", R.STORAGE_FULL, "insufficientStorage"),
    "expired": (lambda files: files.spoil("expired"), {}, F, "download", R.HTTP_4XX, "unauthenticated"),
    "wrong": (lambda files: files.spoil("wrong"), {}, F, "verify", R.CONTENT_MISMATCH, ""),
    "truncated": (lambda files: files.spoil("truncated"), {}, F, "download", R.TRUNCATED, ""),
    "slow drip": (lambda files: files.fail(Drip(60_000), hosts=["files"]), {"deadline": 0.6}, F, "download", R.TIMEOUT, ""),
    "hash mismatch": (lambda files: files.spoil("hash"), {}, F, "verify", R.CONTENT_MISMATCH, ""),
    "deleted": (lambda files: files.spoil("deleted"), {}, F, "redirect", R.NOT_FOUND, "itemNotFound"),
    "locked": (locked, {}, F, "upload", R.HTTP_4XX, "lockMismatch"),
    "permission removed": (lambda files: files.fail(Http((403,)), operations=["file_upload"]), {}, F, "upload", R.PERMISSION, ""),
    "storage throttles": (lambda files: files.fail(Http((429,), 120), hosts=["files"]), {}, INC, "download", R.THROTTLED, "429"),
    "hangs": (lambda files: files.fail(Drip(0), operations=["file_upload"]), {"deadline": 0.6}, F, "upload", R.TIMEOUT, ""),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_each_way_to_fail_has_its_step_and_reason(way: Way, files: Files) -> None:
    prepare, settings, outcome, step, reason, code = way
    prepare(files)
    run = await files.run(write=True, **settings)
    assert (run.outcome, run.failed_step, run.reason) == (outcome, step, reason), run.message
    assert run.code == code or not code
    assert run.retry_after == (120 if outcome is INC else 0)


async def test_the_message_says_what_a_missing_drive_may_mean(files: Files) -> None:
    message = (await files.run(user="nobody@contoso.example")).message
    assert all(words in message for words in ("never opened, or has no licence", "`user` is right, so look for the mistake there first"))


@pytest.mark.parametrize(("operation", "step"), [("drive", "drive"), ("file_metadata", "metadata")])
async def test_what_was_there_before_is_missing_and_no_fault_of_the_settings(operation: str, step: str, files: Files) -> None:
    files.fail(Http((404,)), operations=[operation])
    never = await files.run()
    files.world.faults.set()
    assert (await files.run()).message == ""
    files.fail(Http((404,)), operations=[operation])
    no_longer = await files.run()
    assert [(run.failed_step, run.reason) for run in (never, no_longer)] == [(step, R.APP_CONFIG), (step, R.NOT_FOUND)]


async def test_a_run_that_is_killed_in_the_middle_leaves_nothing_once_the_probe_is_gone(files: Files) -> None:
    files.after_upload(lambda _: files.fail(Drip(0), operations=["file_metadata"]))
    run = await files.run(write=True, deadline=1.0)
    assert (run.failed_step, run.reason, len(files.outstanding)) == ("read_back", Reason.TIMEOUT, 1)
    files.world.faults.set()
    await files.clear()
    assert (files.written, files.outstanding) == (None, [])


@pytest.mark.parametrize(("write", "name"), [(False, "Files.Read.All"), (True, "Files.ReadWrite.All")], ids=["read", "write"])
async def test_the_least_permission_is_enough_and_nothing_narrows_it(write: bool, name: str, files: Files) -> None:  # noqa: FBT001 - a table
    probe = REGISTRY["onedrive_file"]
    settings = probe.settings.model_validate({"user": "a@b.example", "path": "a.bin", "write": write})
    (needed,) = probe.permissions(settings)
    assert (needed.name, needed.scope, needed.targets) == (name, Scope.TENANT, ())
    files.grant(name)
    assert (await files.run(write=write)).message == ""
    (cost,) = probe.costs(settings)
    assert (cost.calls, cost.units) == ((6, 7) if write else (3, 3))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("probe/canary.bin", ()),
        ("probe/Plan.DOCX", ("is an Office document",)),
        ("Shared Documents/probe/canary.bin", ("`path` begins below it: probe/canary.bin",)),
        ("Shared Documents/plan.xlsx", ("is an Office document", "`path` begins below it: plan.xlsx")),
    ],
    ids=["a plain file", "Office", "with the library", "both"],
)
@pytest.mark.parametrize("kind", ["sharepoint_file", "onedrive_file"])
def test_paths_that_are_probably_not_meant_are_warned_of(kind: str, path: str, words: tuple[str, ...]) -> None:
    probe = REGISTRY[kind]
    told = probe.warnings(
        probe.settings.model_validate(
            {"path": path, **({"site": "https://contoso.sharepoint.com"} if kind == "sharepoint_file" else {"user": "a"})}
        )
    )
    assert len(told) == len(words)
    assert all(word in one for word, one in zip(words, told, strict=True))
