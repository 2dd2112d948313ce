from urllib.parse import parse_qs, urlsplit

import pytest

from agent.drill.portals import PORTALS, Portal, portal_sites
from agent.drill.world import World
from tests.drill.login import Login, Reply, serve_login


@pytest.mark.parametrize("portal", PORTALS, ids=lambda portal: portal.host)
async def test_a_visitor_is_sent_to_sign_in_and_entra_knows_the_portal(portal: Portal) -> None:
    world = World()
    async with serve_login(*portal_sites(world), world=world) as login:
        first = await login.ask("GET", "/", host=portal.host)
        assert first.status == 302
        assert first.headers["Location"].startswith(world.url("login", "/common/oauth2/v2.0/authorize?"))
        page = await _follow(login, first.headers["Location"])
    assert (page.status, page.numbers) == (200, set())
    assert 'name="loginfmt"' in page.text


async def _follow(login: Login, location: str) -> Reply:
    parts = urlsplit(location)
    return await login.ask("GET", parts.path, params={name: value for name, (value,) in parse_qs(parts.query).items()})


async def test_two_visitors_do_not_share_their_words() -> None:
    world = World()
    async with serve_login(*portal_sites(world), world=world) as login:
        locations = [(await login.ask("GET", "/", host="admin")).headers["Location"] for _ in range(2)]
    first, second = (parse_qs(urlsplit(location).query) for location in locations)
    assert first["nonce"] != second["nonce"]
    assert first["client_id"] == second["client_id"]


async def test_a_portal_takes_no_post() -> None:
    world = World()
    async with serve_login(*portal_sites(world), world=world) as login:
        assert (await login.ask("POST", "/", host="office")).status == 405
