"""Servers that tests of several files share, because starting and stopping them takes longer than most tests."""

from collections.abc import Iterator

import pytest

from tests.real.mail.pair import Pair, pair


@pytest.fixture(scope="session")
def mail() -> Iterator[Pair]:
    """Yield a mail system that runs. Other tests have been there before: look for what is yours, by its mark."""
    with pair() as running:
        yield running
