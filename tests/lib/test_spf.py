"""SPF: the grammar, and the count of what a receiver would look up."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import pytest
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.spf import Ask, Term, Walk, is_spf, parse_spf, walk_spf


def asks(texts: Mapping[str, str], addresses: frozenset[str] = frozenset(), asked: list[str] | None = None) -> Ask:
    """Answer from a table of TXT records and a set of hosts with addresses."""

    async def ask(name: str, kind: RdataType) -> tuple[str, ...]:
        if asked is not None:
            asked.append(name)
        if kind is RdataType.TXT:
            return (texts[name],) if name in texts else ()
        return ("192.0.2.1",) if name in addresses else ()

    return ask


def walk(texts: Mapping[str, str], addresses: frozenset[str] = frozenset()) -> Walk:
    """Walk from the record of contoso.example."""
    return asyncio.run(walk_spf(asks(texts, addresses), "contoso.example", texts["contoso.example"]))


@pytest.mark.parametrize(
    ("text", "spf"), [("v=spf1", True), ("V=SPF1 -all", True), ("v=spf10 -all", False), ("v=spf2.0/pra", False), ("", False)]
)
def test_a_record_claims_to_be_spf_by_its_first_word(text: str, *, spf: bool) -> None:
    assert is_spf(text) == spf


@pytest.mark.parametrize(
    ("word", "term"),
    [
        ("-all", Term("all", "")),
        ("Include:spf.example", Term("include", "spf.example")),
        ("?a", Term("a", "")),
        ("a/24//64", Term("a", "")),
        ("a:host.example/24", Term("a", "host.example")),
        ("~mx//64", Term("mx", "")),
        ("ip4:192.0.2.0/24", Term("ip4", "192.0.2.0/24")),
        ("ip6:2001:db8::/32", Term("ip6", "2001:db8::/32")),
        ("exists:%{l1r+-/}._spf.example", Term("exists", "%{l1r+-/}._spf.example")),
        ("redirect=_spf.example", Term("redirect", "_spf.example")),
        ("exp=why.example", Term("exp", "why.example")),
        ("unknown=modifier/%{x}", Term("unknown", "modifier/%{x}")),
    ],
)
def test_a_term_is_read(word: str, term: Term) -> None:
    assert parse_spf(f"v=spf1 {word}") == (term,)


@pytest.mark.parametrize(
    "word",
    [
        "include:",
        "include",
        "exists",
        "redirect=",
        "ip4:192.0.2.300",
        "ip4:2001:db8::1",
        "ip6",
        "ipv4:192.0.2.1",
        "all,",
        "all:x.example",
        "a/x",
        "=",
        "-",
    ],
)
def test_what_breaks_the_grammar_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"'.+'"):
        parse_spf(f"v=spf1 {word} -all")


def test_lookups_are_counted_through_all_levels() -> None:
    texts = {
        "contoso.example": "v=spf1 ip4:192.0.2.0/24 a mx:m.example include:one.example exists:%{i}.example ptr ~all",
        "one.example": "v=spf1 include:two.example include:three.example -all",
        "two.example": "v=spf1 ip6:2001:db8::/32 -all",
        "three.example": "v=spf1 redirect=four.example",
        "four.example": "v=spf1 ?all redirect=never.example",
    }
    found = walk(texts, frozenset({"contoso.example", "m.example"}))

    assert found == Walk(8, 0, ("one.example", "two.example", "three.example", "four.example"), ())


def test_lookups_without_result_are_counted() -> None:
    texts = {"contoso.example": "v=spf1 a:gone.example mx:gone.example include:gone.example -all"}

    assert walk(texts) == Walk(3, 3, ("gone.example",), ("gone.example is included and has 0 SPF records",))


def test_records_that_include_each_other_come_to_an_end() -> None:
    texts = {"contoso.example": "v=spf1 include:a.example -all", "a.example": "v=spf1 include:contoso.example include:a.example -all"}

    assert 10 < walk(texts).lookups < 100


def test_a_name_that_is_none_is_a_problem_and_not_an_error() -> None:
    found = walk({"contoso.example": "v=spf1 include:a..b -all"})

    assert found.lookups == 1
    assert "'a..b' is no domain name" in found.problems[0]


async def test_a_resolver_that_fails_ends_the_walk_with_its_failure() -> None:
    async def ask(name: str, _kind: RdataType) -> tuple[str, ...]:
        raise Failed(Reason.DNS_SERVFAIL, name)

    with pytest.raises(Failed) as caught:
        await walk_spf(ask, "contoso.example", "v=spf1 include:a.example include:b.example -all")
    assert caught.value.message == "a.example"


NAMES = [f"n{i}.example" for i in range(6)]
TERMS = st.sampled_from(
    [f"include:{name}" for name in NAMES] + ["a", "mx", "ptr", "-all", "ip4:192.0.2.1", f"redirect={NAMES[0]}", "a:%{i}.example", "bad:x"]
)
RECORDS = st.lists(TERMS, max_size=12).map(lambda terms: " ".join(["v=spf1", *terms]))


@given(st.fixed_dictionaries({"contoso.example": RECORDS}, optional=dict.fromkeys(NAMES, RECORDS)))
def test_every_web_of_records_is_walked_in_bounded_work(texts: dict[str, str]) -> None:
    asked: list[str] = []
    found = asyncio.run(walk_spf(asks(texts, asked=asked), "contoso.example", texts["contoso.example"]))

    assert len(asked) <= 2 * 40
    assert found.voids <= found.lookups
    assert set(found.included) <= set(asked)


@given(st.lists(RECORDS, min_size=1, max_size=6))
def test_a_tree_takes_as_many_lookups_as_its_records_name(records: list[str]) -> None:
    """Each record includes the next alone, so the count is the sum over all; within the bound that ends a walk."""
    own = [[word for word in record.split()[1:] if not word.startswith(("include", "redirect", "bad"))] for record in records]
    names = ["contoso.example", *NAMES]
    texts = {
        name: " ".join(["v=spf1", *words, *([f"include:{names[i + 1]}"] if i + 1 < len(own) else [])])
        for i, (name, words) in enumerate(zip(names, own, strict=False))
    }
    expected = sum(word in {"a", "mx", "ptr"} or word.startswith("a:") for words in own for word in words) + len(own) - 1

    if expected <= 40:
        assert walk(texts).lookups == expected


@given(st.text(max_size=80))
def test_any_text_is_a_record_or_a_mistake_in_words(text: str) -> None:
    with suppress(ValueError):
        parse_spf(f"v=spf1 {text}")
