"""What tests of EWS share."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent.drill.graph.post import Post
from probes.lib.mail.ews import ends
from tests.fakes.exchange import Exchange, simulated


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Exchange]:
    """Serve one Exchange for all tests of a file, whose letters arrive at once and are looked for soon.

    They share the processes that speak EWS: each takes half a second to start.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ends, "looks", lambda: iter([0.05 * number for number in range(1, 1000)]))
        async with simulated(tmp_path_factory.mktemp("exchange")) as exchange:
            exchange.world.of(Post).delay = 0.0
            yield exchange
