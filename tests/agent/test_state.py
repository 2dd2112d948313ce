"""The state: what a restart finds, also after a torn file, a second agent or a full disk."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.record import decode, encode
from agent.rows import Origin, Remembered
from agent.state import State, StateError
from probes.core.contract import Inconclusive
from probes.core.ledger import Artefact
from probes.core.reasons import Reason
from tests.agent.test_exporter import FAILED, OK

A = Remembered("a", "http", encode(OK), None, OK.started)
B = Remembered("b", "dns", encode(FAILED), FAILED.started, None)


async def test_a_restart_finds_the_latest_of_each_probe(tmp_path: Path) -> None:
    state = State(tmp_path / "new" / "folder")
    assert await state.open() == ()
    state.remember(Remembered("a", "http", b"old", 1.0, 2.0))
    state.remember(A)
    await state.flush()
    state.remember(B)
    state.remember(Remembered("c", "dns", b"gone", None, None))
    await state.flush()
    state.forget("c")
    await state.close()

    again = State(tmp_path / "new" / "folder")
    assert await again.open() == (A, B)
    await again.close()


async def test_an_agent_keeps_its_identity_as_long_as_its_state_and_shares_it_with_nobody(tmp_path: Path) -> None:
    identities = []
    for folder in (tmp_path / "one", tmp_path / "one", tmp_path / "other"):
        state = State(folder)
        await state.open()
        identities.append(state.identity)
        await state.close()
    one, again, other = identities
    assert one == again != other
    assert one


def test_a_record_is_the_run_it_was_made_of() -> None:
    assert decode(encode(OK)) == OK
    assert decode(encode(FAILED)) == FAILED


async def test_a_torn_file_is_put_aside_and_a_new_one_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "fogbell.sqlite").write_bytes(b"this was never a database" * 100)
    state = State(tmp_path)
    assert await state.open() == ()
    state.remember(A)
    await state.close()
    assert "could not be read" in caplog.text
    assert len(list(tmp_path.glob("fogbell.torn-*"))) == 1
    again = State(tmp_path)
    assert await again.open() == (A,)
    await again.close()


async def test_a_second_agent_on_the_same_directory_is_refused_in_words(tmp_path: Path) -> None:
    first = State(tmp_path)
    await first.open()
    first.remember(A)
    await first.flush()
    with pytest.raises(StateError, match="in use by another fogbell"):
        await State(tmp_path).open()
    await first.close()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"file.*Not a directory|File exists"):
        await State(tmp_path / "file" / "state").open()


async def test_a_full_disk_loses_nothing_and_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fogbell")
    failures: list[int] = []
    state = State(tmp_path, lambda: failures.append(1))
    await state.open()
    assert state._database is not None
    (pages,) = state._database.execute("PRAGMA page_count").fetchone()
    state._database.execute(f"PRAGMA max_page_count={pages}")  # SQLite's own way to be full
    big = Remembered("a", "http", b"x" * 100_000, None, None)
    state.remember(big)
    await state.flush()
    await state.flush()
    assert len(failures) == 2
    assert caplog.text.count("cannot be written") == 1
    state._database.execute("PRAGMA max_page_count=100000")
    await state.flush()
    assert "can be written again" in caplog.text
    await state.close()
    with sqlite3.connect(tmp_path / "fogbell.sqlite") as database:
        assert database.execute("SELECT length(record) FROM probe").fetchall() == [(100_000,)]
    database.close()


async def test_a_write_that_fails_half_way_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    state = State(tmp_path)
    await state.open()
    assert state._database is not None
    state._database.execute("CREATE TRIGGER no BEFORE INSERT ON probe WHEN NEW.name = 'b' BEGIN SELECT RAISE(FAIL, 'no'); END")
    state.remember(A)
    state.remember(B)
    await state.flush()
    assert state._database.execute("SELECT count(*) FROM probe").fetchone() == (0,)
    state._database.execute("DROP TRIGGER no")
    await state.close()
    again = State(tmp_path)
    assert await again.open() == (A, B)
    await again.close()


async def test_a_file_that_cannot_be_opened_is_named_with_what_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "fogbell.sqlite").mkdir()
    with pytest.raises(StateError, match=r"cannot be used .*; is it writable, and is the disk full\?"):
        await State(tmp_path).open()


LETTER = Artefact("4711", "message", 1_769_110_000.0, (("mailbox", "probe2@contoso.example"), ("folder", "inbox")))
OLDER = Artefact("0815", "message", 1_769_100_000.0)


async def test_what_was_created_survives_a_kill_at_once_and_goes_when_it_is_gone(tmp_path: Path) -> None:
    killed = State(tmp_path)
    await killed.open()
    await killed.record("mail", LETTER)
    await killed.record("mail", OLDER)
    await killed.record("files", OLDER)
    assert killed.outstanding("mail") == (OLDER, LETTER)
    killed._thread.submit(killed._close).result()  # as a kill would: nothing is flushed

    state = State(tmp_path)
    await state.open()
    assert state.outstanding("mail") == (OLDER, LETTER)
    assert state.outstanding("mail")[1].fact("folder") == "inbox"
    await state.strike("mail", OLDER.id)
    await state.record("mail", replace(LETTER, facts=(("folder", "junk"),)))
    await state.close()

    again = State(tmp_path)
    await again.open()
    assert sorted((probe, one.id, one.fact("folder")) for probe, one in again.artefacts()) == [
        ("files", "0815", ""),
        ("mail", "4711", "junk"),
    ]
    await again.close()


async def test_what_cannot_be_recorded_is_not_created(tmp_path: Path) -> None:
    failures = []
    state = State(tmp_path, lambda: failures.append(1))
    await state.open()
    state._thread.submit(state._close).result()
    with pytest.raises(Inconclusive, match="nothing was created") as raised:
        await state.record("mail", LETTER)
    assert raised.value.reason is Reason.AGENT_RESOURCES
    assert (state.outstanding("mail"), failures) == ((), [1])


THEN = Origin("mailbox", "contoso", "id-of-contoso", '{"account":"probe1"}', '{"account":"probe1"}')
CHANGED = replace(THEN, settings='{"account":"probe2"}', outline='{"account":"probe2"}')
ROTATED = replace(THEN, tenant="contoso-prod", settings='{"account":"probe1","password":{"env":"B"}}')


async def left_by(origin: Origin | None, folder: Path) -> None:
    """Leave a letter by the name of mail, and the agent dead."""
    state = State(folder)
    await state.open()
    state.serve("mail", origin)
    await state.record("mail", LETTER)
    state._thread.submit(state._close).result()


async def reopened(folder: Path) -> tuple[dict[str, str], dict[str, Origin | None]]:
    """Return what is left, and what had created it, after another start."""
    state = State(folder)
    await state.open()
    found = {name: state.origin(name) for name in state.names()}
    kept = {name: one.id for name, one in state.artefacts()}
    await state.close()
    return kept, found


async def test_what_created_something_is_known_after_a_kill_and_forgotten_with_the_last_of_it(tmp_path: Path) -> None:
    await left_by(THEN, tmp_path)
    assert await reopened(tmp_path) == ({"mail": LETTER.id}, {"mail": THEN})
    state = State(tmp_path)
    await state.open()
    await state.strike("mail", LETTER.id)
    assert (state.names(), state.origin("mail")) == ((), None)
    await state.close()
    with closing(sqlite3.connect(tmp_path / "fogbell.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM origin").fetchone() == (0,)


async def test_a_probe_that_creates_nothing_leaves_no_origin(tmp_path: Path) -> None:
    state = State(tmp_path)
    await state.open()
    state.serve("mail", THEN)
    await state.close()
    assert await reopened(tmp_path) == ({}, {})


@pytest.mark.parametrize(("now", "is_moved"), [(THEN, False), (ROTATED, False), (CHANGED, True)], ids=["same", "other secret", "changed"])
async def test_what_a_changed_probe_left_goes_on_under_a_name_of_its_own(tmp_path: Path, now: Origin, is_moved: bool) -> None:  # noqa: FBT001 - of the table
    await left_by(THEN, tmp_path)
    state = State(tmp_path)
    await state.open()
    state.serve("mail", now)
    await state.record("mail", OLDER)
    state._thread.submit(state._close).result()
    kept, origins = await reopened(tmp_path)
    moved = {name: kept[name] for name in kept if name.startswith("mail~")}
    assert list(moved.values()) == [LETTER.id] * is_moved
    assert [origins[name] for name in moved] == [THEN] * is_moved
    assert (kept["mail"], origins["mail"]) == (LETTER.id if not is_moved else OLDER.id, now)


async def test_of_two_changes_in_a_second_neither_loses_anything(tmp_path: Path) -> None:
    state = State(tmp_path)
    await state.open()
    for origin, artefact in ((THEN, LETTER), (CHANGED, OLDER)):
        state.serve("mail", origin)
        await state.record("mail", artefact)
    state.serve("mail", THEN)
    await state.close()
    kept, origins = await reopened(tmp_path)
    assert sorted(kept.values()) == [OLDER.id, LETTER.id]
    assert {kept[name]: origins[name] for name in kept} == {LETTER.id: THEN, OLDER.id: CHANGED}


async def test_a_file_of_an_older_version_opens_and_takes_the_probe_of_now_for_the_one_of_then(tmp_path: Path) -> None:
    await left_by(THEN, tmp_path)
    with closing(sqlite3.connect(tmp_path / "fogbell.sqlite")) as database:
        database.execute("DROP TABLE origin")
    state = State(tmp_path)
    await state.open()
    assert (state.names(), state.origin("mail")) == (("mail",), None)
    state.serve("mail", CHANGED)
    await state.close()
    assert await reopened(tmp_path) == ({"mail": LETTER.id}, {"mail": CHANGED})


async def test_of_a_torn_file_the_ledger_is_taken_over_as_far_as_it_can_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await left_by(THEN, tmp_path)
    state = State(tmp_path)
    await state.open()
    for number in range(200):
        state.remember(Remembered(f"p{number}", "http", b"x" * 3000, None, None))
    await state.close()
    killed = State(tmp_path)
    await killed.open()
    killed.serve("files", CHANGED)
    await killed.record("files", OLDER)  # It stands in SQLite's log of what was written last, and not in the file.
    torn = tmp_path / "torn"
    torn.mkdir()
    for name in ("fogbell.sqlite", "fogbell.sqlite-wal"):
        shutil.copy(tmp_path / name, torn)
    await killed.close()
    tear(torn / "fogbell.sqlite", "probe")
    assert await reopened(torn) == ({"mail": LETTER.id, "files": OLDER.id}, {"mail": THEN, "files": CHANGED})
    assert "with 2 things of it that probes have left" in caplog.text


def tear(file: Path, table: str) -> None:
    """Make the page unreadable at which a table begins."""
    with closing(sqlite3.connect(file.parent.parent / file.name)) as database:
        ((page, size),) = database.execute("SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = ?", (table,))
    with file.open("r+b") as raw:
        raw.seek((page - 1) * size)
        raw.write(b"\xff" * size)


@pytest.mark.parametrize(
    "entry",
    [
        "'mail', 'x', 'message', 1.0, 'no json'",
        f"'mail', 'x', 'message', 1.0, '{'[' * 3000}'",
        "'mail', CAST(x'ff41' AS TEXT), 'message', 1.0, '[]'",
        "x'ff41', 'x', 'message', 1.0, '[]'",
        "'mail', '', 'message', 1.0, '[]'",
        "'mail', 'x', 'message', 9e999, '[]'",
        "'mail', 'x', 'message', 1e12, '[]'",
        "'mail', 'x', 'message', -1, '[]'",
    ],
    ids=["no JSON", "too deep", "no text", "bytes", "no name", "made never", "made after the year 9999", "made before 1970"],
)
async def test_an_entry_that_is_no_entry_makes_the_file_a_torn_one(tmp_path: Path, entry: str) -> None:
    await left_by(THEN, tmp_path)
    with closing(sqlite3.connect(tmp_path / "fogbell.sqlite", isolation_level=None)) as database:
        database.execute(f"INSERT INTO artefact VALUES ({entry})")  # noqa: S608 - a table of our own
    assert await reopened(tmp_path) == ({"mail": LETTER.id}, {"mail": THEN})


async def test_an_origin_whose_text_is_none_makes_the_file_a_torn_one(tmp_path: Path) -> None:
    await left_by(THEN, tmp_path)
    with closing(sqlite3.connect(tmp_path / "fogbell.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE origin SET tenant = CAST(x'ff41' AS TEXT)")
    assert await reopened(tmp_path) == ({"mail": LETTER.id}, {"mail": None})


async def test_a_strike_that_could_not_be_written_does_not_take_what_is_recorded_anew(tmp_path: Path) -> None:
    await left_by(THEN, tmp_path)
    state = State(tmp_path)
    await state.open()
    assert state._database is not None
    state._database.execute("CREATE TRIGGER no BEFORE DELETE ON artefact BEGIN SELECT RAISE(FAIL, 'no'); END")
    await state.strike("mail", LETTER.id)
    # Both are under way at once, and the strike fails while the record waits for its turn.
    await asyncio.gather(state.flush(), state.record("mail", LETTER))
    state._database.execute("DROP TRIGGER no")
    await state.close()
    assert (await reopened(tmp_path))[0] == {"mail": LETTER.id}


async def test_a_full_disk_keeps_what_was_set_aside_apart_until_it_can_be_written(tmp_path: Path) -> None:
    await left_by(THEN, tmp_path)
    state = State(tmp_path)
    await state.open()
    assert state._database is not None
    state._database.execute("CREATE TRIGGER no BEFORE INSERT ON origin BEGIN SELECT RAISE(FAIL, 'no'); END")
    state.serve("mail", CHANGED)
    with pytest.raises(Inconclusive):
        await state.record("mail", OLDER)
    assert state.outstanding("mail") == ()
    state._database.execute("DROP TRIGGER no")
    await state.record("mail", OLDER)
    await state.close()
    kept, origins = await reopened(tmp_path)
    assert {kept[name]: origins[name] for name in kept} == {LETTER.id: THEN, OLDER.id: CHANGED}
