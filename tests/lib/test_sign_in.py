"""Where a redirect on the way to a sign-in may lead."""

import pytest

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.http import Response
from probes.lib.sign_in import redirect_of
from probes.lib.url import parse


def answer(status: int, location: str = "") -> Response:
    headers = {b"location": location.encode()} if location else {}
    return Response(status, headers, b"", 0, 0, "", 0.0, None)


@pytest.mark.parametrize(
    ("base", "location", "allowed"),
    [
        ("https://admin.microsoft.com/", "https://www.microsoft.com/x", True),
        ("https://admin.microsoft.com/", "/x", True),
        ("https://admin.microsoft.com/", "https://LOGIN.microsoftonline.com./x", True),
        ("https://admin.microsoft.com/", "https://admin.cloud.microsoft/", True),
        ("https://admin.microsoft.com/", "https://cloud.microsoft/", False),
        ("https://admin.microsoft.com/", "https://admin.microsoft.com.example.org/", False),
        ("https://admin.microsoft.com/", "https://notmicrosoft.com/", False),
        ("https://portal.example.co.uk/", "https://www.example.co.uk/", True),
        ("https://portal.example.co.uk/", "https://other.co.uk/", False),
        ("https://portal/", "https://portal/x", True),
        ("https://portal/", "https://other/", False),
        ("https://192.0.2.1/", "https://192.0.2.1:8443/", True),
        ("https://192.0.2.1/", "https://10.0.2.1/", False),
        ("http://portal.example.org/", "http://portal.example.org/x", True),
        ("https://portal.example.org/", "http://portal.example.org/x", False),
        ("https://portal.example.org/", "javascript:alert(1)", False),
    ],
)
def test_a_redirect_leads_to_the_same_site_or_to_a_sign_in(base: str, location: str, allowed: bool) -> None:  # noqa: FBT001 - a table
    if allowed:
        assert redirect_of(answer(302, location), parse(base)) is not None
        return
    with pytest.raises(Failed) as raised:
        redirect_of(answer(302, location), parse(base))
    assert (raised.value.reason, raised.value.code) == (Reason.HTTP_REDIRECT, "302")


@pytest.mark.parametrize("status", [200, 304, 401])
def test_another_answer_leads_nowhere(status: int) -> None:
    assert redirect_of(answer(status, "https://example.org/"), parse("https://admin.microsoft.com/")) is None
