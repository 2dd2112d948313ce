"""The commands: whole as golden files, their cmdlets against Microsoft's reference, those for Azure CLI run by a real shell."""

import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from agent.__main__ import app
from agent.permissions.page import WIDE, besides, commands, table, unseen
from agent.permissions.script import quoted
from agent.permissions.shell import Shell
from tests.permissions.cmdlets import KNOWN, OPERATORS, PARTS_OF_POWERSHELL, READ
from tests.permissions.kinds import EVERYTHING, demand, written

ROOT = Path(__file__).parents[2]
HEALTH = "[{name: health, kind: health}, {name: tenant, kind: tenant}]"
CREDENTIALS = {
    "certificate": "certificate: {file: /run/secrets/fogbell.pem}",
    "secret": "secret: {file: /run/secrets/fogbell}",
    "federated": "federated_token: {file: /var/run/token}",
    "machine": "managed_identity: {}",
    "chosen machine": "managed_identity: {client_id: 33333333-3333-3333-3333-333333333333}",
}
CLOUDS = {
    "worldwide": "cloud: worldwide",
    "gcc_high": "cloud: gcc_high",
    "dod": "cloud: dod",
    "china": "cloud: china",
    "another": "hosts: {login: login.sovcloud-identity.fr, graph: graph.svc.sovcloud.fr, exchange: exchange.sovcloud.fr}",
}


def test_the_shipped_example(snapshot: SnapshotAssertion) -> None:
    done = CliRunner().invoke(app, ["permissions", "--config", str(ROOT / "config" / "example.yml"), "--shell", "powershell"])
    assert done.exit_code == 0
    assert done.output == snapshot


