"""Every operation of the slice is called on the simulated tenant; request and answer must fit Microsoft's description.

An operation that the walk leaves out fails its test.
"""

import pytest

from agent.drill.graph import OPERATIONS
from tests.judges.openapi import REFERENCE, needs_slice, operations, slice_
from tests.judges.walk import GIVES, called, permissions

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


def answered_model(method: str, template: str) -> str | None:
    """Name the type that an operation answers with, or a list of; None where it answers without JSON of a known type."""
    responses = slice_()["paths"][template][method.lower()]["responses"]
    good = next(response for status, response in responses.items() if status[0] in "23")
    schema = good.get("content", {}).get("application/json", {}).get("schema", {})
    single = schema.get("properties", {}).get("value", {}).get("items", schema)
    name = single.get("$ref", "").rpartition("/")[2]
    return name.removeprefix("microsoft.graph.") if name.startswith("microsoft.graph.") else None


@pytest.mark.parametrize(("method", "template"), EVERY)
def test_the_walk_knows_what_each_operation_answers_with(method: str, template: str) -> None:
    assert GIVES.get((method, template)) == answered_model(method, template)
