import os
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from agent.drill import outage
from agent.drill.faults import Http, Mail, Where
from agent.drill.outage import GROUPS, OutageError, find, read, schedule, shipped
from agent.drill.world import HOSTS

HEAD = "id: X01_own\ntitle: t\n"


def test_every_shipped_outage_can_be_played_and_has_an_id_of_its_own() -> None:
    everything = shipped()
    assert len({one.id for one in everything}) == len(everything)
    assert all(schedule(one, 0.0) for one in everything)


@pytest.mark.skipif("FOGBELL_REFERENCE" not in os.environ, reason="FOGBELL_REFERENCE names the folder of the reference data")
def test_every_scenario_of_the_catalogue_is_shipped() -> None:
    text = (Path(os.environ["FOGBELL_REFERENCE"]) / "outages.md").read_text()
    assert {one.id for one in shipped()} == set(re.findall(r"(?m)^- id: (\w+)", text))


@pytest.mark.parametrize("wanted", ["R01", "r01", "R01_gls", "R01_gls_na_2026_01_22"])
def test_the_beginning_of_an_id_is_enough(wanted: str) -> None:
    assert find(wanted).id == "R01_gls_na_2026_01_22"


@pytest.mark.parametrize(
    ("wanted", "said"), [("R99", "there is no outage 'R99'"), ("R", "15 outages begin with 'R'"), ("", "21 outages begin")]
)
def test_an_id_that_fits_none_or_several_is_refused_with_the_list(wanted: str, said: str) -> None:
    with pytest.raises(OutageError, match=said) as caught:
        find(wanted)
    assert all(one.id in str(caught.value) for one in shipped())


def test_a_file_of_ones_own_is_played(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text(HEAD + "phases: [{from: 0, until: 1, what: w, faults: [{http: 503, operations: [search]}]}]")
    assert find(str(file)).id == "X01_own"
    with pytest.raises(OutageError, match=r"gone\.yml: cannot be read"):
        find(str(tmp_path / "gone.yml"))


def test_minutes_become_moments_and_speed_shortens_them() -> None:
    played = read(
        HEAD
        + "phases:\n"
        + "  - {from: -30, until: 0, what: before, faults: [{latency: 0.5}]}\n"
        + "  - {from: 0, until: 60, what: it, faults: [{mail: delay, seconds: 600}]}\n",
        "x.yml",
    )
    (before, _), (it, effect) = [((fault.first, fault.until), fault.effect) for fault in schedule(played, 1000.0, speed=10)]
    assert before == (1000.0, 1180.0)
    assert it == (1180.0, 1540.0)
    assert effect == Mail("delay", 60.0)


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        ("{http: 503}", Where(hosts=frozenset({*HOSTS, "mail", "relay"}))),
        ("{http: 503, hosts: [portals, control]}", Where(hosts=frozenset({*GROUPS["portals"], "control"}))),
        ("{http: 503, operations: [search]}", Where(operations=frozenset({"search"}))),
        ("{dns: timeout}", Where()),
    ],
    ids=["all of Microsoft and nobody else", "a group and a host", "an operation, wherever it is", "every name"],
)
def test_a_fault_hits_the_hosts_it_names(entry: str, where: Where) -> None:
    (fault,) = schedule(read(HEAD + f"phases: [{{from: 0, until: 1, what: w, faults: [{entry}]}}]", "x.yml"), 0.0)
    assert fault.where == where


def test_several_statuses_and_a_share_are_kept() -> None:
    text = HEAD + "phases: [{from: 0, until: 1, what: w, faults: [{http: [502, 504], share: 0.4, retry_after: 9, fades: true}]}]"
    (fault,) = schedule(read(text, "x.yml"), 0.0)
    assert (fault.effect, fault.share, fault.fades) == (Http((502, 504), 9), 0.4, True)


PHASE = HEAD + "phases:\n  - {from: 0, until: 1, what: w, faults: [%s]}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", r"x.yml:1:5: expected the node content"),
        ("", r"x.yml: must be keys with values"),
        ("[" * 2000, r"x.yml: is not YAML"),
        ("#" * 300_000, r"x.yml: larger than"),
        ("id: x\ntitle: t\nphases: []", r"x.yml:1:5: id: .*\nx.yml:3:9: phases: must not be empty"),
        (HEAD, r"x.yml:1:1: phases: is missing"),
        (HEAD + "phases: [1]", r"x.yml:3:10: phases.0: must be keys with values"),
        (HEAD + "colour: red\nphases: [{from: 0, until: 1, what: w}]", r"x.yml:3:9: colour: is not known here"),
        (HEAD + "phases: [{from: 5, until: 1, what: w}]", r"x.yml:3:10: phases.0: ends at 1, before it begins at 5"),
        (PHASE % "{http: 9}", r"x.yml:4:50: phases.0.faults.0.http.0: .* greater than or equal to 400"),
        (PHASE % "{tcp: reset, share: 2}", r"x.yml:4:63: phases.0.faults.0.share: .* less than or equal to 1"),
        (PHASE % "{tcp: reset, hosts: [nowhere]}", r"x.yml:4:43: phases.0.faults.0: there is no host 'nowhere'; there are admin"),
        (PHASE % "{http: 503, operations: [serach]}", r"x.yml:4:43: .* there is no operation 'serach'; there are alerts"),
        (PHASE % "{http: 503, services: [outlok]}", r"there is no service 'outlok'; there are audit"),
        (PHASE % "{token: 50076, grants: [person]}", r"there is no grant 'person'; there are client_credentials"),
        (PHASE % "{share: 0.5}", r"x.yml:4:43: phases.0.faults.0: a fault has exactly one effect of .*; here are none"),
        (PHASE % "{tcp: reset, http: 500}", r"here are http, tcp"),
        (PHASE % "{smtp: go away}", r"x.yml:4:50: phases.0.faults.0.smtp"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_mistake_is_said_with_file_line_and_column(text: str, said: str) -> None:
    with pytest.raises(OutageError, match=said):
        read(text, "x.yml")


FOLDER = Path(outage.__file__).parent / "outages"


@pytest.mark.parametrize("text", [outage.__doc__ or "", (FOLDER / "README.md").read_text()], ids=["module", "page"])
def test_the_examples_of_the_documentation_are_right(text: str) -> None:
    found = re.search(r"```yaml[^\n]*\n(.*?)```", text, re.DOTALL)
    assert found is not None
    assert read(found[1], "example").id == yaml.safe_load(found[1])["id"]


def test_the_page_for_writers_names_every_key_and_word_of_a_fault() -> None:
    page = (FOLDER / "README.md").read_text()
    fields = outage._Entry.model_fields
    words = {word for field in fields.values() for part in get_args(field.annotation) for word in get_args(part) if isinstance(word, str)}
    assert {name for name in (*fields, *words) if not re.search(rf"\b{name}\b", page)} == set()
