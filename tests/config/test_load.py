"""What a right configuration becomes."""

from pathlib import Path
from typing import Any

import pytest

from agent.config import Configuration, ConfigurationError, load, masked
from probes.core.contract import Layer, Place, Secret, Workload
from tests.config.kinds import KINDS, Trust, ViaSmtp, Watch

GUID = "00000000-0000-0000-0000-000000000000"


def loaded(tmp_path: Path, text: str, *, secrets: bool = True) -> Configuration:
    path = tmp_path / "fogbell.yml"
    path.write_text(text, encoding="utf-8")
    return load(path, registry=KINDS, secrets=secrets)


def test_settings_arrive_as_the_kind_declares_them(tmp_path: Path) -> None:
    configuration = loaded(
        tmp_path,
        """
probes:
  - name: mx
    kind: watch
    host: example.org
    ratio: 1
    record: MX
    family: ipv4
    resolvers: [system, 192.0.2.1]
    tls: {min_version: "1.3"}
    send: {via: smtp, host: mail.example.org}
    headers: {X-Trace: "1"}
""",
    )
    (job,) = configuration.jobs
    assert job.settings == Watch(
        host="example.org",
        ratio=1.0,
        record="MX",
        family=KINDS["watch"].settings(host="a", family="ipv4").family,
        resolvers=("system", "192.0.2.1"),
        tls=Trust(min_version="1.3"),
        send=ViaSmtp(via="smtp", host="mail.example.org"),
        headers={"X-Trace": "1"},
    )
    assert configuration.warnings == ()


@pytest.mark.parametrize(
    ("defaults", "probe", "expected"),
    [
        ("{}", "kind: watch", (300.0, 20.0)),
        ("{}", "kind: watch, interval: 15", (15.0, 15.0)),
        ("{}", "kind: ping, interval: 500ms", (0.5, 0.5)),
        ("{interval: 2m, timeout: 30s}", "kind: watch", (120.0, 30.0)),
        ("{interval: 2m, timeout: 30s}", "kind: watch, interval: 1h30m, timeout: 45", (5400.0, 45.0)),
        ("{}", "kind: watch, interval: 1s, allow_short_interval: true", (1.0, 1.0)),
        ("{interval: 1.5}", "kind: ping", (1.5, 1.5)),
        ("{interval: 5s, timeout: 5s}", "kind: watch", (300.0, 5.0)),
        ("{interval: 5s, timeout: 5s}", "kind: watch, allow_short_interval: true", (5.0, 5.0)),
        ("{timeout: 20s}", "kind: wait", (60.0, 60.0)),
        ("{timeout: 20s}", "kind: wait, timeout: 5s", (60.0, 5.0)),
    ],
    ids=[
        "kind",
        "timeout-follows",
        "allowed-short",
        "defaults",
        "probe",
        "below-the-floor",
        "number",
        "default-below-the-floor",
        "default-below-the-floor-allowed",
        "default-timeout-too-short",
        "timeout-too-short",
    ],
)
def test_the_probe_wins_over_defaults_and_they_over_the_kind(
    defaults: str, probe: str, expected: tuple[float, float], tmp_path: Path
) -> None:
    allowed = ", allow_short_interval: true" if "500ms" in probe else ""
    (job,) = loaded(tmp_path, f"defaults: {defaults}\nprobes:\n  - {{name: a, host: a, {probe}{allowed}}}\n").jobs
    assert (job.interval, job.timeout) == expected


def test_labels_of_defaults_and_probe_are_joined(tmp_path: Path) -> None:
    (job,) = loaded(
        tmp_path,
        "defaults: {labels: {team: a, floor: b}}\nprobes:\n  - {name: a, kind: ping, host: a, labels: {team: c, a: d}, role: control}\n",
    ).jobs
    assert job.labels == (("a", "d"), ("floor", "b"), ("team", "c"))
    assert job.role == "control"


def test_layer_and_workload_can_be_said_otherwise(tmp_path: Path) -> None:
    first, second = loaded(
        tmp_path, "probes:\n  - {name: a, kind: ping, host: a}\n  - {name: b, kind: ping, host: a, layer: edge, workload: teams}\n"
    ).jobs
    assert first.place == Place(Layer.PATH, Workload.NETWORK)
    assert second.place == Place(Layer.EDGE, Workload.TEAMS)


