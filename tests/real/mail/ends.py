"""The ends of a round trip, as an administrator would write them for the mail system of the tests, and one run between them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Shared
from probes.core.contract import Run
from probes.mail_roundtrip import PROBE
from tests.fakes.certificates import ca_file
from tests.probes.pages import lookup, read
from tests.real.mail.dovecot import DOMAIN, PASSWORD
from tests.real.mail.pair import Pair

Settings = dict[str, Any]
_AT = {"host": "127.0.0.1", "tls": {"ca_file": ca_file()}}


def address(name: str) -> str:
    """Return somebody's mail address."""
    return f"{name}@{DOMAIN}"


def submission(mail: Pair, name: str = "probe1", security: str = "starttls") -> Settings:
    """Submit with a login."""
    port = mail.postfix.submissions if security == "tls" else mail.postfix.submission
    return _AT | {"via": "smtp", "port": port, "security": security, "from": address(name), "password": {"env": PASSWORD}}


def direct(mail: Pair) -> Settings:
    """Deliver to the MX without a login, from a sender elsewhere."""
    return _AT | {"via": "smtp", "port": mail.postfix.mx, "direct": True, "from": "somebody@elsewhere.example"}


def imap(mail: Pair, name: str = "probe2", security: str = "tls") -> Settings:
    """Wait in a mailbox by IMAP."""
    port = mail.dovecot.imaps if security == "tls" else mail.dovecot.imap
    return _AT | {"via": "imap", "port": port, "security": security, "username": address(name), "password": {"env": PASSWORD}}


def pop3(mail: Pair, name: str = "probe2", security: str = "tls") -> Settings:
    """Wait in a mailbox by POP3."""
    port = mail.dovecot.pop3s if security == "tls" else mail.dovecot.pop3
    return _AT | {"via": "pop3", "port": port, "security": security, "username": address(name), "password": {"env": PASSWORD}}


def write_configuration(config: Path, probes: Mapping[str, Settings], defaults: str = "{}") -> None:
    """Configure an agent with these round trips. Its state and the password stand beside the file."""
    password = config.with_name("password")
    password.write_text(PASSWORD)
    lines = [f"state_dir: {config.with_name('state')}", f"defaults: {defaults}", "probes:"]
    for name, settings in probes.items():
        text = json.dumps({"name": name, "kind": "mail_roundtrip", "allow_short_interval": True, **settings})
        lines.append("  - " + text.replace(json.dumps({"env": PASSWORD}), json.dumps({"file": str(password)})))
    config.write_text("\n".join(lines))


def fresh() -> Shared:
    """Return what the runs of one agent share."""
    return Shared(lookup, read)


async def trip(*, shared: Shared | None = None, deadline: float = 10.0, **settings: Any) -> Run:
    """Run one round trip."""
    checked = PROBE.settings.model_validate(settings)
    return await run_once(Job("one", "mail_roundtrip", PROBE, checked, 60.0, deadline, PROBE.place(checked)), shared or fresh())


def told(run: Run) -> tuple[str, str, str]:
    """Return outcome or reason, code and the step to blame of a run."""
    return (str(run.reason or run.outcome), run.code, run.failed_step or "")
