"""Dovecot with virtual mailboxes: IMAP, POP3, LMTP, who may log in, Sieve and quota, all of it in one folder."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.canaries import CANARY
from tests.fakes.certificates import key_pair
from tests.processes import Program, accepts, free_port, running
from tests.servers import missing, require

DOMAIN = "contoso.example"
PASSWORD = CANARY
PEOPLE = ("probe1", "probe2", "probe3", "probe4", "full")
"""Everybody has the password; the mailbox of `full` has no room for any message."""
CONNECTIONS = 30
"""How many at once one user may have."""

_UID = _GID = 65534

_CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
log_timestamp = "%s.%{{usecs}} "
protocols = imap pop3 lmtp
listen = 127.0.0.1, ::1
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
ssl_dh =
disable_plaintext_auth = yes
auth_mechanisms = plain login {token_mechanisms}
auth_failure_delay = 0 secs
auth_username_format = %Ln
{token_database}
passdb {{
  driver = static
  mechanisms = plain login
  args = password={password}
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
  override_fields = uid={uid} gid={gid} home={folder}/mail/%n
}}
mail_location = maildir:~/Maildir
first_valid_uid = {uid}
first_valid_gid = {gid}
recipient_delimiter = +
mail_plugins = quota notify mail_log
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Junk {{
    auto = create
    special_use = \\Junk
  }}
  mailbox Sent {{
    auto = create
    special_use = \\Sent
  }}
  mailbox Trash {{
    auto = create
    special_use = \\Trash
  }}
}}
plugin {{
  quota = maildir:User quota
  quota_exceeded_message = Mailbox is full
  sieve_before = {folder}/rules.sieve
  sieve = file:~/sieve
  mail_log_events = save copy delete expunge
  mail_log_fields = box msgid
}}
protocol lmtp {{
  mail_plugins = quota notify mail_log sieve
}}
mail_max_userip_connections = {connections}
service imap-login {{
  process_min_avail = 1
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener auth-of-postfix {{
    mode = 0666
  }}
}}
service anvil {{
  # Without it nobody is made to wait because somebody else had a wrong password.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-reader {{
    mode = 0666
  }}
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""

_TOKEN_DATABASE = """
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/tokens.conf
}}
"""
_TOKENS = """
introspection_mode = auth
introspection_url = {judge}
username_attribute = username
active_attribute = active
active_value = true
"""

_RULES = """
require ["envelope", "subaddress", "fileinto"];
if envelope :detail "to" "junk" {
  fileinto "Junk";
  stop;
} elsif envelope :detail "to" "sent" {
  fileinto "Sent";
  stop;
}
"""
"""What a filter of unwanted mail and an outbox that keeps copies do: told apart by the address behind the plus."""


@dataclass(frozen=True, slots=True)
class Dovecot:
    """A Dovecot that runs."""

    folder: Path
    imap: int
    imaps: int
    pop3: int
    pop3s: int
    program: Program

    @property
    def lmtp(self) -> Path:
        """Socket at which it takes mail in."""
        return self.folder / "run" / "lmtp"

    @property
    def auth(self) -> Path:
        """Socket at which Postfix asks who may send."""
        return self.folder / "run" / "auth-of-postfix"

    def log(self) -> str:
        """Return all it logged; each line begins with the Unix time in microseconds."""
        return (self.folder / "dovecot.log").read_text(errors="replace")

    def sessions(self) -> list[int]:
        """Return the ids of the processes that serve signed-in IMAP clients."""
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(FileNotFoundError, ProcessLookupError):
                facts = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
                if facts["Name"] == "imap" and int(facts["PPid"]) == self.program.process.pid:
                    found.append(int(facts["Pid"]))
        return found

    def letters(self) -> list[Path]:
        """Return the files of all messages in all folders of all mailboxes."""
        return [path for path in (self.folder / "mail").rglob("*") if path.is_file() and path.parent.name in {"cur", "new", "tmp"}]


@contextmanager
def dovecot(folder: Path, token_judge: str = "") -> Iterator[Dovecot]:
    """Run Dovecot in the folder, which strangers must be able to enter, while the block runs.

    `token_judge` is the URL of who says whose a token is (RFC 7662); without it none is taken.
    """
    program = require_root("dovecot")
    for name in ("", "run", "state", "mail"):
        (folder / name).mkdir(exist_ok=True)
    os.chown(folder / "mail", _UID, _GID)
    ports = {name: free_port() for name in ("imap", "imaps", "pop3", "pop3s")}
    _write(folder, ports, token_judge)
    command = [program, "-F", "-c", str(folder / "dovecot.conf")]
    with running(command, folder / "out", lambda: all(map(accepts, ports.values()))) as started:
        yield Dovecot(folder, program=started, **ports)


def require_root(name: str) -> str:
    """Return the path of a program that must be started as root; skip or fail where it is missing or this is not root."""
    found = require(name)
    if os.geteuid() != 0:
        raise missing(f"{name} has to be started as root")
    return found


def _write(folder: Path, ports: dict[str, int], token_judge: str) -> None:
    pair = key_pair()
    identity = {
        "certificate": pair.certificate,
        "key": pair.key,
        "password": PASSWORD,
        "uid": _UID,
        "gid": _GID,
        "connections": CONNECTIONS,
    }
    tokens = {"token_mechanisms": "xoauth2 oauthbearer", "token_database": _TOKEN_DATABASE.format(folder=folder)}
    tokens = tokens if token_judge else dict.fromkeys(tokens, "")
    (folder / "tokens.conf").write_text(_TOKENS.format(judge=token_judge))
    (folder / "dovecot.conf").write_text(_CONFIG.format(folder=folder, **ports, **identity, **tokens))
    limits = {"full": "userdb_quota_rule=*:storage=1B"}
    (folder / "users").write_text("".join(f"{name}:::::::{limits.get(name, '')}\n" for name in PEOPLE))
    (folder / "rules.sieve").write_text(_RULES)
    subprocess.run([require("sievec"), str(folder / "rules.sieve")], check=True, capture_output=True)
    shutil.chown(folder / "rules.svbin", _UID, _GID)
