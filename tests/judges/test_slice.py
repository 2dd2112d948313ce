"""Every operation of the slice is called on the simulated tenant; request and answer must fit Microsoft's description.

An operation that the walk leaves out fails its test.
"""

import pytest

from agent.drill.graph import OPERATIONS
from tests.judges.openapi import REFERENCE, needs_slice, operations
from tests.judges.walk import called, permissions

pytestmark = needs_slice
EVERY = list(operations()) if REFERENCE else []


@pytest.mark.parametrize(("method", "template"), EVERY)
def test_the_tenant_does_it_as_microsoft_describes(method: str, template: str) -> None:
    found = called()[method, template]
    assert found.wrong_request == []
    assert found.wrong_answer == []
    assert found.status < 400


@pytest.mark.parametrize(("method", "template"), EVERY)
def test_the_tenant_takes_each_permission_of_microsofts_table(method: str, template: str) -> None:
    (ours,) = (each for each in OPERATIONS if (each.method, each.template) == (method, template))
    application, delegated = (set(permissions(method, template, kind)) for kind in ("application", "delegated"))
    assert application <= ours.application
    assert delegated <= ours.delegated
    assert bool(application) == bool(ours.application) or template == "/me"
