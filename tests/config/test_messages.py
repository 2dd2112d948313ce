"""Every way a configuration can be wrong, and the whole message for it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import ConfigurationError, load
from tests.config.kinds import KINDS

BAD = Path(__file__).parent / "bad"


def message(path: Path | str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(path, registry=KINDS)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(path.stem for path in BAD.glob("*.yml")))
def test_each_mistake_has_its_whole_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    assert message(f"{name}.yml") + "\n" == (BAD / f"{name}.txt").read_text(encoding="utf-8")


def test_each_message_belongs_to_a_file() -> None:
    assert {path.stem for path in BAD.glob("*.txt")} == {path.stem for path in BAD.glob("*.yml")}


def test_no_message_holds_a_secret() -> None:
    text = (BAD / "secrets.txt").read_text(encoding="utf-8")
    assert "hunter2" not in text
    assert "1234567" not in text


_ID = "00000000-0000-0000-0000-000000000003"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param(
            "kind: teams_read, user: probe1@contoso.com",
            "5:39: probes[a].user: must be an identifier like 00000000-0000-0000-0000-000000000000, not an address: "
            "of a user it is the object id",
            id="an address for an id",
        ),
        pytest.param(
            f"kind: teams_chat_create, users: [{_ID}]",
            "5:47: probes[a].users: an entry is missing",
            id="one of two",
        ),
        pytest.param(
            "kind: defender, parts: [incident]",
            "5:39: probes[a].parts[0]: must be one of incidents, alerts, hunting, secure_scores; did you mean `incidents`?",
            id="a wrong word in a list is told once",
        ),
        pytest.param("kind: defender, parts: []", "5:38: probes[a].parts: must not be empty", id="an empty list"),
    ],
)
def test_ids_and_lists_of_real_kinds_are_told_in_words(settings: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    tenants = f"tenants:\n  contoso:\n    {{tenant_id: &id {_ID}, client_id: *id, credential: {{managed_identity: {{}}}}}}\n"
    path.write_text(f"{tenants}probes:\n  - {{name: a, {settings}}}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:{said}"


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(50_000_000)


def _text(text: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text.encode() if isinstance(text, str) else text)


def _bomb() -> str:
    levels = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 12))
    return f"x0: &x0 [a]\n{levels}probes: *x11\n"


def _merge_bomb() -> str:
    keys = "".join(f"  k{i}: 1\n" for i in range(1000))
    return f"x-a: &a\n{keys}x-b:\n" + "".join(f"  - {{<<: [{', '.join(['*a'] * 100)}]}}\n" for _ in range(100))


MADE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (str, "1:1: file: there is no such file or folder"),
    "dangling": (lambda path: path.symlink_to("nothing"), "1:1: file: a link to a file that does not exist"),
    "loop": (lambda path: path.symlink_to(path), "1:1: file: cannot be read: Too many levels of symbolic links"),
    "pipe": (os.mkfifo, "1:1: file: a device or pipe, not a file"),
    "empty-folder": (Path.mkdir, "1:1: file: no *.yml file in this folder"),
    "fifty-megabytes": (_sparse, "1:1: file: larger than a configuration can be (10 MB)"),
    "binary": (_text(b"probes:\n- \x7fELF\0\0"), "2:7: YAML: a binary file, not text"),
    "alias-bomb": (_text(_bomb()), "7:30: YAML: more than 1,000,000 values, counting what aliases repeat"),
    "merge-bomb": (_text(_merge_bomb()), "1007:5: YAML: more than 1,000,000 values, counting what aliases repeat"),
    "a-million-brackets": (_text("[" * 1_000_000), "1:65: YAML: nested deeper than 64 levels"),
    "a-million-braces": (_text("{a: " * 1_000_000), "1:257: YAML: nested deeper than 64 levels"),
    "a-million-dashes": (_text("- " * 1_000_000), "1:129: YAML: nested deeper than 64 levels"),
}


@pytest.mark.parametrize(("make", "expected"), MADE.values(), ids=MADE.keys())
def test_no_file_is_too_strange(make: Callable[[Path], object], expected: str, tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    make(path)
    assert message(path) == f"{path}:{expected}"


def test_a_path_with_a_nul_is_no_path() -> None:
    assert message("a\0b") == "a\\x00b:1:1: file: not the path of a file"


def test_files_beside_each_other_are_judged_together(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("state_dir: a\nprobes:\n  - {name: mx, kind: ping, host: a}\n")
    (tmp_path / "b.yml").write_text(
        "state_dir: b\nprobes:\n  - {name: mx, kind: pong, host: a}\n  - {name: b, kind: ping, host: a, tenant: t}\n"
    )
    (tmp_path / "c.yaml").write_text("probes: []")
    (tmp_path / "d.yml").mkdir()
    (tmp_path / "notes.txt").write_text("not read")
    a, b, c, d = (tmp_path / name for name in ("a.yml", "b.yml", "c.yaml", "d.yml"))
    assert message(tmp_path).splitlines() == [
        f"{b}:1:1: state_dir: given twice, first in {a}:1",
        f"{b}:3:12: probes[mx].name: a second probe of this name; the first is in {a}:3",
        f"{b}:3:22: probes[mx].kind: there is no kind `pong`; did you mean `ping`?",
        f"{c}:1:1: file: of a folder only *.yml files are read; rename this one to .yml, or move it away",
        f"{d}:1:1: file: a folder, where a file has to be",
    ]


def test_a_second_tenant_of_a_name_is_a_mistake(tmp_path: Path) -> None:
    tenant = (
        "tenants:\n  contoso: {tenant_id: &g 00000000-0000-0000-0000-000000000000, client_id: *g, credential: {managed_identity: {}}}\n"
    )
    (tmp_path / "a.yml").write_text(f"{tenant}probes:\n  - {{name: a, kind: ping, host: a}}\n")
    (tmp_path / "b.yml").write_text(tenant)
    first = tmp_path / "a.yml"
    assert message(tmp_path) == f"{tmp_path}/b.yml:2:3: tenants.contoso: a second tenant of this name; the first is in {first}:2"


def test_a_folder_has_bounds(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.yml").write_text("# " + "x" * 9_000_000)
    assert message(tmp_path).splitlines()[0] == (
        f"{tmp_path}:1:1: file: its *.yml files together are larger than a configuration can be (50 MB)"
    )
    for number in range(1001):
        (tmp_path / f"{number}.yml").touch()
    assert message(tmp_path) == f"{tmp_path}:1:1: file: more than 1,000 *.yml files in this folder"


def test_a_file_that_cannot_be_understood_makes_no_other_file_wrong(tmp_path: Path) -> None:
    (tmp_path / "probes.yml").write_text("probes:\n  - {name: mx, kind: ping, host: a, tenant: contoso}\n")
    (tmp_path / "tenants.yml").write_text("tenants: [\n")
    assert [line.split(":")[0] for line in message(tmp_path).splitlines()] == [str(tmp_path / "tenants.yml")]


def test_one_wrong_anchor_is_one_mistake_however_many_probes_use_it(tmp_path: Path) -> None:
    path = tmp_path / "many.yml"
    uses = "".join(f"  - {{name: p{i}, host: a, <<: *all}}\n" for i in range(50))
    path.write_text(f"x-all: &all {{kind: watch, prot: 1}}\nprobes:\n{uses}")
    assert message(path) == f"{path}:1:27: probes[p0].prot: unknown key; did you mean `port`?"


TENANT = "{tenant_id: &g 00000000-0000-0000-0000-000000000000, client_id: *g, credential: {managed_identity: {}}}"


def test_a_kind_that_signs_in_needs_to_know_where(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text("probes:\n  - {name: a, kind: sign_in, host: a}\n")
    what = f"{path}:2:12: probes[a].tenant: the kind sign_in signs in to a tenant; "
    assert message(path) == f"{what}none is configured; add one under `tenants:`"
    second = TENANT.replace("&g 0", "&h 1").replace("*g", "*h")
    path.write_text(f"probes:\n  - {{name: a, kind: sign_in, host: a}}\ntenants: {{one: {TENANT}, two: {second}}}\n")
    assert message(path) == f"{what}say which of the tenants: one, two"


def test_a_kind_that_signs_in_need_not_name_the_only_tenant(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text(
        f"probes:\n  - {{name: a, kind: sign_in, host: a}}\n  - {{name: b, kind: ping, host: a}}\ntenants: {{contoso: {TENANT}}}\n"
    )
    assert [job.tenant for job in load(path, registry=KINDS).jobs] == ["contoso", ""]


def test_a_kind_that_remembers_things_needs_a_state(tmp_path: Path) -> None:
    path = tmp_path / "fogbell.yml"
    path.write_text("probes:\n  - {name: a, kind: letter, host: a}\n")
    what = "the kind letter has to remember things over a restart, as it is set here: give a `state_dir`"
    assert message(path) == f"{path}:2:21: probes[a].kind: {what}"
    path.write_text("state_dir: state\nprobes:\n  - {name: a, kind: letter, host: a}\n")
    assert [job.name for job in load(path, registry=KINDS).jobs] == ["a"]
