"""The agent among real servers, read back through a real Prometheus: what an operations team will see."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import eventually, fetch, free_port
from tests.prometheus import Prometheus, prometheus
from tests.real.daemon import FAST, Daemon, daemon
from tests.real.names import NameServer, nsd, unbound
from tests.real.web import WebServer, nginx

pytestmark = pytest.mark.real

CONFIG = """
state_dir: {folder}/state
defaults: {{interval: 1s, timeout: 900ms}}
probes:
  - {{name: mx-direct, kind: dns, query: plain.example, record: MX, follow: true, resolvers: ["127.0.0.1:{nsd}"]}}
  - {{name: signed, kind: dns, query: mx.signed.example, record: A, authenticated: true, resolvers: ["127.0.0.1:{unbound}"]}}
  - name: page
    kind: http
    url: https://127.0.0.1:{tls}/
    tls: {{ca_file: {authority}, server_name: www.plain.example}}
  - {{name: broken-page, kind: http, url: "http://127.0.0.1:{plain}/broken"}}
  - {{name: control, kind: http, url: "http://localhost:{plain}/", family: ipv4, role: control}}
  - {{name: port, kind: tcp, host: 127.0.0.1, port: {plain}}}
"""
SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: fogbell
    static_configs: [{{targets: ["127.0.0.1:{agent}"]}}]
"""
HEALTHY = {"mx-direct", "signed", "page", "control", "port"}


@dataclass(frozen=True, slots=True)
class House:
    """Everything that runs."""

    names: NameServer
    validator: NameServer
    web: WebServer
    agent: Daemon
    prometheus: Prometheus
    config: Path


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Start it all, and take it down again."""
    with ExitStack() as stack:
        names = stack.enter_context(nsd(tmp_path / "nsd"))
        validator = stack.enter_context(unbound(tmp_path / "unbound", names))
        web = stack.enter_context(nginx(tmp_path / "nginx"))
        port = free_port()
        (tmp_path / "prometheus").mkdir()
        scrape = tmp_path / "prometheus" / "prometheus.yml"
        scrape.write_text(SCRAPE.format(agent=port))
        scraper = stack.enter_context(prometheus(scrape))
        config = tmp_path / "fogbell.yml"
        config.write_text(
            CONFIG.format(folder=tmp_path, nsd=names.port, unbound=validator.port, tls=web.tls, plain=web.plain, authority=web.authority)
        )
        agent = stack.enter_context(daemon(config, "--web.enable-reload", port=port))
        yield House(names, validator, web, agent, scraper, config)


def test_prometheus_reads_success_phases_and_certificate_back(house: House) -> None:
    asked = house.prometheus.until("count(fogbell_probe_success) == 6 and sum(fogbell_probe_success) == 5")
    assert len(asked) == 1
    assert {sample.labels["probe"] for sample in house.prometheus.query("fogbell_probe_success == 1")} == HEALTHY
    phases = {sample.labels["phase"]: sample.value for sample in house.prometheus.query('fogbell_probe_phase_seconds{probe="page"}')}
    assert phases.keys() >= {"connect", "tls", "processing"}
    assert "resolve" not in phases, "an address needs no resolving, and a phase that did not run has no sample"
    assert all(0 < seconds < 0.9 for seconds in phases.values())
    assert house.prometheus.query('fogbell_probe_phase_seconds{probe="control", phase="resolve"} > 0')
    failed = house.prometheus.query('fogbell_probe_failed{probe="broken-page"} == 1')
    assert [(sample.labels["reason"], sample.labels["blame"], sample.labels["code"]) for sample in failed] == [
        ("http_5xx", "service", "503")
    ]
    (expiry,) = house.prometheus.query('fogbell_http_certificate_expiry_timestamp_seconds{probe="page"} - time()')
    assert expiry.value > 86_400
    assert house.prometheus.query('fogbell_probe_info{probe="control", role="control"}')


def test_a_killed_name_server_arrives_with_its_step_and_reason_and_recovers(house: House, tmp_path: Path) -> None:
    house.prometheus.until('fogbell_probe_success{probe="mx-direct"} == 1')
    house.names.program.end()
    (failed,) = house.prometheus.until('fogbell_probe_failed{probe="mx-direct"} == 1')
    assert failed.labels["reason"] in {"dns_refused", "dns_timeout"}, "nothing listens there any more"
    assert failed.labels["blame"] == "network"
    assert failed.labels["step"]
    (signed,) = house.prometheus.until('fogbell_probe_failed{probe="signed"} == 1')
    assert signed.labels["reason"] in {"dns_servfail", "dns_timeout"}, "the validator found nobody to ask"
    assert house.prometheus.query('fogbell_probe_success{probe=~"page|control|port"} == 0') == []
    (since,) = house.prometheus.query('time() - fogbell_probe_failing_since_timestamp_seconds{probe="mx-direct"}')
    assert 0 <= since.value < 30

    with nsd(tmp_path / "nsd-again", house.names.port):
        house.prometheus.until('fogbell_probe_success{probe="mx-direct"} == 1')
        assert house.prometheus.query('fogbell_probe_failed{probe="mx-direct"} == 1') == []


def test_a_bogus_signature_is_refused_by_the_validator_and_told_as_servfail(tmp_path: Path) -> None:
    """The judge can say no: with another zone's key as its anchor, Unbound refuses what it accepted before."""
    with nsd(tmp_path / "one") as names, nsd(tmp_path / "two") as stranger:
        doubter = NameServer(names.port, names.program, stranger.anchor)
        config = tmp_path / "fogbell.yml"
        with unbound(tmp_path / "unbound", doubter) as validator:
            probe = f'{{name: signed, kind: dns, query: mx.signed.example, record: A, resolvers: ["127.0.0.1:{validator.port}"]}}'
            config.write_text(f"{FAST}probes: [{probe}]\n")
            with daemon(config) as agent:
                agent.until('fogbell_probe_failure_reasons_total{probe="signed",reason="dns_servfail"}', 1)


