"""What several probes need together: no permission beside a wider one that is needed anyway."""

from pathlib import Path

import pytest

from agent.permissions.compare import compared
from agent.permissions.page import told
from probes.core.needs import WIDER, Api, Grant
from tests.permissions.kinds import demand

BOX = "scope: mailboxes, at: [a@contoso.example]"
BOXES = "scope: mailboxes, at: [a@contoso.example, b@contoso.example]"
OTHER = "scope: mailboxes, at: [c@contoso.example]"
PERSON = "grant: delegated"

CASES: dict[str, tuple[list[str], list[str]]] = {
    "reads files, and writes some": (["Files.Read.All", "Files.ReadWrite.All"], ["Files.ReadWrite.All"]),
    "three of mail": ([f"Mail.ReadBasic.All, {BOX}", f"Mail.Read, {BOX}", f"Mail.ReadWrite, {BOX}"], ["Mail.ReadWrite"]),
    "mail, for more mailboxes": ([f"Mail.Read, {BOX}", f"Mail.ReadWrite, {BOXES}"], ["Mail.ReadWrite"]),
    "mail, for fewer mailboxes": ([f"Mail.Read, {BOXES}", f"Mail.ReadWrite, {BOX}"], ["Mail.Read", "Mail.ReadWrite"]),
    "mail, for another mailbox": ([f"Mail.Read, {OTHER}", f"Mail.ReadWrite, {BOX}"], ["Mail.Read", "Mail.ReadWrite"]),
    "mail, for mailboxes not named": (["Mail.Read, scope: mailboxes", f"Mail.ReadWrite, {BOX}"], ["Mail.Read", "Mail.ReadWrite"]),
    "the wider of the whole tenant": ([f"Mail.Read, {BOX}", "Mail.ReadWrite"], ["Mail.ReadWrite"]),
    "the narrower of the whole tenant": (["Mail.Read", f"Mail.ReadWrite, {BOX}"], ["Mail.Read", "Mail.ReadWrite"]),
    "for a person": ([f"Chat.Read, {PERSON}", f"Chat.ReadWrite, {PERSON}"], ["Chat.ReadWrite"]),
    "one of a person": (["Files.Read.All", f"Files.ReadWrite.All, {PERSON}"], ["Files.Read.All", "Files.ReadWrite.All"]),
    "reads all sites, writes some": (
        ["Sites.Read.All", "Sites.Selected, scope: sites, at: ['https://contoso.sharepoint.com/sites/a']"],
        ["Sites.Read.All", "Sites.Selected"],
    ),
    "alone": (["Files.Read.All"], ["Files.Read.All"]),
}


def probes(*needs: str) -> str:
    return "[" + ", ".join(f"{{name: p{number}, kind: any, needs: {need}}}" for number, need in enumerate(needs)) + "]"


@pytest.mark.parametrize(("asked", "left"), CASES.values(), ids=CASES)
def test_a_wider_permission_that_is_needed_anyway_covers_a_narrower_one(asked: list[str], left: list[str], tmp_path: Path) -> None:
    for order in (asked, asked[::-1]):
        assert sorted(need.name for need in demand(tmp_path, probes(*order)).needs) == left


def test_what_covers_another_says_for_which_probes_and_what_for(tmp_path: Path) -> None:
    (need,) = demand(tmp_path, probes("Files.Read.All", "Files.ReadWrite.All")).needs
    assert (need.probes, sorted(need.whys)) == (("p0", "p1"), ["has Files.Read.All", "has Files.ReadWrite.All"])


def test_what_is_granted_and_covered_is_beyond_need(tmp_path: Path) -> None:
    both = {"Files.Read.All", "Files.ReadWrite.All"}
    (line,) = told(compared(demand(tmp_path, probes(*both)), Api.GRAPH, Grant.APPLICATION, both))
    assert line.endswith("beyond need Files.Read.All: Files.ReadWrite.All, which is needed as well, covers it")


def test_what_is_wider_than_a_permission_is_wider_than_all_that_it_covers() -> None:
    assert [(name, wide) for name, wider in WIDER.items() for wide in wider if not WIDER.get(wide, frozenset()) <= wider] == []
    assert [name for name, wider in WIDER.items() if name in wider] == []
