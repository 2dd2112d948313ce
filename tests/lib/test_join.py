"""Where a join link may lead. What becomes of one that is opened is tested with the kind `teams_meeting`."""

from typing import Any

import pytest

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.join import link_of
from probes.lib.tenant import Credential, Hosts, Tenant
from tests.fakes.identity import CLIENT_ID, TENANT_ID

LINK = "/l/meetup-join/19%3ameeting_MGQ4%40thread.v2/0?context=%7b%22Tid%22%3a%22909c%22%7d"
OWN = Hosts(login="login.example.org", graph="graph.example.org", exchange="mail.example.org")


def tenant(**where: Any) -> Tenant:
    return Tenant(tenant_id=TENANT_ID, client_id=CLIENT_ID, credential=Credential(managed_identity={}), **where)


@pytest.mark.parametrize(
    ("where", "host", "more"),
    [
        ({}, "teams.microsoft.com", ()),
        ({}, "teams.cloud.microsoft", ()),
        ({"cloud": "gcc_high"}, "gov.teams.microsoft.us", ()),
        ({"cloud": "dod"}, "dod.teams.microsoft.us", ()),
        ({"cloud": "china"}, "teams.example.cn", ("teams.example.cn",)),
        ({"hosts": OWN}, "teams.example.org:8443", ("*.example.org",)),
    ],
    ids=["worldwide", "its newer name", "GCC High", "DoD", "named in China", "named"],
)
def test_a_link_leads_to_teams_in_the_cloud_of_the_tenant(where: dict[str, Any], host: str, more: tuple[str, ...]) -> None:
    assert str(link_of(f"https://{host}{LINK}", tenant(**where), more)) == f"https://{host}{LINK}"


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (None, "has no join link"),
        ("", "has no join link"),
        (7, "has no join link"),
        ("soon", "is no web address"),
        (f"http://teams.microsoft.com{LINK}", "leads to http://teams.microsoft.com, which is no host of Teams over TLS"),
        (f"https://teams.example.org{LINK}", "leads to https://teams.example.org, which"),
        (f"https://teams.microsoft.com.example.org{LINK}", "no host of Teams"),
        (f"https://teams.microsoft.com@example.org{LINK}", "is no web address"),
    ],
    ids=["none", "empty", "a number", "words", "no TLS", "another host", "a longer name", "a user name"],
)
def test_any_other_link_is_a_failure(link: object, words: str) -> None:
    with pytest.raises(Failed, match=words) as failed:
        link_of(link, tenant(), ())
    assert failed.value.reason is Reason.CONTENT_MISMATCH


def test_a_link_that_is_no_web_address_is_not_shown() -> None:
    with pytest.raises(Failed) as failed:
        link_of("msteams://teams.microsoft.com/meet/21?p=canary", tenant(), ())
    assert "canary" not in failed.value.message


@pytest.mark.parametrize(
    "where", [{"cloud": "gcc_high"}, {"cloud": "china"}, {"hosts": OWN}], ids=["GCC High", "China", "hosts of one's own"]
)
def test_the_teams_of_another_cloud_is_another_host(where: dict[str, Any]) -> None:
    with pytest.raises(Failed, match="no host of Teams over TLS"):
        link_of(f"https://teams.microsoft.com{LINK}", tenant(**where), ())
