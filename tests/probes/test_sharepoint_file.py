"""A file of a site is read, checked, overwritten and read back on the simulated tenant; whatever goes wrong has its step and reason."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.drill.faults import Drip, Http, Tcp, Tls
from agent.drill.graph.drives import Item
from agent.drill.graph.sites import BINARY_BYTES, BINARY_CANARY, Sites
from probes import REGISTRY
from probes.core.contract import Inconclusive, Outcome
from probes.core.ledger import Artefact, MemoryLedger
from probes.core.needs import Scope
from probes.core.reasons import BLAME, Blame, Reason
from probes.lib.marked_file import Marked, marked, read_marked
from tests.probes.files import SAID, SITE, WROTE, Files, names, serving, told

FINDING = ["token", "site", "drive"]
OTHER = marked("another", 2048).content


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    async with serving(tmp_path, "sharepoint_file") as running:
        yield running


async def test_a_file_is_read_in_all_its_steps_with_what_a_ticket_needs(files: Files) -> None:
    run = await files.run()
    assert (run.outcome, run.message, names(run)) == (Outcome.OK, "", [*FINDING, *SAID])
    assert (told(run)["file_bytes"], told(run)["server_duration_seconds"] < 1, told(run)["health_score"]) == (BINARY_BYTES, True, 0)
    wanted = {"request_id", "client_request_id", "storage_host", "sp_request_guid", "sp_health_score", "sp_request_duration"}
    assert wanted | {"sp_iis_latency", "edge_ref", "front_end"} <= dict(run.evidence).keys()
    assert (files.written, files.outstanding) == (None, [])


async def test_the_two_hosts_are_timed_apart(files: Files) -> None:
    phases = {step.name: {name for name, _ in step.phases} for step in (await files.run()).steps}
    assert phases["redirect"] == phases["download"] == {"resolve", "connect", "tls", "processing", "transfer"}
    assert phases["verify"] == set()


async def test_throughput_is_of_the_transfer_alone(files: Files) -> None:
    files.fail(Drip(400_000), hosts=["files"])
    run = await files.run()
    (transfer,) = [seconds for step in run.steps if step.name == "download" for name, seconds in step.phases if name == "transfer"]
    assert told(run)["throughput_bytes_per_second"] == pytest.approx(BINARY_BYTES / transfer, rel=0.05)


async def test_what_an_administrator_knows_of_the_file_is_checked(files: Files) -> None:
    content = files.drive.at(BINARY_CANARY)
    sha256 = hashlib.sha256(content.content or b"" if content else b"").hexdigest()
    assert (await files.run(expect={"bytes": BINARY_BYTES, "sha256": sha256.upper()})).message == ""


async def test_the_address_of_the_bytes_is_told_nowhere(files: Files) -> None:
    runs = [await files.run(write=True)]
    for how in ("plain", "expired", "truncated", "wrong"):
        files.spoil(how)
        runs.append(await files.run())
    assert "tempauth" not in repr(runs)
    assert "eyJ" not in repr([run.evidence for run in runs])


async def test_a_wider_permission_does_as_well_and_nothing_is_said_to_be_missing(files: Files) -> None:
    files.grant("Sites.ReadWrite.All")
    run = await files.run(write=True)
    assert (run.message, "missing_permissions" in dict(run.evidence)) == ("", False)


def no_rights(files: Files) -> None:
    files.grant("Sites.Selected")
    files.world.of(Sites).selected.clear()


def fails(*statuses: int, retry_after: int | None = None, **where: Any) -> Callable[[Files], None]:
    return lambda files: files.fail(Http(statuses, retry_after), **where)


def spoils(how: str) -> Callable[[Files], None]:
    return lambda files: files.spoil(how)


def well(_: Files) -> None:
    """Let all be well."""


F, INC = Outcome.FAILED, Outcome.INCONCLUSIVE
R = Reason
FILES, GRAPH = ["files"], ["graph"]
Way = tuple[Callable[[Files], None], dict[str, Any], Outcome, str, Reason, str]
READING: dict[str, Way] = {
    "site not granted": (no_rights, {}, F, "site", R.PERMISSION, "accessDenied"),
    "no permission at all": (lambda files: files.grant("User.Read.All"), {}, F, "site", R.PERMISSION, "accessDenied"),
    "token refused": (fails(401, hosts=GRAPH), {}, F, "site", R.TOKEN_REJECTED, "InvalidAuthenticationToken"),
    "drive fails": (fails(500, operations=["drive"]), {}, F, "drive", R.HTTP_5XX, "InternalServerError"),
    "a folder": (well, {"path": "probe"}, F, "metadata", R.CONTENT_MISMATCH, ""),
    "too large": (well, {"limit_bytes": 1000}, F, "metadata", R.CONTENT_MISMATCH, ""),
    "throttled": (fails(429, retry_after=120, operations=["file_metadata"]), {}, INC, "metadata", R.THROTTLED, "TooManyRequests"),
    "Graph overloaded": (fails(503, operations=["file_metadata"]), {}, F, "metadata", R.HTTP_5XX, "ServiceUnavailable"),
    "redirect without Location": (spoils("nowhere"), {}, F, "redirect", R.PROTOCOL_ERROR, ""),
    "redirect to the sign-in": (spoils("elsewhere"), {}, F, "redirect", R.HTTP_REDIRECT, ""),
    "redirect without TLS": (spoils("plain"), {}, F, "redirect", R.HTTP_REDIRECT, ""),
    "bytes in place of the redirect": (spoils("inline"), {}, F, "redirect", R.CONTENT_MISMATCH, "200"),
    "deleted before the redirect": (spoils("deleted"), {}, F, "redirect", R.NOT_FOUND, "itemNotFound"),
    "address expired": (spoils("expired"), {}, F, "download", R.HTTP_4XX, "unauthenticated"),
    "address forbidden": (fails(403, hosts=FILES), {}, F, "download", R.HTTP_4XX, "403"),
    "address unknown": (fails(404, hosts=FILES), {}, F, "download", R.HTTP_4XX, "404"),
    "storage overloaded": (fails(503, hosts=FILES), {}, F, "download", R.HTTP_5XX, "503"),
    "storage throttles": (fails(429, retry_after=120, hosts=FILES), {}, INC, "download", R.THROTTLED, "429"),
    "storage certificate": (lambda files: files.fail(Tls("wrong_name"), hosts=FILES), {}, F, "download", R.TLS_WRONG_NAME, ""),
    "storage resets": (lambda files: files.fail(Tcp("reset"), hosts=FILES), {}, F, "download", R.CONNECTION_RESET, ""),
    "truncated": (spoils("truncated"), {}, F, "download", R.TRUNCATED, ""),
    "slow drip": (lambda files: files.fail(Drip(60_000), hosts=FILES), {"deadline": 0.6}, F, "download", R.TIMEOUT, ""),
    "slow drip with a limit": (
        lambda files: files.fail(Drip(60_000), hosts=FILES),
        {"min_bytes_per_second": 400_000},
        F,
        "download",
        R.TOO_SLOW,
        "",
    ),
    "wrong bytes": (spoils("wrong"), {}, F, "verify", R.CONTENT_MISMATCH, ""),
    "hash mismatch": (spoils("hash"), {}, F, "verify", R.CONTENT_MISMATCH, ""),
    "another size than expected": (well, {"expect": {"bytes": 1}}, F, "verify", R.CONTENT_MISMATCH, ""),
    "another SHA-256 than expected": (well, {"expect": {"sha256": "0" * 64}}, F, "verify", R.CONTENT_MISMATCH, ""),
}


@pytest.mark.parametrize("way", READING.values(), ids=READING)
async def test_each_way_to_fail_at_reading_has_its_step_and_reason(way: Way, files: Files) -> None:
    prepare, settings, outcome, step, reason, code = way
    prepare(files)
    run = await files.run(**settings)
    assert (run.outcome, run.failed_step, run.reason, run.code) == (outcome, step, reason, code), run.message
    assert run.retry_after == (120 if outcome is INC else 0)


@pytest.mark.parametrize(
    ("prepare", "settings", "words"),
    [
        (no_rights, {}, "fogbell permissions"),
        (spoils("expired"), {}, "the address that Graph had just given is expired"),
        (spoils("plain"), {}, "without TLS; it is not followed"),
    ],
    ids=["not granted", "expired", "plain"],
)
async def test_a_failure_says_what_helps(prepare: Callable[[Files], None], settings: dict[str, Any], words: str, files: Files) -> None:
    prepare(files)
    assert words in (await files.run(**settings)).message


async def test_a_file_that_somebody_overwrites_between_metadata_and_download_is_no_failure(files: Files) -> None:
    files.spoil("overwritten")
    run = await files.run()
    assert (run.message, dict(run.evidence)["overwritten_by_another"]) == ("", "between metadata and download")


async def test_one_file_is_overwritten_and_read_back_and_nothing_else_is_left(files: Files) -> None:
    before = len(files.drive.items)
    first, second = await files.run(write=True), await files.run(write=True, write_bytes=300_000)
    assert [run.message for run in (first, second)] == ["", ""]
    assert names(first) == names(second) == [*FINDING, *SAID, *WROTE]
    assert (len(files.drive.items), len(files.drive.recycled)) == (before + 1, 0)
    assert files.outstanding == ["probe/fogbell-write.bin"]
    own = read_marked(content(files.written))
    assert own is not None
    assert (own.probe, content(files.written)[:19], len(own.content) > 299_000) == ("one", b"Fogbell overwrites ", True)


def content(item: Item | None) -> bytes:
    return (item.content if item else None) or b""


def locked(files: Files) -> None:
    files.put(b"old").locked = True


def full(files: Files) -> None:
    files.drive.quota = files.drive.used + 10


def read_only(files: Files) -> None:
    files.grant("Sites.Selected")
    sites = files.world.of(Sites)
    sites.selected = dict.fromkeys(sites.selected, "read")


def revoked_after_upload(files: Files) -> None:
    files.grant("Sites.Selected")
    files.after_upload(lambda _: files.world.of(Sites).selected.clear())


def deleted_after_upload(files: Files) -> None:
    files.after_upload(lambda item: files.drive.remove(item, files.world.now(), for_good=False))


def replaced_after_upload(by: bytes) -> Callable[[Files], None]:
    return lambda files: files.after_upload(lambda _: files.put(by))


def stale_after_upload(by: bytes) -> Callable[[Files], None]:
    """Let the service go back to an older content, and say nothing of a change."""
    return lambda files: files.after_upload(lambda item: setattr(item, "content", by))


def another_hash_after_upload(files: Files) -> None:
    files.after_upload(lambda _: files.spoil("hash"))


def another_stored(files: Files) -> None:
    files.during_upload(lambda _: files.put(b"cut off"))


WRITING: dict[str, Way] = {
    "locked": (locked, {}, F, "upload", R.HTTP_4XX, "lockMismatch"),
    "full": (full, {}, F, "upload", R.STORAGE_FULL, "insufficientStorage"),
    "no room by status alone": (fails(507, operations=["file_upload"]), {}, F, "upload", R.STORAGE_FULL, "insufficientStorage"),
    "may only read": (read_only, {}, F, "upload", R.PERMISSION, "accessDenied"),
    "throttled": (fails(429, retry_after=120, operations=["file_upload"]), {}, INC, "upload", R.THROTTLED, "TooManyRequests"),
    "upload fails": (fails(503, operations=["file_upload"]), {}, F, "upload", R.HTTP_5XX, "ServiceUnavailable"),
    "permission removed meanwhile": (revoked_after_upload, {}, F, "read_back", R.PERMISSION, "accessDenied"),
    "deleted meanwhile": (deleted_after_upload, {}, F, "read_back", R.NOT_FOUND, "itemNotFound"),
    "something else comes back": (replaced_after_upload(b"nonsense"), {}, F, "read_back", R.CONTENT_MISMATCH, ""),
    "a broken content of ours": (replaced_after_upload(OTHER[:-1]), {}, F, "read_back", R.CONTENT_MISMATCH, ""),
    "another hash is told": (another_hash_after_upload, {}, F, "read_back", R.CONTENT_MISMATCH, ""),
    "something else is stored": (another_stored, {}, F, "upload", R.CONTENT_MISMATCH, ""),
    "an older content comes back": (stale_after_upload(OTHER), {}, F, "read_back", R.CONTENT_MISMATCH, ""),
}


@pytest.mark.parametrize("way", WRITING.values(), ids=WRITING)
async def test_each_way_to_fail_at_writing_has_its_step_and_reason(way: Way, files: Files) -> None:
    prepare, settings, outcome, step, reason, code = way
    prepare(files)
    run = await files.run(write=True, **settings)
    assert (run.outcome, run.failed_step, run.reason, run.code) == (outcome, step, reason, code), run.message
    assert run.retry_after == (120 if outcome is INC else 0)


async def test_a_refused_upload_keeps_its_own_evidence_though_the_cause_was_looked_for(files: Files) -> None:
    locked(files)
    evidence = dict((await files.run(write=True)).evidence)
    assert (evidence["status"], evidence["error_code"]) == ("423", "resourceLocked / lockMismatch")


async def test_a_download_that_never_answers_is_not_mixed_up_with_the_one_before(files: Files) -> None:
    files.after_upload(lambda _: files.fail(Tcp("reset"), hosts=["files"]))
    run = await files.run(write=True)
    assert (run.failed_step, run.reason) == ("read_back", Reason.CONNECTION_RESET)
    assert not {"storage_status", "sp_request_guid"} & dict(run.evidence).keys()


def test_no_room_is_ours_to_mend_and_an_address_that_is_not_taken_the_services() -> None:
    assert (BLAME[Reason.STORAGE_FULL], BLAME[Reason.HTTP_4XX]) == (Blame.OURS, Blame.SERVICE)


async def test_a_newer_content_of_another_probe_is_recognised(files: Files) -> None:
    files.after_upload(lambda _: files.put(OTHER))
    run = await files.run(write=True)
    assert (run.message, dict(run.evidence)["overwritten_by_another"]) == ("", "by the probe another")
    assert content(files.written) == OTHER


async def test_who_is_refused_because_another_is_just_writing_is_not_disturbed(files: Files) -> None:
    files.put(marked("another", 2048).content).locked = True
    run = await files.run(write=True)
    assert (run.message, dict(run.evidence)["overwritten_by_another"]) == ("", "at the same moment")
    assert names(run)[-1] == "upload"


async def test_agents_and_probes_that_write_one_file_at_once_do_not_disturb_each_other(files: Files) -> None:
    runs = await asyncio.gather(*(files.run(write=True, shared=files.without_tokens) for _ in range(6)))
    assert [run.message for run in runs] == [""] * 6
    assert len([item for item in files.drive.items.values() if item.name == "fogbell-write.bin"]) == 1


class Full(MemoryLedger):
    """A ledger that cannot be written."""

    async def record(self, probe: str, artefact: Artefact) -> None:
        raise Inconclusive(Reason.AGENT_RESOURCES, f"{probe} may not make {artefact.kind}")


async def test_where_the_ledger_cannot_be_written_nothing_is(files: Files) -> None:
    unwritable = files.without_tokens
    object.__setattr__(unwritable, "ledger", Full())
    run = await files.run(write=True, shared=unwritable)
    assert (run.outcome, run.failed_step, run.reason) == (INC, "upload", Reason.AGENT_RESOURCES)
    assert files.written is None


async def test_the_file_stays_while_the_probe_is_configured_and_goes_with_it(files: Files) -> None:
    await files.run(write=True)
    assert (await files.clear(is_removed=False)).steps == []
    assert (files.written is None, len(files.outstanding)) == (False, 1)
    ctx = await files.clear()
    assert ([step.name for step in ctx.steps], ctx.cleanup_failed) == (["cleanup"], False)
    assert (files.written, files.outstanding) == (None, [])


async def test_a_run_that_is_killed_in_the_middle_leaves_nothing_once_the_probe_is_gone(files: Files) -> None:
    files.after_upload(lambda _: files.fail(Drip(0), operations=["file_metadata"]))
    run = await files.run(write=True, deadline=1.0)
    assert (run.failed_step, run.reason, len(files.outstanding)) == ("read_back", Reason.TIMEOUT, 1)
    files.world.faults.set()
    await files.clear()
    assert (files.written, files.outstanding) == (None, [])


def by(probe: str) -> Marked:
    return marked(probe, 2048)


@pytest.mark.parametrize("left", [by("another").content, b"a person's"], ids=["another probe's", "a person's"])
async def test_what_another_wrote_last_is_not_removed(left: bytes, files: Files) -> None:
    await files.run(write=True)
    files.put(left)
    await files.clear()
    assert (content(files.written), files.outstanding) == (left, [])


async def test_what_never_was_or_is_gone_is_struck_off_once_no_request_can_make_it(files: Files) -> None:
    await files.run(write=True)
    files.drive.remove(files.put(b""), files.world.now(), for_good=True)
    await files.clear()
    (artefact,) = files.shared.ledger.outstanding("one")
    await files.shared.ledger.record("one", replace(artefact, created=artefact.created - 301))
    await files.clear()
    assert files.outstanding == []


async def test_a_file_too_large_to_be_ours_is_left_to_whoever_put_it_there(files: Files) -> None:
    await files.run(write=True)
    theirs = files.put(bytes(9 << 20))
    ctx = await files.clear()
    assert (ctx.cleanup_failed, files.written, files.outstanding) == (False, theirs, [])


async def test_what_changes_while_we_look_is_not_removed_and_looked_at_again(files: Files) -> None:
    await files.run(write=True)
    files.fail(Http((412,)), operations=["file_delete"])
    assert not (await files.clear()).cleanup_failed
    assert (files.written is None, len(files.outstanding)) == (False, 1)
    files.world.faults.set()
    await files.clear()
    assert (files.written, files.outstanding) == (None, [])


async def test_what_cannot_be_removed_stays_on_the_ledger(files: Files) -> None:
    await files.run(write=True)
    files.fail(Http((503,)), operations=["file_delete"])
    assert (await files.clear()).cleanup_failed
    assert len(files.outstanding) == 1


async def test_what_was_kept_under_the_settings_of_before_is_known_by_the_name_before_the_mark(files: Files) -> None:
    await files.run(write=True)
    (artefact,) = files.shared.ledger.outstanding("one")
    await files.shared.ledger.record("one~1795435200", artefact)
    await files.clear("one~1795435200")
    assert files.written is None


@pytest.mark.parametrize(("write", "role"), [(False, "read"), (True, "write")], ids=["read", "write"])
async def test_the_least_permission_is_enough_and_is_told_with_its_site(write: bool, role: str, files: Files) -> None:  # noqa: FBT001 - a table
    probe = REGISTRY["sharepoint_file"]
    settings = probe.settings.model_validate({"site": f"{SITE}/", "path": "a.bin", "write": write})
    (needed,) = probe.permissions(settings)
    assert (needed.name, needed.scope, needed.targets, needed.writes) == ("Sites.Selected", Scope.SITES, (SITE,), write)
    files.grant(needed.name)
    sites = files.world.of(Sites)
    sites.selected = dict.fromkeys(sites.selected, role)
    assert (await files.run(write=write)).message == ""
    (cost,) = probe.costs(settings)
    assert (cost.calls, cost.units) == ((7, 8) if write else (4, 4))
    assert probe.remembers(settings) is write


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": ""}, "the way to a file"),
        ({"path": "a/../b"}, "the way to a file"),
        ({"path": "a/b:c"}, "holds :"),
        ({"site": "http://contoso.sharepoint.com/sites/Probe"}, "the address of a site"),
        ({"site": f"{SITE}/Shared%20Documents/Forms/AllItems.aspx"}, "the address of a site"),
        ({"write_bytes": 10}, "greater than or equal to 1024"),
        ({"min_bytes_per_second": 0}, "greater than 0"),
        ({"expect": {"sha256": "x"}}, "must be a SHA-256: 64 hexadecimal digits"),
    ],
    ids=["no path", "dots", "colon", "no TLS", "a page", "too small", "no speed", "no hash"],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        REGISTRY["sharepoint_file"].settings.model_validate({"site": SITE, "path": "probe/canary.bin", **settings})
