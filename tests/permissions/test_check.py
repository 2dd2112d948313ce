"""What is granted beside what is needed: pure, and asked of a simulated tenant over TLS."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner

from agent.__main__ import app
from agent.drill.entra.directory import EXCHANGE, GRAPH, Directory
from agent.drill.tenant import Tenant, tenant
from agent.permissions import check
from agent.permissions.compare import compared
from agent.permissions.demand import Demand
from agent.permissions.page import told
from agent.runner import of_this_machine
from probes.core.needs import Api, Grant
from tests.fakes.certificates import ca_file
from tests.fakes.identity import Asked, identity
from tests.permissions.kinds import EVERYTHING, demand

NEEDED = {"Organization.Read.All", "ServiceHealth.Read.All"}
MAIL = ("imap", "mailbox", "mail_roundtrip")
EVERY_MAILBOX = "granted in Entra it reaches every mailbox; RBAC for Applications adds to that and takes nothing away"

CASES: dict[str, tuple[Api, Grant, set[str], list[str]]] = {
    "just what is needed": (
        Api.GRAPH,
        Grant.APPLICATION,
        {"OnlineMeetings.ReadWrite.All", "Organization.Read.All", "ServiceHealth.Read.All", "Sites.Selected", "eDiscovery.Read.All"},
        ["Microsoft Graph, application: exactly what is needed"],
    ),
    "too little": (
        Api.EXCHANGE,
        Grant.APPLICATION,
        set(),
        ["Office 365 Exchange Online, application: missing full_access_as_app"],
    ),
    "too much": (
        Api.EXCHANGE,
        Grant.APPLICATION,
        {"full_access_as_app", "IMAP.AccessAsApp"},
        ["Office 365 Exchange Online, application: beyond need IMAP.AccessAsApp: no probe needs it"],
    ),
    "mail for every mailbox": (
        Api.EXCHANGE,
        Grant.APPLICATION,
        {"full_access_as_app", "SMTP.SendAsApp"},
        [
            f"Office 365 Exchange Online, application: beyond need SMTP.SendAsApp: {EVERY_MAILBOX}",
        ],
    ),
    "signing in itself": (
        Api.GRAPH,
        Grant.DELEGATED,
        {"ChatMessage.Send", "openid", "profile", "email", "offline_access"},
        ["Microsoft Graph, delegated: exactly what is needed"],
    ),
    "the other sort": (
        Api.GRAPH,
        Grant.DELEGATED,
        {"ChatMessage.Send", "ServiceHealth.Read.All"},
        ["Microsoft Graph, delegated: beyond need ServiceHealth.Read.All: is needed as an application permission only"],
    ),
}


@pytest.mark.parametrize(("api", "grant", "held", "lines"), CASES.values(), ids=CASES)
def test_what_is_missing_and_what_is_too_much(api: Api, grant: Grant, held: set[str], lines: list[str], tmp_path: Path) -> None:
    assert told(compared(demand(tmp_path, EVERYTHING), api, grant, held)) == lines


def test_an_application_permission_that_is_needed_as_delegated_is_told_apart(tmp_path: Path) -> None:
    (line,) = told(compared(demand(tmp_path, "[{name: chat, kind: chat}]"), Api.GRAPH, Grant.APPLICATION, {"ChatMessage.Send"}))
    assert line.endswith("ChatMessage.Send: is needed as a delegated permission only")


@pytest.fixture
async def contoso(tmp_path: Path) -> AsyncIterator[Tenant]:
    """Run a tenant whose application may do just what the probes of its configuration need: some that need every sort of grant."""
    async with tenant(tmp_path) as running:
        keep(running, "entra_signin", "graph_ping", "service_health", *MAIL)
        directory = running.world.of(Directory)
        directory.grant(running.world.app_id, NEEDED)
        directory.grant(running.world.app_id, {"IMAP.AccessAsApp"}, EXCHANGE)
        yield running


def keep(running: Tenant, *kinds: str) -> None:
    """Leave in the configuration only the probes of these kinds."""
    head, *probes = running.config.read_text().split("\n  - name: ")
    kept = [text for text in probes if re.search(f"kind: ({'|'.join(kinds)})\n", text)]
    assert 0 < len(kept) < len(probes)
    running.config.write_text("\n  - name: ".join([head, *kept]))


def drop_mail(running: Tenant) -> None:
    """Take the probes that use mailboxes out of the configuration, and what Entra grants for them."""
    keep(running, "entra_signin", "graph_ping", "service_health")
    running.world.of(Directory).grant(running.world.app_id, (), EXCHANGE)


async def checked(running: Tenant, *more: str) -> tuple[int, str]:
    """Return exit code and output of `fogbell permissions --check`, run in a thread since the tenant has the loop."""
    arguments = ["permissions", "--check", "--config", str(running.config), *more]
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert running.world.secret not in done.output
    assert "eyJ" not in done.output
    return done.exit_code, done.output


async def test_a_tenant_that_grants_just_what_is_needed_is_right(contoso: Tenant) -> None:
    code, output = await checked(contoso)
    assert code == 0, output
    assert "Microsoft Graph, application: exactly what is needed" in output
    assert "Office 365 Exchange Online, application: exactly what is needed" in output


async def test_what_a_tenant_lacks_and_what_it_grants_beyond_is_told(contoso: Tenant) -> None:
    drop_mail(contoso)
    directory = contoso.world.of(Directory)
    directory.grant(contoso.world.app_id, {"Organization.Read.All", "Mail.ReadWrite"}, GRAPH)
    directory.grant(contoso.world.app_id, {"full_access_as_app"}, EXCHANGE)
    code, output = await checked(contoso)
    assert code == 1
    lines = [line.strip() for line in output.splitlines()[1:]]
    assert lines == [
        "Microsoft Graph, application: missing ServiceHealth.Read.All",
        "Microsoft Graph, application: beyond need Mail.ReadWrite: no probe needs it",
        "Office 365 Exchange Online, application: beyond need full_access_as_app: no probe needs it",
    ]


async def test_without_a_token_nothing_is_compared_and_the_reason_is_told(contoso: Tenant) -> None:
    contoso.secret_file.write_text("wrong")
    code, output = await checked(contoso)
    assert code == 1
    lines = [line.strip().rpartition(": ")[0] for line in output.splitlines()[1:]]
    assert lines[0].startswith("Microsoft Graph, application: cannot be looked at: credential_invalid")
    assert lines[1].startswith("Office 365 Exchange Online, application: cannot be looked at: credential_invalid")


async def test_while_nobody_has_signed_in_only_what_needs_a_person_is_not_compared(contoso: Tenant) -> None:
    text = contoso.config.read_text()
    assert "kind: entra_signin\n" in text
    contoso.config.write_text(text.replace("kind: entra_signin\n", "kind: entra_signin\n    user: true\n"))
    (contoso.config.parent / "state/grants/contoso.json").unlink()
    code, output = await checked(contoso)
    assert code == 1
    assert "Microsoft Graph, application: exactly what is needed" in output
    assert "Microsoft Graph, delegated: cannot be looked at: grant_dead: " in output


async def test_a_tenant_without_exchange_has_nothing_to_compare_there(contoso: Tenant) -> None:
    drop_mail(contoso)
    text = contoso.config.read_text()
    exchange = contoso.world.address("exchange")
    assert exchange in text
    contoso.config.write_text(
        text.replace(f"exchange: '{exchange}'", "exchange: nowhere.example").replace(f"exchange: {exchange}", "exchange: nowhere.example")
    )
    code, output = await checked(contoso)
    assert (code, "Exchange" in output) == (0, False), output


async def test_a_tenant_that_is_not_in_the_configuration_is_a_mistake_of_it(contoso: Tenant) -> None:
    code, output = await checked(contoso, "--tenant", "fabrikam")
    assert (code, output) == (2, "fogbell: there is no tenant 'fabrikam'; there are: contoso\n")


def health_at(host: str, folder: Path) -> Demand:
    """Return the need of a tenant whose hosts are all this one, for one probe of service health."""
    hosts = f"hosts: {{login: '{host}', graph: '{host}', exchange: '{host}'}}\n    tls: {{ca_file: {ca_file()}}}"
    return demand(folder, "[{name: health, kind: health}]", "secret: {env: NOWHERE}", hosts)


async def test_a_token_that_cannot_be_read_is_no_proof_of_anything(tmp_path: Path) -> None:
    def opaque(_: Asked) -> web.Response:
        return web.json_response({"token_type": "Bearer", "expires_in": 3599, "access_token": "opaque"})

    async with identity(opaque) as server:
        found = await check.comparisons(health_at(server.host, tmp_path), of_this_machine(lambda _: "hunter2", {}, None))
    assert [one.problem.partition(":")[0] for one in found] == ["content_mismatch", "content_mismatch"]


async def test_nothing_that_a_terminal_obeys_comes_out_of_a_comparison(tmp_path: Path) -> None:
    def hostile(_: Asked) -> web.Response:
        return web.json_response({"error": "invalid_client", "error_description": "AADSTS7000215: \x1b[2Jgone"}, status=401)

    async with identity(hostile) as server:
        found = await check.comparisons(health_at(server.host, tmp_path), of_this_machine(lambda _: "hunter2", {}, None))
    assert "gone" in found[0].problem
    assert all(one.problem.isprintable() for one in found)


async def test_a_token_that_does_not_come_is_waited_for_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_: Asked) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(check, "SECONDS", 0.2)
    async with identity(silent) as server:
        found = await check.comparisons(health_at(server.host, tmp_path), of_this_machine(lambda _: "hunter2", {}, None))
    assert {one.problem for one in found} == {"timeout: no token within 0.2 s"}
