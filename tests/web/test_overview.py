"""States, order and filter of the list."""

from dataclasses import replace

import pytest

from agent.history import History
from agent.job import Job
from agent.web.areas import TITLES, Area, area_of
from agent.web.overview import Directory, Filter, Moment, Overview, State, group_order, state, survey
from probes.core.contract import Layer, Place, Workload
from tests.web.samples import GRAPH, IMAP, INTRANET, JOBS, MX, NEW, NOW, SHAREPOINT, SMTP, STORM, history, page, silent, throttled

MOMENT = Moment(NOW, NOW - 100)


def test_each_sample_of_the_storm_has_its_state() -> None:
    past = history(STORM)
    states = {job.name: state(job, past.of(job.name), MOMENT) for job in (SHAREPOINT, SMTP, MX, IMAP, GRAPH, NEW)}
    assert states == {
        SHAREPOINT.name: State.FAILING,
        SMTP.name: State.FAILING,
        MX.name: State.OK,
        IMAP.name: State.STALE,
        GRAPH.name: State.INCONCLUSIVE,
        NEW.name: State.WAITING,
    }


@pytest.mark.parametrize(("age", "expected"), [(179.0, State.OK), (181.0, State.STALE)])
def test_a_probe_is_stale_after_three_of_its_intervals(age: float, expected: State) -> None:
    past = History()
    past.record(page(INTRANET, NOW - age))
    assert state(INTRANET, past.of(INTRANET.name), MOMENT) is expected


@pytest.mark.parametrize(("age", "expected"), [(179.0, State.WAITING), (181.0, State.STALE)])
def test_a_probe_that_never_ran_waits_for_three_of_its_intervals(age: float, expected: State) -> None:
    assert state(INTRANET, History().of(INTRANET.name), Moment(NOW, NOW - age)) is expected


def test_a_failing_probe_stays_failing_when_it_is_throttled_or_silent() -> None:
    past = History()
    past.record(silent(SMTP, NOW - 9000))
    past.record(throttled(SMTP, NOW - 30))
    assert state(SMTP, past.of(SMTP.name), MOMENT) is State.FAILING


def test_a_probe_with_nothing_but_inconclusive_runs_is_inconclusive_and_then_stale() -> None:
    past = History()
    past.record(throttled(GRAPH, NOW - 30))
    assert state(GRAPH, past.of(GRAPH.name), MOMENT) is State.INCONCLUSIVE
    assert state(GRAPH, past.of(GRAPH.name), Moment(NOW, NOW - 181)) is State.STALE


async def looked(wanted: Filter, jobs: tuple[Job, ...] = JOBS) -> Overview:
    return await survey(await Directory(lambda: jobs).ordered(), history(STORM), MOMENT, wanted)


async def test_failing_probes_come_first_then_uncertain_ones_then_the_rest_by_area() -> None:
    found = (await looked(Filter())).by_rank()
    assert [its_state for _, its_state in found[:4]] == [State.FAILING, State.FAILING, State.STALE, State.INCONCLUSIVE]
    rest = [job for job, _ in found[4:]]
    assert rest == sorted(rest, key=group_order)


async def test_by_area_those_with_failures_come_first_and_what_fails_first_in_each() -> None:
    found = (await looked(Filter())).by_area()
    areas = list(dict.fromkeys(area_of(job) for job, _ in found))
    assert areas == [Area.MAIL, Area.FILES, Area.TALK, Area.SIGN_IN, Area.NAMES, Area.NETWORK]
    assert [(area_of(job), its_state) for job, its_state in found[:5]] == [
        (Area.MAIL, State.FAILING),
        (Area.MAIL, State.STALE),
        (Area.MAIL, State.OK),
        (Area.FILES, State.FAILING),
        (Area.FILES, State.WAITING),
    ]


async def test_an_area_without_failures_stands_behind_one_that_has_some() -> None:
    calm = tuple(job for job in JOBS if job is not SMTP)
    assert area_of((await looked(Filter(), calm)).by_area()[0][0]) is Area.FILES


