"""An agent that is killed again and again leaves none of its letters behind, whatever became of them.

FOGBELL_MAIL_RUNS=200 makes two hundred round trips of the sixty.
"""

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
from tests.real.mail.ends import Settings, address, direct, imap, pop3, submission, write_configuration
from tests.real.mail.pair import Pair, pair

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

RUNS = int(os.environ.get("FOGBELL_MAIL_RUNS", "60"))
KILLED_AFTER = 20
EACH = 2
"""Probes of each fate."""


def probes(mail: Pair, held: str) -> dict[str, Settings]:
    """Return probes for each fate of a letter; those of `held` wait in the queue where it says so."""
    box = {"send": submission(mail), "receive": imap(mail)}
    fates: dict[str, Settings] = {
        "imap": box,
        "pop3": {"send": submission(mail, security="tls"), "receive": pop3(mail, "probe4")},
        "direct": {"send": direct(mail), "receive": imap(mail, "probe4")},
        "copy": {"send": submission(mail, "probe3"), "receive": imap(mail), "sent": imap(mail, "probe3")},
        "junk": box | {"to": address("probe2+junk")},
        "twice": {"send": submission(mail), "receive": imap(mail, "probe4"), "to": address("probe4+twice")},
        "dead": box | {"sent": imap(mail, "probe1"), "to": address("probe2+dead")},
        "held": box | {"to": address(f"probe2{held}")},
    }
    return {f"{name}-{n}": settings for n in range(EACH) for name, settings in fates.items()}


def write(config: Path, mail: Pair, interval: float, held: str = "") -> None:
    """Configure the agent; its state stays where it was."""
    write_configuration(config, probes(mail, held), f"{{interval: {interval}s, timeout: 2s}}")


def sent(mail: Pair) -> set[str]:
    """Return the tags of all letters that Postfix says it took."""
    return set(re.findall(r"message-id=<fogbell\.([0-9a-f]{32})@", mail.postfix.log()))


def left(mail: Pair) -> dict[Path, set[str]]:
    """Return the tags in the files of mailboxes and queues: letters, copies and delivery reports."""
    mark = re.compile(rf"{HEADER}: ([0-9a-f]{{32}})")
    tags = {path: set(mark.findall(content.decode(errors="replace"))) for path, content in mail.messages().items()}
    return {path: found for path, found in tags.items() if found}


def run_and_kill(config: Path, mail: Pair, chance: random.Random) -> int:
    """Let an agent send twenty letters and kill it at no moment in particular; return how many messages lie in mailboxes then."""
    before = len(sent(mail))
    with daemon(config) as agent:
        eventually(lambda: len(sent(mail)) >= before + KILLED_AFTER, "twenty letters", 60, agent.program.said)
        time.sleep(chance.uniform(0, 0.5))
        agent.program.end(signal.SIGKILL)
    return len(left(mail).keys() - set(mail.postfix.queued()))


def test_no_letter_of_ours_is_left_after_kill_upon_kill(tmp_path: Path) -> None:
    config, chance = tmp_path / "agent.yml", random.Random(4)  # noqa: S311 - no secret
    with pair() as mail:
        write(config, mail, 2.0, held="+held")
        orphans = [run_and_kill(config, mail, chance) for _ in range(RUNS // KILLED_AFTER)]
        assert sum(orphans) > 0, "no kill came between sending and clearing away: this shows nothing"
        theirs = sent(mail)
        assert len(theirs) >= RUNS
        mail.postfix.release()
        write(config, mail, 10.0)
        with daemon(config) as agent:
            gone = "nothing is left of what the killed agents sent"
            eventually(
                lambda: not any(tags & theirs for tags in left(mail).values()), gone, 60, lambda: f"{left(mail)}\n{agent.program.said()}"
            )
        # Once more, now that nobody moves files about.
        assert not any(tags & theirs for tags in left(mail).values())
