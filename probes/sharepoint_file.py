"""Read a file from a SharePoint site as people do: find the site, its library and the file, follow to the bytes, check what came.

```yaml
probes:
  - name: intranet-file
    kind: sharepoint_file
    tenant: contoso
    site: https://contoso.sharepoint.com/sites/Probe
    path: probe/canary.bin
```

Place the file once, by hand: `path` is its way below the top of the library that the site shows as Documents. A plain file of a megabyte
or more is best, as smaller ones say little of the speed. No Office document: SharePoint may change those, and then nothing compares.

| step | what it does |
|---|---|
| token | gets a token |
| site, drive, metadata | ask Graph for the site, its library, and the file with its hash |
| redirect | asks Graph for the content, which is a redirect (302) to another host |
| download | fetches the bytes from there, on a fresh connection, over TLS, without our token |
| verify | compares size and QuickXorHash of what came with what Graph says, and with `expect` |
| upload, read_back | only with `write`: overwrites a file; asks for it by its id and compares hash and content |

What you know of the file yourself is checked as well, and a transfer can be too slow:

```yaml
probes:
  - name: intranet-file
    kind: sharepoint_file
    tenant: contoso
    site: https://contoso.sharepoint.com/sites/Probe
    path: probe/canary.bin
    expect: {bytes: 1048576, sha256: 30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58}
    min_bytes_per_second: 100000
    write: true
    interval: 10m
```

With `write` it overwrites one file, `fogbell-write.bin` in the folder of `path`, and says in the file what it is. There is one in a folder,
however many probes and agents write there, and it stays between runs: a file that is deleted each time would fill the recycle bin. So it is
one thing outstanding on the ledger of `state_dir`, and goes, to the recycle bin, when the probe is no longer configured so, unless another
probe was the last to write it. Nothing else is created, and a crash leaves nothing besides. Each upload makes a version: let the library's
settings keep few of them. Two probes that write at the same time do not disturb each other: a run that finds the newer content of another
one is ok, and has `overwritten_by_another` in its evidence.

A run costs 4 calls and as many of SharePoint's resource units, with `write` 7 calls and 8 units; with `write` every 10 minutes is enough.

The throughput is that of the transfer alone: the bytes by the seconds from the first byte of the answer to the last, without the time to
connect and to wait. Above some 200 MB/s it tells of the agent's own processor more than of the way.

It needs the application permission Sites.Selected and, for the site, the role read, or write with `write`: it then sees no other site.
`fogbell permissions` prints the commands.

Reasons that are special here:

| reason | step | means |
|---|---|---|
| permission | site, drive | the site was not granted to the application |
| app_config | site, drive, metadata | no such site, library or file was found since the agent's start: a typo, or a file not placed |
| not_found | site, drive, metadata | it was there before: somebody removed, moved or renamed it, or it is lost |
| not_found | verify, read_back | somebody deleted the file while the run was at it |
| http_redirect | redirect | Graph leads to no host of files, or to one without TLS; it is not followed |
| protocol_error | redirect | Graph redirects, and does not say where to |
| content_mismatch | redirect | Graph answers with something else than a redirect |
| http_4xx | download | the host of files does not take the address that Graph had just given: expired, or not valid there |
| truncated, timeout, too_slow | download | the bytes ended too early, did not end, or came slower than `min_bytes_per_second` |
| content_mismatch | verify, upload, read_back | what came is not what is there, what is expected, or what was written |
| http_4xx | upload | with the code resourceLocked: somebody has locked the file |
| storage_full | upload | the site or the tenant has no room left |
"""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from probes.core.context import Context
from probes.core.contract import Layer, Place, Probe, Workload, always
from probes.core.needs import Permission, Scope
from probes.lib.drives import door, drive_of_site, site_at
from probes.lib.file_round import MEASUREMENTS, STEPS, FileSettings, check_file, clear_written, costs, doubts, write_file
from probes.lib.url import HttpUrl


def _site(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or parts.query or ".aspx" in parts.path or "/:" in parts.path:
        raise ValueError("must be the address of a site, such as https://contoso.sharepoint.com/sites/Probe")
    return text.rstrip("/")


class SharepointFile(FileSettings):
    """Which site, and which file in it."""

    site: Annotated[HttpUrl, AfterValidator(_site)]
    """Address of the site as people open it."""


async def run(ctx: Context, settings: SharepointFile) -> None:
    """Read the file, and write one where that is wanted."""
    with ctx.step("token"):
        graph = await door(ctx, _permissions(settings))
    with ctx.step("site"):
        site = await site_at(graph, settings.site)
    with ctx.step("drive"):
        drive = await drive_of_site(graph, site)
    await check_file(graph, drive, settings)
    if settings.write:
        await write_file(graph, drive, settings)


async def clear(ctx: Context, settings: SharepointFile) -> None:
    """Remove the file that was written, once the probe is no longer configured."""
    await clear_written(ctx, _permissions(settings))


def _permissions(settings: SharepointFile) -> tuple[Permission, ...]:
    why = "reads a file, and writes one" if settings.write else "reads a file"
    return (Permission("Sites.Selected", why, scope=Scope.SITES, targets=(settings.site,), writes=settings.write),)


PROBE = Probe(
    run,
    SharepointFile,
    place=lambda _: Place(Layer.WORKLOAD, Workload.SHAREPOINT),
    steps=("token", "site", "drive", *STEPS),
    measurements=MEASUREMENTS,
    interval=300.0,
    timeout=60.0,
    floor=60.0,
    tenant=always,
    remembers=lambda settings: settings.write,
    permissions=_permissions,
    costs=lambda settings: costs(settings, finding=2),
    clear=clear,
    warnings=doubts,
)
