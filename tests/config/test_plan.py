"""The plan of a configuration counts what will really be there."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agent.__main__ import app
from agent.config import load
from agent.config.budget import budgets, used
from agent.config.plan import ROWS, plan, sentence, series_of, table
from agent.exporter import Exporter
from agent.job import Job
from probes.core.context import Context
from probes.core.contract import Layer, Outcome, Place, Probe, Run, Sample, Settings, Step, Workload, always
from probes.core.needs import LIMITS, Cost, Service
from probes.core.reasons import Reason

PHASES = ("resolve", "connect", "tls", "processing", "transfer")

ONE_OF_EACH = """
probes:
  - {name: page, kind: http, url: "http://192.0.2.1/"}
  - {name: port, kind: tcp, host: 192.0.2.1, port: 443, interval: 2m}
  - {name: names, kind: dns, query: example.org, resolvers: [192.0.2.53, 192.0.2.54]}
  - {name: domain, kind: dns_m365_domain, domain: example.org}
"""


def planned_jobs(folder: Path, text: str) -> tuple[Job, ...]:
    path = folder / "fogbell.yml"
    path.write_text(text, encoding="utf-8")
    return load(path).jobs


def shown(folder: Path, text: str, width: int = 80) -> str:
    path = folder / "fogbell.yml"
    path.write_text(text, encoding="utf-8")
    screen = StringIO()
    Console(file=screen, width=width).print(table(plan(load(path))))
    return screen.getvalue()


def lines_of(job: Job, values: dict[str, tuple[str, ...]]) -> int:
    """Count the series that the exporter has for a probe that went through everything, once ok and once failed."""
    exporter = Exporter()
    exporter.describe(job)
    phased = Step(job.probe.steps[0], 0.0, 1.0, tuple((phase, 0.1) for phase in PHASES))
    steps = (phased, *(Step(name, 0.0, 1.0) for name in job.probe.steps[1:]))
    measured = [
        Sample(one.name, 1.0, labels)
        for one in job.probe.measurements
        for labels in ([()] if not one.labels else [(value,) for value in values[one.labels[0]]])
    ]
    run = Run(job.name, 0.0, 1.0, Outcome.OK, steps=steps, measured=tuple(measured))
    exporter.publish(run, None)
    exporter.publish(Run(job.name, 60.0, 1.0, Outcome.FAILED, Reason.TIMEOUT, steps=steps, measured=tuple(measured)), 60.0)
    return sum(text.count(b"\n") for _, by_probe in exporter.families() for text in by_probe.values())


@pytest.mark.parametrize("name", ["page", "port", "names", "domain"])
def test_a_probe_has_as_many_series_as_the_exporter_writes(name: str, tmp_path: Path) -> None:
    job = next(job for job in planned_jobs(tmp_path, ONE_OF_EACH) if job.name == name)
    checks = tuple(type(job.settings.checks).model_fields) if hasattr(job.settings, "checks") else ()
    assert series_of(job) == lines_of(job, {"resolver": ("192.0.2.53", "192.0.2.54"), "check": checks})


def test_runs_and_series_add_up_by_kind_and_in_all(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(ONE_OF_EACH, encoding="utf-8")
    planned = plan(load(path))
    assert {total.what: (total.probes, total.runs) for total in planned.kinds} == {
        "dns": (1, 1440.0),
        "dns_m365_domain": (1, 288.0),
        "http": (1, 1440.0),
        "tcp": (1, 720.0),
    }
    assert planned.total.runs == 3888
    assert planned.total.series == sum(one.series for one in planned.probes) == sum(total.series for total in planned.kinds)
    assert sentence(planned) == f"4 probes, 3,888 runs a day, about {planned.total.series} series on /metrics; valid."


def test_the_table_shows_every_probe_where_they_are_few(tmp_path: Path) -> None:
    lines = shown(tmp_path, 'probes: [{name: page, kind: http, url: "http://192.0.2.1/", role: control}]').splitlines()
    words = [line.split() for line in lines]
    assert ["page", "http", "control", "1m", "20s", "1,440", "52"] in words
    assert ["total", "1", "1,440", "52"] in words
    assert lines[-1] == "1 probe, 1,440 runs a day, about 52 series on /metrics; valid."


def test_the_table_shows_kinds_alone_where_probes_are_many(tmp_path: Path) -> None:
    many = "".join(f"  - {{name: page-{number}, kind: http, url: 'http://192.0.2.1/'}}\n" for number in range(ROWS + 1))
    text = shown(tmp_path, f"probes:\n{many}")
    assert "page-1" not in text
    assert ["http", str(ROWS + 1), "73,440", "2,652"] in [line.split() for line in text.splitlines()]


def test_a_long_name_is_folded_and_never_cut(tmp_path: Path) -> None:
    name = "a-probe-with-a-name-that-is-longer-than-a-narrow-terminal"
    lines = shown(tmp_path, f"probes: [{{name: {name}, kind: dns, query: x}}]", width=60).splitlines()
    width = lines[0].index("kind")
    assert name in "".join(line[:width].strip() for line in lines)


@pytest.mark.parametrize(("kind", "command", "status"), [("tcp", ["check"], 0), ("tpc", ["check"], 1), ("tpc", ["once", "a"], 2)])
def test_the_exit_status_tells_scripts_whether_the_configuration_is_right(
    kind: str, command: list[str], status: int, tmp_path: Path
) -> None:
    (tmp_path / "fogbell.yml").write_text(f"probes: [{{name: a, kind: {kind}, host: 192.0.2.1, port: 1}}]")
    assert CliRunner().invoke(app, [*command, "--config", str(tmp_path)]).exit_code == status


TENANT = """
tenants:
  contoso:
    tenant_id: 00000000-0000-0000-0000-000000000000
    client_id: 00000000-0000-0000-0000-000000000001
    credential: {secret: {env: HOME}}
