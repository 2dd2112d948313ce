"""Routes, and what every answer carries. Answers never repeat what a request said, and carry no script but our own files."""

import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files

from aiohttp import web

from agent.web import api
from agent.web.guard import GUARD, Guard, challenge
from agent.web.overview import Directory
from agent.web.pages import Pages
from agent.web.sending import send, send_packed
from agent.web.site import SITE, Site

OWN_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_HTML = "text/html; charset=utf-8"

_STATIC_TYPES = {
    "fogbell.css": "text/css; charset=utf-8",
    "fogbell.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

HEADERS = web.AppKey("headers", dict[str, str])
"""Headers of every answer; the web configuration may replace some."""
DIRECTORY = web.AppKey("directory", Directory)
PAGES = web.AppKey("pages", Pages)
STATIC = web.AppKey("static", dict[str, bytes])


def application(site: Site) -> web.Application:
    """Return the web application over a site."""
    app = web.Application(middlewares=[challenge])
    static = {name: files("agent.web").joinpath("static", name).read_bytes() for name in _STATIC_TYPES}
    app[SITE] = site
    app[GUARD] = Guard()
    app[HEADERS] = dict(OWN_HEADERS)
    app[DIRECTORY] = Directory(site.jobs)
    app[STATIC] = static
    app[PAGES] = Pages(site, hashlib.sha256(b"".join(static.values())).hexdigest()[:12])
    app.router.add_get("/", _overview)
    app.router.add_get("/probe/{name}", _probe)
    app.router.add_get("/static/{name}", _static)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/config", _config)
    app.router.add_get("/api/v1/runs", _runs)
    app.router.add_get("/-/healthy", _healthy)
    app.router.add_get("/-/ready", _ready)
    app.router.add_post("/-/reload", _reload)
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(_let_streams_go)
    app.on_cleanup.append(_let_guard_go)
    return app


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in request.app[HEADERS].items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "fogbell"


async def _let_streams_go(app: web.Application) -> None:
    app[SITE].feed.close()


async def _let_guard_go(app: web.Application) -> None:
    app[GUARD].close()


async def _overview(request: web.Request) -> web.StreamResponse:
    blocks = await request.app[PAGES].overview(await request.app[DIRECTORY].ordered(), request.query)
    return await send_packed(request, _HTML, blocks)


async def _probe(request: web.Request) -> web.StreamResponse:
    job = request.app[DIRECTORY].find(request.match_info["name"])
    if job is None:
        raise web.HTTPNotFound(text="no probe of this name\n")
    return await send_packed(request, _HTML, await request.app[PAGES].probe(job))


async def _static(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in _STATIC_TYPES:
        raise web.HTTPNotFound(text="no such file\n")
    lasting = {"Cache-Control": "max-age=31536000, immutable"} if "v" in request.query else {}
    return web.Response(body=request.app[STATIC][name], headers={"Content-Type": _STATIC_TYPES[name], **lasting})


async def _metrics(request: web.Request) -> web.StreamResponse:
    accepted = request.headers.get("Accept", ""), request.headers.get("Accept-Encoding", "")
    exposition = await request.app[SITE].metrics(*accepted)
    encoding = {"Content-Encoding": exposition.encoding} if exposition.encoding else {}
    return await send(request, exposition.content_type, exposition.chunks, {"Vary": "Accept, Accept-Encoding", **encoding})


async def _config(request: web.Request) -> web.StreamResponse:
    return await send(request, "text/plain; charset=utf-8", [request.app[SITE].config_text().encode()])


async def _runs(request: web.Request) -> web.StreamResponse:
    if request.query.get("stream") == "1":
        return await api.stream(request)
    if "probe" not in request.query:
        return await api.runs(request, await request.app[DIRECTORY].ordered())
    job = request.app[DIRECTORY].find(request.query["probe"])
    if job is None:
        raise web.HTTPNotFound(text="no probe of this name\n")
    return await api.runs(request, (job,))


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _ready(request: web.Request) -> web.Response:
    if request.app[SITE].ready():
        return web.Response(text="ready\n")
    return web.Response(status=503, text="not ready yet\n")


async def _reload(request: web.Request) -> web.Response:
    reload: Callable[[], Awaitable[list[str]]] | None = request.app[SITE].reload
    if reload is None:
        raise web.HTTPForbidden(text="reloading over HTTP is not enabled; start with --web.enable-reload, or send SIGHUP\n")
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        raise web.HTTPForbidden(text="a page of another site may not reload the agent\n")
    mistakes = await reload()
    if mistakes:
        return web.Response(status=500, text="".join(f"{mistake}\n" for mistake in mistakes))
    return web.Response(text="reloaded\n")
