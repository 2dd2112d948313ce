"""Our own calls are counted in the window of each limit, for whom the limit is."""

from dataclasses import dataclass

import pytest

from probes.core.needs import LIMITS, Limit, Service
from probes.lib.usage import Usage, Window
from tests.fakes.graph import tenant_at

TENANT = tenant_at("graph.microsoft.com")
OTHER_APP = TENANT.model_copy(update={"client_id": "6b5f1c1e-0000-4000-8000-00000000ffff"})


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_forgets_what_is_older_than_itself() -> None:
    window = Window(Limit(100, 60))
    shares = []
    for now, units in ((1000.0, 30.0), (1030.0, 20.0), (1058.0, 0.0), (1061.0, 0.0), (1091.0, 0.0), (90_000.0, 1.0)):
        window.add(now, units)
        shares.append(window.share(now))
    assert shares == [0.3, 0.5, 0.5, 0.2, 0.0, 0.01]


def test_a_tenth_of_the_limit_does_not_explain_and_more_does() -> None:
    clock = Clock()
    usage = Usage(clock)
    for _ in range(24):
        usage.count("contoso", TENANT, Service.SERVICE_HEALTH)
    assert not usage.explains_throttling(TENANT, Service.SERVICE_HEALTH)
    usage.count("contoso", TENANT, Service.SERVICE_HEALTH)
    assert usage.explains_throttling(TENANT, Service.SERVICE_HEALTH)
    clock.now += 61
    assert not usage.explains_throttling(TENANT, Service.SERVICE_HEALTH)


@pytest.mark.parametrize(("service", "few"), [(Service.EDISCOVERY, 1), (Service.TEAMS, 24)], ids=["five a minute", "four a second"])
def test_what_a_run_or_two_ask_explains_nothing_however_small_the_limit_is(service: Service, few: int) -> None:
    usage = Usage(Clock())
    for _ in range(few):
        usage.count("contoso", TENANT, service, whose="team 1")
    assert not usage.explains_throttling(TENANT, service, whose="team 1")
    usage.count("contoso", TENANT, service, whose="team 1")
    assert usage.explains_throttling(TENANT, service, whose="team 1")
    assert usage.explains_throttling(TENANT, service, whose="team 2") is (service is Service.EDISCOVERY)


@pytest.mark.parametrize(
    ("limit", "watched"),
    [(Limit(4, 1, each=True), Limit(240, 60, each=True)), (Limit(3_500, 10), Limit(3_500, 10)), (Limit(5, 60), Limit(5, 60))],
    ids=["a second", "ten seconds", "a minute"],
)
def test_a_limit_for_a_second_is_watched_over_a_minute(limit: Limit, watched: Limit) -> None:
    assert limit.watched == watched


def test_the_longer_window_counts_as_well() -> None:
    clock = Clock()
    usage = Usage(clock)
    for _ in range(81):
        usage.count("contoso", TENANT, Service.SERVICE_HEALTH)
        clock.now += 40
    assert usage.explains_throttling(TENANT, Service.SERVICE_HEALTH)


def test_units_weigh_what_the_service_counts() -> None:
    usage = Usage(Clock())
    usage.count("contoso", TENANT, Service.FILES, units=121)
    assert usage.explains_throttling(TENANT, Service.FILES)
    assert usage.calls() == [("contoso", Service.FILES, 1)]


@pytest.mark.parametrize(
    ("tenant", "service", "whose", "explained"),
    [
        (TENANT, Service.OUTLOOK, "Probe1@Contoso.Example", True),
        (TENANT, Service.OUTLOOK, "probe2@contoso.example", False),
        (OTHER_APP, Service.OUTLOOK, "probe1@contoso.example", False),
        (TENANT, Service.TEAMS, "", False),
        (TENANT, Service.LOGIN, "", False),
    ],
    ids=["the same mailbox", "another mailbox", "another application", "another service", "no known limit"],
)
def test_a_limit_is_for_one_application_and_where_so_for_one_mailbox(tenant: object, service: Service, whose: str, explained: bool) -> None:  # noqa: FBT001 - a table
    usage = Usage(Clock())
    for _ in range(1001):
        usage.count("contoso", TENANT, Service.OUTLOOK, whose="probe1@contoso.example")
        usage.count("contoso", TENANT, Service.LOGIN)
    assert usage.explains_throttling(tenant, service, whose=whose) is explained  # type: ignore[arg-type] # a table of tenants


def test_all_calls_to_graph_count_against_its_common_limit() -> None:
    usage = Usage(Clock())
    limit = LIMITS[Service.GRAPH][0].units
    usage.count("contoso", TENANT, Service.TEAMS)
    usage.count("contoso", TENANT, Service.LOGIN)
    assert usage.share(TENANT, Service.GRAPH) == pytest.approx(1 / limit)


def test_what_will_be_used_counts_from_nothing_and_what_is_gone_is_forgotten() -> None:
    usage = Usage(Clock())
    usage.count("contoso", TENANT, Service.TEAMS)
    usage.count("gone", TENANT, Service.TEAMS)
    usage.expect([("contoso", Service.TEAMS), ("contoso", Service.FILES)])
    assert usage.calls() == [("contoso", Service.TEAMS, 1), ("contoso", Service.FILES, 0)]
