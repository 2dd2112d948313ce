"""The texts that mail domains publish."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.lib.mail_records import Policy, dkim_key, dmarc_policy, mta_sts_id, parse_policy, serves, tags, tls_rpt_addresses


def test_tags_are_read_with_blanks_anywhere_and_a_semicolon_last() -> None:
    assert tags(" v = DMARC1 ;P=none; ; rua=mailto:a@b?x=y;") == {"v": "DMARC1", "p": "none", "rua": "mailto:a@b?x=y"}


@pytest.mark.parametrize("text", ["p", "=x", "p=1; P=2"])
def test_what_is_no_list_of_tags_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"'.*'"):
        tags(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("v=DKIM1; k=rsa; p=aGVsbG8=", b"hello"),
        ("p=aGVs bG8=", b"hello"),
        ("v=DKIM1; p=", b""),
        ("v=DKIM2; p=aGVsbG8=", b""),
        ("v=DKIM1; p=!!!!", b""),
        ("v=spf1 -all", b""),
        ("just a text", b""),
    ],
)
def test_a_key_is_found_where_there_is_one(text: str, key: bytes) -> None:
    assert dkim_key(text) == key


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (dmarc_policy, "v=DMARC1; p=Quarantine; sp=none; pct=50", "quarantine"),
        (mta_sts_id, "v=STSv1; id=20260101T000000Z;", "20260101T000000Z"),
        (tls_rpt_addresses, "v=TLSRPTv1; rua=mailto:a@b.example,https://b.example/in", "mailto:a@b.example,https://b.example/in"),
    ],
)
def test_a_good_record_gives_what_it_says(read: Callable[[str], str], text: str, value: str) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (dmarc_policy, "p=none; v=DMARC1"),
        (dmarc_policy, "v=DMARC1; p=none; sp=drop"),
        (dmarc_policy, ""),
        (mta_sts_id, "v=STSv1"),
        (mta_sts_id, "v=STSv1; id=a b"),
        (tls_rpt_addresses, "v=TLSRPTv1"),
        (tls_rpt_addresses, "v=TLSRPTv1; rua=mailto:a@b.example,ftp://x"),
    ],
)
def test_a_bad_record_is_refused_in_words(read: Callable[[str], str], text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text)


LINES = ["version: STSv1", "mode: enforce", "mx: mail.contoso.example", "mx: *.mail.example", "max_age: 604800"]


def test_a_policy_is_read_with_either_line_end() -> None:
    expected = Policy("enforce", ("mail.contoso.example", "*.mail.example"))
    assert parse_policy("\r\n".join(LINES)) == expected
    assert parse_policy("\n".join(LINES) + "\n") == expected


@pytest.mark.parametrize("missing", ["version", "mode", "max_age", "mx"])
def test_a_policy_without_one_of_its_parts_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match=r"it"):
        parse_policy("\n".join(line for line in LINES if not line.startswith(missing)))


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("mail.contoso.example", True),
        ("a.mail.example", True),
        ("a.b.mail.example", False),
        ("mail.example", False),
        ("other.example", False),
    ],
)
def test_a_policy_serves_hosts_by_name_or_by_one_label(host: str, *, served: bool) -> None:
    assert serves(parse_policy("\n".join(LINES)), host) == served


def test_a_policy_that_is_off_serves_everybody() -> None:
    assert serves(Policy("none", ()), "any.example")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    assert isinstance(dkim_key(text), bytes)
    for read in (dmarc_policy, mta_sts_id, tls_rpt_addresses, parse_policy):
        with suppress(ValueError):
            read(text)
