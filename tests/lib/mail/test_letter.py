"""The letter itself, and finding it again."""

import email
import re
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from probes.lib.mail.letter import HEADER, Letter, Template, mail_address, mime, new_letter, tag_in, unfolded

TAG = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
LONG_DOMAIN = f"{'a' * 60}.{'b' * 60}.example"


def letter(sender: str = "probe1@contoso.example", recipient: str = "probe2@contoso.example", **template: str) -> Letter:
    return new_letter("mail-inside", sender, recipient, Template(**template))


def parsed(message: bytes) -> EmailMessage:
    found = email.message_from_bytes(message, policy=SMTPUTF8)
    assert isinstance(found, EmailMessage)
    return found


def test_a_letter_says_what_it_is_and_can_be_found_again() -> None:
    ours = letter()
    message = parsed(mime(ours))
    assert (message["From"], message["To"]) == ("probe1@contoso.example", "probe2@contoso.example")
    assert message["Subject"] == f"Fogbell mail probe {ours.tag}"
    assert message["Message-ID"] == f"<fogbell.{ours.tag}@contoso.example>" == ours.message_id
    assert (message[HEADER], message["Auto-Submitted"]) == (ours.tag, "auto-generated")
    assert message.get_content_type() == "text/plain"
    text = message.get_content()
    assert {word in text for word in ("Fogbell", "mail-inside", "may be", "deleted", ours.tag)} == {True}


def test_the_date_is_that_of_the_letter() -> None:
    ours = letter()
    assert parsed(mime(ours))["Date"].datetime.timestamp() == int(ours.created)


def test_no_two_letters_have_the_same_tag_and_each_is_always_the_same_bytes() -> None:
    one, two = letter(), letter()
    assert one.tag != two.tag
    assert re.fullmatch(r"[0-9a-f]{32}", one.tag)
    assert mime(one) == mime(one)


@pytest.mark.parametrize(
    "ours",
    [
        pytest.param(letter(), id="as it comes"),
        pytest.param(letter(subject="Pr\u00fcfung durch Fogbell {tag} " + "\u00fc" * 80), id="subject of other letters"),
        pytest.param(letter(subject="check of {probe} at {sent}"), id="no tag in the subject"),
        pytest.param(letter(f"p@{LONG_DOMAIN}", f"p@{LONG_DOMAIN}"), id="long domain"),
        pytest.param(letter("prob\u00e9@b\u00fccher.example"), id="international address"),
        pytest.param(letter(body="k\u00fcrzer"), id="other letters"),
        pytest.param(letter(body="\u00e4" * 3000 + "\n.\nFrom here\n" + "x" * 3000), id="long lines"),
    ],
)
def test_every_letter_keeps_the_rules_of_the_wire(ours: Letter) -> None:
    message = mime(ours)
    lines = message.split(b"\r\n")
    assert max(len(line) for line in lines) <= 998
    assert b"\n" not in b"".join(lines)
    assert b"\r" not in b"".join(lines)
    assert message.isascii() == (ours.sender + ours.recipient).isascii()
    assert tag_in(message.decode()) == ours.tag
    assert parsed(message)["Subject"] == ours.subject
    assert parsed(message).get_content().splitlines() == ours.body.splitlines()


