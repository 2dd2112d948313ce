"""Tell how far search lags behind: how old is the newest that it knows of a file which is overwritten once an hour.

```yaml
probes:
  - name: search-freshness
    kind: search_freshness
    tenant: contoso
    drive: {site: https://contoso.sharepoint.com/sites/Probe}
```

The index of SharePoint and OneDrive is behind by minutes on good days and by hours on bad ones, and says nothing of it. So no run waits for
it. One text file carries a word for each of the last 24 times that it was overwritten, such as `fogbell7f3a09c22026112309` for 09 UTC of
that day, with the moment beside it. Each run reads the file, and asks the drive's own search for the words, the newest first: a hit means
that the index has read the file as it was then, or later. After that, and only where the newest word is an hour old, it overwrites the file
with one word more.

| step | what it does |
|---|---|
| token, drive | sign in; find the library of the site, or somebody's OneDrive |
| file | read the file: its item, the redirect, the bytes |
| search | search the drive: once where the newest word is known, at most seven times where much is unknown |
| write | once an hour, overwrite the file; the first time, place it |

| measurement | is |
|---|---|
| `age_seconds` | how old the newest word is that search knows: up to an hour, and the lag on top. Absent where it knows none |
| `behind_seconds` | for how long the oldest word has been waiting that search does not know; 0 where it knows all |
| `unindexed_writes` | how many words search does not know |

While search has not known anything for longer than it may take (the first hours after the file was placed), the run is ok, and has no age.
A run fails in the step search when `behind_seconds` is above `late_after`: as `too_slow` when search knows an earlier word, as
`missing_hit` when it knows none. An agent that was away for a day is no lag: it is not the age that counts, but the wait of what was
written.

Other reasons: `http_4xx` in the step write, with the code lockMismatch or resourceLocked, when somebody has locked the file;
`storage_full` when there is no room; `content_mismatch` in the step file when what lies there is not Fogbell's: it is not overwritten;
`app_config` in the step drive when no such site or person was found since the agent's start, `not_found` when it was there before;
`not_found` in the step file when somebody deletes the file while it is read. Deleted at any other time, it is placed anew.

State: there is none besides the file, so a restart changes nothing. Agents and probes with the same `drive` and `path` share it: whoever
first finds the newest word an hour old overwrites the file, on condition that it has not changed since (If-Match), and the others find
that somebody else has.

The file stays between runs: one that is deleted each time would fill the recycle bin, and search would not know the next one. So it is
one thing outstanding on the ledger of `state_dir`, and goes, to the recycle bin, when the probe is no longer configured, unless another
agent or probe was the last to write it. Each time it is overwritten makes a version, 24 a day: let the library's settings keep few of
them. Nothing else is created, and a crash leaves nothing besides.

Clocks: age and wait are told by the clock of Microsoft's servers alone.

It looks every 15 minutes, and not more often than every 5 unless told to in so many words: an index that lags by minutes says nothing new
within one. The write, which costs most and leaves a version, is once an hour whatever the interval. A run costs 5 calls and 6 of
SharePoint's resource units where search knows the newest word, and 12 calls and 20 units at most; a user's OneDrive one of each less.

For a site it needs the application permission Sites.Read.All, as search knows no narrower one, and Sites.Selected with the role write for
that site; for somebody's OneDrive Files.ReadWrite.All.
"""

import hashlib
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Workload, always
from probes.core.ledger import Artefact
from probes.core.needs import Cost, Permission, Scope, Service
from probes.core.reasons import Reason
from probes.lib.cleanup import CLEANUP, clear_each, is_settled, strike
from probes.lib.drives import WRITE_UNITS, Door, Drive, DrivePlace, Item, door, drive_at, item_at, kept_drive, place_of, put_over, remove
from probes.lib.durations import Duration
from probes.lib.file_names import FilePath
from probes.lib.graph import MEASUREMENTS
from probes.lib.retry_after import moment
from probes.lib.search import IN_DRIVE_UNITS, in_drive, look
from probes.lib.storage import content_of

HOUR = 3600.0
KEPT = 24
"""Words in the file, one for each time that it was overwritten."""
_FIRST = (
    "Fogbell overwrites this file once an hour to see how far search is behind. It may be deleted: the next run places it anew.\n"
    "Each line has a word to search for, and when it was written.\n"
)
_LINE = re.compile(r"(fogbell[0-9a-f]{8}[0-9]{10}) ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z)")
_LARGEST = 65_536
_SKEW = 300.0
# Seconds by which the clocks of Microsoft's servers may differ.
_USUAL = 2
# Words that are asked for one by one before the rest is halved.


def _plain_text(path: str) -> str:
    if not path.endswith(".txt"):
        raise ValueError("must end in .txt, as search reads plain text")
    return path


