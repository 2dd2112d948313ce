"""The pages over a real socket, read as a browser without JavaScript reads them."""

from dataclasses import replace

import pytest
from aiohttp import ClientSession
from yarl import URL

from agent.history import History
from agent.web import LastReload
from probes.core.reasons import MEANING, Reason
from tests.web.html import Page, read
from tests.web.samples import DOMAIN, HOSTILE, JOBS, MX, NOW, SHAREPOINT, SMTP, STORM, history, hostile, overloaded, page
from tests.web.serving import World, serving, site


@pytest.fixture
def storm() -> World:
    return World(history(STORM), JOBS)


async def raw(world: World, path: str = "/") -> str:
    async with serving(site(world)) as url, ClientSession() as session, session.get(URL(url + path, encoded=True)) as response:
        assert response.status == 200
        return await response.text()


async def seen(world: World, path: str = "/") -> Page:
    return read(await raw(world, path))


def names(page: Page) -> list[str]:
    return [tag.attributes["id"].removeprefix("probe-") for tag in page.all("details") if tag.attributes["id"].startswith("probe-")]


async def test_the_page_has_a_row_for_each_probe_and_a_tally(storm: World) -> None:
    page = await seen(storm)
    assert sorted(names(page)) == sorted(job.name for job in JOBS)
    assert "11 probes 2 ✕ failing 1 ! stale 1 ? inconclusive 1 … waiting 6 ✓ ok" in page.text


async def test_each_area_has_a_cell_that_is_as_its_worst_probe(storm: World) -> None:
    page = await seen(storm)
    words = ("Mail ✕ 1 of 3 failing", "Files ✕ 1 of 2 failing", "Meetings and chat ✓ 1 ok", "Sign-in ? 1 of 2 inconclusive", "Names ✓ 2 ok")
    assert " ".join(words) in page.text
    cells = [tag.attributes for tag in page.all("a") if tag.attributes.get("class", "").startswith("area ")]
    assert cells[0] == {"class": "area failing", "href": "/?area=mail"}
    assert [cell["class"] for cell in cells] == [f"area {state}" for state in ("failing", "failing", "ok", "inconclusive", "ok", "ok")]


async def test_each_area_has_a_heading_with_its_tally_above_its_probes(storm: World) -> None:
    html = await raw(storm)
    page = read(html)
    assert len(page.all("h2")) == 6
    assert html.index(">1 of 3 failing</span></h2>") < html.index(f'id="probe-{SMTP.name}"') < html.index(">1 of 2 failing</span></h2>")
    assert html.index(f'id="probe-{SMTP.name}"') < html.index(f'id="probe-{DOMAIN.name}"') < html.index(f'id="probe-{SHAREPOINT.name}"')


async def test_an_area_is_shown_alone_by_link(storm: World) -> None:
    page = await seen(storm, "/?area=files&state=failing&q=edge")
    assert names(page) == [SHAREPOINT.name]
    assert page.all("a", class_="area failing", href="/?area=files")[0].attributes["aria-current"] == "true"
    assert page.all("a", class_="tile ok")[0].attributes["href"] == "/?q=edge&state=ok&area=files"
    assert [tag.attributes.get("value") for tag in page.all("option", selected="")] == [None, "files"]


async def test_probes_of_several_tenants_say_whose_they_are(storm: World) -> None:
    assert "contoso" not in [text.strip() for text in (await seen(storm)).texts]
    storm.jobs = (*storm.jobs, replace(MX, name="other", tenant="fabrikam"))
    assert {"contoso", "fabrikam"} <= {text.strip() for text in (await seen(storm)).texts}


async def test_the_page_tells_version_uptime_and_configuration(storm: World) -> None:
    assert "Version 1.2.3 Up 1 d 2 h Configuration ✓ loaded 1 min ago" in (await seen(storm)).text


async def test_a_failing_probe_says_step_reason_meaning_blame_and_evidence(storm: World) -> None:
    text = (await seen(storm)).text
    assert "http_5xx in step request , failing for 8 min 30 s" in text
    assert MEANING[Reason.HTTP_5XX] in text
    assert "Whose move the service itself" in text
    assert "7d1f6c2a-50b1-4f0e-9a7b-1f25d3b0c9aa" in text


async def test_a_waterfall_shows_each_step_with_its_phases(storm: World) -> None:
    page = await seen(storm, f"/probe/{SHAREPOINT.name}")
    assert "resolve 2.4 ms connect 9.1 ms tls 18 ms processing 2.31 s transfer 0.60 ms" in page.text
    resolve, connect = page.all("rect", class_="resolve")[0], page.all("rect", class_="connect")[0]
    assert float(connect.attributes["x"]) >= float(resolve.attributes["x"])


async def test_the_last_three_failures_and_the_last_good_run_are_kept_in_sight(storm: World) -> None:
    text = (await seen(storm, f"/probe/{SMTP.name}")).text
    assert text.count("Failed before connect_timeout") == 2
    assert "Last good run 3 min ago" in text


