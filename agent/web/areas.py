"""The areas of the page: what people say is broken, made of where each probe looks."""

from enum import StrEnum

from agent.job import Job
from probes.core.contract import Layer, Workload


class Area(StrEnum):
    """One area, as an address writes it. Their order is that of the page."""

    MAIL = "mail"
    FILES = "files"
    SEARCH = "search"
    TALK = "talk"
    SIGN_IN = "sign-in"
    PORTALS = "portals"
    NAMES = "names"
    NETWORK = "network"
    STATUS = "status"


TITLES = {
    Area.MAIL: "Mail",
    Area.FILES: "Files",
    Area.SEARCH: "Search",
    Area.TALK: "Meetings and chat",
    Area.SIGN_IN: "Sign-in",
    Area.PORTALS: "Security portals",
    Area.NAMES: "Names",
    Area.NETWORK: "Network",
    Area.STATUS: "What Microsoft says",
}
"""Areas as people read them."""

_LAYERS = {Layer.CONTROL: Area.NETWORK, Layer.STATUS: Area.STATUS, Layer.RESOLVER: Area.NAMES, Layer.MAIL_TRANSPORT: Area.MAIL}
# Layers that say more than the workload.
_WORKLOADS = {
    Workload.EXCHANGE: Area.MAIL,
    Workload.SHAREPOINT: Area.FILES,
    Workload.ONEDRIVE: Area.FILES,
    Workload.TEAMS: Area.TALK,
    Workload.ENTRA: Area.SIGN_IN,
    Workload.PURVIEW: Area.PORTALS,
    Workload.DEFENDER: Area.PORTALS,
    Workload.ADMIN: Area.PORTALS,
    Workload.DNS: Area.NAMES,
    Workload.NETWORK: Area.NETWORK,
}
_CONTROL = "control"


def area_of(job: Job) -> Area:
    """Return the area of a probe. What is no Microsoft's says how our own network does."""
    layer, workload = job.place.layer, job.place.workload
    if job.role == _CONTROL:
        return Area.NETWORK
    if layer in _LAYERS:
        return _LAYERS[layer]
    # People look for files in the search of SharePoint; nothing else of it is a feature.
    if layer is Layer.FEATURE and workload is Workload.SHAREPOINT:
        return Area.SEARCH
    return _WORKLOADS[workload]
