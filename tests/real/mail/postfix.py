"""Postfix with a queue of its own: submission with login, an MX without, and a recipient for every fate a message can have."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.certificates import key_pair
from tests.processes import Program, accepts, free_port, running
from tests.real.mail.dovecot import DOMAIN, PEOPLE, Dovecot, require_root
from tests.servers import require

REFUSALS = {
    "greylisted": "450 4.2.0 Greylisted, try again in a minute",
    "busy": "451 4.3.2 Temporary server error. Please try again later",
    "suspect": "451 4.7.500 Server busy. Please try again later",
    "crowded": "432 4.3.2 Concurrent connections limit exceeded",
    "nobody": "550 5.1.1 User unknown",
    "unwanted": "550 5.7.1 Message refused by policy",
    "basic": "550 5.7.30 Basic authentication is not supported for Client Submission.",
    "brimful": "552 5.2.2 Mailbox is full",
}
"""Name behind the plus of a recipient to the reply that RCPT TO gets, at submission and at the MX."""

AWAY = "away.example"
"""Domain behind the MX: mail to `probeN@` comes back through it, which adds a hop; anybody else bounces after it was accepted."""

CONNECTIONS = 8
"""How many at once one client may have at the MX."""

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = mail.{domain}
mydestination =
mynetworks =
alias_maps =
inet_interfaces = all
inet_protocols = all
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = texthash:{folder}/mailboxes
virtual_alias_maps = texthash:{folder}/aliases
virtual_transport = lmtp:unix:{lmtp}
transport_maps = texthash:{folder}/transport
sender_bcc_maps = texthash:{folder}/copies
recipient_delimiter = +
relay_domains = {away}
relay_recipient_maps = texthash:{folder}/away
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth}
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/access
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtp_tls_security_level = may
lmtp_destination_concurrency_limit = 4
minimal_backoff_time = 1s
maximal_backoff_time = 2s
smtpd_reject_unlisted_recipient = no
queue_run_delay = 1s
"""

_MASTER = """
postlog    unix-dgram n - n - 1 postlogd
127.0.0.1:{submission}  inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject
127.0.0.1:{submissions} inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject
  -o smtpd_tls_wrappermode=yes
127.0.0.1:{mx} inet n - n - - smtpd -o myhostname=mx.{away} -o smtpd_reject_unlisted_recipient=yes
  -o smtpd_client_connection_count_limit={connections}
  -o cleanup_service_name=cleanup-of-mx
cleanup-of-mx unix n - n - 0 cleanup -o virtual_alias_maps=texthash:{folder}/away -o sender_bcc_maps=
cleanup    unix n - n - 0 cleanup
pickup     unix n - n 60 1 pickup
qmgr       unix n - n 300 1 qmgr
tlsmgr     unix - - n 1000? 1 tlsmgr
rewrite    unix - - n - - trivial-rewrite
bounce     unix - - n - 0 bounce
defer      unix - - n - 0 bounce
trace      unix - - n - 0 bounce
verify     unix - - n - 1 verify
flush      unix n - n 1000? 0 flush
proxymap   unix - - n - - proxymap
smtp       unix - - n - - smtp
relay      unix - - n - - smtp
showq      unix n - n - - showq
error      unix - - n - - error
retry      unix - - n - - error
discard    unix - - n - - discard
lmtp       unix - - n - - lmtp
anvil      unix - - n - 1 anvil
scache     unix - - n - 1 scache
"""

_MASTER_PROGRAM = "/usr/lib/postfix/sbin/master"
_QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")


