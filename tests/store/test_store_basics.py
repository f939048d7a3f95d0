import json
import os
import sqlite3
from datetime import UTC
from pathlib import Path

import pytest
from answers import answer
from clocks import Clock
from sqlalchemy import create_engine, text

from overread.errors import DataError, StoreError
from overread.store import Item, Store

CLASSES = ["benign", "malignant"]


def test_what_was_stored_is_there_when_it_is_opened_again(place: str, clock: Clock) -> None:
    names = ["naïve", '"quoted"; DROP TABLE reads;--', "<script>"]
    with Store.create(place, names, clock=clock) as store:
        assert store.add_items([("ü/1.png", 2), ("b", None)]) == 2
        assert store.add_items([("c", 0)]) == 1
        reader = store.add_reader("Dr. Ünal", password_hash="$argon2id$...")
        opened = store.open_round("entropy", [2, 0], wanted=2, at_most=3)
    with Store.open(place) as store:
        assert store.classes == tuple(names)
        assert store.count_items() == 3
        assert list(store.items()) == [Item(0, "ü/1.png", 2), Item(1, "b", None), Item(2, "c", 0)]
        assert store.item(1) == Item(1, "b", None)
        assert store.readers() == [reader]
        assert (reader.role, reader.active, reader.created) == ("reader", True, clock.now)
        assert reader.created.tzinfo is UTC
        assert store.rounds() == [opened]
        assert (opened.number, opened.wanted, opened.at_most, opened.open) == (1, 2, 3, True)


def test_a_store_is_made_once(place: str) -> None:
    Store.create(place, CLASSES).close()
    with pytest.raises(StoreError, match="already holds tables"):
        Store.create(place, ["others"])
    with Store.open(place) as store:
        assert store.classes == tuple(CLASSES)


@pytest.mark.parametrize("classes", [[], [""], ["  "], ["a", "a"], ["a\0"], ["\ud800"]])
def test_class_names_that_cannot_be_leave_nothing_behind(place: str, classes: list[str]) -> None:
    with pytest.raises(DataError, match="class name"):
        Store.create(place, classes)
    with Store.create(place, CLASSES) as store:
        assert store.classes == tuple(CLASSES)


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([("new", 0), ("image-3", 0)], "image-3"),
        ([("new", 0), ("x'),(y", 0), ("new2", 0), ("x'),(y", 1)], r"x'\),\(y"),
        ([("new", 0), ("wrong", 3)], "wrong.*0 to 2"),
        ([("new", 0), ("wrong", -1)], "wrong.*0 to 2"),
        ([("new", 0), ("", 0)], "empty id"),
        ([("new", 0), ("n\0", 0)], "cannot be stored"),
    ],
)
def test_items_are_added_all_or_none(store: Store, rows: list[tuple[str, int | None]], named: str) -> None:
    with pytest.raises(DataError, match=named):
        store.add_items(rows)
    assert store.count_items() == 6
    assert store.add_items([("new", None)]) == 1


def test_an_id_that_stands_twice_is_named_in_whatever_batch_it_is(store: Store) -> None:
    rows = [(f"row-{number}", None) for number in range(25_000)]
    with pytest.raises(DataError, match="row-11000") as caught:
        store.add_items([*rows, ("row-11000", None)])
    assert caught.value.items == ("row-11000",)
    assert store.add_items(rows) == 25_000
    assert store.item(6 + 24_999).id == "row-24999"


def test_readers_have_names_of_their_own_and_can_be_changed(store: Store) -> None:
    with pytest.raises(StoreError, match="there is a reader 'ada'"):
        store.add_reader(" ada")
    for name in ("", " ", "a\x1b[2Jb", "a\u202eb", "a\u200bb", "\u200d\u200d", "\u3164", "\u2800", "x" * 201, "a\0b"):
        with pytest.raises(DataError, match="name of a reader"):
            store.add_reader(name)
    changed = store.change_reader(1, role="owner", active=False)
    assert (changed.name, changed.role, changed.active, changed.password_hash) == ("ada", "owner", False, None)
    assert store.change_reader(3, password_hash="new").password_hash == "new"
    assert [reader.name for reader in store.readers()] == ["ada", "ben", "cleo"]
    assert store.readers()[0] == changed
    with pytest.raises(StoreError, match="known are reader and owner"):
        store.add_reader("dan", "admin")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="known are reader and owner"):
        store.change_reader(1, "admin")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="no reader 9"):
        store.change_reader(9, active=False)


