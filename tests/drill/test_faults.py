import pytest

from agent.drill.faults import Dns, Fault, Faults, Http, Latency, Tcp, Where, share_at


class Clock:
    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def faults(*some: Fault, seconds: float = 0.0, seed: int = 1) -> Faults:
    made = Faults(Clock(seconds), seed)
    made.set(*some)
    return made


@pytest.mark.parametrize(
    ("where", "asked", "hit"),
    [
        (Where(), {}, True),
        (Where(hosts=frozenset({"graph"})), {}, True),
        (Where(hosts=frozenset({"login"})), {}, False),
        (Where(operations=frozenset({"search"})), {"operation": "search"}, True),
        (Where(operations=frozenset({"search"})), {"operation": "presence"}, False),
        (Where(operations=frozenset({"search"})), {}, False),
        (Where(services=frozenset({"files"}), regions=frozenset({"na"})), {"service": "files", "region": "emea"}, False),
        (Where(services=frozenset({"files"}), regions=frozenset({"na"})), {"service": "files", "region": "na"}, True),
        (Where(grants=frozenset({"password"})), {"grant": "client_credentials"}, False),
        (Where(sources=frozenset({"127.0.0.1"})), {"source": "127.0.0.2"}, False),
        (Where(names=("*.outlook.com",)), {"name": "A.Outlook.com."}, True),
        (Where(names=("*.outlook.com",)), {"name": "outlook.com.example"}, False),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_fault_hits_what_every_named_selector_fits(where: Where, asked: dict[str, str], *, hit: bool) -> None:
    assert bool(faults(Fault(Http((503,)), where)).hits("graph", **asked)) is hit


@pytest.mark.parametrize(("seconds", "share"), [(9, 0), (10, 0.8), (19, 0.8), (20, 0)])
def test_a_fault_holds_from_its_beginning_until_before_its_end(seconds: float, share: float) -> None:
    assert share_at(Fault(Tcp("reset"), share=0.8, first=10, until=20), seconds) == share


@pytest.mark.parametrize(("seconds", "share"), [(10, 0.8), (15, 0.4), (20, 0)])
def test_a_fading_fault_hits_fewer_and_fewer(seconds: float, share: float) -> None:
    assert share_at(Fault(Tcp("reset"), share=0.8, first=10, until=20, fades=True), seconds) == pytest.approx(share)


def drawn(made: Faults, times: int = 400) -> list[bool]:
    return [bool(made.hits("graph", Http)) for _ in range(times)]


def test_a_share_is_of_those_asked_and_the_same_seed_hits_the_same() -> None:
    fault = Fault(Http((503,)), share=0.3)
    assert 80 < sum(drawn(faults(fault))) < 160
    assert drawn(faults(fault)) == drawn(faults(fault))
    assert drawn(faults(fault)) != drawn(faults(fault, seed=2))


def test_the_luck_of_one_fault_does_not_change_that_of_another() -> None:
    alone = faults(Fault(Http((503,)), share=0.3))
    among = faults(Fault(Http((503,)), share=0.3), Fault(Latency(1), share=0.5))
    assert drawn(alone) == [any(isinstance(fault.effect, Http) for fault in among.hits("graph")) for _ in range(400)]


def test_only_the_effects_asked_for_are_given() -> None:
    made = faults(Fault(Latency(1)), Fault(Dns("servfail")), Fault(Dns("timeout")))
    assert made.first(Dns, "dns", name="a.example") == Dns("servfail")
    assert made.first(Tcp, "graph") is None


def test_setting_replaces_and_adding_keeps() -> None:
    made = faults(Fault(Latency(1)))
    made.add(Fault(Latency(2)))
    assert [fault.effect for fault in made] == [Latency(1), Latency(2)]
    made.set()
    assert list(made) == []


def test_what_nobody_came_across_is_known() -> None:
    clock = Clock(10.0)
    some = Faults(clock)
    search, chats, later = (Where(operations=frozenset({name})) for name in ("search", "chat_create", "health"))
    some.set(
        Fault(Http((503,)), search),
        Fault(Http((503,)), chats, share=0.001),
        Fault(Http((503,)), later, first=20.0),
        Fault(Tcp("timeout"), Where(hosts=frozenset({"graph"}))),
        Fault(Tcp("timeout"), Where(hosts=frozenset({"login"}))),
    )
    assert some.unmet() == (0, 1, 3, 4)
    some.hits("graph", Http, operation="chat_create")
    some.hits("graph", Http, operation="health")
    some.holding("graph", Tcp)
    assert some.unmet() == (0, 4)
    clock.seconds = 20.0
    assert some.unmet() == (0, 2, 4)
    some.set(Fault(Http((503,)), search))
    assert some.unmet() == (0,)
