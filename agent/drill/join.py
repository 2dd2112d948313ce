"""Where meetings are joined: the page of Teams to which a join link leads, before anybody has signed in.

A link leads to a launcher, which offers the app and the browser; whether there is such a meeting it does not say. What the first hop
answers is nowhere documented; a redirect within the host is what is seen.
"""

from urllib.parse import quote

from aiohttp import web

from agent.drill.hosting import Site

_PATH = "/l/meetup-join/"
_LAUNCHER = "/dl/launcher/launcher.html"
_PAGE = "<!DOCTYPE html><html><head><title>Join conversation</title></head><body>How do you want to join your meeting?</body></html>"


async def _respond(request: web.BaseRequest) -> web.StreamResponse:
    path = request.rel_url.raw_path
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=405, headers={"Allow": "GET, HEAD"})
    if path.startswith(_PATH):
        return web.Response(
            status=302, headers={"Location": f"{_LAUNCHER}?url={quote(request.rel_url.raw_path_qs, safe='')}&type=meetup-join"}
        )
    if path == _LAUNCHER:
        return web.Response(text=_PAGE, content_type="text/html", headers={"Cache-Control": "no-store, no-cache"})
    return web.Response(status=404, text="Not found")


def join_site() -> Site:
    """Make the host at which meetings are joined."""
    return Site("teams", _respond, names=("teams.microsoft.com",))
