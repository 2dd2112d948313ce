"""Messages by script: answers to sending that no tenant should give."""

from dataclasses import replace
from pathlib import Path

import pytest

from probes.core.reasons import Reason
from probes.lib.grants import Grant, Grants, grant_path
from tests.fakes.graph import CLIENT_ID, TENANT_ID, Asked, answer, run_kind, scripted
from tests.fakes.graph import shared as sharing


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {"id": ""},
        {"id": 7},
        {"id": "1"},
        {"id": "1", "from": {"user": None}},
        {"id": "1", "from": "me"},
        answer({"id": "1"}, 201)[:-3],
    ],
    ids=["nothing", "a list", "an empty object", "empty id", "a number", "no sender", "no user", "words", "cut off"],
)
async def test_an_answer_to_sending_that_is_no_message_is_a_failure(tmp_path: Path, said: object) -> None:
    async def graph(_: Asked) -> bytes:
        return said if isinstance(said, bytes) else answer(said, 201)

    async with scripted(graph) as script:
        shared = replace(sharing(script.tenant), state_dir=str(tmp_path))
        grant = Grant(TENANT_ID, CLIENT_ID, script.host, "refresh")
        await Grants().keep(grant_path(str(tmp_path), "contoso"), grant)
        run = await run_kind("teams_message", shared, chat="19:a@thread.v2")
    assert (run.failed_step, run.reason) == ("send", Reason.TRUNCATED if isinstance(said, bytes) else Reason.CONTENT_MISMATCH)
    assert len(shared.ledger.outstanding("probe")) == 1
