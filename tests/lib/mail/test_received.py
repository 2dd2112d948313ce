"""The way of a letter as servers write it, and as nobody should."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from probes.lib.mail.received import MOST_HOPS, ROLES, Hop, trail

FACTS = os.environ.get("FOGBELL_REFERENCE")

EXCHANGE_ONLINE = """\
Received: from FR2P281MB0001.DEUP281.PROD.OUTLOOK.COM (2603:10a6:d10:1::1) by
 FR0P281MB0002.DEUP281.PROD.OUTLOOK.COM with HTTPS; Mon, 23 Nov 2026 08:00:04
 +0000
Received: from BE1P281CA0003.DEUP281.PROD.OUTLOOK.COM (2603:10a6:b10:1::2) by
 FR2P281MB0001.DEUP281.PROD.OUTLOOK.COM (2603:10a6:d10:1::1) with Microsoft
 SMTP Server (version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id
 15.20.9052.13; Mon, 23 Nov 2026 08:00:03 +0000
Received: from FR2P281MB0009.DEUP281.PROD.OUTLOOK.COM
 ([fe80::1:2:3:4]) by FR2P281MB0009.DEUP281.PROD.OUTLOOK.COM
 ([fe80::1:2:3:4%6]) with mapi id 15.20.9052.013; Mon, 23 Nov 2026 08:00:01 +0000
"""
ON_PREMISES = """\
Received: from EX02.contoso.example (10.0.0.2) by EX02.contoso.example (10.0.0.2) with
 Microsoft SMTP Server (version=TLS1_2, cipher=X) id 15.2.1544.4 via Mailbox Transport; Mon, 23 Nov 2026 09:00:05 +0100
Received: from relay.example.org (192.0.2.1) by EX02.contoso.example (10.0.0.2) with
 Microsoft SMTP Server id 15.2.1544.4 via Frontend Transport; Mon, 23 Nov 2026 08:00:03 +0000
Received: from [192.0.2.7] (unknown [192.0.2.7]) (Authenticated sender: probe)
\tby relay.example.org (Postfix) with ESMTPSA id 4XkQ2r1Zb9z
\tfor <probe2@contoso.example>; Mon, 23 Nov 2026 08:00:00 +0000 (UTC)
"""
DOVECOT = """\
Received: from mail.example.org
\tby mail.example.org with LMTP
\tid 6J2bBd1nQmcAAAAAAAAAAA
\t(envelope-from <probe1@example.org>)
\tfor <probe2@example.org>; Mon, 23 Nov 2026 08:00:01 +0000
Received: from [127.0.0.1] (localhost [127.0.0.1])
\tby mail.example.org (Postfix) with ESMTPSA id 4XkQ2r1Zb9z;
\tMon, 23 Nov 2026 08:00:00 +0000 (UTC)
"""


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def hop(received: str) -> Hop:
    """Return the one hop of this header."""
    (found,) = trail(f"Received: {received}").hops
    return found


@pytest.mark.parametrize(
    ("header", "hops"),
    [
        pytest.param(
            EXCHANGE_ONLINE,
            [
                ("FR2P281MB0009.DEUP281.PROD.OUTLOOK.COM", "mapi", "submission", None),
                ("FR2P281MB0001.DEUP281.PROD.OUTLOOK.COM", "Microsoft SMTP Server", "transport", 2.0),
                ("FR0P281MB0002.DEUP281.PROD.OUTLOOK.COM", "HTTPS", "delivery", 1.0),
            ],
            id="Exchange Online",
        ),
        pytest.param(
            ON_PREMISES,
            [
                ("relay.example.org", "ESMTPSA", "submission", None),
                ("EX02.contoso.example", "Microsoft SMTP Server via Frontend Transport", "transport", 3.0),
                ("EX02.contoso.example", "Microsoft SMTP Server via Mailbox Transport", "delivery", 2.0),
            ],
            id="Exchange on premises behind Postfix",
        ),
        pytest.param(
            DOVECOT,
            [("mail.example.org", "ESMTPSA", "submission", None), ("mail.example.org", "LMTP", "delivery", 1.0)],
            id="Postfix and Dovecot",
        ),
    ],
)
def test_each_family_of_servers_has_its_roles(header: str, hops: list[tuple[str, str, str, float | None]]) -> None:
    found = trail(header)
    assert [(one.by, one.protocol, one.role, one.seconds) for one in found.hops] == hops
    assert found.skew == 0


def test_only_the_newest_hop_over_https_delivers_and_mapi_always_submits() -> None:
    found = trail("Received: by d with HTTPS\nReceived: by c with HTTPS\nReceived: by b with mapi id 15\nReceived: by a with HTTPS\n")
    assert [one.role for one in found.hops] == ["submission", "submission", "transport", "delivery"]


def test_clocks_that_disagree_make_no_negative_time_but_a_skew() -> None:
    found = trail(
        "Received: by c with SMTP; 23 Nov 2026 08:00:05 +0000\n"
        "Received: by b with SMTP; 23 Nov 2026 08:00:02 +0000\n"
        "Received: by a with SMTP; 23 Nov 2026 08:00:09 +0000\n"
    )
    assert [one.seconds for one in found.hops] == [None, 0.0, 3.0]
    assert found.skew == 7.0


def test_a_hop_without_a_date_leaves_the_time_to_the_next() -> None:
    found = trail(
        "Received: by c with SMTP; 23 Nov 2026 08:00:05 +0000\n"
        "Received: by b with SMTP\n"
        "Received: by a with SMTP; 23 Nov 2026 08:00:01 +0000\n"
    )
    assert [one.seconds for one in found.hops] == [None, None, 4.0]


@pytest.mark.parametrize(
    ("date", "when"),
    [
        pytest.param("Mon, 23 Nov 2026 08:00:00 +0000", "2026-11-23 08:00:00", id="as it should be"),
        pytest.param("Mon, 23 Nov 2026 09:30:00 +0130", "2026-11-23 08:00:00", id="east"),
        pytest.param("23 Nov 2026 00:30:00 -0730 (whatever; it says)", "2026-11-23 08:00:00", id="west, comment, no weekday"),
        pytest.param("Mon,  2 Nov 2026\r\n\t08:00 GMT", "2026-11-02 08:00:00", id="folded, no seconds"),
        pytest.param("2 Nov 26 08:00:00 EST", "2026-11-02 13:00:00", id="RFC 822"),
        pytest.param("Mon, 23 Nov 2026 08:00:00.250 +0000", "2026-11-23 08:00:00.25", id="parts of a second"),
        pytest.param("Mon, 23 Nov 2026 08:00:60 +0000", "2026-11-23 08:00:59", id="leap second"),
        pytest.param("since 1 Nov 2026 00:00:00 +0000, now 23 Nov 2026 08:00:00 +0000", "2026-11-23 08:00:00", id="the last of two"),
        pytest.param("Mon, 23 Nov 2026 08:00:00", "2026-11-23 08:00:00", id="no zone"),
        pytest.param("Mon, 31 Feb 2026 08:00:00 +0000", None, id="no such day"),
        pytest.param("Mon, 23 Nuv 2026 08:00:00 +0000", None, id="no such month"),
        pytest.param("Mon, 23 Nov 2026 25:00:00 +0000", None, id="no such hour"),
        pytest.param("Mon, 23 Nov 0000 08:00:00 +0000", None, id="no such year"),
        pytest.param("", None, id="none"),
    ],
)
def test_dates(date: str, when: str | None) -> None:
    assert hop(f"from a by b with SMTP; {date}").when == (at(when) if when else None)


@pytest.mark.parametrize(
    ("received", "by", "sender", "protocol"),
    [
        pytest.param("from a (by c with d) by b (e (f) g) with SMTP", "b", "a", "SMTP", id="words in comments"),
        pytest.param("FROM a BY b WITH SMTP", "b", "a", "SMTP", id="letter case"),
        pytest.param("by b with HTTP", "b", "", "HTTP", id="from nobody"),
        pytest.param("(qmail 1 invoked by uid 2)", "", "", "", id="qmail"),
        pytest.param("from a (never closed by b with SMTP", "", "a", "", id="a comment without end"),
        pytest.param("from a) by b", "b", "a", "", id="an end without a comment"),
    ],
)
def test_words(received: str, by: str, sender: str, protocol: str) -> None:
    found = hop(f"{received}; Mon, 23 Nov 2026 08:00:00 +0000")
    assert (found.by, found.sender, found.protocol) == (by, sender, protocol)
    assert found.when == at("2026-11-23 08:00:00")


def test_only_the_header_counts_and_only_its_received_lines() -> None:
    assert trail("Subject: Received: by a\nX-Received: by b\n\nReceived: by c").hops == ()


def test_a_loop_of_servers_has_an_end() -> None:
    assert len(trail("Received: by a; 23 Nov 2026 08:00:00 +0000\n" * 5000).hops) == MOST_HOPS


pieces = st.sampled_from(
    [
        "Received:",
        "received: ",
        "from ",
        "by ",
        "with ",
        "(",
        ")",
        ";",
        "\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "Mon, ",
        "23 Nov 2026 08:00:00 +0000",
        "LMTP",
        "\0",
    ]
)


@given(st.text() | st.lists(pieces | st.text(max_size=5)).map("".join))
@example("Received: ; 99 Nov 9999 99:99:99 +9999")
@example("Received: ; 31 Dec 9999 23:59:59 -2359")
@example("Received: ; 1 Jan 0001 00:00:00 +2359")
@example("Received: ; \u0661 Nov 2026 08:00:00 +0000")
def test_any_text_has_a_trail(text: str) -> None:
    found = trail(text)
    assert found.skew >= 0
    assert {one.role for one in found.hops} <= set(ROLES)
    assert all(one.seconds is None or one.seconds >= 0 for one in found.hops)


@given(st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=20))
def test_what_is_written_by_the_rules_is_read_back(times: list[int]) -> None:
    lines = [
        f"Received: from a by h{n} with ESMTP; {datetime.fromtimestamp(time, UTC):%a, %d %b %Y %H:%M:%S} +0000"
        for n, time in enumerate(times)
    ]
    found = trail("\n".join(reversed(lines)))
    assert [(one.by, one.when) for one in found.hops] == [(f"h{n}", time) for n, time in enumerate(times)]


@pytest.mark.parametrize(
    "text",
    [
        "Received: " + "(" * 1_000_000,
        "Received: " + "23 Nov 2026 08:00:00 " * 50_000,
        "Received: " + ";" * 1_000_000,
        "Received: from " * 100_000,
        "Received: \n " * 100_000,
        "Received: x\n" * 100_000,
        "Received: " + "1" * 1_000_000,
    ],
    ids=["parentheses", "dates", "semicolons", "words", "folds", "hops", "digits"],
)
@pytest.mark.timeout(5)
def test_an_unlucky_text_takes_no_longer(text: str) -> None:
    assert len(trail(text).hops) <= MOST_HOPS


# The real headers of the collected facts: by, from, protocol, date.
REAL = [
    (
        "SN1PR16MB0494.namprd16.prod.outlook.com",
        "BN3NAM04HT205.eop-NAM04.prod.protection.outlook.com",
        "HTTPS via SN1PR15CA0024.NAMPRD15.PROD.OUTLOOK.COM",
        "2018-04-21 03:01:33",
    ),
    (
        "BN3NAM04FT003.mail.protection.outlook.com",
        "vmta6.response.nfcu.org",
        "Microsoft SMTP Server via Frontend Transport",
        "2018-04-21 03:01:32",
    ),
    (
        "SN1PR16MB0494.namprd16.prod.outlook.com",
        "CO1NAM03HT217.eop-NAM03.prod.protection.outlook.com",
        "HTTPS via SN1PR15CA0033.NAMPRD15.PROD.OUTLOOK.COM",
        "2018-04-22 02:54:19",
    ),
    (
        "CO1NAM03FT028.mail.protection.outlook.com",
        "o9.sgmail.github.com",
        "Microsoft SMTP Server via Frontend Transport",
        "2018-04-22 02:54:17",
    ),
    ("ismtpd0021p1iad2.sendgrid.net", "smtp.github.com", "ESMTP", "2018-04-22 02:54:16.987"),
    ("ismtpd0003p1iad2.sendgrid.net", "smtp.github.com", "ESMTP", "2018-03-26 13:35:36.102"),
    (
        "SN1PR16MB0494.namprd16.prod.outlook.com",
        "BN3NAM04HT205.eop-NAM04.prod.protection.outlook.com",
        "HTTPS via SN1PR15CA0024.NAMPRD15.PROD.OUTLOOK.COM",
        "2018-04-21 03:01:33",
    ),
    ("", "", "", "2014-08-24 16:13:38"),
    ("another.org", "another.com", "", "2018-03-27 14:35:36"),
    ("example.org", "example.com", "", "2018-03-26 13:35:36"),
    *[("another.org", "another.com", "", "2018-03-27 14:35:36")] * 4,
    *[("example.org", "example.com", "", "2018-03-26 13:35:36")] * 2,
    ("third.org", "third.com", "", "2018-03-28 14:35:36"),
]


@pytest.mark.skipif(FACTS is None, reason="FOGBELL_REFERENCE does not name the folder of the reference data")
def test_all_seventeen_real_headers_are_read() -> None:
    headers = json.loads((Path(str(FACTS)) / "received-headers.json").read_text(encoding="utf-8"))["headers"]
    found = [trail(header).hops[0] for header in headers]
    assert [(one.by, one.sender, one.protocol, one.when) for one in found] == [(*words, at(date)) for *words, date in REAL]
    assert len(trail("\n".join(headers)).hops) == len(REAL) == 17
