"""URLs, JSON paths and expressions: what stands in a configuration, and what strangers send."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib import regex, url
from probes.lib.jsonpath import find, steps
from probes.lib.proxy import Proxy, Route, route_to
from probes.lib.url import Url
from tests.lib.runs import context


@pytest.mark.parametrize(
    ("text", "parts", "authority"),
    [
        ("http://Example.com", Url("http", "example.com", 80, "/"), "example.com"),
        ("https://example.com:443/a?b=c#d", Url("https", "example.com", 443, "/a?b=c"), "example.com"),
        ("https://example.com:8443/a b/ü?q=ä&r=%20", Url("https", "example.com", 8443, "/a%20b/%C3%BC?q=%C3%A4&r=%20"), "example.com:8443"),
        ("http://[2001:DB8::1]:8080/", Url("http", "2001:db8::1", 8080, "/"), "[2001:db8::1]:8080"),
        ("http://bücher.example./", Url("http", "xn--bcher-kva.example", 80, "/"), "xn--bcher-kva.example"),
    ],
)
def test_an_address_is_taken_apart(text: str, parts: Url, authority: str) -> None:
    assert url.parse(text) == parts
    assert url.parse(text).authority == authority
    assert url.parse(str(parts)) == parts


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("/x", "https://example.com:8443/x"),
        ("x?y", "https://example.com:8443/a/x?y"),
        ("//other.example/x", "https://other.example/x"),
        ("http://other.example", "http://other.example/"),
        (" ../x ", "https://example.com:8443/x"),
    ],
)
def test_a_location_leads_on(reference: str, target: str) -> None:
    assert str(url.join(url.parse("https://example.com:8443/a/b"), reference)) == target


@given(st.text(max_size=60) | st.builds("http://{}".format, st.text(max_size=60)) | st.builds("https://a{}".format, st.text(max_size=60)))
def test_any_text_is_an_address_or_a_value_error_and_never_breaks_a_request(text: str) -> None:
    for parse in (url.parse, lambda location: url.join(Url("https", "example.com", 443, "/"), location)):
        try:
            found = parse(text)
        except ValueError:
            continue
        assert found.target.startswith("/")
        assert found.target.isascii()
        assert not set(found.target + found.host) & set(" \r\n\t\0")
        assert url.parse(str(found)) == found


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS, st.data())
def test_every_place_of_a_document_has_a_path(document: Any, data: st.DataObject) -> None:
    path, here = "$", document
    while here and isinstance(here, (list, dict)):
        step = data.draw(st.sampled_from(list(range(len(here))) if isinstance(here, list) else list(here)))
        if isinstance(step, str) and '"' in step:
            if "'" in step:
                return
            path += f"['{step}']"
        else:
            path += f"[{step}]" if isinstance(step, int) else f'["{step}"]'
        here = here[step]
    assert find(path, document) == here


@given(st.text(alphabet="ab.[]\"'0-1$ ü\n", max_size=12))
def test_any_text_is_a_path_or_a_value_error(path: str) -> None:
    try:
        found = steps(path)
    except ValueError:
        return
    assert all(isinstance(step, (int, str)) for step in found)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", ()),
        ("$", ()),
        ("a", ("a",)),
        ("$.a.b", ("a", "b")),
        ("a[0][-1].b", ("a", 0, -1, "b")),
        ("[0]", (0,)),
        ('a["b.c"]', ("a", "b.c")),
        ("a['']", ("a", "")),
        ("@odata.count", ("@odata", "count")),
        ('["@odata.count"]', ("@odata.count",)),
    ],
)
def test_a_path_is_read(path: str, found: tuple[object, ...]) -> None:
    assert steps(path) == found


@pytest.mark.parametrize("path", [".", "a.", "a..b", "a[", "a[x]", "a]", "a[0]b", "$a", "a b", '["a]', "a.[0]."])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is no JSON path"):
        steps(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a.b", r"\$\.a is not an object"),
        ("c", r"\$ has no 'c'"),
        ("l[5]", r"\$\.l has no 5"),
        ("l.x", r"\$\.l is not an object"),
        ("a[0]", r"\$\.a is not a list"),
        ("s[0]", r"\$\.s is not a list"),
        ("n.x", r"\$\.n is not an object"),
    ],
)
def test_a_path_that_leads_nowhere_says_how_far_it_led(path: str, words: str) -> None:
    with pytest.raises(LookupError, match=words):
        find(path, json.loads('{"a": 1, "l": [1], "s": "text", "n": null}'))


@given(st.binary(max_size=200))
def test_an_expression_takes_any_bytes(text: bytes) -> None:
    assert regex.search("(?s)^.*$|^", text)
    assert not regex.search(r"\A[^\s\S]\z", text + b"x")


PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environ", "target", "through"),
    [
        ({"http": PROXY}, "http://example.com/", True),
        ({"http": PROXY}, "https://example.com/", False),
        ({"all": PROXY}, "https://example.com/", True),
        ({"all": "proxy.example:3128"}, "https://example.com/", True),
        ({"all": PROXY, "no": "*"}, "http://example.com/", False),
        ({"all": PROXY, "no": "example.com"}, "http://example.com/", False),
        ({"all": PROXY, "no": " .Example.COM , other"}, "http://www.example.com/", False),
        ({"all": PROXY, "no": "*.example.com"}, "http://www.example.com/", False),
        ({"all": PROXY, "no": "ample.com"}, "http://example.com/", True),
        ({"all": PROXY, "no": "example.com:8080"}, "http://example.com/", True),
        ({"all": PROXY, "no": "example.com:80"}, "http://example.com/", False),
        ({"all": PROXY, "no": "10.0.0.0/8,192.0.2.1"}, "http://10.1.2.3/", False),
        ({"all": PROXY, "no": "10.0.0.0/8,192.0.2.1"}, "http://192.0.2.2/", True),
        ({"all": PROXY, "no": "2001:db8::/32"}, "http://[2001:db8::1]/", False),
        ({"all": PROXY, "no": "[2001:db8::1]:80"}, "http://[2001:db8::1]/", False),
        ({"all": PROXY, "no": ","}, "http://example.com/", True),
        ({}, "http://example.com/", False),
    ],
)
def test_the_environment_names_a_proxy(environ: dict[str, str], target: str, through: bool) -> None:  # noqa: FBT001 - a column of the table
    found = route_to(context(environ=tuple(environ.items())), Proxy(url="environment"), url.parse(target))
    assert found == (Route("proxy.example", 3128) if through else None)


def test_a_login_in_the_environment_is_used_and_never_shown() -> None:
    found = route_to(context(environ=(("all", "http://me:s%20cret@proxy.example"),)), Proxy(url="environment"), url.parse("http://a.test/"))
    assert found is not None
    assert found.headers == (("Proxy-Authorization", "Basic bWU6cyBjcmV0"),)
    assert "Basic" not in repr(found) + str(found)
    assert found.port == 8080


def test_a_proxy_that_nobody_could_use_fails_in_its_own_name_without_its_password() -> None:
    with pytest.raises(Failed, match="the environment's proxy cannot be used") as caught:
        route_to(context(environ=(("all", "socks5://me:s3cret@proxy.example"),)), Proxy(url="environment"), url.parse("http://a.test/"))
    assert caught.value.reason is Reason.PROXY_UNREACHABLE
    assert "s3cret" not in caught.value.message