class SearchFreshness(Settings):
    """Which file to overwrite and to search for."""

    drive: DrivePlace
    """Where the file lies: in the library of a `site`, or the OneDrive of a `user`."""
    path: Annotated[FilePath, AfterValidator(_plain_text)] = "fogbell-search.txt"
    """The way to the file below the top of the library; folders are made. It ends in `.txt`, as search reads plain text."""
    late_after: Annotated[Duration, Field(ge=60, le=KEPT * HOUR)] = 6 * HOUR
    """For how long search may be behind before the run fails; up to a day."""

    @model_validator(mode="after")
    def _in_a_drive_with_an_address(self) -> Self:
        if self.drive.id is not None:
            raise ValueError("drive needs a site or a user here: an id does not say where the bytes may come from")
        return self


@dataclass(frozen=True, slots=True)
class Write:
    """One time that the file was overwritten: the word that came into it, and when (Unix seconds, the server's clock)."""

    word: str
    moment: float


@dataclass(frozen=True, slots=True)
class File:
    """Our file as it was found at `now` (Unix seconds, the server's clock): its item, None without one; its writes, the newest first."""

    item: Item | None
    writes: tuple[Write, ...]
    now: float

    @property
    def is_due(self) -> bool:
        """Whether it is time for a new word."""
        return not self.writes or self.now - self.writes[0].moment >= HOUR


async def run(ctx: Context, settings: SearchFreshness) -> None:
    """Read the file, find the newest word that search knows, overwrite the file where it is time, and judge the lag."""
    with ctx.step("token"):
        graph = await door(ctx, _permissions(settings))
    with ctx.step("drive"):
        drive = await drive_at(graph, settings.drive)
    with ctx.step("file"):
        file = await _read(graph, drive, settings.path)
    known = 0
    if file.item is not None and file.writes:
        with ctx.step("search"):
            known = await _newest_known(graph, drive, file.writes, file.item)
    behind = _tell(ctx, file, known)
    if file.is_due:
        with ctx.step("write"):
            await _write(graph, drive, settings.path, file)
    if behind > settings.late_after:
        raise _late(file, known, behind)


async def _read(graph: Door, drive: Drive, path: str) -> File:
    """Read our file.

    Raises:
        Failed: CONTENT_MISMATCH where what lies there is not ours; as `item_at`, `place_of` and `content_of`.

    """
    file = await _found(graph, drive, path)
    if file is None:
        raise Failed(Reason.CONTENT_MISMATCH, f"{path} is there and is not Fogbell's; it is not overwritten: name another `path`")
    return file


async def _found(graph: Door, drive: Drive, path: str) -> File | None:
    """Read what lies there; None: something that is not ours."""
    item = await _item(graph, drive, path)
    # The answer's own Date, as all that is compared here is told by Microsoft's clock.
    now = moment(graph.ctx.evidence_found.get("date")) or time.time()
    if item is None:
        return File(None, (), now)
    if item.size > _LARGEST:
        return None
    came = await content_of(graph, await place_of(graph, drive, item), _LARGEST)
    text = came.content.decode("utf-8", "replace").replace("\r\n", "\n")
    # A word of the future was written by a clock that was wrong, and would be the newest until that day.
    return File(item, tuple(write for write in _writes(text) if write.moment < now + _SKEW), now) if text.startswith(_FIRST) else None


async def _item(graph: Door, drive: Drive, path: str) -> Item | None:
    try:
        return await item_at(graph, drive, path)
    except Failed as failed:
        if failed.reason is not Reason.NOT_FOUND:
            raise
        return None


def _writes(text: str) -> tuple[Write, ...]:
    found = []
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            with suppress(ValueError):
                found.append(Write(match[1], datetime.fromisoformat(match[2]).timestamp()))
    return tuple(sorted(found, key=lambda write: -write.moment)[:KEPT])


async def _newest_known(graph: Door, drive: Drive, writes: tuple[Write, ...], item: Item) -> int:
    """Return the place of the newest word that search knows, 0 being the newest there is, and their number where it knows none.

    The index reads the file as a whole, so who knows a word knows all that are older, and the place can be found by halving.
    """

    async def knows(place: int) -> bool:
        seen = await look(in_drive(graph, drive, writes[place].word), lambda hit: hit.id == item.id)
        return bool(seen.rank)

    low, high = 0, len(writes)
    while low < high:
        # The two newest first: on good days it is one of them.
        middle = low if low < _USUAL else (low + high) // 2
        low, high = (low, middle) if await knows(middle) else (middle + 1, high)
    return low


def _tell(ctx: Context, file: File, known: int) -> float:
    """Measure how far search is behind, and return for how long the oldest word has waited that it does not know."""
    if not file.writes:
        ctx.evidence("newest_known", "nothing is written yet")
        return 0.0
    behind = max(0.0, file.now - file.writes[known - 1].moment) if known else 0.0
    ctx.measure("behind_seconds", behind)
    ctx.measure("unindexed_writes", known)
    ctx.evidence("newest_written", file.writes[0].word)
    if known == len(file.writes):
        ctx.evidence("newest_known", f"none yet of what was written in the last {behind:.0f} s")
    else:
        ctx.evidence("newest_known", file.writes[known].word)
        ctx.measure("age_seconds", max(0.0, file.now - file.writes[known].moment))
    return behind


