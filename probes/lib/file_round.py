"""What the kinds of files do once they have a drive: read a file and check it, overwrite one and read it back, remove that in the end."""

import time
from typing import Annotated

from pydantic import Field

from probes.core.context import Context
from probes.core.contract import Failed, Measurement, Settings, Stopped
from probes.core.ledger import Artefact, probe_of
from probes.core.needs import Cost, Permission, Service
from probes.core.reasons import Reason
from probes.lib import storage
from probes.lib.cleanup import CLEANUP, clear_each, is_settled
from probes.lib.drives import Door, Drive, Item, door, item_again, item_at, kept_drive, place_of, put, remove
from probes.lib.file_names import FilePath
from probes.lib.graph import MEASUREMENTS as OF_GRAPH
from probes.lib.known import named
from probes.lib.marked_file import Marked, marked, read_marked
from probes.lib.quick_xor import quick_xor_hash
from probes.lib.spelled import Sha256
from probes.lib.storage import Bytes, Limits, content_of, download

WRITTEN = "fogbell-write.bin"
"""Name of the one file that is overwritten, beside the one that is read."""
MEASUREMENTS = (Measurement("file_bytes", "Size of the file that was read."), *storage.MEASUREMENTS, *OF_GRAPH)
"""What kinds of files measure."""
STEPS = ("metadata", "redirect", "download", "verify", "upload", "read_back", CLEANUP)
"""Steps of the kinds of files behind those that find the drive."""

_LIMIT = 64 << 20
_MOST = 1 << 30
_LARGEST = 4 << 20
# What is written is encrypted in one go, which holds up other probes: 4 MiB for some 4 ms.
_COLLISIONS = frozenset({"resourceModified", "resourceLocked", "lockMismatch", "locked", "nameAlreadyExists", "Conflict"})
_OFFICE = (".docx", ".docm", ".xlsx", ".xlsm", ".pptx", ".pptm", ".vsdx", ".one")
_LIBRARY = "Shared Documents/"
# The library that a site shows as Documents, as its addresses call it.
_JUST = 120.0
# Seconds for which a content of another agent explains that ours was refused.


class Expected(Settings):
    """What whoever placed a file knows of it."""

    sha256: Sha256 | None = None
    """SHA-256 of its content, 64 hexadecimal digits."""
    bytes: Annotated[int, Field(ge=0)] | None = None
    """Its size."""


class FileSettings(Settings):
    """Which file to read, what it has to be, and whether to write one."""

    path: FilePath
    """Where the file is, below the top of the library, such as `probe/canary.bin`; no Office document, which SharePoint may change."""
    expect: Expected = Expected()
    """What the file has to be, beside what Graph says of it."""
    limit_bytes: Annotated[int, Field(ge=1, le=_MOST)] = _LIMIT
    """Most bytes to read."""
    min_bytes_per_second: Annotated[float, Field(gt=0)] | None = None
    """Slowest transfer that is still ok."""
    write: bool = False
    """Also overwrite the file `fogbell-write.bin` in the same folder, and read it back."""
    write_bytes: Annotated[int, Field(ge=1024, le=_LARGEST)] = 65_536
    """About how large that is."""


def doubts(settings: FileSettings) -> tuple[str, ...]:
    """Return what is probably not meant by a path."""
    told = []
    if settings.path.lower().endswith(_OFFICE):
        told.append(f"{settings.path} is an Office document, which SharePoint may change, so that nothing compares; place a plain file")
    if settings.path.startswith(_LIBRARY):
        told.append(f"{settings.path} begins with the library, and `path` begins below it: {settings.path.removeprefix(_LIBRARY)}")
    return tuple(told)


def costs(settings: FileSettings, *, finding: int) -> tuple[Cost, ...]:
    """Return what a good run costs, with `finding` calls to find the drive: a resource unit each call, one more for the upload."""
    calls = finding + 2 + (3 if settings.write else 0)
    return (Cost(Service.FILES, calls=calls, units=calls + settings.write),)


async def check_file(door: Door, drive: Drive, settings: FileSettings) -> None:
    """Read a file as people do, and see that what came is what is there: the steps metadata, redirect, download, verify.

    Raises:
        Failed: APP_CONFIG, NOT_FOUND as `named`, CONTENT_MISMATCH, or as `place_of` and `download`.
        Inconclusive: as those.

    """
    ctx, least = door.ctx, settings.min_bytes_per_second
    with ctx.step("metadata"):
        with named(ctx, "path", drive.key, settings.path):
            item = await item_at(door, drive, settings.path)
        ctx.measure("file_bytes", item.size)
        if item.size > settings.limit_bytes:
            raise Failed(Reason.CONTENT_MISMATCH, f"the file has {item.size} bytes, more than `limit_bytes` allows")
    with ctx.step("redirect"):
        place = await place_of(door, drive, item)
    with ctx.step("download"):
        came = await download(door, place, Limits(settings.limit_bytes, None if least is None else item.size / least))
    with ctx.step("verify"):
        ctx.evidence("sha256", came.sha256)
        await _compare(door, drive, item, came)
        _as_expected(came, settings.expect)


