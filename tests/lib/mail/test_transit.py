"""Where the time of a letter went: by the servers' clocks, and only where they tell."""

import re
from time import perf_counter

import pytest

from probes.core.context import Context, Shared
from probes.lib.mail.ends import Accepted, Folder, Found
from probes.lib.mail.letter import mime
from probes.lib.mail.report import Report
from probes.lib.mail.transit import Handed, measure, returned
from tests.lib.mail.roundtrips import letter
from tests.probes.pages import lookup, read

NINE = 1_795_424_400.0
"""2026-11-23, 09:00 UTC."""
HOPS = (
    "Received: from mx.example by box.example with LMTP id 3; Mon, 23 Nov 2026 09:00:07 +0000\r\n"
    "Received: from sub.example by mx.example with ESMTPS id 2; Mon, 23 Nov 2026 09:00:05 +0000\r\n"
    "Received: from [10.0.0.9] by sub.example with ESMTPSA id 1; Mon, 23 Nov 2026 09:00:00 +0000\r\n"
)


def told(headers: str, accepted: float | None, delivered: float | None, waited: float = 10.0) -> dict[str, float]:
    """Return what is measured of a letter that was seen so many seconds after it was accepted."""
    ctx, sent, now = Context("mail", Shared(lookup, read)), letter(), perf_counter()
    own = mime(sent).decode().partition("\r\n\r\n")[0] if "In-Reply-To" not in headers else ""
    found = Found(sent.tag, "1", Folder.INBOX, headers + own, delivered, now + waited, 0.5)
    measure(ctx, Handed(sent, now, Accepted(accepted, "250")), found)
    return {sample.name: sample.value for sample in ctx.measured if not sample.labels}


@pytest.mark.parametrize(
    ("headers", "accepted", "delivered", "expected"),
    [
        (HOPS, NINE + 1, NINE + 8, (7.0, 3.0, 0.0)),
        (HOPS, None, NINE + 8, (8.0, 2.0, 0.0)),
        (HOPS, None, None, (7.0, 3.0, 0.0)),
        ("", NINE, NINE + 4, (4.0, 6.0, 0.0)),
        ("", NINE, NINE - 3, (0.0, 10.0, 3.0)),
        ("", NINE, NINE + 60, (60.0, 0.0, 0.0)),
        ("", NINE, None, (None, None, None)),
        ("", None, NINE, (None, None, 0.0)),
        (f"{HOPS}In-Reply-To: <fogbell.x@example>\r\n", None, NINE + 8, (None, None, 0.0)),
    ],
    ids=[
        "by what was said at both ends",
        "accepted when the first hop took it",
        "delivered when the last hop took it",
        "without hops",
        "delivered before it was accepted",
        "seen before it was delivered",
        "nobody says when it was delivered",
        "nobody says when it was accepted",
        "a reply began where it was written",
    ],
)
def test_the_way_is_told_by_the_servers_clocks(
    headers: str, accepted: float | None, delivered: float | None, expected: tuple[float | None, ...]
) -> None:
    found = told(headers, accepted, delivered)
    names = ("accepted_to_delivered_seconds", "delivered_to_visible_seconds", "clock_skew_seconds")
    assert tuple(found.get(name) for name in names) == pytest.approx(expected)
    assert found["look_granularity_seconds"] == 0.5


@pytest.mark.parametrize(
    ("status", "diagnostic", "code"),
    [
        ("5.1.1", "smtp; 550 5.1.1 <a@b.example>: unknown", "550 5.1.1"),
        ("5.1.1", "smtp;553-5.1.1 nobody", "553 5.1.1"),
        ("5.4.4", "Host or domain name not found", "550 5.4.4"),
        ("4.4.7", "expired after 2026 tries at 10.450.0.1", "450 4.4.7"),
        ("", "no words", ""),
    ],
    ids=["as said", "a line of many", "no reply", "figures that are no reply", "no status"],
)
def test_the_code_of_a_bounce_is_the_reports_status_with_the_reply_that_was_given(status: str, diagnostic: str, code: str) -> None:
    failed = returned(Report("", "failed", status, diagnostic))
    assert failed.code == code
    assert re.match(r"the letter was accepted and came back", failed.message)