def test_the_files_of_a_folder_are_one_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("x-own: 1\nstate_dir: state\nprobes:\n  - {name: a, kind: ping, host: a, tenant: contoso}\n")
    contoso = f"{{tenant_id: {GUID}, client_id: {GUID}, credential: {{managed_identity: {{}}}}}}"
    (tmp_path / "b.yml").write_text(f"x-own: 2\ndefaults: {{interval: 7s}}\ntenants:\n  contoso: {contoso}\n")
    (tmp_path / "c.yml").write_text("probes:\n  - {name: c, kind: ping, host: a}\ntenants:\n")
    (tmp_path / ".hidden.yml").write_text("[")
    (tmp_path / "README").write_text("[")
    configuration = load(tmp_path, registry=KINDS)
    assert [(job.name, job.interval, job.tenant) for job in configuration.jobs] == [("a", 7.0, "contoso"), ("c", 7.0, "")]
    assert configuration.state_dir == str(tmp_path / "state")
    assert [path.name for path in configuration.sources] == ["a.yml", "b.yml", "c.yml"]
    assert configuration.tenants["contoso"].tenant_id == GUID


def test_a_link_to_a_file_is_read_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    data = tmp_path / "..data"
    data.mkdir()
    (data / "a.yml").write_text("probes:\n  - {name: a, kind: ping, host: a}\n")
    (tmp_path / "a.yml").symlink_to("..data/a.yml")
    assert [job.name for job in load(tmp_path, registry=KINDS).jobs] == ["a"]


TENANTS = f"""
tenants:
  by-certificate: {{tenant_id: {GUID}, client_id: {GUID}, credential: {{certificate: {{file: cert.pem}}}}}}
  by-secret: {{tenant_id: {GUID}, cloud: gcc_high, client_id: {GUID}, credential: {{secret: {{env: FOGBELL_TEST}}, expires: 2027-01-31}}}}
  by-token: {{tenant_id: {GUID}, client_id: {GUID}, credential: {{federated_token: {{file: token}}}}}}
  by-machine:
    tenant_id: {GUID}
    hosts: {{login: login.example.org, graph: "localhost:8443", exchange: mail.example.org}}
    client_id: {GUID}
    credential: {{managed_identity: {{client_id: {GUID}}}}}
probes:
  - {{name: a, kind: ping, host: a, tenant: by-machine}}
"""


def test_tenants_prove_who_they_are_in_four_ways(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, TENANTS, secrets=False)
    assert list(configuration.tenants) == ["by-certificate", "by-secret", "by-token", "by-machine"]
    assert str(configuration.tenants["by-secret"].credential.expires) == "2027-01-31"
    assert configuration.secrets == (
        Secret(file=str(tmp_path / "cert.pem")),
        Secret(env="FOGBELL_TEST"),
        Secret(file=str(tmp_path / "token")),
    )


WITH_SECRETS = """
probes:
  - name: a
    kind: watch
    host: https://user:hunter2@example.org/?a=b
    password: hunter2
    tls: {password: {file: hidden}}
    headers: {Authorization: Bearer hunter2, X-Api-Key: {env: FOGBELL_TEST}, Accept: text/html}
"""


WITH_COPIES = f"""
state_dir: state
tenants:
  contoso: {{tenant_id: {GUID}, client_id: {GUID}, credential: {{secret: {{env: S}}}}}}
probes:
  - name: mail
    kind: mail_roundtrip
    send: {{via: smtp, host: smtp.office365.com, from: a@contoso.example, oauth: true}}
    receive: {{via: imap, host: imap.example.org, username: b@example.org, password: {{env: P}}}}
"""


