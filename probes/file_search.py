"""Search for a document that was placed long ago, as people do: in its library, and with Microsoft Search over everything.

An answer of 200 is not enough. In April 2023 searches answered without any error and without some of the hits, so the document has to be
among them; where it is not, the run fails with `missing_hit`, in the step of the search that left it out.

```yaml
probes:
  - name: search
    kind: file_search
    tenant: contoso
    drive: {site: https://contoso.sharepoint.com/sites/Probe}
    document: fogbell-canary-7f3a.txt
    region: EUR
```

| step | what it does |
|---|---|
| token, drive | sign in; find the library of the site, or somebody's OneDrive |
| drive_search | search the library: `GET /drives/{id}/root/search(q='…')` |
| query | search everything in the region: `POST /search/query` |

Place the document by hand, give it a name that nothing else has (any text file will do), and wait a day before you trust this probe: the
index lags by minutes on good days, and by hours on others. Why a name of its own: hits are ranked by rules that change, come in pages, and
are limited to what the application may read. The probe looks through three pages of 50 hits at most; a document that has slid further down
is told as missing. A hit is the document when it has the name, in any case of letters, and lies in the drive; with `item`, when it has
that id.

An outage that loses only some of many hits shows sooner with several documents: place some, name the word that all of them hold with
`words`, and say with `expect_hits` how many hits there have to be at least. Fewer are a `missing_hit`, too.

```yaml
probes:
  - name: search-several
    kind: file_search
    tenant: contoso
    drive: {site: https://contoso.sharepoint.com/sites/Probe}
    document: fogbell-canary-7f3a.txt
    words: fogbellcanary7f3a
    expect_hits: 5
    through: [drive]
```

An application has to say in which region Microsoft Search is to look: where the tenant's data lies, such as NAM, EUR, APC, GBR or CHE. If
you do not know it, write NAM: where that is wrong the answer names the right one, and the run fails with `app_config`, blame ours. It is
the one place where Graph's words decide, as it has no code for it. Microsoft Search is not there in every national cloud; there,
`through: [drive]`.

For an application Microsoft Search looks through what is shared with several people: everything in sites, and of a OneDrive what its owner
has shared. A document that its owner alone can open is found by the drive's own search. With `private_content: true` by both; but the first
such request makes Microsoft set up an index of everybody's private content, which takes hours or days, and is not what a monitor should
start unasked.

Other reasons: `app_config` in the step drive (for an id in drive_search) when no such site, person or drive was found since the agent's
start, `not_found` when it was there before; `permission` when the application may not search; `content_mismatch` when an answer is none to
a search.

Nothing is written. The application permission Sites.Read.All is needed for a site; Files.Read.All is enough for a drive that is named by
its user or its id. Sites.Selected does not cover search, says Microsoft. A run costs two calls for the drive of a site, one for a user's
and none where the id is given, and one for each search: 4 resource units of SharePoint, and a call to Microsoft Search, whose limit is
not published. A search that fails ends the run; to have both told at any time, make two probes with one `through` each.
"""

import re
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from probes.core.context import Context
from probes.core.contract import Failed, Layer, Measurement, Place, Probe, Settings, Workload, always
from probes.core.needs import Cost, Permission, Service
from probes.core.reasons import Reason
from probes.lib.drives import Drive, DrivePlace, door, drive_at, known_by
from probes.lib.file_names import FileName
from probes.lib.graph import MEASUREMENTS
from probes.lib.search import IN_DRIVE_UNITS, MOST_PAGES, PAGE_HITS, Hit, Hits, everywhere, in_drive, look
from probes.lib.spelled import Spelled

Api = Literal["drive", "query"]

_LONGEST_WORDS = 200
_REGION = re.compile(r"[A-Z]{3,4}")


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("must be a region as Microsoft writes it, such as NAM, EUR, APC or GBR")
    return text


_Words = Annotated[
    str, Field(min_length=1, max_length=_LONGEST_WORDS), Spelled(r"[\s\S]*\S[\s\S]*", "words to search for, not blanks alone")
]


