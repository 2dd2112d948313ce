"""One run for a terminal."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from agent.waterfall import draw
from probes.core.contract import Outcome, Run, Sample, Step
from probes.core.reasons import Reason

RUN = Run(
    "page",
    1_769_110_000.25,
    2.0,
    Outcome.OK,
    steps=(Step("request", 0.0, 1.0, (("connect", 0.25), ("processing", 0.5))), Step("verify", 1.0, 0.0)),
    measured=(Sample("status", 200), Sample("finding", 1, ("spf",))),
    evidence=(("address", "192.0.2.1"),),
)
FAILED = replace(RUN, outcome=Outcome.FAILED, reason=Reason.HTTP_5XX, failed_step="request", message="the answer is 503", code="503")


def drawn(run: Run) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=120).print(draw(run))
    return [" ".join(line.split()) for line in text.getvalue().splitlines() if line.strip()]


def test_each_step_is_a_bar_of_its_phases_where_it_lay_in_the_run() -> None:
    assert drawn(RUN) == [
        "✓ ok page 2.00 s",
        "step took phases",
        f"request {'█' * 15}{'▒' * 5} 1.00 s connect 250.00 ms processing 500.00 ms",
        "verify ▒ 0.00 ms",
        "measured",
        "status 200",
        "finding{spf} 1",
        "evidence",
        "address 192.0.2.1",
    ]


def test_a_failure_says_where_why_and_who_has_to_act() -> None:
    assert drawn(FAILED)[:3] == ["✗ failed page 2.00 s", "http_5xx in step request, code 503; blame: service", "the answer is 503"]


@pytest.mark.parametrize(
    ("run", "lines"),
    [
        (
            Run("page", 0.0, 0.0, Outcome.INCONCLUSIVE, Reason.AGENT_RESOURCES, message="no memory"),
            ["? inconclusive page 0.00 ms", "agent_resources; blame: ours", "no memory"],
        ),
        (Run("page", 0.0, 0.5, Outcome.OK, tainted=True), ["✓ ok page 500.00 ms (the agent itself was late: times are upper bounds)"]),
        (Run("page", 0.0, 0.0, Outcome.OK, steps=(Step("a", 0.0, 0.0),)), ["✓ ok page 0.00 ms", "step took phases", "a ▒ 0.00 ms"]),
    ],
    ids=["before any step", "late", "no time at all"],
)
def test_what_is_not_there_is_not_drawn(run: Run, lines: list[str]) -> None:
    assert drawn(run) == lines