@dataclass(frozen=True, slots=True)
class Postfix:
    """A Postfix that runs."""

    folder: Path
    submission: int
    submissions: int
    mx: int
    program: Program

    def log(self) -> str:
        """Return all it logged."""
        path = self.folder / "postfix.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def queued(self) -> list[Path]:
        """Return the files of all messages that wait in a queue."""
        names = ("active", "deferred", "hold", "incoming", "maildrop", "corrupt", "saved")
        return [path for name in names for path in (self.folder / "queue" / name).rglob("*") if path.is_file()]

    def release(self) -> None:
        """Let go of what is held, as an administrator would."""
        subprocess.run([require("postsuper"), "-c", str(self.folder), "-H", "ALL"], check=True, capture_output=True)

    def drop(self) -> None:
        """Throw away whatever is queued."""
        subprocess.run([require("postsuper"), "-c", str(self.folder), "-d", "ALL"], check=True, capture_output=True)

    def flush(self) -> None:
        """Try once more, now, whatever was deferred."""
        subprocess.run([require("postqueue"), "-c", str(self.folder), "-f"], check=True, capture_output=True)


@contextmanager
def postfix(folder: Path, behind: Dovecot) -> Iterator[Postfix]:
    """Run Postfix in the folder, which strangers must be able to enter, in front of a Dovecot, while the block runs."""
    require_root("postfix")
    ports = {name: free_port() for name in ("submission", "submissions", "mx")}
    folder.mkdir(exist_ok=True)
    _make_queue(folder)
    _write(folder, behind, ports)
    _tables(folder, ports["mx"])
    command = [_MASTER_PROGRAM, "-c", str(folder), "-d"]
    with running(command, folder / "out", lambda: all(map(accepts, ports.values()))) as program:
        yield Postfix(folder, program=program, **ports)


def _make_queue(folder: Path) -> None:
    """Make the folders that `postfix check` would make, with their owners."""
    for name in ("queue", "queue/pid", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix", "postfix")
    for name in _QUEUES:
        (folder / "queue" / name).mkdir(mode=0o700)
        shutil.chown(folder / "queue" / name, "postfix")
    for name, mode in (("maildrop", 0o1730), ("public", 0o2710)):
        (folder / "queue" / name).mkdir()
        shutil.chown(folder / "queue" / name, "postfix", "postdrop")
        (folder / "queue" / name).chmod(mode)


def _write(folder: Path, behind: Dovecot, ports: dict[str, int]) -> None:
    pair = key_pair()
    sockets = {"lmtp": behind.lmtp, "auth": behind.auth}
    main = _MAIN.format(folder=folder, domain=DOMAIN, away=AWAY, certificate=pair.certificate, key=pair.key, **sockets)
    (folder / "main.cf").write_text(main)
    (folder / "master.cf").write_text(_MASTER.format(folder=folder, away=AWAY, connections=CONNECTIONS, **ports))


def _tables(folder: Path, mx: int) -> None:
    """Write who there is, and what becomes of a message to a name behind the plus."""

    def every(suffix: str, *, domain: str = DOMAIN) -> list[str]:
        return [f"{name}{suffix}@{domain}" for name in PEOPLE]

    tables = {
        "mailboxes": dict.fromkeys(every(""), "yes"),
        "access": {address: reply for word, reply in REFUSALS.items() for address in every(f"+{word}")}
        | dict.fromkeys(every("+held"), "HOLD until an administrator lets go"),
        "aliases": {address: address.replace("+twice", "") + ", " + address.replace("+twice", "+again") for address in every("+twice")},
        "transport": {f"{AWAY}": f"smtp:[127.0.0.1]:{mx}"}
        | dict.fromkeys(every("+lost"), "discard:lost on purpose")
        | dict.fromkeys(every("+dead"), "error:5.1.2 There is no such domain")
        | dict.fromkeys(every("+stuck"), "retry:4.4.1 The next server does not answer"),
        "copies": {f"probe3@{DOMAIN}": f"probe3+sent@{DOMAIN}"},
        "away": {address: address.replace(AWAY, DOMAIN) for address in every("", domain=AWAY)},
    }
    for name, rows in tables.items():
        (folder / name).write_text("".join(f"{key} {value}\n" for key, value in rows.items()))
