"""An agent that is killed again and again leaves none of its letters behind, whatever became of them.

FOGBELL_MAIL_RUNS=200 makes two hundred round trips of the sixty.
"""

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from probes.lib.mail.letter import HEADER
from tests.processes import eventually
from tests.real.daemon import daemon
from tests.real.mail.dovecot import PASSWORD
from tests.real.mail.ends import Settings, address, direct, imap, pop3, submission
from tests.real.mail.pair import Pair, pair

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

RUNS = int(os.environ.get("FOGBELL_MAIL_RUNS", "60"))
KILLED_AFTER = 20


def probes(mail: Pair, held: str) -> dict[str, Settings]:
    """Return a probe for each fate of a letter; those of `held` wait in the queue where it says so."""
    box = {"send": submission(mail), "receive": imap(mail)}
    return {
        "imap": box,
        "pop3": {"send": submission(mail, security="tls"), "receive": pop3(mail, "probe4")},
        "direct": {"send": direct(mail), "receive": imap(mail, "probe4")},
        "copy": {"send": submission(mail, "probe3"), "receive": imap(mail), "sent": imap(mail, "probe3")},
        "junk": box | {"to": address("probe2+junk")},
        "twice": {"send": submission(mail), "receive": imap(mail, "probe4"), "to": address("probe4+twice")},
        "dead": box | {"sent": imap(mail, "probe1"), "to": address("probe2+dead")},
        "held": box | {"to": address(f"probe2{held}")},
    }


def write(config: Path, mail: Pair, interval: float, held: str = "") -> None:
    """Configure the agent; its state stays where it was."""
    (config.parent / "password").write_text(PASSWORD)
    lines = [f"state_dir: {config.parent / 'state'}", f"defaults: {{interval: {interval}s, timeout: 2s}}", "probes:"]
    for name, settings in probes(mail, held).items():
        whole = {"name": name, "kind": "mail_roundtrip", "allow_short_interval": True, **settings}
        text = json.dumps(whole).replace(json.dumps({"env": PASSWORD}), json.dumps({"file": str(config.parent / "password")}))
        lines.append(f"  - {text}")
    config.write_text("\n".join(lines))


def letters_sent(mail: Pair) -> int:
    """Return how many letters of ours Postfix says it took."""
    return len(set(re.findall(r"message-id=<fogbell\.[0-9a-f]{32}@", mail.postfix.log())))


def left(mail: Pair) -> list[Path]:
    return mail.holding(f"{HEADER}: ".encode())


def run_and_kill(config: Path, mail: Pair, chance: random.Random) -> int:
    """Let an agent send twenty letters and kill it at no moment in particular; return how many of its letters lie in mailboxes then."""
    before = letters_sent(mail)
    with daemon(config) as agent:
        eventually(lambda: letters_sent(mail) >= before + KILLED_AFTER, "twenty letters", 60, agent.program.said)
        time.sleep(chance.uniform(0, 0.5))
        agent.program.end(signal.SIGKILL)
    return len(set(left(mail)) - set(mail.postfix.queued()))


def test_no_letter_of_ours_is_left_after_kill_upon_kill(tmp_path: Path) -> None:
    config, chance = tmp_path / "agent.yml", random.Random(4)  # noqa: S311 - no secret
    with pair() as mail:
        write(config, mail, 2.0, held="+held")
        orphans = [run_and_kill(config, mail, chance) for _ in range(RUNS // KILLED_AFTER)]
        assert sum(orphans) > 0, "no kill came between sending and clearing away: this shows nothing"
        assert letters_sent(mail) >= RUNS
        mail.postfix.release()
        write(config, mail, 10.0)
        with daemon(config) as agent:
            eventually(lambda: not left(mail), "nothing of ours is left", 60, lambda: f"{left(mail)}\n{agent.program.said()}")