class FileSearch(Settings):
    """What to look for, and where."""

    drive: DrivePlace
    """Where the document lies."""
    document: FileName
    """Name of the document, without folders; one that nothing else has."""
    item: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Id of the document's driveItem, where its name is not enough to tell it from others."""
    words: _Words | None = None
    """Words to search for, of the document's name or content; without them its name."""
    region: Annotated[str, AfterValidator(_region), Field(json_schema_extra={"pattern": _REGION.pattern.join("^$")})] | None = None
    """Where the tenant's data lies, such as EUR; needed for `query`."""
    through: Annotated[tuple[Api, ...], Field(min_length=1)] = ("drive", "query")
    """Which searches to make: the drive's own, Microsoft Search, or both."""
    private_content: bool = False
    """Let `query` look for what only one person can open, too; read above what that sets going."""
    expect_hits: Annotated[int, Field(ge=1, le=PAGE_HITS * MOST_PAGES)] = 1
    """Hits that each search has to have at least."""

    @model_validator(mode="after")
    def _in_a_region(self) -> Self:
        if "query" in self.through and self.region is None:
            raise ValueError("query needs the region where the tenant's data lies, such as NAM or EUR; `through: [drive]` needs none")
        return self


async def run(ctx: Context, settings: FileSearch) -> None:
    """Find the drive, then look for the document in each of the ways."""
    with ctx.step("token"):
        graph = await door(ctx, _permissions(settings))
    with ctx.step("drive") if settings.drive.id is None else nullcontext():
        drive = await drive_at(graph, settings.drive)
    if "drive" in settings.through:
        with ctx.step("drive_search"):
            hits = in_drive(graph, drive, settings.words or settings.document)
            await _found(ctx, settings, "drive", hits, drive, known_by(ctx, settings.drive))
    if "query" in settings.through:
        with ctx.step("query"):
            text = settings.words or f'filename:"{settings.document}"'
            hits = everywhere(graph, text, settings.region or "", private=settings.private_content)
            await _found(ctx, settings, "query", hits, drive, nullcontext())


async def _found(  # noqa: PLR0917 - who looks for what, and where
    ctx: Context, settings: FileSearch, api: Api, pages: Hits, drive: Drive, asking: AbstractContextManager[None]
) -> None:
    """See that the document is among enough hits.

    Raises:
        Failed: MISSING_HIT where it is not.

    """
    with asking:
        seen = await look(pages, lambda hit: _is_ours(hit, settings, drive), settings.expect_hits)
    ctx.measure("hits", seen.hits, api)
    if not seen.rank:
        among = f"{settings.document} is not among {seen.hits} hits"
        none = f"there is no hit at all; {settings.document} has to lie there, and for longer than the index needs"
        raise Failed(Reason.MISSING_HIT, among if seen.hits else none)
    ctx.measure("rank", seen.rank, api)
    if seen.hits < settings.expect_hits:
        raise Failed(Reason.MISSING_HIT, f"{seen.hits} hits, where there have to be {settings.expect_hits}")


def _is_ours(hit: Hit, settings: FileSearch, drive: Drive) -> bool:
    if settings.item is not None:
        return hit.id == settings.item
    return hit.name.casefold() == settings.document.casefold() and hit.is_in(drive)


def _permissions(settings: FileSearch) -> tuple[Permission, ...]:
    # A site is only found by who may read sites.
    name = "Sites.Read.All" if settings.drive.site else "Files.Read.All"
    return (Permission(name, "search for files"),)


def _costs(settings: FileSearch) -> tuple[Cost, ...]:
    finding = settings.drive.calls
    searching = 1.0 if "drive" in settings.through else 0.0
    files = Cost(Service.FILES, calls=finding + searching, units=finding + searching * IN_DRIVE_UNITS)
    query = Cost(Service.GRAPH, calls=1.0)
    return tuple(cost for cost, wanted in ((files, files.calls), (query, "query" in settings.through)) if wanted)


PROBE = Probe(
    run,
    FileSearch,
    place=lambda _: Place(Layer.FEATURE, Workload.SHAREPOINT),
    steps=("token", "drive", "drive_search", "query"),
    measurements=(
        Measurement("hits", "Hits that a search showed on the pages that were looked through.", ("api",), fleeting=True),
        Measurement("rank", "Place of the document among the hits, from 1; absent where it is not among them.", ("api",), fleeting=True),
        *MEASUREMENTS,
    ),
    interval=600.0,
    timeout=30.0,
    floor=120.0,
    tenant=always,
    permissions=_permissions,
    costs=_costs,
)
