"""The sites and drives of one world, as they are on the first day: a team site, everyone's OneDrive, canaries placed long ago."""

import secrets
from dataclasses import dataclass
from random import Random

from agent.drill.graph.drives import Drive, Item, Site, new_guid
from agent.drill.graph.index import Index
from agent.drill.graph.mailbox import new_id
from agent.drill.world import Person, World

HOST = "contoso.sharepoint.com"
PERSONAL_HOST = "contoso-my.sharepoint.com"
PROBE_SITE = "/sites/Probe"
CANARY = "probe/fogbell-canary.txt"
CANARY_TEXT = b"This file is here to be found: fogbell canary.\n"
BINARY_CANARY = "probe/canary.bin"
BINARY_BYTES = 65_536
OWN_CANARY = "probe/onedrive.dat"
"""In the OneDrive of the first of the people, of as many bytes."""

_AGE = 90 * 86_400.0
"""Seconds that everything has been there when the world begins."""
_LINK_SECONDS = 3600.0


@dataclass(slots=True)
class Upload:
    """A file that arrives in fragments. `total` (bytes) is known from the first fragment on."""

    drive: Drive
    path: str
    behaviour: str
    author: str
    expires: float
    deferred: bool
    received: bytearray
    total: int | None = None


class Sites:
    """What SharePoint and OneDrive of one world hold, and how they behave; every plain attribute can be set at any time."""

    def __init__(self, world: World) -> None:
        self._world = world
        # A chance of its own, so that identifiers are the same in every run, as a configuration may name them; the key is none of it.
        self._random = Random(f"sites{world.seed}")  # noqa: S311
        self.key = secrets.token_bytes(32)
        """Signs pre-authenticated addresses."""
        self.link_seconds = _LINK_SECONDS
        """How long such an address is good."""
        self.health_score = 0
        """X-SharePointHealthScore: 0 is idle, 10 is overloaded."""
        self.uploads: dict[str, Upload] = {}
        self.sites = (self._site("", "Contoso"), self._site(PROBE_SITE, "Probe"))
        self.selected: dict[tuple[str, str], str] = {(world.app_id, self.probe_site.id): "write"}
        """What Sites.Selected gives, "read" or "write", by app id and site id."""
        libraries = [self._drive(f"{site.url}/Shared Documents", "documentLibrary", site.name, site) for site in self.sites]
        self.personal = {person.id: self._personal(person) for person in world.people}
        self.drives = {drive.id: drive for drive in (*libraries, *self.personal.values())}
        self._place_canaries()

    @property
    def probe_site(self) -> Site:
        """The team site that probes use."""
        return next(site for site in self.sites if site.path == PROBE_SITE)

    @property
    def probe_drive(self) -> Drive:
        """The document library of that site."""
        return self.drive_of(self.probe_site)

    def drive_of(self, site: Site) -> Drive:
        """Give the document library of a site."""
        return next(drive for drive in self.drives.values() if drive.site == site)

    def site(self, name: str) -> Site | None:
        """Find a site by its id, the id of its collection, its host, or the word root."""
        if name.lower() in ("root", HOST):
            return self.sites[0]
        return next((site for site in self.sites if name.lower() in (site.id, site.collection, f"{site.collection},{site.web}")), None)

    def site_at(self, path: str) -> Site | None:
        """Find a site by its path on the host, in any case of letters."""
        return next((site for site in self.sites if site.path.lower() == f"/{path.strip('/')}".lower().rstrip("/")), None)

    def forget_old_uploads(self) -> None:
        """Drop the sessions that nobody finished in time."""
        now = self._world.now()
        self.uploads = {key: upload for key, upload in self.uploads.items() if upload.expires > now}

    def _site(self, path: str, name: str) -> Site:
        return Site(HOST, path, name, new_guid(self._random), new_guid(self._random), self._world.now() - _AGE)

    def _drive(self, url: str, kind: str, owner: str, site: Site | None) -> Drive:
        world = self._world
        drive_id = "b!" + new_id("", self._random, 42).removesuffix("AAA=").rstrip("=")
        return Drive(drive_id, url.replace(" ", "%20"), kind, owner, world.now() - _AGE, self._random, self._note, site)

    def _personal(self, person: Person) -> Drive:
        place = person.upn.replace("@", "_").replace(".", "_")
        return self._drive(f"https://{PERSONAL_HOST}/personal/{place}/Documents", "business", person.name, None)

    def _note(self, drive: Drive, item: Item, moment: float) -> None:
        self._world.of(Index).note(drive, item, moment)

    def _place_canaries(self) -> None:
        then, drive = self._world.now() - _AGE, self.probe_drive
        drive.write(CANARY, CANARY_TEXT, then, media_type="text/plain", author="Probe One")
        content = self._random.randbytes(BINARY_BYTES)
        drive.write(BINARY_CANARY, content, then, media_type="application/octet-stream", author="Probe One")
        own = self.personal[self._world.people[0].id]
        own.write(OWN_CANARY, content[::-1], then, media_type="application/octet-stream", author="Probe One")
