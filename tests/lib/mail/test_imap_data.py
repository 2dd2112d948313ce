"""What IMAP servers answer, as they really write it, as RFC 3501 allows it, and as nobody should."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.dialogue import ImapAnswer, ImapResponse
from probes.lib.mail.imap_data import (
    MONTHS,
    Fetched,
    Item,
    Listed,
    codes,
    counted,
    fetched,
    from_utf7,
    internal_date,
    items,
    listed,
    quoted,
    search_date,
    searched,
    to_utf7,
)

ITEMS: dict[str, tuple[str, tuple[bytes, ...], list[Item]]] = {
    "atoms": (r"a \Seen $X 7", (), ["a", r"\Seen", "$X", "7"]),
    "NIL": ("NIL nil NILS", (), [None, None, "NILS"]),
    "a quoted NIL": ('"NIL"', (), [b"NIL"]),
    "escapes": (r'"a \"b\" \\ c" ""', (), [rb'a "b" \ c', b""]),
    "brackets in quotes": ('"(a) {5} [x]"', (), [b"(a) {5} [x]"]),
    "lists": ("(a (b ()) c) d", (), [["a", ["b", []], "c"], "d"]),
    "literals": ("({3} x {0})", (b"a)b", b""), [[b"a)b", "x", b""]]),
    "a literal that need not be waited for": ("{1+}", (b"x",), [b"x"]),
    "a section": ("BODY[HEADER.FIELDS (A B)]<0> x", (), ["BODY[HEADER.FIELDS (A B)]<0>", "x"]),
    "a section with quotes": ('(BODY[HEADER.FIELDS ("A")] "x")', (), [['BODY[HEADER.FIELDS ("A")]', b"x"]]),
    "a name in brackets": ("[Gmail]/Spam", (), ["[Gmail]/Spam"]),
    "nothing": ("", (), []),
    "spaces": ("  a   b ", (), ["a", "b"]),
}
BROKEN = {
    "an open list": "(a",
    "a list too many": "a)",
    "an open string": '"a',
    "an open section": "BODY[",
    "a literal that is not there": "{3}",
    "no literal": "{x}",
    "too deep": "(" * 40 + ")" * 40,
    "the end of a list that is not open, and then one": ")(",
}
FETCHES = {
    "Dovecot": (
        ImapResponse('3 FETCH (UID 17 INTERNALDATE " 1-Jan-2026 10:00:00 +0100" BODY[HEADER] {4})', (b"a: b",)),
        Fetched(3, 17, 1767258000.0, b"a: b"),
    ),
    "in another order, with more": (
        ImapResponse('3 FETCH (X-GM-ID 9 FLAGS (\\Seen) body[HEADER]<0> "x" INTERNALDATE NIL UID 17)'),
        Fetched(3, 17, None, b"x"),
    ),
    "flags alone": (ImapResponse("3 FETCH (FLAGS (\\Seen))"), Fetched(3, 0, None, b"")),
    "an odd number of items": (ImapResponse("3 FETCH (UID)"), Fetched(3, 0, None, b"")),
    "names that are none": (ImapResponse('3 FETCH ("UID" 4 (UID) 5)'), Fetched(3, 0, None, b"")),
    "another": (ImapResponse("3 EXISTS"), None),
    "words": (ImapResponse("OK 3 FETCH ()"), None),
}
LISTS = {
    "Exchange Online": (
        r'LIST (\HasNoChildren \Junk) "/" "Junk Email"',
        Listed(frozenset({r"\hasnochildren", r"\junk"}), "/", "Junk Email"),
    ),
    "Dovecot": (r"LIST (\NoInferiors) . INBOX", Listed(frozenset({r"\noinferiors"}), ".", "INBOX")),
    "no divider": ('LIST () NIL "Entw&APw-rfe"', Listed(frozenset(), "", "Entwürfe")),
    "with more": ('LIST () "/" a ("CHILDINFO" ("SUBSCRIBED"))', Listed(frozenset(), "/", "a")),
    "another": ('LSUB () "/" a', None),
}
DATES = {
    " 1-Jan-2026 10:00:00 +0100": 1767258000.0,
    "01-Jan-2026 10:00:00 +0100": 1767258000.0,
    "1-JAN-2026 10:00:00 -0030": 1767263400.0,
    "31-Dec-2016 23:59:60 +0000": 1483228799.0,
    "31-Feb-2026 10:00:00 +0000": None,
    "1-Jan-2026 25:00:00 +0000": None,
    "1-Foo-2026 10:00:00 +0000": None,
    "1-Jan-0000 10:00:00 +0000": None,
    "1-Jan-2026 10:00:00 +9999": None,
    "": None,
}
CONTROLS = "".join(map(chr, (*range(32), *range(127, 160))))
NAMES = {
    "INBOX": "INBOX",
    "Entwürfe": "Entw&APw-rfe",
    "Gesendete & Objekte": "Gesendete &- Objekte",
    "~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
}


@pytest.mark.parametrize(("text", "literals", "found"), ITEMS.values(), ids=ITEMS)
def test_items(text: str, literals: tuple[bytes, ...], found: list[Item]) -> None:
    assert items(text, literals) == found


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_are_no_items(text: str) -> None:
    with pytest.raises(Failed) as caught:
        items(text)
    assert caught.value.reason is Reason.PROTOCOL_ERROR


@pytest.mark.parametrize(("response", "message"), FETCHES.values(), ids=FETCHES)
def test_what_fetch_tells(response: ImapResponse, message: Fetched | None) -> None:
    assert fetched(response) == message


@pytest.mark.parametrize(("text", "found"), LISTS.values(), ids=LISTS)
def test_what_list_tells(text: str, found: Listed | None) -> None:
    assert listed(ImapResponse(text)) == found


def test_a_list_without_a_name_is_none() -> None:
    with pytest.raises(Failed):
        listed(ImapResponse('LIST () "/"'))


def test_a_search_may_be_told_in_pieces_and_find_nothing() -> None:
    assert searched(
        ImapAnswer("OK", "", (ImapResponse("SEARCH 1 2"), ImapResponse(""), ImapResponse("search 30"), ImapResponse("SEARCH")))
    ) == [1, 2, 30]
    assert searched(ImapAnswer("OK", "", (ImapResponse('ESEARCH (TAG "f1") UID ALL 1:3'), ImapResponse("SEARCH x -1 0 99999999999")))) == []


def test_counts() -> None:
    told = [counted(ImapResponse(text)) for text in ("23 EXISTS", "4 expunge ", "1 RECENT", "EXISTS", "OK 3 EXISTS")]
    assert told == [("EXISTS", 23), ("EXPUNGE", 4), ("", 0), ("", 0), ("", 0)]


def test_response_codes() -> None:
    untagged = tuple(map(ImapResponse, ("OK [UIDVALIDITY 3857529045] valid", "OK [UIDNEXT 4392] next", "OK Still here", "FLAGS (x)")))
    assert codes(ImapAnswer("OK", "[READ-WRITE] done", untagged)) == {"UIDVALIDITY": "3857529045", "UIDNEXT": "4392", "READ-WRITE": ""}


@pytest.mark.parametrize(("text", "moment"), DATES.items())
def test_internal_dates(text: str, moment: float | None) -> None:
    assert internal_date(text) == moment


@given(st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1)))  # noqa: DTZ001 - in UTC, as written below
def test_any_date_that_is_written_is_read(day: datetime) -> None:
    written = f"{day.day:2d}-{MONTHS[day.month - 1]}-{day:%Y %H:%M:%S} +0000"
    assert internal_date(written) == day.replace(tzinfo=UTC, microsecond=0).timestamp()
    assert written.strip().startswith(search_date(day.replace(tzinfo=UTC).timestamp()))


@pytest.mark.parametrize(("name", "packed"), NAMES.items())
def test_names_of_mailboxes(name: str, packed: str) -> None:
    assert (to_utf7(name), from_utf7(packed)) == (packed, name)


@pytest.mark.parametrize("packed", ["&", "&A-", "&====-", "&2AA-", "a & b", "&,,,,-"])
def test_a_name_that_says_nothing_stands_as_it_is(packed: str) -> None:
    assert from_utf7(packed) == packed


@given(st.text(st.characters(codec="utf-8", exclude_characters=CONTROLS)))
def test_any_name_survives_and_is_printable_ascii(name: str) -> None:
    assert from_utf7(to_utf7(name)) == name
    assert all(" " <= character <= "~" for character in to_utf7(name))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_any_printable_words_survive_their_quotes(text: str) -> None:
    assert items(quoted(text)) == [text.encode()]


NESTED = st.recursive(st.sampled_from(["a", r"\Seen", "BODY[HEADER]", "7"]) | st.none() | st.binary(), st.lists, max_leaves=20)


@given(st.lists(NESTED, max_size=4))
def test_whatever_is_written_is_read(tree: list[Item]) -> None:
    literals: list[bytes] = []
    assert items(written(tree, literals), tuple(literals)) == tree


def written(tree: list[Item], literals: list[bytes]) -> str:
    """Return items as a server would write them, bytes as literals."""
    return " ".join(_item(item, literals) for item in tree)


def _item(item: Item, literals: list[bytes]) -> str:
    if isinstance(item, bytes):
        literals.append(item)
        return f"{{{len(item)}}}"
    if isinstance(item, list):
        return f"({written(item, literals)})"
    return "NIL" if item is None else item


HOSTILE = st.text() | st.text('()[]{}"\\ 1a+<>*&-,', max_size=60)


@pytest.mark.parametrize("act", [fetched, listed], ids=["fetch", "list"])
@given(HOSTILE, st.lists(st.binary(), max_size=3))
def test_a_hostile_server_makes_no_mistake_of_ours(act: Callable[[ImapResponse], object], text: str, literals: list[bytes]) -> None:
    for begin in ("", "1 FETCH (", "LIST "):
        try:
            act(ImapResponse(begin + text, tuple(literals)))
        except Failed as failed:
            assert failed.reason is Reason.PROTOCOL_ERROR  # noqa: PT017 - a failure may be, and has to be this one


@given(HOSTILE)
def test_no_text_is_too_strange_for_what_cannot_fail(text: str) -> None:
    answer = ImapAnswer("OK", text, (ImapResponse(text), ImapResponse(f"OK {text}"), ImapResponse(f"SEARCH {text}")))
    assert all(0 < uid < 10**10 for uid in searched(answer))
    assert all(name == name.upper() for name in codes(answer))
    assert counted(ImapResponse(text))[1] >= 0
    assert isinstance(from_utf7(text), str)
    assert isinstance(internal_date(text), float | None)