def test_a_kind_warns_of_settings_that_work_at_a_price(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(WITH_COPIES)
    (warning,) = load(path, secrets=False).warnings
    assert str(warning).startswith(f"{path}:6:11: probes[mail]: Exchange keeps a copy of each letter that a@contoso.example submits")


def test_a_secret_written_in_place_works_with_a_warning_and_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGBELL_TEST", "hunter2")
    (tmp_path / "hidden").write_text("hunter2\n")
    configuration = loaded(tmp_path, WITH_SECRETS)
    words = "a secret written in place; name where it is found instead: {env: NAME} or {file: PATH}"
    path = tmp_path / "fogbell.yml"
    assert [str(warning) for warning in configuration.warnings] == [
        f"{path}:5:11: probes[a].host: {words}",
        f"{path}:6:15: probes[a].password: {words}",
        f"{path}:8:30: probes[a].headers.Authorization: {words}",
    ]
    settings: Any = configuration.jobs[0].settings
    assert settings.password == Secret(inline="hunter2")
    assert "hunter2" not in masked(configuration)
    assert "hunter2" not in repr(configuration.secrets)
    assert "hunter2" not in "".join(map(str, configuration.warnings))
    assert masked(configuration).splitlines()[-4:] == [
        '    headers: {Accept: text/html, Authorization: "<secret>", X-Api-Key: {env: FOGBELL_TEST}}',
        '    host: "https://<secret>@example.org/?a=b"',
        '    password: "<secret>"',
        f"    tls: {{password: {{file: {tmp_path}/hidden}}}}",
    ]


@pytest.mark.parametrize("login", ["user:hun@ter2", "us er:hunter2", "user@example.org:hunter2"])
def test_all_of_a_login_is_masked(tmp_path: Path, login: str) -> None:
    shown = masked(loaded(tmp_path, f'probes: [{{name: a, kind: watch, host: "https://{login}@example.org/?a=b"}}]'))
    assert '"https://<secret>@example.org/?a=b"' in shown


def test_files_are_found_from_the_folder_of_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    for name in ("ca.pem", "b.pem"):
        (inside / name).write_text("x")
    text = "probes:\n  - {name: a, kind: watch, host: a, tls: {ca_file: ca.pem}, files: [b.pem, /dev/../etc/passwd]}\n"
    monkeypatch.chdir(outside)
    settings: Any = loaded(inside, text).jobs[0].settings
    assert settings.tls.ca_file == str(inside / "ca.pem")
    assert settings.files == (str(inside / "b.pem"), "/dev/../etc/passwd")
    monkeypatch.chdir(inside)
    (outside / "fogbell.yml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"2:52: probes\[a\].tls.ca_file: this file does not exist\n"):
        load(outside / "fogbell.yml", registry=KINDS)


def test_without_secrets_no_file_is_looked_for_but_its_path_is_known(tmp_path: Path) -> None:
    text = "probes:\n  - {name: a, kind: watch, host: a, tls: {ca_file: ca.pem, password: {file: p}}, files: [b.pem]}\n"
    configuration = loaded(tmp_path, text, secrets=False)
    assert masked(configuration).splitlines()[-1] == f"    tls: {{ca_file: {tmp_path}/ca.pem, password: {{file: {tmp_path}/p}}}}"


def test_a_job_stays_equal_when_only_the_value_of_its_secret_changes(tmp_path: Path) -> None:
    text = "probes:\n  - {name: a, kind: watch, host: a, password: {file: hidden}}\n"
    (tmp_path / "hidden").write_text("old")
    before = loaded(tmp_path, text)
    (tmp_path / "hidden").write_text("new")
    after = loaded(tmp_path, text)
    assert before.jobs == after.jobs
    assert before.digest != after.digest


def test_what_is_shown_is_a_configuration_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGBELL_TEST", "x")
    (tmp_path / "cert.pem").write_text("x")
    (tmp_path / "token").write_text("x")
    extra = "  - {name: b, kind: watch, host: a, ratio: 0.0000001, interval: 1.25, allow_short_interval: true}\n"
    first = loaded(tmp_path, f"state_dir: /var/lib/fogbell\ndefaults: {{interval: 90, labels: {{a: 'no', b: '5'}}}}\n{TENANTS}{extra}")
    assert "ratio: 1.0e-07" in masked(first)
    again = loaded(tmp_path, masked(first))
    assert again.jobs == first.jobs
    assert again.tenants == first.tenants
    assert masked(again) == masked(first)
