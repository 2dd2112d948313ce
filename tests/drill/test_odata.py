from collections.abc import Mapping

import pytest

from agent.drill.graph.frame import Call, Caller, GraphError
from agent.drill.graph.odata import matches, ordered, page, select

ITEMS = [{"id": str(number), "name": f"item {number}", "even": number % 2 == 0, "from": {"address": f"a{number}@x"}} for number in range(5)]


def call(query: Mapping[str, str]) -> Call:
    return Call("GET", {}, query, {}, None, Caller("app", None, frozenset()), "id", "https://localhost:1/v1.0/things")


def ids(query: Mapping[str, str]) -> tuple[str, str]:
    body = page(call(query), ITEMS, default_top=3).body
    return "".join(item["id"] for item in body["value"]), body.get("@odata.nextLink", "").rpartition("skiptoken=")[2]


@pytest.mark.parametrize(
    ("query", "shown", "token"),
    [
        ({}, "012", "3"),
        ({"$skiptoken": "3"}, "34", ""),
        ({"$top": "2", "$skip": "1"}, "12", "3"),
        ({"$top": "5"}, "01234", ""),
        ({"$filter": "even eq true", "$top": "2"}, "02", "2"),
        ({"$orderby": "name desc", "$top": "1"}, "4", "1"),
        ({"$skip": "9"}, "", ""),
    ],
)
def test_pages_follow_one_another(query: Mapping[str, str], shown: str, token: str) -> None:
    assert ids(query) == (shown, token)


def test_the_next_link_keeps_the_rest_of_the_query_and_leaves_skip_out() -> None:
    body = page(call({"$top": "1", "$skip": "1", "$select": "name", "$count": "true"}), ITEMS).body
    assert body["@odata.nextLink"] == "https://localhost:1/v1.0/things?%24top=1&%24select=name&%24count=true&%24skiptoken=2"
    assert body["@odata.count"] == 5
    assert body["@odata.context"] == "https://localhost:1/v1.0/$metadata#things"
    assert body["value"] == [{"id": "1", "name": "item 1"}]


@pytest.mark.parametrize("query", [{"$top": "0"}, {"$top": "x"}, {"$skip": "-1"}, {"$skiptoken": "?"}, {"$filter": "name like 'x'"}])
def test_a_query_that_makes_no_sense_is_refused(query: Mapping[str, str]) -> None:
    with pytest.raises(GraphError) as caught:
        page(call(query), ITEMS)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("name eq 'O''Neil and Co'", True),
        ("name eq 'x' and size gt 3", False),
        ("(size ge 3) and (size le 3)", True),
        ("size lt 3", False),
        ("size ne 3", False),
        ("startswith(name, 'o''n')", True),
        ("contains(name,'CO')", True),
        ("contains(name,'none')", False),
        ("from/address eq 'a@b'", True),
        ("gone eq null", True),
        ("gone ge 3", False),
        ("when ge 2026-01-01T00:00:00Z", True),
    ],
)
def test_a_filter_says_which(text: str, *, fits: bool) -> None:
    item = {"name": "O'Neil and Co", "size": 3, "from": {"address": "a@b"}, "when": "2026-02-01T00:00:00Z"}
    assert matches(item, text) is fits


def test_select_keeps_id_and_annotations() -> None:
    assert select({"id": 1, "a": 2, "b": 3, "@odata.etag": 4}, " a ") == {"id": 1, "a": 2, "@odata.etag": 4}


def test_what_lacks_the_property_comes_first() -> None:
    assert ordered([{"n": 2}, {}, {"n": 1}], "n asc") == [{}, {"n": 1}, {"n": 2}]
