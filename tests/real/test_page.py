"""The pages in a real browser: light, dark and on a phone, with JavaScript and without, while things change and when the agent goes."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.history import History
from agent.web import LastReload
from tests.real.chromium import Tab, chromium, tab
from tests.web.samples import CALM, HOSTILE, JOBS, MX, NOW, SHAREPOINT, SMTP, STORM, history, hostile, overloaded
from tests.web.serving import World, serving, site

pytestmark = pytest.mark.real

AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"
"""Makes the page refresh at once instead of in a few seconds."""

FAINT_TEXT = """
(() => {
  const numbers = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(e).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('svg, .hidden, .skip, noscript') || !element.checkVisibility()) continue;
    const pair = [light(numbers(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) faint.push(`${walker.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return faint;
})()
"""
"""Texts whose contrast is below 4.5 to 1 (WCAG 2.2, 1.4.3)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as address:
        yield address


@pytest.fixture
async def page(browser: str) -> AsyncIterator[Tab]:
    async with tab(browser) as opened:
        yield opened


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go: the folder FOGBELL_SCREENSHOTS names, for people who want to see them."""
    folder = Path(os.environ.get("FOGBELL_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def storm() -> World:
    return World(history(STORM), JOBS)


def calm() -> World:
    return World(history(CALM), JOBS[:-1])


def broken() -> World:
    return World(history(CALM), JOBS[:-1], last_reload=LastReload(ok=False, when=NOW - 5, mistakes=("a.yml:7:3: probes.mx: unknown key",)))


WORLDS = {"storm": storm, "calm": calm, "empty": World, "broken": broken}
VIEWS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (360, "light"), "phone-dark": (360, "dark")}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "case",
    [
        ("storm", "/", "http_5xx"),
        ("calm", "/", "resolvers-agree"),
        ("empty", "/", "No probes yet"),
        ("broken", "/", "unknown key"),
        ("storm", f"/probe/{SHAREPOINT.name}", "503 Service Unavailable"),
        ("storm", f"/probe/{MX.name}", "protection.outlook.com"),
    ],
    ids=lambda case: f"{case[0]}{case[1]}",
)
async def test_the_page_is_readable(page: Tab, pictures: Path, view: str, case: tuple[str, str, str]) -> None:
    width, scheme = VIEWS[view]
    world, path, words = case
    await page.look(width=width, scheme=scheme)
    async with serving(site(WORLDS[world]())) as url:
        await page.open(url + path)
        background = await page.read("getComputedStyle(document.body).backgroundColor")
        overflow = await page.read("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        picture = await page.picture(pictures / f"{world}{path.replace('/', '-').removesuffix('-')}-{view}.png")
        await page.read("document.querySelectorAll('details').forEach((element) => element.open = true)")
        text = await page.read("document.body.innerText")
        wider = await page.read("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        await page.picture(pictures / f"{world}{path.replace('/', '-').removesuffix('-')}-{view}-open.png")
        faint = await page.read(FAINT_TEXT)
    assert words in text
    assert background == ("rgb(13, 21, 27)" if scheme == "dark" else "rgb(241, 244, 246)")
    assert (overflow, wider) == (0, 0)
    assert faint == []
    assert picture.startswith(b"\x89PNG")


async def test_the_check_of_contrast_can_say_no(page: Tab) -> None:
    async with serving(site(calm())) as url:
        await page.open(url)
        await page.read("document.querySelector('h2').style.color = '#cccccc'")
        assert await page.read(FAINT_TEXT) != []


async def test_a_page_refreshes_itself_and_keeps_what_the_reader_opened(page: Tab) -> None:
    world = calm()
    async with serving(site(world)) as url:
        await page.open(url)
        await page.read(f"document.querySelector('#probe-{MX.name} summary').focus()")
        await page.read(f"document.getElementById('probe-{MX.name}').open = true")
        world.history.record(overloaded(SHAREPOINT, NOW))
        await page.read(AGAIN)
        await page.until("document.title === '✕ 1 failing'")
        assert await page.read(f"document.getElementById('probe-{MX.name}').open") is True
        assert await page.read("document.activeElement.parentElement.id") == f"probe-{MX.name}"
        assert await page.read("document.querySelector('details.probe').id") == f"probe-{SHAREPOINT.name}"


async def test_a_page_says_when_the_agent_is_gone_and_when_it_is_back(page: Tab) -> None:
    async with serving(site(calm())) as url:
        await page.open(url)
        assert await page.read("document.getElementById('lost').hidden") is True
        port = int(url.rpartition(":")[2])
    await page.read(AGAIN)
    await page.until("document.getElementById('lost').innerText.startsWith('Connection lost')")
    async with serving(site(storm()), port=port):
        await page.read(AGAIN)
        await page.until("document.getElementById('lost').hidden && document.title === '✕ 2 failing'")


async def test_a_page_without_javascript_shows_all_and_opens(page: Tab) -> None:
    await page.call("Emulation.setScriptExecutionDisabled", value=True)
    async with serving(site(storm())) as url:
        await page.open(url)
        before = await page.read("document.body.innerText")
        await page.read(f"document.querySelector('#probe-{SMTP.name} summary').click()")
        after = await page.read("document.body.innerText")
        refreshing = await page.read("document.querySelector('noscript meta[http-equiv=refresh]')?.content")
    assert "exchange-smtp" in before
    assert "Whose move" not in before
    assert "Whose move" in after
    assert refreshing == "15"


async def test_hostile_text_does_nothing(page: Tab) -> None:
    past = History()
    past.record(hostile(MX, NOW - 30))
    async with serving(site(World(past, (MX,)))) as url:
        await page.open(f"{url}/#probe-{MX.name}")
        assert await page.read("document.scripts.length") == 1
        assert await page.read("document.querySelector('img[src=x]')") is None
        assert HOSTILE[:60] in await page.read("document.body.innerText")
