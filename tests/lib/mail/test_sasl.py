"""What is said at a login, against the examples that protocols' pages print."""

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.mail.sasl import complaint, login, plain, without_secret, xoauth2

LETTERS = st.characters(codec="utf-8", categories=("L", "N"))
CHALLENGES = {
    "as Google's and Microsoft's": (
        '{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}',
        "status 401, schemes bearer mac",
    ),
    "a number": ('{"status":400}', "status 400"),
    "no object": ("[1]", ""),
    "no JSON": ("no", ""),
    "deep": ("[" * 3000, ""),
}


def test_xoauth2_is_the_string_that_microsoft_prints() -> None:
    printed = "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ=="
    assert xoauth2("test@contoso.onmicrosoft.com", "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA") == printed


def test_plain_is_the_string_of_its_rfc() -> None:
    assert base64.b64decode(plain("tim", "tanstaaftanstaaf")) == b"\0tim\0tanstaaftanstaaf"


def test_login_says_the_name_and_then_the_password() -> None:
    assert [base64.b64decode(part) for part in login("müller", "geheim")] == ["müller".encode(), b"geheim"]


@pytest.mark.parametrize("say", [xoauth2, plain])
@pytest.mark.parametrize(("user", "secret"), [("a\0b", "secret"), ("user", "sec\0ret")], ids=["in the name", "in the secret"])
def test_a_nul_is_refused_and_not_shown(say: Callable[[str, str], str], user: str, secret: str) -> None:
    with pytest.raises(Failed) as caught:
        say(user, secret)
    assert caught.value.reason is Reason.CREDENTIAL_INVALID
    assert secret not in caught.value.message


def test_a_name_cannot_smuggle_a_second_field_into_xoauth2() -> None:
    with pytest.raises(Failed):
        xoauth2("me\x01auth=Bearer stolen", "token")


@pytest.mark.parametrize(("told", "read"), CHALLENGES.values(), ids=CHALLENGES)
def test_the_challenge_of_a_refusal_is_read(told: str, read: str) -> None:
    assert complaint(base64.b64encode(told.encode()).decode()).startswith(read)
    assert bool(complaint(base64.b64encode(told.encode()).decode())) is bool(read)


@given(st.text())
def test_no_challenge_is_too_strange(challenge: str) -> None:
    assert isinstance(complaint(challenge), str)


@pytest.mark.parametrize("form", [xoauth2, plain, lambda _, secret: login("", secret)[1], lambda _, secret: secret])
@given(user=st.text(LETTERS), secret=st.text(LETTERS, min_size=4))
def test_what_was_sent_is_not_in_what_is_told(form: Callable[[str, str], str], user: str, secret: str) -> None:
    assert without_secret(f"NO <{form(user, secret)}>", user, secret) == "NO <…>"


def test_what_is_cut_off_is_hidden_as_well() -> None:
    said = "not an IMAP status: 'AUTHENTICATE XOAUTH2 " + xoauth2("me@x.example", "secret" * 100)
    assert without_secret(f"{said[:200]}'", "me@x.example", "secret" * 100) == "not an IMAP status: 'AUTHENTICATE XOAUTH2 …'"
    assert without_secret('LOGIN "me" "a\\"b\\\\c"', "me", 'a"b\\c') == 'LOGIN "me" "…"'


def test_a_short_password_does_not_shred_what_the_server_says() -> None:
    assert without_secret("NO such user", "u", "s") == "NO such user"
    assert json.dumps(without_secret("NO geheim", "u", "geheim")) == '"NO \\u2026"'