@pytest.mark.parametrize("path", ["/", "/probe/mx-of-contoso"])
async def test_text_of_a_hostile_target_stays_text(path: str) -> None:
    past = History()
    past.record(hostile(MX, NOW - 30))
    html = await raw(World(past, (MX,)), path)
    page = read(html)
    assert "<script>alert" not in html
    assert [tag.attributes.get("src", "").split("?")[0] for tag in page.all("script")] == ["/static/fogbell.js"]
    assert [tag.attributes["src"].split("?")[0] for tag in page.all("img")] == ["/static/icon.svg"]
    assert "<script>alert(document.domain)</script>" in page.text
    assert "{{7*7}}" in page.text


async def test_a_hostile_filter_stays_text(storm: World) -> None:
    page = await seen(storm, f"/?q={URL.build(path=HOSTILE[:-1]).raw_path}&state=%3Cscript%3E&page=%3Cscript%3E")
    assert len(page.all("script")) == 1
    assert page.all("input", name="q")[0].attributes["value"].startswith('"><script>')


async def test_a_page_carries_no_inline_script_or_style(storm: World) -> None:
    html = await raw(storm)
    page = read(html)
    assert not page.all("style")
    assert not [tag for tag in page.tags if any(name == "style" or name.startswith("on") for name in tag.attributes)]


async def test_the_page_reloads_itself_without_javascript(storm: World) -> None:
    html = await raw(storm)
    assert '<noscript><meta http-equiv="refresh" content="15"></noscript>' in html


async def test_a_target_shows_no_secret(storm: World) -> None:
    assert "s3cret" not in await raw(storm)


async def test_colour_is_never_the_only_sign(storm: World) -> None:
    page = await seen(storm)
    strips = page.all("svg", role="img")
    assert len(strips) == len(JOBS)
    assert len(page.all("title")) == len(JOBS) + 1
    assert "Last 100 runs: 90 ok, 10 failed; ok runs took" in page.text


async def test_an_agent_without_probes_says_how_to_begin() -> None:
    page = await seen(World())
    assert "No probes yet" in page.text
    assert not page.all("form")


async def test_a_filter_that_nothing_fits_says_so(storm: World) -> None:
    assert "None of the 11 probes fits this filter." in (await seen(storm, "/?q=nowhere")).text


async def test_the_state_filter_works_by_link(storm: World) -> None:
    page = await seen(storm, "/?state=failing")
    assert sorted(names(page)) == [SMTP.name, SHAREPOINT.name]
    assert page.all("a", class_="tile failing")[0].attributes == {
        "class": "tile failing",
        "href": "/?state=failing",
        "aria-current": "true",
    }


@pytest.fixture
def crowd() -> World:
    jobs = tuple(replace(MX, name=f"p{number:03}") for number in range(250))
    past = History()
    for job in jobs:
        past.record(page(job, NOW - 30))
    return World(past, jobs)


@pytest.mark.parametrize(
    ("query", "first", "count", "words"),
    [
        ("", "p000", 100, "1 to 100 of 250 Next →"),
        ("?page=2", "p100", 100, "101 to 200 of 250 ← Previous Next →"),
        ("?page=3", "p200", 50, "201 to 250 of 250 ← Previous"),
        ("?page=99", "p200", 50, "201 to 250 of 250 ← Previous"),
        ("?page=-1", "p000", 100, "1 to 100 of 250 Next →"),
        ("?page=0", "p000", 100, "1 to 100 of 250 Next →"),
        ("?q=p24", "p240", 10, "1 to 10 of 10"),
    ],
)
async def test_a_long_list_comes_in_pages(crowd: World, query: str, first: str, count: int, words: str) -> None:
    page = await seen(crowd, f"/{query}")
    assert names(page)[0] == first
    assert len(names(page)) == count
    assert words in page.text


async def test_what_fails_is_on_the_first_of_many_pages_whatever_its_area(crowd: World) -> None:
    crowd.jobs = (*crowd.jobs, SHAREPOINT)
    crowd.history.record(overloaded(SHAREPOINT, NOW - 30))
    assert names(await seen(crowd))[:2] == [SHAREPOINT.name, "p000"]


async def test_links_between_pages_keep_the_filter(crowd: World) -> None:
    page = await seen(crowd, "/?q=p&state=ok&area=names&page=2")
    links = [tag.attributes["href"] for tag in page.all("a") if "rel" in tag.attributes]
    assert links == ["/?q=p&state=ok&area=names", "/?q=p&state=ok&area=names&page=3"]


async def test_a_bad_reload_is_shown_with_its_mistakes(storm: World) -> None:
    storm.last_reload = LastReload(ok=False, when=NOW - 5, mistakes=("a.yml:7:3: probes.mx: unknown key <recrod>",))
    text = (await seen(storm)).text
    assert "✕ not loaded 5 s ago" in text
    assert "a.yml:7:3: probes.mx: unknown key <recrod>" in text


async def test_a_run_during_which_the_agent_was_late_says_so() -> None:
    past = History()
    past.record(replace(page(MX, NOW - 30), tainted=True))
    world = World(past, (MX,))
    assert "its times are upper bounds" in (await seen(world)).text
    assert "ok (agent was late)" in (await seen(world, f"/probe/{MX.name}")).text


async def test_a_probe_that_has_not_run_has_a_page() -> None:
    assert "This probe has not run yet. It runs every 1 min." in (await seen(World(jobs=(MX,)), f"/probe/{MX.name}")).text