async def _write(graph: Door, drive: Drive, path: str, file: File) -> None:
    """Put one word more into the file, unless somebody else has just done so."""
    writes = (Write(_word(drive, path, file.now), file.now), *file.writes)[:KEPT]
    content = _FIRST + "".join(f"{write.word} {_written(write.moment, '%Y-%m-%dT%H:%M:%SZ')}\n" for write in writes)
    kept = await _note(graph.ctx, drive, path, writes)
    if await put_over(graph, drive, path, content, file.item):
        graph.ctx.evidence("overwritten", writes[0].word)
    else:
        graph.ctx.evidence("overwritten", "by another at the same moment")
        if not kept.fact("before"):
            await strike(graph.ctx, kept)


async def _note(ctx: Context, drive: Drive, path: str, writes: tuple[Write, ...]) -> Artefact:
    """Put the file on the ledger, with the words by which we know that it was we who wrote it last: the new one, and the one of before.

    Nobody knows yet whether the new one will be there, and the one before may be another agent's.
    """
    key, words = f"{drive.key}/{path.lower()}", [write.word for write in writes[:2]]
    earlier = next((_words(one) for one in ctx.shared.ledger.outstanding(ctx.probe) if one.id == key), frozenset())
    before = words[-1] if words[-1] in earlier else ""
    facts = (("drive", drive.key), ("host", drive.host), ("path", path), ("word", words[0]), ("before", before))
    artefact = Artefact(key, "file", time.time(), facts)
    await ctx.shared.ledger.record(ctx.probe, artefact)
    return artefact


def _words(artefact: Artefact) -> frozenset[str]:
    return frozenset((artefact.fact("word"), artefact.fact("before"))) - {""}


async def clear(ctx: Context, settings: SearchFreshness) -> None:
    """Remove the file of a probe that is no longer configured. Of one that is, it is meant to stay."""

    async def gone(artefact: Artefact) -> bool:
        graph, drive = await door(ctx, _permissions(settings)), kept_drive(artefact)
        file = await _found(graph, drive, artefact.fact("path"))
        if file is not None and file.item is None:
            return is_settled(artefact)
        if file is None or file.item is None or not file.writes or file.writes[0].word not in _words(artefact):
            return True
        return await remove(graph, drive, file.item)

    if ctx.is_removed:
        await clear_each(ctx, gone)


def _word(drive: Drive, path: str, now: float) -> str:
    """Return the word of this hour for this file: the same whoever writes it, and in no other file of ours."""
    tag = hashlib.sha256(f"{drive.key}/{path.lower()}".encode()).hexdigest()[:8]
    return f"fogbell{tag}{_written(now, '%Y%m%d%H')}"


def _written(seconds: float, form: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def _late(file: File, known: int, behind: float) -> Failed:
    hours = f"{behind / HOUR:.1f} hours"
    if known == len(file.writes):
        return Failed(Reason.MISSING_HIT, f"search does not know the file at all, {hours} after it was written", step="search")
    return Failed(Reason.TOO_SLOW, f"search knows nothing of what was written since {hours}", step="search")


def _permissions(settings: SearchFreshness) -> tuple[Permission, ...]:
    if settings.drive.site is None:
        return (Permission("Files.ReadWrite.All", "search for a file and overwrite it"),)
    site = (settings.drive.site,)
    return (
        Permission("Sites.Read.All", "search for a file"),
        Permission("Sites.Selected", "overwrite a file", scope=Scope.SITES, targets=site, writes=True),
    )


def _costs(settings: SearchFreshness) -> tuple[Cost, ...]:
    finding = settings.drive.calls
    reading, looks = 2, 2
    return (Cost(Service.FILES, calls=finding + reading + looks + 1, units=finding + reading + looks * IN_DRIVE_UNITS + WRITE_UNITS),)


PROBE = Probe(
    run,
    SearchFreshness,
    place=lambda _: Place(Layer.FEATURE, Workload.SHAREPOINT),
    steps=("token", "drive", "file", "search", "write", CLEANUP),
    measurements=(
        Measurement("age_seconds", "Age of the newest word that search knows; absent where it knows none.", fleeting=True),
        Measurement(
            "behind_seconds", "How long the oldest word has waited that search does not know; 0 where it knows all.", fleeting=True
        ),
        Measurement("unindexed_writes", "Words that search does not know yet.", fleeting=True),
        *MEASUREMENTS,
    ),
    interval=900.0,
    timeout=60.0,
    floor=300.0,
    tenant=always,
    permissions=_permissions,
    costs=_costs,
    remembers=always,
    clear=clear,
)