def test_a_reload_under_way_adds_and_removes_probes_and_leaves_the_others_alone(house: House) -> None:
    house.prometheus.until('fogbell_probe_runs_total{probe="page"} > 0')
    text = house.config.read_text()
    more = f"  - {{name: late-comer, kind: tcp, host: 127.0.0.1, port: {house.web.plain}}}\n"
    house.config.write_text(text.replace("name: port,", "name: renamed,") + more)
    before = house.agent.value('fogbell_probe_runs_total{probe="page"}') or 0
    house.agent.program.process.send_signal(signal.SIGHUP)
    house.agent.until('fogbell_probe_success{probe="late-comer"}', 1)
    assert 'probe="port"' not in house.agent.metrics(), "the series of a removed probe go"
    assert (house.agent.value('fogbell_probe_runs_total{probe="page"}') or 0) >= before > 0

    house.config.write_text(text)
    assert fetch(house.agent.url("/-/reload"), method="POST")[0] == 200
    house.agent.until('fogbell_probe_success{probe="port"}', 1)
    assert 'probe="late-comer"' not in house.agent.metrics()


def test_a_bad_configuration_changes_nothing_and_shows(house: House) -> None:
    house.prometheus.until('fogbell_probe_success{probe="page"} == 1')
    assert house.agent.value("fogbell_config_last_reload_successful") == 1
    text = house.config.read_text()
    house.config.write_text(text.replace("name: port, kind: tcp", "name: port, kind: tpc"))
    status, body, _ = fetch(house.agent.url("/-/reload"), method="POST")
    assert status >= 400
    assert b"fogbell.yml:" in body
    assert b"tpc" in body
    assert house.agent.value("fogbell_config_last_reload_successful") == 0
    runs = 'fogbell_probe_runs_total{probe="port"}'
    house.agent.until_more(runs, house.agent.value(runs) or 0)
    house.prometheus.until("fogbell_config_last_reload_successful == 0")
    house.config.write_text(text)
    house.agent.program.process.send_signal(signal.SIGHUP)
    house.agent.until("fogbell_config_last_reload_successful", 1)


def test_reload_over_http_is_closed_unless_asked_for(tmp_path: Path) -> None:
    config = tmp_path / "fogbell.yml"
    config.write_text(f"probes: [{{name: port, kind: tcp, host: 127.0.0.1, port: {free_port()}}}]\n")
    with daemon(config) as agent:
        assert fetch(agent.url("/-/reload"), method="POST")[0] in {403, 404, 405}


def start_phases(agent: Daemon) -> dict[str, float]:
    """Where in the second each healthy probe's latest run started, once each has run."""
    for name in HEALTHY:
        agent.until_more(f'fogbell_probe_runs_total{{probe="{name}"}}', 0)
    stamps = {name: agent.value(f'fogbell_probe_last_run_timestamp_seconds{{probe="{name}"}}') for name in HEALTHY}
    return {name: (stamp or 0) % 1.0 for name, stamp in stamps.items()}


def until_written(state: Path) -> None:
    """Wait until what is known now is on disk. The agent locks its database, but its write-ahead log shows when it last wrote."""
    log, now = state / "fogbell.sqlite-wal", time.time()
    eventually(lambda: log.stat().st_mtime > now + 0.5, "the state is written")


def test_an_agent_killed_in_an_outage_remembers_it_and_keeps_its_rhythm(house: House) -> None:
    agent, since = house.agent, 'fogbell_probe_failing_since_timestamp_seconds{probe="broken-page"}'
    agent.until('fogbell_probe_success{probe="broken-page"}', 0)
    phases, failing_since = start_phases(agent), agent.value(since)
    conclusive = agent.value('fogbell_probe_last_conclusive_timestamp_seconds{probe="page"}')
    until_written(house.config.parent / "state")
    agent.program.end(signal.SIGKILL)

    assert failing_since is not None
    assert conclusive is not None
    with daemon(house.config, port=agent.port) as restarted:
        assert restarted.value(since) == pytest.approx(failing_since, abs=0.001)
        assert restarted.value('fogbell_probe_success{probe="broken-page"}') == 0
        assert restarted.value('fogbell_probe_success{probe="page"}') == 1
        assert (restarted.value('fogbell_probe_last_conclusive_timestamp_seconds{probe="page"}') or 0) >= conclusive
        moved = {name: abs(phase - phases[name]) for name, phase in start_phases(restarted).items()}
    assert all(min(by, 1 - by) < 0.15 for by in moved.values()), f"seconds that starts have moved: {moved}"


def test_the_runs_of_every_probe_are_told_as_json(house: House) -> None:
    house.agent.until('fogbell_probe_success{probe="page"}', 1)
    page = next(probe for probe in house.agent.runs() if probe["probe"] == "page")
    assert {probe["probe"] for probe in house.agent.runs()} == HEALTHY | {"broken-page"}
    assert page["state"] == "ok"
    assert page["last"]["outcome"] == "ok"
    assert [step["name"] for step in page["last"]["steps"]] == ["request", "verify"]
