"""What the fakes say as Exchange Online is held against the collected facts, where those are present (`FOGBELL_REFERENCE`)."""

import os
import re
from pathlib import Path

import pytest

from tests.fakes import mail_scripts

FACTS = os.environ.get("FOGBELL_REFERENCE")


@pytest.mark.skipif(FACTS is None, reason="FOGBELL_REFERENCE does not name the folder of the reference data")
@pytest.mark.parametrize(
    "greeting",
    [mail_scripts.SMTP_GREETING, mail_scripts.IMAP_GREETING_2023, mail_scripts.IMAP_GREETING_2026, mail_scripts.POP_GREETING],
    ids=["SMTP", "IMAP of 2023", "IMAP of 2026", "POP3"],
)
def test_the_fakes_greet_as_exchange_online_does(greeting: str) -> None:
    facts = (Path(str(FACTS)) / "m365-api.md").read_text(encoding="utf-8")
    words = re.split(r"\s*(?:\[[^\]]*\]|\b[0-9a-f]{8}\b)", greeting)[0]
    assert words in facts
    assert words.swapcase() not in facts


def test_reference_data_that_is_named_is_there() -> None:
    assert FACTS is None or (Path(FACTS) / "m365-api.md").is_file()
