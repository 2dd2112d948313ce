"""What a server says becomes a label only when it is on the list."""

import pytest

from probes.core.codes import known


@pytest.mark.parametrize(
    ("code", "label"),
    [
        pytest.param("", "", id="no code"),
        pytest.param("503", "503", id="HTTP"),
        pytest.param("509", "509", id="Graph's own HTTP status"),
        pytest.param("799", "other", id="no HTTP status"),
        pytest.param("SERVFAIL", "SERVFAIL", id="DNS"),
        pytest.param("451 4.3.2", "451 4.3.2", id="the outage of January 2026"),
        pytest.param("535 5.7.139", "535 5.7.139", id="SMTP AUTH is off"),
        pytest.param("550 5.7.30", "550 5.7.30", id="basic authentication is gone"),
        pytest.param("432 4.3.2", "432 4.3.2", id="too many connections"),
        pytest.param("554 5.2.2", "554 5.2.2", id="mailbox full"),
        pytest.param("451 4.99.123", "451", id="unknown enhanced code"),
        pytest.param("451 5.7.1", "451", id="classes that contradict each other"),
        pytest.param("499 4.3.2", "other", id="unknown reply"),
        pytest.param("uncertain", "uncertain", id="a submission of which nobody knows"),
        pytest.param("not_connected", "not_connected", id="a login without a mailbox"),
        pytest.param("go away, 192.0.2.7", "other", id="free text"),
    ],
)
def test_a_label_is_on_the_list(code: str, label: str) -> None:
    assert known(code) == label
