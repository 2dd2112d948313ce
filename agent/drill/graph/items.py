"""Sites, drives and their items as Graph shows them, and the pre-authenticated addresses of their content."""

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote, urlencode

from agent.drill.graph.drives import Drive, Item, Site, quick_xor_hash
from agent.drill.graph.messages import to_the_second

GEOGRAPHIES = {"na": "NAM", "emea": "EUR", "apac": "APC"}
"""Microsoft's codes for where a tenant's data lies, by the world's region."""

DOWNLOAD_URL = "@microsoft.graph.downloadUrl"


def site_as_graph(site: Site, region: str) -> dict[str, Any]:
    """Show a site."""
    shown = {
        "createdDateTime": to_the_second(site.created),
        "description": "",
        "id": site.id,
        "lastModifiedDateTime": to_the_second(site.created),
        "name": site.path.rpartition("/")[2],
        "webUrl": site.url,
        "displayName": site.name,
        "siteCollection": {"hostname": site.host, "dataLocationCode": GEOGRAPHIES.get(region, "NAM")},
    }
    return shown if site.path else shown | {"root": {}}


def drive_as_graph(drive: Drive) -> dict[str, Any]:
    """Show a drive with the room left in it."""
    remaining = max(drive.quota - drive.used, 0)
    return {
        "createdDateTime": to_the_second(drive.created),
        "description": "",
        "id": drive.id,
        "lastModifiedDateTime": to_the_second(max(each.modified for each in drive.items.values())),
        "name": "OneDrive" if drive.kind == "business" else "Documents",
        "webUrl": drive.url,
        "driveType": drive.kind,
        "createdBy": {"user": {"displayName": "System Account"}},
        "owner": {"user" if drive.kind == "business" else "group": {"displayName": drive.owner}},
        "quota": {
            "deleted": drive.in_bin,
            "remaining": remaining,
            "state": "exceeded" if not remaining else "normal",
            "total": drive.quota,
            "used": drive.used,
        },
    }


def item_as_graph(drive: Drive, item: Item) -> dict[str, Any]:
    """Show a file or folder, without the address of its content."""
    path = quote(drive.path_of(item))
    author = {"user": {"displayName": item.author or drive.owner}}
    dates = {"createdDateTime": to_the_second(item.created), "lastModifiedDateTime": to_the_second(item.modified)}
    shown = {
        **dates,
        "eTag": item.etag,
        "id": item.id,
        "name": item.name,
        "webUrl": f"{drive.url}/{path}".rstrip("/"),
        "cTag": item.ctag,
        "size": item.size if item.content is not None else sum(each.size for each in drive.below(item)),
        "createdBy": author,
        "lastModifiedBy": author,
        "parentReference": _parent(drive, item),
        "fileSystemInfo": dates,
    }
    return shown | (_folder_facets(drive, item) if item.content is None else _file_facets(item))


def _parent(drive: Drive, item: Item) -> dict[str, Any]:
    """Where an item lies; the root only says in which drive it is."""
    place: dict[str, Any] = {"driveType": drive.kind, "driveId": drive.id}
    if drive.site:
        place["siteId"] = drive.site.id
    if item.parent is None:
        return place
    above = drive.items[item.parent]
    path = quote(drive.path_of(above))
    return place | {"id": above.id, "name": above.name, "path": f"/drives/{drive.id}/root:{'/' if path else ''}{path}"}


def _folder_facets(drive: Drive, item: Item) -> dict[str, Any]:
    folder = {"folder": {"childCount": sum(1 for _ in drive.children(item))}}
    return folder if item.parent else folder | {"root": {}}


def _file_facets(item: Item) -> dict[str, Any]:
    hashes = {"quickXorHash": quick_xor_hash(item.content or b""), "sha256Hash": item.sha256}
    return {"file": {"mimeType": item.media_type, "hashes": hashes}, "shared": {"scope": "users"}}


def signed(key: bytes, words: dict[str, Any]) -> str:
    """Pack words into text that nobody else can make."""
    packed = base64.urlsafe_b64encode(json.dumps(words).encode()).decode().rstrip("=")
    return f"{packed}.{_mark(key, packed)}"


def unsigned(key: bytes, text: str) -> dict[str, Any]:
    """Unpack such a text.

    Raises:
        ValueError: where it is not of this key.

    """
    packed, _, mark = text.partition(".")
    if not hmac.compare_digest(mark.encode(), _mark(key, packed).encode()):
        raise ValueError("not signed with this key")
    words: dict[str, Any] = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    return words


def _mark(key: bytes, packed: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, packed.encode(), hashlib.sha256)).decode().rstrip("=")


def download_path(drive: Drive, item: Item, tempauth: str) -> str:
    """Give the path on the files host from which the content comes without any further proof."""
    place = drive.url.partition("://")[2].partition("/")[2].rpartition("/")[0]
    query = {"UniqueId": item.guid.lower(), "Translate": "false", "tempauth": tempauth, "ApiVersion": "2.0"}
    return f"/{place}/_layouts/15/download.aspx?{urlencode(query)}"
