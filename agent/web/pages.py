"""The HTML pages. A template is run in slices: it gives its text piece by piece, and looks at a probe only when it comes to it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from agent.job import Job
from agent.web.areas import TITLES, Area
from agent.web.overview import Filter, Moment, State, moment_of, state, survey
from agent.web.site import Site
from agent.web.slices import gathered
from agent.web.strip import HEIGHT, PITCH
from agent.web.views import GLYPHS, PHASES, TRACK, ProbeView, probe_view
from agent.words import ago, duration, plain_name, reading, span, timestamp

ROWS = 100
"""Probes on one page."""

_WORDS_MOST = 200
_NUMBER_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Tile:
    """One state in the tally: how many probes, and its piece of the bar in thousandths."""

    state: State
    glyph: str
    count: int
    x: float
    width: float
    href: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One area: its name, how it stands as one state, that in words, and where only its probes are."""

    area: Area
    title: str
    state: State
    glyph: str
    words: str
    href: str


@dataclass(frozen=True, slots=True)
class Paging:
    """Where in the list somebody is. An empty link leads nowhere."""

    first: int
    last: int
    found: int
    previous: str
    next: str


class Pages:
    """The templates, ready to use. `static_version` changes with the static files, so that browsers may keep them."""

    def __init__(self, site: Site, static_version: str) -> None:
        self._site = site
        environment = Environment(
            loader=PackageLoader("agent.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.globals |= {"static_version": static_version, "pitch": PITCH, "height": HEIGHT, "track": TRACK, "phases": PHASES}
        environment.filters |= {"duration": duration, "span": span, "timestamp": timestamp, "reading": reading, "plain_name": plain_name}
        for name in environment.list_templates():  # compiles all now; a parent would otherwise be at the first request
            environment.get_template(name)
        self._overview = environment.get_template("overview.html")
        self._probe = environment.get_template("probe.html")

    async def overview(self, jobs: tuple[Job, ...], query: Mapping[str, str]) -> list[bytes]:
        """Return the page of all probes, as the query filters and pages it."""
        moment = moment_of(self._site)
        words = query.get("q", "")[:_WORDS_MOST]
        wanted = Filter(tuple(words.casefold().split()), _state(query.get("state", "")), _area(query.get("area", "")))
        seen = await survey(jobs, self._site.history, moment, wanted)
        number = _page_number(query.get("page", ""), len(seen))
        # What fails has to be on the first page, however many there are.
        rows = (seen.by_area() if len(seen) <= ROWS else seen.by_rank())[number * ROWS : (number + 1) * ROWS]
        context = {
            **self._status(moment),
            "total": len(jobs),
            "tiles": _tiles(seen.tally, words, wanted.area),
            "cells": _cells(seen.tallies),
            "words": words,
            "wanted": wanted,
            "states": tuple(State),
            "areas": TITLES,
            "tenants": len({job.tenant for job in jobs if job.tenant}),
            "paging": _paging(number, len(seen), words, wanted),
            "rows": _with_headings(probe_view(job, its_state, self._site.history.of(job.name), moment) for job, its_state in rows),
        }
        return await gathered(self._overview.generate(context))

    async def probe(self, job: Job) -> list[bytes]:
        """Return the page of one probe."""
        moment = moment_of(self._site)
        past = self._site.history.of(job.name)
        view = probe_view(job, state(job, past, moment), past, moment)
        context = {**self._status(moment), "view": view, "beats": reversed(tuple(past.ring))}
        return await gathered(self._probe.generate(context))

    def _status(self, moment: Moment) -> dict[str, object]:
        reload = self._site.last_reload()
        return {
            "version": self._site.version,
            "uptime": span(moment.now - self._site.started),
            "started": timestamp(self._site.started),
            "reload": reload,
            "reload_ago": ago(reload.when, moment.now),
        }


def _with_headings(views: Iterable[ProbeView]) -> Iterator[tuple[Area | None, ProbeView]]:
    """Put its area before the first probe of each, and nothing before the others."""
    area = None
    for view in views:
        yield (None if view.area is area else view.area), view
        area = view.area


def _state(text: str) -> State | None:
    return State(text) if text in tuple(State) else None


def _area(text: str) -> Area | None:
    return Area(text) if text in tuple(Area) else None


def _page_number(text: str, found: int) -> int:
    """Return the number of the page asked for, from 0; the last there is for one beyond it."""
    wanted = int(text) - 1 if text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS else 0
    return max(0, min(wanted, (found - 1) // ROWS))


def _tiles(tally: Counter[State], words: str, area: Area | None) -> list[Tile]:
    total = max(1, tally.total())
    x, tiles = 0.0, []
    for its_state in State:
        width = tally[its_state] * 1000 / total
        href = _link(words, Filter(state=its_state, area=area))
        tiles.append(Tile(its_state, GLYPHS[its_state], tally[its_state], round(x, 1), round(width, 1), href))
        x += width
    return tiles


def _cells(tallies: Mapping[Area, Counter[State]]) -> dict[Area, Cell]:
    """Return the areas that have probes."""
    return {area: _cell(area, tallies[area]) for area in Area if area in tallies}


def _cell(area: Area, tally: Counter[State]) -> Cell:
    """Let an area stand as the worst of its probes does."""
    worst = next(its_state for its_state in State if tally[its_state])
    words = f"{tally[worst]} {worst}" if tally[worst] == tally.total() else f"{tally[worst]} of {tally.total()} {worst}"
    return Cell(area, TITLES[area], worst, GLYPHS[worst], words, _link("", Filter(area=area)))


def _paging(number: int, found: int, words: str, wanted: Filter) -> Paging:
    last = min(found, (number + 1) * ROWS)
    previous = _link(words, wanted, number) if number else ""
    following = _link(words, wanted, number + 2) if last < found else ""
    return Paging(min(found, number * ROWS + 1), last, found, previous, following)


def _link(words: str, wanted: Filter, page: int = 1) -> str:
    query = {"q": words, "state": wanted.state or "", "area": wanted.area or "", "page": page if page > 1 else ""}
    return f"/?{urlencode({name: value for name, value in query.items() if value})}".removesuffix("?")