def test_every_sort_of_permission_as_a_table(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    console = Console(width=240, file=io.StringIO())
    console.print(table(demand(tmp_path, EVERYTHING), 240))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == snapshot


def test_the_name_of_a_permission_is_never_broken(tmp_path: Path) -> None:
    console = Console(width=100, file=io.StringIO())
    wanted = demand(tmp_path, EVERYTHING)
    console.print(table(wanted, 100))
    assert isinstance(console.file, io.StringIO)
    assert [need.name for need in wanted.needs if f"{need.name} " not in console.file.getvalue()] == []


@pytest.mark.parametrize(("width", "whole"), [(WIDE, True), (140, True), (WIDE - 1, False)])
def test_an_identifier_that_narrows_stays_whole_where_there_is_room(width: int, tmp_path: Path, *, whole: bool) -> None:
    console = Console(width=width, file=io.StringIO())
    console.print(table(demand(tmp_path, EVERYTHING), width))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert ("00000000-0000-0000-0000-0000000000aa" in shown and "00000000-0000-0000-0000-0000000000bb" in shown) is whole


def test_every_sort_of_permission_in_powershell(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    assert commands(demand(tmp_path, EVERYTHING), Shell.POWERSHELL) == snapshot


def test_every_sort_of_permission_in_azure_cli(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    assert commands(demand(tmp_path, EVERYTHING), Shell.AZ) == snapshot


def section(text: str, title: str) -> str:
    """Return the step whose title begins so."""
    (found,) = re.findall(rf"^# \d+\. ({title}.*?)(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)
@pytest.mark.parametrize("shell", [Shell.POWERSHELL, Shell.AZ])
def test_each_credential_has_its_commands(credential: str, shell: Shell, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    text = commands(demand(tmp_path, HEALTH, credential), shell)
    assert text.partition("Application permissions")[0] == snapshot


@pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)
def test_each_cloud_has_its_names(cloud: str, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    text = commands(demand(tmp_path, EVERYTHING, CREDENTIALS["federated"], cloud), Shell.BOTH)
    named = re.compile(r"Environment|az cloud|az login|https://graph|v1=|audiences|Audiences|in this cloud|does not speak")
    assert "\n".join(line for line in text.splitlines() if named.search(line)) == snapshot


def test_a_tenant_whose_probes_need_no_permission_still_gets_its_app(tmp_path: Path) -> None:
    text = commands(demand(tmp_path, "[{name: token, kind: token}]"), Shell.BOTH)
    assert "New-MgApplication " in text
    assert "az ad app create" in text
    assert "Application permissions of" not in text


def test_mail_that_is_narrowed_is_not_granted_in_entra_as_well(tmp_path: Path) -> None:
    text = commands(demand(tmp_path, "[{name: mail, kind: mail}, {name: health, kind: health}]"), Shell.POWERSHELL)
    granted = section(text, "Application permissions of Microsoft Graph")
    assert "ServiceHealth.Read.All" in granted
    assert "Mail" not in granted
    assert "-Role 'Application Mail.ReadBasic'" in text


def test_whoever_signs_in_for_exchange_alone_consents_to_signing_in_with_graph(tmp_path: Path) -> None:
    text = commands(demand(tmp_path, "[{name: imap, kind: imap}]"), Shell.POWERSHELL)
    assert "$scopes = 'openid', 'offline_access'\n" in section(text, "Delegated permissions of Microsoft Graph")
    assert "$scopes = 'IMAP.AccessAsUser.All'\n" in section(text, "Delegated permissions of Office 365 Exchange Online")


def test_what_the_settings_do_not_name_is_left_to_be_filled_in(tmp_path: Path) -> None:
    probes = "[{name: a, kind: mail}, {name: b, kind: files}, {name: c, kind: team}, {name: d, kind: meeting}]"
    text = commands(demand(tmp_path, probes), Shell.POWERSHELL)
    for word in ("PROBE-MAILBOX@YOUR-DOMAIN", "YOUR-DOMAIN.sharepoint.com:/sites/PROBE", "TEAM-OR-CHAT-ID", "USER-OBJECT-ID"):
        assert word in text


def test_imap_and_pop3_get_the_grant_in_entra_and_the_mailbox_in_exchange(tmp_path: Path) -> None:
    text = commands(demand(tmp_path, "[{name: pop, kind: pop, at: [probe1@contoso.example]}]"), Shell.POWERSHELL)
    assert "'POP.AccessAsApp'" in text
    assert "New-ServicePrincipal -AppId $sp.AppId" in text
    assert "Add-MailboxPermission -Identity 'probe1@contoso.example' -User $sp.Id -AccessRights FullAccess" in text
    assert "New-ManagementRoleAssignment" not in text


def test_ews_that_is_narrowed_has_a_role_of_another_name(tmp_path: Path) -> None:
    text = commands(demand(tmp_path, "[{name: old, kind: narrow-ews}]"), Shell.POWERSHELL)
    assert "-Role 'Application EWS.AccessAsApp'" in text


def test_no_failure_of_a_command_is_kept_quiet(tmp_path: Path) -> None:
    probes = EVERYTHING + "  - {name: pop, kind: pop, at: [probe1@contoso.example]}\n"
    for shell in (Shell.POWERSHELL, Shell.AZ):
        text = commands(demand(tmp_path, probes), shell)
        assert "$ErrorActionPreference = 'Stop'" in text
        assert "SilentlyContinue" not in text


def test_what_is_there_already_is_looked_up_before_it_is_made(tmp_path: Path) -> None:
    text = commands(demand(tmp_path, EVERYTHING), Shell.POWERSHELL)
    policy = section(text, "Narrow meetings")
    assert policy.index("Get-CsApplicationAccessPolicy") < policy.index("if (-not $policy) { New-CsApplicationAccessPolicy")
    consent = section(text, "Consent for")
    assert consent.index("Get-MgTeamInstalledApp") < consent.index("New-MgTeamInstalledApp")


def test_what_is_narrowed_outside_entra_is_verified_too(tmp_path: Path) -> None:
    probes = EVERYTHING + "  - {name: pop, kind: pop, at: [probe3@contoso.example]}\n"
    looked = section(commands(demand(tmp_path, probes), Shell.POWERSHELL), "Verify")
    for cmdlet in (
        "Test-ServicePrincipalAuthorization -Identity $sp.Id -Resource 'probe1@contoso.example'",
        "Get-MailboxPermission -Identity 'probe3@contoso.example'",
        "Get-MgSitePermission",
        "Get-MgTeamInstalledApp -All -TeamId '00000000-0000-0000-0000-0000000000aa'",
        "Get-MgChatInstalledApp -All -ChatId '19:abc@thread.v2'",
        "Get-CsApplicationAccessPolicy",
        "Get-CsOnlineUser -Identity '00000000-0000-0000-0000-0000000000bb'",
    ):
        assert cmdlet in looked


def test_ediscovery_is_said_to_need_a_role_group_of_purview(tmp_path: Path) -> None:
    wanted = demand(tmp_path, "[{name: cases, kind: any, needs: eDiscovery.Read.All}]")
    assert "in the role group eDiscovery Manager (Purview portal: " in besides(wanted)
    assert "role group eDiscovery Manager" in unseen(wanted)[0]
    for shell in (Shell.POWERSHELL, Shell.AZ):
        assert "Add-RoleGroupMember -Identity eDiscoveryManager -Member" in commands(wanted, shell)


def test_the_shipped_kind_that_asks_ediscovery_is_said_to_need_it(tmp_path: Path) -> None:
    path = written(tmp_path, "[{name: a, kind: purview, parts: [ediscovery]}]")
    done = CliRunner().invoke(app, ["permissions", "--config", str(path), "--shell", "az"])
    assert done.output.count("eDiscovery Manager (Purview portal: ") == 1 + 1
    assert "Add-RoleGroupMember" in done.output


@pytest.mark.parametrize("writes", [False, True])
def test_a_site_is_only_written_to_where_a_probe_writes(tmp_path: Path, *, writes: bool) -> None:
    text = commands(demand(tmp_path, f"[{{name: files, kind: files, writes: {str(writes).lower()}}}]"), Shell.POWERSHELL)
    assert f"roles = @('{'write' if writes else 'read'}')" in text


@pytest.mark.parametrize(
    ("word", "expected"), [("a", "'a'"), ("o'brien", "'o''brien'"), ("o\u2019brien", "'o\u2019\u2019brien'"), ("$(x)`", "'$(x)`'")]
)
def test_a_word_stays_a_word_in_powershell(word: str, expected: str) -> None:
    assert quoted(word) == expected


def test_a_mailbox_stays_a_word_inside_the_filter(tmp_path: Path) -> None:
    text = commands(demand(tmp_path, """[{name: mail, kind: mail, at: ["o'brien$(x)@contoso.example"]}]"""), Shell.POWERSHELL)
    assert "$mailboxes = 'EmailAddresses -eq ''o''''brien$(x)@contoso.example'''\n" in text


def test_the_path_of_a_certificate_cannot_leave_its_comment(tmp_path: Path) -> None:
    text = commands(demand(tmp_path, HEALTH, r'certificate: {file: "/run/a\nRemove-Item /"}'), Shell.BOTH)
    assert r"/run/a\nRemove-Item" in text
    assert not any(line.startswith("Remove-Item") for line in text.splitlines())


def test_the_path_of_a_certificate_is_one_word_of_the_command_in_its_comment(tmp_path: Path) -> None:
    credential = """certificate: {file: "/run/o'brien/$(rm x).pem"}"""
    assert r"""# openssl x509 -in '/run/o'"'"'brien/$(rm x).pem' -out""" in commands(demand(tmp_path, HEALTH, credential), Shell.AZ)
    assert r"""# openssl x509 -in '/run/o''brien/$(rm x).pem' -out""" in commands(demand(tmp_path, HEALTH, credential), Shell.POWERSHELL)


def without_texts(text: str) -> str:
    """Return a PowerShell script without comments, here-strings and words in quotes."""
    text = re.sub(r"@'\n.*?\n'@", "''", text, flags=re.DOTALL)
    text = re.sub(r"'(?:[^']|'')*'", "''", text)
    text = re.sub(r"^ *#.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"`\n *", "", text)


def called(text: str) -> list[tuple[str, set[str]]]:
    """Return each cmdlet of a script and the parameters it is given: those up to the next cmdlet, pipe or end of line."""
    calls = []
    for found in re.finditer(r"\b([A-Z]\w+-[A-Z]\w+)\b([^\n|]*)", without_texts(text)):
        rest = re.split(r"\b[A-Z]\w+-[A-Z]\w+\b|[{}]", found[2])[0]
        calls.append((found[1], set(re.findall(r"(?<=\s)-([A-Za-z]\w*)", rest)) - OPERATORS))
    return calls


@pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)
@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)
def test_every_cmdlet_and_parameter_exists(credential: str, cloud: str, tmp_path: Path) -> None:
    exist = READ | KNOWN | PARTS_OF_POWERSHELL
    calls = called(commands(demand(tmp_path, EVERYTHING, credential, cloud), Shell.POWERSHELL))
    assert {name for name, _ in calls} <= exist.keys()
    assert [(name, given) for name, given in calls if not given <= set(exist[name].split())] == []


def test_a_parameter_that_does_not_exist_is_noticed() -> None:
    (call,) = called("if (-not $x) { New-MgServicePrincipal -AppIdd $app.AppId -WithFlowers 'a -b' }  # -Comment")
    assert call == ("New-MgServicePrincipal", {"AppIdd", "WithFlowers"})


AZ = """#!/bin/sh
# Plays Azure CLI: notes its arguments, each ended by US and all of them by RS (ASCII), and answers as a tenant would.
{ printf '%s\\037' "$@"; printf '\\036'; } >> "$AZ_NOTES"
case "$*" in
    *"--query [0].appId"*) [ -n "$AZ_EMPTY" ] || echo 22222222-2222-2222-2222-222222222222 ;;
    *"--filter appId eq '00000"*) echo the-api ;;
    *"sp list"*) [ -n "$AZ_EMPTY" ] || echo the-sp ;;
    *"app create"*) echo new-app ;;
    *"sp create"*) echo new-sp ;;
    *"sp show"*) case "$*" in *"$AZ_UNKNOWN"*) ;; *) echo the-role ;; esac ;;
    *"user show"*) echo the-user ;;
    *"--query publicClient.redirectUris"*) [ -n "$AZ_EMPTY" ] || echo https://contoso.example/native ;;
    *"redirectUris[]"*) [ -n "$AZ_EMPTY" ] || printf '%s\\n' https://contoso.example/native http://localhost:1/web ;;
    *"--query password"*) echo hunter2 ;;
    *"--method"*) ;;
    *"id | [0]"*) [ -n "$AZ_EMPTY" ] || echo the-grant ;;
esac
"""


def run_by_shell(folder: Path, text: str, **environ: str) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run a script as pasted into a shell; return how that went, and the calls of Azure CLI."""
    program, notes = folder / "bin" / "az", folder / "notes"
    program.parent.mkdir(exist_ok=True)
    program.write_text(AZ)
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "AZ_NOTES": str(notes), "AZ_EMPTY": "", "AZ_UNKNOWN": "nothing"} | environ
    shell = shutil.which("sh") or "sh"
    done = subprocess.run(
        [shell, "-c", text + "echo still here\n"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done, [call.split("\x1f")[:-1] for call in notes.read_text().split("\x1e")[:-1]]


def bodies(calls: list[list[str]]) -> list[dict[str, str]]:
    return [json.loads(call[call.index("--body") + 1]) for call in calls if "--body" in call]


ALL_IN_ENTRA = "[{name: health, kind: health}, {name: chat, kind: chat}]"


def az_script(folder: Path, credential: str = CREDENTIALS["certificate"]) -> str:
    return commands(demand(folder, ALL_IN_ENTRA, credential), Shell.AZ).partition("# Tenant contoso: PowerShell")[0]


def test_azure_cli_makes_what_is_not_there(tmp_path: Path) -> None:
    done, calls = run_by_shell(tmp_path, az_script(tmp_path), AZ_EMPTY="yes")
    assert done.stdout.split() == ["client_id:", "new-app", "still", "here"]
    assert ["ad", "app", "credential", "reset", "--id", "new-app", "--append", "--cert", "@fogbell.cer", "--output", "none"] in calls
    assert bodies(calls) == [
        {"principalId": "new-sp", "resourceId": "the-api", "appRoleId": "the-role"},
        {
            "clientId": "new-sp",
            "consentType": "Principal",
            "principalId": "the-user",
            "resourceId": "the-api",
            "scope": "openid offline_access ChatMessage.Send",
        },
    ]


def test_azure_cli_leaves_what_is_there(tmp_path: Path) -> None:
    done, calls = run_by_shell(tmp_path, az_script(tmp_path))
    assert done.returncode == 0
    assert bodies(calls) == [{"scope": "openid offline_access ChatMessage.Send"}]
    assert not any("create" in call for call in calls)


def redirects(calls: list[list[str]]) -> list[list[str]]:
    """Return the redirect URIs of each call that registers some."""
    word = "--public-client-redirect-uris"
    return [call[call.index(word) + 1 :] for call in calls if word in call]


@pytest.mark.parametrize(
    ("wanted", "empty", "registered"),
    [
        ("http://localhost", "yes", [["http://localhost"]]),
        ("http://localhost", "", [["https://contoso.example/native", "http://localhost"]]),
        ("https://contoso.example/native", "", []),
        ("http://localhost:1/web", "", []),
        ('http://localhost/a"$(b)', "yes", [['http://localhost/a"$(b)']]),
    ],
    ids=["the first", "one more", "there already", "there as one of a web application", "a word stays a word"],
)
def test_azure_cli_adds_the_redirect_uri_that_a_probe_sends(wanted: str, empty: str, registered: list[list[str]], tmp_path: Path) -> None:
    text = commands(demand(tmp_path, f"[{{name: a, kind: token, redirects: ['{wanted}']}}, {{name: b, kind: token}}]"), Shell.AZ)
    done, calls = run_by_shell(tmp_path, text, AZ_EMPTY=empty)
    assert (done.returncode, done.stderr) == (0, "")
    assert redirects(calls) == registered


@pytest.mark.parametrize("kind", ["device", "chat", "token"])
def test_public_client_flows_are_allowed_once_where_device_codes_need_them(kind: str, tmp_path: Path) -> None:
    text = commands(demand(tmp_path, f"[{{name: a, kind: {kind}}}, {{name: b, kind: {kind}}}]"), Shell.BOTH)
    count = 0 if kind == "token" else 1
    assert (text.count("-IsFallbackPublicClient"), text.count("--is-fallback-public-client true")) == (count, count)


def test_what_a_shipped_kind_sends_when_people_sign_in_is_registered(tmp_path: Path) -> None:
    path = written(tmp_path, "[{name: a, kind: entra_signin}, {name: b, kind: entra_signin, redirect_uri: 'https://contoso.example/b'}]")
    done = CliRunner().invoke(app, ["permissions", "--config", str(path), "--shell", "powershell"])
    registered = section(done.output, "What signing in as a person needs")
    assert "@('http://localhost', 'https://contoso.example/b' |" in registered
    assert "-IsFallbackPublicClient" in registered


def test_nobody_signs_in_as_a_managed_identity(tmp_path: Path) -> None:
    probes = "[{name: a, kind: device, redirects: ['http://localhost']}]"
    text = commands(demand(tmp_path, probes, CREDENTIALS["machine"]), Shell.BOTH)
    assert "an app registration of its own" in text
    assert "RedirectUris" not in text
    assert "-redirect-uris" not in text


def test_a_permission_that_does_not_exist_ends_the_script_and_not_the_shell(tmp_path: Path) -> None:
    done, calls = run_by_shell(tmp_path, az_script(tmp_path), AZ_UNKNOWN="ServiceHealth.Read.All")
    assert done.stderr == "Microsoft Graph has no application permission ServiceHealth.Read.All\n"
    assert done.stdout.endswith("still here\n")
    assert bodies(calls) == []


def test_a_new_secret_goes_into_a_file_of_the_owner_alone(tmp_path: Path) -> None:
    done, _ = run_by_shell(tmp_path, az_script(tmp_path, CREDENTIALS["secret"]))
    assert "hunter2" not in done.stdout + done.stderr
    assert (tmp_path / "fogbell.secret").read_text().strip() == "hunter2"
    assert (tmp_path / "fogbell.secret").stat().st_mode & 0o777 == 0o600