async def test_the_tallies_count_all_probes_whatever_the_filter() -> None:
    seen = await looked(Filter(("intranet",)))
    assert seen.tally == {State.FAILING: 2, State.INCONCLUSIVE: 1, State.STALE: 1, State.WAITING: 1, State.OK: 6}
    assert seen.tallies[Area.FILES] == {State.FAILING: 1, State.WAITING: 1}
    assert (len(seen), seen.by_area()) == (1, [(INTRANET, State.OK)])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("control",), {INTRANET}),
        (("contoso", "dns", "mx"), {MX}),
        (("protection.outlook",), {SMTP}),
        (("no-such",), set()),
        (("s3cret",), set()),
    ],
    ids=["role", "all words", "target", "nothing", "no secret is found"],
)
async def test_every_word_of_a_filter_must_occur(words: tuple[str, ...], expected: set[Job]) -> None:
    seen = await survey(JOBS, History(), MOMENT, Filter(words))
    assert {job.name for job, _ in seen.by_area()} == {job.name for job in expected}


async def test_a_filter_for_a_state_admits_no_other() -> None:
    assert [job for job, _ in (await looked(Filter(state=State.STALE))).by_area()] == [IMAP]


async def test_a_filter_for_an_area_admits_no_other() -> None:
    assert {job.name for job, _ in (await looked(Filter(area=Area.FILES))).by_area()} == {SHAREPOINT.name, NEW.name}


@pytest.mark.parametrize(
    ("layer", "workload", "role", "area"),
    [
        (Layer.WORKLOAD, Workload.EXCHANGE, "probe", Area.MAIL),
        (Layer.MAIL_TRANSPORT, Workload.NETWORK, "probe", Area.MAIL),
        (Layer.WORKLOAD, Workload.SHAREPOINT, "probe", Area.FILES),
        (Layer.WORKLOAD, Workload.ONEDRIVE, "probe", Area.FILES),
        (Layer.FEATURE, Workload.SHAREPOINT, "probe", Area.SEARCH),
        (Layer.FEATURE, Workload.TEAMS, "probe", Area.TALK),
        (Layer.PATH, Workload.TEAMS, "probe", Area.TALK),
        (Layer.IDENTITY, Workload.ENTRA, "probe", Area.SIGN_IN),
        (Layer.EDGE, Workload.ADMIN, "probe", Area.PORTALS),
        (Layer.WORKLOAD, Workload.DEFENDER, "probe", Area.PORTALS),
        (Layer.FEATURE, Workload.PURVIEW, "probe", Area.PORTALS),
        (Layer.RESOLVER, Workload.EXCHANGE, "probe", Area.NAMES),
        (Layer.PATH, Workload.DNS, "probe", Area.NAMES),
        (Layer.PATH, Workload.NETWORK, "probe", Area.NETWORK),
        (Layer.RESOLVER, Workload.DNS, "control", Area.NETWORK),
        (Layer.CONTROL, Workload.EXCHANGE, "probe", Area.NETWORK),
        (Layer.STATUS, Workload.ADMIN, "probe", Area.STATUS),
    ],
    ids=str,
)
def test_a_probe_stands_where_people_look_for_it(layer: Layer, workload: Workload, role: str, area: Area) -> None:
    assert area_of(replace(MX, place=Place(layer, workload), role=role)) is area


def test_every_workload_on_every_layer_has_an_area_with_a_title() -> None:
    everywhere = {area_of(replace(MX, place=Place(layer, workload))) for layer in Layer for workload in Workload}
    assert everywhere == set(Area) == TITLES.keys()


async def test_ten_thousand_probes_are_sorted_and_sorted_again_when_they_change() -> None:
    jobs = tuple(replace(JOBS[number % 11], name=f"p{-number}") for number in range(10_000))
    now = [jobs]
    directory = Directory(lambda: now[0])
    assert await directory.ordered() == tuple(sorted(jobs, key=group_order))
    assert await directory.ordered() is await directory.ordered()
    now[0] = jobs[:1]
    assert await directory.ordered() == jobs[:1]


def test_a_probe_is_found_by_its_whole_name_only() -> None:
    directory = Directory(lambda: JOBS)
    assert directory.find(MX.name) is MX
    assert directory.find(MX.name[:-1]) is None