def test_one_round_is_open_at_a_time(store: Store) -> None:
    first = store.open_round("margin", [0, 1])
    with pytest.raises(StoreError, match="round 1 is open"):
        store.open_round("margin", [2])
    assert not store.close_round(first.number).open
    assert not store.close_round(first.number).open
    assert store.next_item(1, 1, 60) is None
    assert store.open_round("margin", []).number == 2
    assert store.next_item(2, 1, 60) is None
    assert [(r.number, r.open) for r in store.rounds()] == [(1, False), (2, True)]


@pytest.mark.parametrize(
    ("order", "wanted", "at_most", "named"),
    [
        ([0, 6], 1, None, "no item 6"),
        ([-1], 1, None, "no item -1"),
        ([0, 1, 0], 1, None, "twice"),
        ([0], 0, None, "0 reads"),
        ([0], 2, 1, "2 reads"),
    ],
)
def test_a_round_that_cannot_be_is_not_opened(
    store: Store, order: list[int], wanted: int, at_most: int | None, named: str
) -> None:
    with pytest.raises(DataError, match=named):
        store.open_round("random", order, wanted, at_most)
    assert store.rounds() == []


def test_what_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match="no round 4"):
        store.next_item(4, 1, 60)
    with pytest.raises(StoreError, match="no round 4"):
        store.progress(4)
    with pytest.raises(StoreError, match="no round 4"):
        store.close_round(4)
    with pytest.raises(StoreError, match="no item 6"):
        store.item(6)
    store.open_round("random", [0])
    with pytest.raises(StoreError, match="no reader 7"):
        store.next_item(1, 7, 60)
    for item in (6, -1, 10**12, 10**30):
        with pytest.raises(StoreError, match=r"no item|too large|out of range|refuses"):
            store.record(answer(item, 1))


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    file = tmp_path / "project.db"
    with pytest.raises(StoreError, match=r"no database .*project\.db"):
        Store.open(file)
    assert not file.exists()
    file.write_bytes(b"not a database, but long enough to be looked at " * 50)
    with pytest.raises(StoreError, match=r"project\.db is not a database"):
        Store.open(file)
    with pytest.raises(StoreError, match=r"project\.db is not a database"):
        Store.create(file, CLASSES)
    with pytest.raises(StoreError, match="no folder"):
        Store.create(tmp_path / "absent" / "project.db", CLASSES)
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(StoreError, match="no database of this program"):
        Store.open(tmp_path / "other.db")
    with pytest.raises(StoreError, match="already holds tables"):
        Store.create(tmp_path / "other.db", CLASSES)
    for url, named in (("mysql://localhost/x", "not mysql"), ("://", "cannot be read")):
        with pytest.raises(StoreError, match=named):
            Store.open(url)


def test_a_folder_with_odd_characters_can_hold_a_project(tmp_path: Path) -> None:
    folder = tmp_path / "100% ünï?#&=code 'x'"
    folder.mkdir()
    with Store.create(folder / "project.db", CLASSES) as store:
        store.add_reader("ada")
    assert (folder / "project.db").is_file()
    with Store.open(folder / "project.db") as store:
        assert len(store.readers()) == 1


def test_the_embedded_database_loses_nothing_in_a_power_cut(tmp_path: Path) -> None:
    with Store.create(tmp_path / "project.db", CLASSES) as store, store._engine.connect() as connection:
        settings = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_store_is_not_carried_into_another_process(store: Store) -> None:
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.readers()
            said = "nothing"
        except StoreError as error:
            said = str(error)
        os.write(sending, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b"open it in each process" in os.read(receiving, 1000)
    os.close(receiving)
    os.close(sending)
    assert len(store.readers()) == 3


def test_the_classes_are_kept_as_json(place: str) -> None:
    Store.create(place, CLASSES).close()
    engine = create_engine(place if "://" in place else f"sqlite:///{place}")
    with engine.connect() as connection:
        assert json.loads(connection.execute(text("SELECT classes FROM project")).scalar_one()) == CLASSES
    engine.dispose()
