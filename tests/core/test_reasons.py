"""The table of reasons is whole."""

import pytest

from probes.core.reasons import BLAME, MEANING, Blame, Reason


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_and_a_blame(reason: Reason) -> None:
    assert MEANING[reason].endswith((".", "`."))
    assert BLAME[reason] in Blame


def test_a_meaning_is_the_text_under_its_own_member() -> None:
    assert MEANING[Reason.DNS_NXDOMAIN] == "The name does not exist, says the name server."
    assert MEANING[Reason.BUG] == "The probe raised an error nobody named. Please report it."
