"""What blackbox_exporter with the modules of its examples makes of Exchange Online's greetings, and what the tcp kind makes of them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.core.contract import Outcome
from tests.fakes import hostile
from tests.fakes.certificates import ca_file
from tests.fakes.mail_scripts import IMAP_GREETING_2023, IMAP_GREETING_2026, SMTP_GREETING
from tests.fakes.scripted import plays
from tests.probes.test_tcp import run
from tests.processes import answers, fetch, free_port, running
from tests.servers import require

pytestmark = pytest.mark.real

MODULES = r"""
modules:
  smtp_starttls:
    prober: tcp
    timeout: 1s
    tcp:
      tls_config: {{ca_file: {ca_file}}}
      query_response:
        - expect: "^220 ([^ ]+) ESMTP (.+)$"
        - send: "EHLO prober\r"
        - expect: "^250-STARTTLS"
        - send: "STARTTLS\r"
        - expect: "^220"
        - starttls: true
        - send: "EHLO prober\r"
        - expect: "^250-AUTH"
        - send: "QUIT\r"
  imap_starttls:
    prober: tcp
    timeout: 1s
    tcp:
      tls_config: {{ca_file: {ca_file}}}
      query_response:
        - expect: "OK.*STARTTLS"
        - send: ". STARTTLS"
        - expect: "OK"
        - starttls: true
        - send: ". capability"
        - expect: "CAPABILITY IMAP4rev1"
"""
"""The two modules of its example.yml, with a shorter time limit and our authority."""

SMTP = """
    S: {greeting}
    C: EHLO
    S: 250-mail.example.com
    S: 250-STARTTLS
    S: 250 SMTPUTF8
    C: STARTTLS
    S: 220 2.0.0 SMTP server ready
    TLS
    C: EHLO
    S: 250-mail.example.com
    S: 250-AUTH LOGIN XOAUTH2
    S: 250 SMTPUTF8
    C: QUIT
"""
IMAP = """
    S: {greeting}
    C: . STARTTLS
    S: . OK Begin TLS negotiation now.
    TLS
    C: . capability
    S: * CAPABILITY IMAP4rev1 AUTH=PLAIN
"""
IMAP_OURS = """
    S: {greeting}
    C: c1 CAPABILITY
    S: * CAPABILITY IMAP4 IMAP4rev1 STARTTLS LOGINDISABLED
    S: c1 OK CAPABILITY completed.
    C: s1 STARTTLS
    S: s1 OK Begin TLS negotiation now.
    TLS
    C: c1 CAPABILITY
    S: * CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2
    S: c1 OK CAPABILITY completed.
    C: z1 LOGOUT
"""


@pytest.fixture(scope="module")
def blackbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a running blackbox_exporter."""
    program, folder, port = require("prometheus-blackbox-exporter"), tmp_path_factory.mktemp("blackbox"), free_port()
    config: Path = folder / "blackbox.yml"
    config.write_text(MODULES.format(ca_file=ca_file()))
    command = [program, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    with running(command, folder / "log", lambda: answers(f"http://127.0.0.1:{port}/-/healthy")):
        yield f"http://127.0.0.1:{port}"


async def passes(blackbox: str, module: str, server: hostile.Server) -> bool:
    """Tell whether blackbox_exporter is content with the server."""
    async with server as (host, port):
        _, metrics, _ = await asyncio.to_thread(fetch, f"{blackbox}/probe?module={module}&target={host}:{port}")
    return b"\nprobe_success 1\n" in metrics


@pytest.mark.parametrize(
    ("module", "script", "greeting"),
    [
        ("smtp_starttls", SMTP, "220 mail.example.com ESMTP Postfix"),
        ("imap_starttls", IMAP, "* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready."),
    ],
)
async def test_the_shipped_modules_pass_where_they_were_written_for(blackbox: str, module: str, script: str, greeting: str) -> None:
    assert await passes(blackbox, module, plays(script.format(greeting=greeting)))


@pytest.mark.parametrize(
    ("module", "script", "greeting"),
    [
        pytest.param("smtp_starttls", SMTP, SMTP_GREETING, id="smtp"),
        pytest.param("imap_starttls", IMAP, IMAP_GREETING_2023, id="imap 2023"),
        pytest.param("imap_starttls", IMAP, IMAP_GREETING_2026, id="imap 2026"),
    ],
)
async def test_the_shipped_modules_fail_at_exchange_onlines_greetings(blackbox: str, module: str, script: str, greeting: str) -> None:
    assert not await passes(blackbox, module, plays(script.format(greeting=greeting)))


@pytest.mark.parametrize(
    ("starttls", "script", "greeting"),
    [
        pytest.param("smtp", SMTP, SMTP_GREETING, id="smtp"),
        pytest.param("imap", IMAP_OURS, IMAP_GREETING_2023, id="imap 2023"),
        pytest.param("imap", IMAP_OURS, IMAP_GREETING_2026, id="imap 2026"),
    ],
)
async def test_the_tcp_kind_passes_there(starttls: str, script: str, greeting: str) -> None:
    result = await run(plays(script.format(greeting=greeting)), starttls=starttls, tls={"ca_file": ca_file()})
    assert (result.outcome, result.message) == (Outcome.OK, "")