"""


def test_calls_are_set_against_the_limits_that_are_known(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(
        f"{TENANT}probes:\n"
        "  - {name: graph, kind: graph_ping, tenant: contoso}\n"
        "  - {name: quick, kind: graph_ping, tenant: contoso, interval: 30s}\n"
        "  - {name: said, kind: service_health, tenant: contoso}\n"
    )
    told = {(one.tenant, str(one.service)): one for one in plan(load(path)).budgets}
    directory, health = told["contoso", "directory"], told["contoso", "service_health"]
    assert (directory.calls, directory.units, directory.limit) == (1440 + 2880, 2, LIMITS[Service.DIRECTORY][0])
    assert (health.calls, health.units, health.limit) == (576, 24, LIMITS[Service.SERVICE_HEALTH][1])
    assert health.share == pytest.approx(0.03)
    rows = [line.split() for line in shown(tmp_path, path.read_text()).splitlines()]
    assert ["contoso", "service_health", "576", "24", "in", "1h", "800", "3.0%"] in rows
    assert "warning" not in shown(tmp_path, path.read_text())


@pytest.mark.parametrize(("probes", "warned"), [(3, False), (4, True)], ids=["nine percent", "twelve percent"])
def test_more_than_a_tenth_of_a_limit_is_warned_of(probes: int, warned: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a table
    many = "".join(f"  - {{name: said-{number}, kind: service_health, tenant: contoso}}\n" for number in range(probes))
    text = shown(tmp_path, f"{TENANT}probes:\n{many}", width=300)
    warning = "warning: contoso may ask for 96 of the 800 units that service_health allows in 1h, 12%: above a tenth"
    assert (warning in text) is warned


ALL_WELL = "All of it stays under a tenth of every limit that is known; limits for a second are told for a minute."


@pytest.mark.parametrize(
    ("parts", "probes", "said", "warned"),
    [
        ("[labels]", 1, ALL_WELL, False),
        ("[labels, ediscovery]", 1, "Above a tenth of a limit: ediscovery of contoso.", False),
        ("[ediscovery]", 2, "Above a tenth of a limit: ediscovery of contoso.", True),
    ],
    ids=["without", "with one call", "with two at once"],
)
def test_a_limit_of_which_one_call_is_a_fifth_is_told_and_warned_of_when_there_are_two(
    parts: str,
    probes: int,
    said: str,
    warned: bool,  # noqa: FBT001 - a table
    tmp_path: Path,
) -> None:
    many = "".join(f"  - {{name: purview-{number}, kind: purview, tenant: contoso, parts: {parts}}}\n" for number in range(probes))
    text = shown(tmp_path, f"{TENANT}probes:\n{many}", width=300)
    assert said in text
    assert ("warning: contoso may ask for 2 of the 5 units that ediscovery allows in 1m, 40%" in text) is warned


def test_every_limit_has_a_row_and_graphs_own_is_among_them(tmp_path: Path) -> None:
    text = shown(tmp_path, f"{TENANT}probes: [{{name: said, kind: service_health, tenant: contoso}}]")
    rows = [line.split() for line in text.splitlines() if line.startswith("contoso")]
    assert rows == [
        ["contoso", "graph", "576", "2", "in", "10s", "130,000", "0.0%"],
        ["contoso", "service_health", "576", "2", "in", "1m", "240", "0.8%"],
        ["contoso", "service_health", "576", "24", "in", "1h", "800", "3.0%"],
    ]


def test_a_limit_for_each_of_many_says_so(tmp_path: Path) -> None:
    text = shown(
        tmp_path, f"state_dir: .\n{TENANT}probes: [{{name: a, kind: teams_message, tenant: contoso, chat: '19:0a@thread.v2'}}]", width=300
    )
    rows = [line.split() for line in text.splitlines() if line.startswith("contoso teams")]
    assert [row[6:] for row in rows] == [["1,200", "0.2%"], ["240", "each", "1.2%"]]
    assert "A limit for each mailbox, organiser, team or chat says so" in text


def test_a_service_without_a_known_limit_has_calls_alone_and_graphs_own_counts_all_of_graph() -> None:
    place = Place(Layer.EDGE, Workload.ENTRA)

    def job(name: str, *costs: Cost) -> Job:
        probe = Probe(_nothing, Settings, place=lambda _: place, steps=("one",), tenant=always, costs=lambda _: costs)
        return Job(name, "kind", probe, Settings(), 60.0, 20.0, place, tenant="contoso")

    jobs = [job("a", Cost(Service.LOGIN, 1), Cost(Service.GRAPH, 1)), job("b", Cost(Service.FILES, 3, units=5))]
    told = {one.service: one for one in budgets(jobs)}
    assert (told[Service.LOGIN].calls, told[Service.LOGIN].share) == (1440, 0.0)
    assert (told[Service.GRAPH].calls, told[Service.GRAPH].units) == (1440 + 3 * 1440, 4)
    assert (told[Service.FILES].calls, told[Service.FILES].units) == (4320, 1440 * 5)
    assert used(jobs) == {("contoso", Service.LOGIN), ("contoso", Service.GRAPH), ("contoso", Service.FILES)}


async def _nothing(_: Context, __: Settings) -> None:
    """Do nothing."""
