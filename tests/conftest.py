"""Every test of the suite is also a test of this: what it prints and logs holds no secret."""

from collections.abc import Generator
from typing import Any

import pytest

from tests.canaries import secret_in


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose output or log holds a secret."""
    report = yield
    for title, text in report.sections:
        found = secret_in(text)
        if found and report.passed:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}, {call.when}: {title} holds a secret: {found}"
    return report