@pytest.mark.parametrize(
    ("header", "tag"),
    [
        pytest.param(f"{HEADER}: {TAG}", TAG, id="our header"),
        pytest.param(f"{HEADER.lower()}:{TAG.upper()}", TAG, id="letter case"),
        pytest.param(f"Message-ID: <fogbell.{TAG}@contoso.example>", TAG, id="Message-ID"),
        pytest.param(f"Message-ID:\r\n <fogbell.{TAG}@contoso.example>", TAG, id="folded"),
        pytest.param(f"In-Reply-To: <fogbell.{TAG}@contoso.example>", TAG, id="In-Reply-To"),
        pytest.param(f"References: <a@b>\n\t<fogbell.{TAG}@contoso.example>", TAG, id="References"),
        pytest.param(f"Subject: Undeliverable: Fogbell mail probe {TAG}", TAG, id="subject"),
        pytest.param(f"Subject: =?utf-8?q?Fogbell_{TAG}?=", TAG, id="encoded subject"),
        pytest.param(f"Message-ID: <fogbell.{OTHER}@x>\n{HEADER}: {TAG}", TAG, id="our header counts before a Message-ID"),
        pytest.param(f"{HEADER}: {TAG}\n{HEADER}: {OTHER}", TAG, id="the first of two"),
        pytest.param(f"{HEADER}: {TAG}x", "", id="not quite"),
        pytest.param(f"Subject: your checksum {TAG}", "", id="somebody else's digits"),
        pytest.param(f"Subject: Fogbell {TAG}0", "", id="too many digits"),
        pytest.param("Subject: Fogbell =?utf-8?b?!!?=", "", id="bad encoding"),
        pytest.param("Subject: Fogbell =?no-such-charset?q?x?=", "", id="unknown charset"),
        pytest.param(f"Subject: hello\n\n{HEADER}: {TAG}", "", id="in the body"),
        pytest.param("X: y\n" * 100_000 + f"{HEADER}: {TAG}", "", id="too far down"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_tag_is_found_where_it_can_be_ours(header: str, tag: str) -> None:
    assert tag_in(header) == tag


@given(st.text() | st.text(alphabet=f"{HEADER}:=?utf-8qb<>@fogbell. \r\n\t0af"))
def test_any_text_has_a_tag_or_none(text: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}|", tag_in(text))


@pytest.mark.parametrize(
    "text",
    ["Subject: Fogbell " + "=?a?q?x" * 100_000, "References: " + "fogbell." * 100_000, "Subject: Fogbell " + "0" * 500_000, ":" * 500_000],
    ids=["encoded words", "ids", "digits", "colons"],
)
@pytest.mark.timeout(5)
def test_an_unlucky_text_takes_no_longer(text: str) -> None:
    assert tag_in(text) == ""


WORDS = st.lists(st.text("azAZ09:;<>@=-", min_size=1, max_size=9), min_size=1, max_size=9)


@given(st.lists(st.tuples(st.sampled_from(["Received", "Subject", "X-A"]), WORDS), max_size=5), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_is_folded_is_unfolded(fields: list[tuple[str, list[str]]], line_end: str) -> None:
    folded = "".join(f"{name}: {f'{line_end} '.join(words)}{line_end}" for name, words in fields)
    assert unfolded(folded) == [(name.lower(), " ".join(words)) for name, words in fields]


@pytest.mark.parametrize(
    ("template", "mistake"),
    [
        ({"subject": "a\r\nBcc: everybody@contoso.example"}, "one line"),
        ({"subject": "a\u2028b"}, "one line"),
        ({"subject": "{tga}"}, r"does not know \{tga\}; placeholders are \{tag\}, \{probe\}, \{sent\}"),
        ({"body": "{}"}, r"does not know \{\}"),
        ({"subject": ""}, "at least 1 character"),
    ],
    ids=["line end", "another line end", "misspelt", "empty placeholder", "empty"],
)
def test_templates_that_cannot_be_meant(template: dict[str, str], mistake: str) -> None:
    with pytest.raises(ValidationError, match=mistake):
        Template(**template)


def test_placeholders_are_filled_and_what_fills_them_is_left_alone() -> None:
    ours = new_letter("{tag}", "a@b.example", "c@d.example", Template(subject="{probe} {tag}", body="{probe}"))
    assert (ours.subject, ours.body) == (f"{{tag}} {ours.tag}", "{tag}")


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("probe@contoso.example", "probe@contoso.example"),
        ("Probe+1@CONTOSO.example", "Probe+1@contoso.example"),
        ("probe@b\u00fccher.example", "probe@xn--bcher-kva.example"),
        ("prob\u00e9@contoso.example", "prob\u00e9@contoso.example"),
    ],
    ids=["plain", "case", "international domain", "international name"],
)
def test_an_address_is_written_as_smtp_does(written: str, address: str) -> None:
    assert mail_address(written) == address


@pytest.mark.parametrize(
    "written",
    [
        "",
        "probe",
        "@contoso.example",
        "probe@",
        "a b@c.example",
        "a@b c",
        "<a@b.example>",
        "a@b.example\r\nX: y",
        "a\x1b@b.example",
        "a\u2028@b.example",
    ],
)
def test_what_is_no_address(written: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        mail_address(written)


def test_python_judges_a_folded_subject_as_we_do() -> None:
    ours = letter(subject="Fogbell {tag} " + "word " * 30)
    assert email.message_from_bytes(mime(ours), policy=SMTP)["Subject"].rstrip() == ours.subject.rstrip()
