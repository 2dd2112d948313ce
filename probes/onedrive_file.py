"""Read a file from somebody's OneDrive as people do: find the drive and the file, follow to the bytes, check what came.

```yaml
probes:
  - name: onedrive-file
    kind: onedrive_file
    tenant: contoso
    user: probe1@contoso.com
    path: probe/canary.bin
```

Place the file once, by hand, in the OneDrive of a user who is there for probes. What is done with it, step by step, and what a failure
means is as with `sharepoint_file`, but that there is no step `site`: token, drive, metadata, redirect, download, verify, and with `write`
upload and read_back.

```yaml
probes:
  - name: onedrive-file
    kind: onedrive_file
    tenant: contoso
    user: probe1@contoso.com
    path: probe/canary.bin
    expect: {bytes: 1048576}
    min_bytes_per_second: 100000
    write: true
    interval: 10m
```

With `write` it overwrites one file, `fogbell-write.bin` in the folder of `path`, which stays between runs and goes when the probe is no
longer configured.

A run costs 3 calls and as many of SharePoint's resource units, with `write` 6 calls and 7 units; with `write` every 10 minutes is enough.

It needs the application permission Files.Read.All, or Files.ReadWrite.All with `write`. Nothing narrows these: they reach every file of
the tenant. Where that is too much, watch a site with `sharepoint_file`, which sees no other: OneDrive is the same service behind.

Reasons that are special here, beside those of `sharepoint_file`:

| reason | step | means |
|---|---|---|
| app_config | drive | no drive was found since the agent's start: no such user, or the OneDrive was never opened, or has no licence |
| not_found | drive | the drive was there before |
| permission | drive | the application lacks the permission |
| storage_full | upload | the user's OneDrive has no room left |
"""

from typing import Annotated

from pydantic import Field

from probes.core.context import Context
from probes.core.contract import Layer, Place, Probe, Workload, always
from probes.core.needs import Permission
from probes.lib.drives import door, drive_of_user
from probes.lib.file_round import MEASUREMENTS, STEPS, FileSettings, check_file, clear_written, costs, doubts, write_file


class OnedriveFile(FileSettings):
    """Whose OneDrive, and which file in it."""

    user: Annotated[str, Field(min_length=1, max_length=300)]
    """Whose OneDrive: user principal name or object ID."""


async def run(ctx: Context, settings: OnedriveFile) -> None:
    """Read the file, and write one where that is wanted."""
    with ctx.step("token"):
        graph = await door(ctx, _permissions(settings))
    with ctx.step("drive"):
        drive = await drive_of_user(graph, settings.user)
    await check_file(graph, drive, settings)
    if settings.write:
        await write_file(graph, drive, settings)


async def clear(ctx: Context, settings: OnedriveFile) -> None:
    """Remove the file that was written, once the probe is no longer configured."""
    await clear_written(ctx, _permissions(settings))


def _permissions(settings: OnedriveFile) -> tuple[Permission, ...]:
    if settings.write:
        return (Permission("Files.ReadWrite.All", "reads a file, and writes one"),)
    return (Permission("Files.Read.All", "reads a file"),)


PROBE = Probe(
    run,
    OnedriveFile,
    place=lambda _: Place(Layer.WORKLOAD, Workload.ONEDRIVE),
    steps=("token", "drive", *STEPS),
    measurements=MEASUREMENTS,
    interval=300.0,
    timeout=60.0,
    floor=60.0,
    tenant=always,
    remembers=lambda settings: settings.write,
    permissions=_permissions,
    costs=lambda settings: costs(settings, finding=1),
    clear=clear,
    warnings=doubts,
)