async def _compare(door: Door, drive: Drive, item: Item, came: Bytes) -> None:
    """Compare what came with what Graph said of the file; where somebody has overwritten it meanwhile, with what it says now."""
    if _is_same(item, came):
        return
    now = await item_again(door, drive, item)
    if now.ctag == item.ctag or not _is_same(now, came):
        told = f"{item.size} bytes with the hash {item.quick_xor or '(none)'}"
        raise Failed(Reason.CONTENT_MISMATCH, f"{came.size} bytes with the hash {came.quick_xor} came, and Graph tells of {told}")
    door.ctx.evidence("overwritten_by_another", "between metadata and download")


def _is_same(item: Item, came: Bytes) -> bool:
    return item.size == came.size and item.quick_xor in {came.quick_xor, ""}


def _as_expected(came: Bytes, expect: Expected) -> None:
    if expect.bytes is not None and came.size != expect.bytes:
        raise Failed(Reason.CONTENT_MISMATCH, f"the file has {came.size} bytes, and not {expect.bytes}")
    if expect.sha256 is not None and came.sha256 != expect.sha256.lower():
        raise Failed(Reason.CONTENT_MISMATCH, f"the file's SHA-256 is {came.sha256}, and not the one that is expected")


async def write_file(door: Door, drive: Drive, settings: FileSettings) -> None:
    """Overwrite the one file of ours, and read it back: the steps upload and read_back.

    Raises:
        Failed: CONTENT_MISMATCH, NOT_FOUND where somebody deletes it meanwhile, HTTP_4XX where it is locked, STORAGE_FULL, or as `call`.
        Inconclusive: as `call`; AGENT_RESOURCES where the ledger cannot be written, and then nothing is.

    """
    ctx, own = door.ctx, marked(door.ctx.probe, settings.write_bytes)
    path = "/".join((*settings.path.split("/")[:-1], WRITTEN))
    with ctx.step("upload"):
        await _note(ctx, drive, path)
        item = await _upload(door, drive, path, own)
    if item is not None:
        with ctx.step("read_back"):
            await _read_back(door, drive, item, own)


async def _note(ctx: Context, drive: Drive, path: str) -> None:
    """Put the file on the ledger, once: it stays there as long as it stays in the drive."""
    key = f"{drive.key}/{path}"
    if key not in {one.id for one in ctx.shared.ledger.outstanding(ctx.probe)}:
        facts = (("drive", drive.key), ("host", drive.host), ("path", path))
        await ctx.shared.ledger.record(ctx.probe, Artefact(key, "file", time.time(), facts))


async def _upload(door: Door, drive: Drive, path: str, own: Marked) -> Item | None:
    """Put the content in the place of what is there. None: another agent was doing the same at the moment, and was let in first."""
    try:
        item = await put(door, drive, path, own.content)
    except Failed as refused:
        if refused.code not in _COLLISIONS or not await _is_just_written(door, drive, path):
            raise
        door.ctx.evidence("overwritten_by_another", "at the same moment")
        return None
    if item.size != len(own.content) or item.quick_xor not in {quick_xor_hash(own.content), ""}:
        raise Failed(Reason.CONTENT_MISMATCH, f"{len(own.content)} bytes were sent, and Graph tells of {item.size} with another hash")
    return item


async def _is_just_written(door: Door, drive: Drive, path: str) -> bool:
    """Say whether the file holds what another probe of ours wrote a moment ago. Where it does not, the evidence is what it was."""
    before = door.ctx.evidence_found.copy()
    try:
        other = await _marked_at(door, drive, await item_at(door, drive, path))
    except Stopped:
        other = None
    if other is not None and abs(time.time() - other.moment) < _JUST:
        return True
    door.ctx.evidence_found = before
    return False


async def _marked_at(door: Door, drive: Drive, item: Item) -> Marked | None:
    return read_marked((await content_of(door, await place_of(door, drive, item), 2 * _LARGEST)).content)


async def _read_back(door: Door, drive: Drive, item: Item, own: Marked) -> None:
    """See that Graph tells of what was written, and that it is what comes; or that another has written since, by Graph's account too."""
    told = await item_again(door, drive, item)
    came = await content_of(door, await place_of(door, drive, item), 2 * _LARGEST)
    if came.content == own.content:
        if not _is_same(told, came):
            raise Failed(Reason.CONTENT_MISMATCH, "what was written comes back, and Graph tells of another hash or size")
        return
    other = read_marked(came.content)
    if other is None or (await item_again(door, drive, item)).ctag == item.ctag:
        raise Failed(Reason.CONTENT_MISMATCH, f"{len(own.content)} bytes were written, and {came.size} others come back")
    door.ctx.evidence("overwritten_by_another", f"by the probe {other.probe}")


async def clear_written(ctx: Context, needs: tuple[Permission, ...]) -> None:
    """Remove the file that a probe wrote which is no longer configured. Of one that is, the file is meant to stay."""

    async def gone(artefact: Artefact) -> bool:
        return await _remove(await door(ctx, needs), artefact)

    if ctx.is_removed:
        await clear_each(ctx, gone)


async def _remove(door: Door, artefact: Artefact) -> bool:
    """Remove the file, unless another probe was the last to write it: then it is that one's to remove."""
    drive = kept_drive(artefact)
    try:
        item = await item_at(door, drive, artefact.fact("path"))
        # What is larger than anything of ours is somebody else's.
        found = await _marked_at(door, drive, item) if item.size <= 2 * _LARGEST else None
    except Failed as failed:
        if failed.reason is Reason.NOT_FOUND:
            return is_settled(artefact)
        raise
    if found is not None and found.probe == probe_of(door.ctx.probe):
        return await remove(door, drive, item)
    return True
