"""Bad days: a database that is locked, full, gone, or changed by hand."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from answers import answer, new_id
from postgresql_server import Server
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError

from overread.errors import MissingExtraError, StoreBusy, StoreError, StoreFull, StoreUnreachable
from overread.store import Store

HOLDER = """
import sys
from sqlalchemy import create_engine
from overread.store.engine import WRITES, engine_of, url_of
engine = engine_of(url_of(sys.argv[1]), 10).execution_options(**{WRITES: True})
with engine.begin() as connection:
    connection.exec_driver_sql("SELECT 1")
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held_elsewhere(place: str) -> Iterator["subprocess.Popen[str]"]:
    """A block that begins once another process is in the middle of a write."""
    command = [sys.executable, "-c", HOLDER, place]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.communicate("\n")


def test_a_database_that_is_held_for_a_while_is_waited_for(store: Store, place: str) -> None:
    store.open_round("random", [0])
    with held_elsewhere(place) as holder:
        before = time.monotonic()
        threading.Timer(0.5, lambda: holder.stdin and (holder.stdin.write("\n"), holder.stdin.flush())).start()
        store.record(answer(0, 1))
        assert time.monotonic() - before >= 0.4
    assert len(store.history(0)) == 1


def test_a_database_that_is_held_for_too_long_is_said_and_still_read(store: Store, place: str) -> None:
    store.open_round("random", [0])
    read = answer(0, 1)
    with Store.open(place, timeout=0.3) as hasty, held_elsewhere(place):
        before = time.monotonic()
        with pytest.raises(StoreBusy, match="try again"):
            hasty.record(read)
        assert 0.2 <= time.monotonic() - before < 5
        assert hasty.history(0) == []
        assert hasty.progress(1).answered == 0
    store.record(read)
    assert len(store.history(0)) == 1


def test_a_full_disk_is_said_and_nothing_is_half_stored(tmp_path: Path) -> None:
    place = tmp_path / "project.db"
    Store.create(place, ["a"]).close()
    with Store.open(place) as store:
        limit = {"pages": 60}

        @event.listens_for(store._engine, "checkout")
        def _small_disk(connection: sqlite3.Connection, *_: Any) -> None:
            connection.execute(f"PRAGMA max_page_count={limit['pages']}")

        store.add_items((f"image-{number}", None) for number in range(100))
        store.add_reader("ada")
        with pytest.raises(StoreFull, match="make room"):
            store.add_items((f"more-{number}", None) for number in range(100_000))
        assert store.count_items() == 100
        reads = [answer(number % 100, 1, round_number=None) for number in range(2000)]
        accepted: list[str] = []

        def record_until_full() -> None:
            for read in reads:
                store.record(read)
                accepted.append(read.client_id)

        with pytest.raises(StoreFull, match="make room"):
            record_until_full()
        assert 0 < len(accepted) < len(reads)
        assert [read.client_id for read in store.reads_since(0)] == accepted
        limit["pages"] = 10_000
        for read in reads[len(accepted) - 1 : len(accepted) + 10]:
            store.record(read)
        assert len(list(store.reads_since(0))) == len(accepted) + 10


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE reads SET label = 2",
        "UPDATE reads SET comment = 'x' WHERE sequence = 1",
        "DELETE FROM reads",
        "UPDATE project SET classes = '[]'",
        "DELETE FROM project",
        "INSERT INTO project (id, classes, created) VALUES (2, '[]', '2030-01-01')",
    ],
)
def test_the_database_itself_refuses_to_change_what_was_said(store: Store, place: str, statement: str) -> None:
    store.record(answer(0, 1, round_number=None))
    before = store.history(0)
    engine = create_engine(place if "://" in place else f"sqlite:///{place}")
    with pytest.raises(DBAPIError, match=r"never changed|one_row"), engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()
    assert store.history(0) == before


def test_a_replacement_or_truncation_is_refused_too(store: Store, place: str) -> None:
    first = store.record(answer(0, 1, round_number=None))
    store.record(answer(0, 1, 2, round_number=None))
    engine = create_engine(place if "://" in place else f"sqlite:///{place}")
    columns = '(sequence, client_id, item, reader, kind, label, comment, shown, "when", supersedes)'
    values = "0, 1, 'label', 1, '', '{}', '2030-01-01 00:00:00.000000'"
    known = store.history(0)[0].client_id
    statements = [
        f"INSERT OR REPLACE INTO reads {columns} VALUES ({first.sequence}, '{new_id()}', {values}, NULL)",
        f"INSERT OR REPLACE INTO reads {columns} VALUES (99, '{known}', {values}, NULL)",
        f"INSERT OR REPLACE INTO reads {columns} VALUES (99, '{new_id()}', {values}, {first.sequence})",
        "INSERT OR REPLACE INTO project (id, classes, created) VALUES (1, '[]', '2030-01-01')",
    ]
    if engine.dialect.name == "postgresql":
        statements = ["TRUNCATE reads CASCADE", "TRUNCATE project"]
    for statement in statements:
        with pytest.raises(DBAPIError, match="never changed"), engine.begin() as connection:
            connection.execute(text(statement))
    engine.dispose()
    assert [read.label for read in store.history(0)] == [0, 2]


def test_an_opinion_is_replaced_once_at_most(store: Store, place: str) -> None:
    first = store.record(answer(0, 1, round_number=None))
    store.record(answer(0, 1, 2, round_number=None))
    engine = create_engine(place if "://" in place else f"sqlite:///{place}")
    statement = (
        'INSERT INTO reads (client_id, item, reader, kind, label, comment, shown, "when", supersedes) '
        f"VALUES ('{new_id()}', 0, 1, 'label', 1, '', '{{}}', '2030-01-01 00:00:00', {first.sequence})"
    )
    with pytest.raises(DBAPIError, match=r"supersedes|never changed"), engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_server_that_was_started_again_is_found_again(server: Server) -> None:
    with Store.create(server.new_database(), ["a"]) as store:
        store.add_items([("image", None)])
        store.add_reader("ada")
        store.open_round("random", [0])
        read = answer(0, 1)
        server.stop()
        try:
            with pytest.raises(StoreUnreachable, match="cannot be reached"):
                store.record(read)
            with pytest.raises(StoreUnreachable, match="cannot be reached"):
                store.readers()
            with pytest.raises(StoreUnreachable, match="cannot be reached"):
                list(store.current_reads())
        finally:
            server.start()
        receipt = store.record(read)
        server.stop()
        server.start()
        assert store.record(read) == receipt
        server.stop()
        server.start()
        assert len(list(store.current_reads())) == 1


def test_a_connection_that_is_lost_in_the_middle_of_a_write_is_made_anew(server: Server) -> None:
    place = server.new_database()
    with Store.create(place, ["a"]) as store:
        store.add_items([("image", None)])
        store.add_reader("ada")
        lost = {"after": 0, "times": 1}

        @event.listens_for(store._engine, "before_cursor_execute")
        def _lose(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT INTO reads") and lost["times"]:
                lost["times"] -= 1
                own = connection.connection.driver_connection.info.backend_pid
                killer = create_engine(place)
                with killer.begin() as other:
                    other.execute(text(f"SELECT pg_terminate_backend({own}, 5000)"))
                killer.dispose()

        read = answer(0, 1, round_number=None)
        store.record(read)
        assert [stored.client_id for stored in store.history(0)] == [read.client_id]
        lost["times"] = 2
        with pytest.raises(StoreUnreachable):
            store.record(answer(0, 1, round_number=None))
        assert len(store.history(0)) == 1


def test_a_server_that_is_not_there_is_said_without_the_password(server: Server) -> None:
    absent = "postgresql+psycopg://overread:secret@127.0.0.1:9/absent"
    for url in (absent, server.url("no_such_database")):
        with pytest.raises(StoreUnreachable, match="cannot be reached") as caught:
            Store.open(url)
        assert "secret" not in str(caught.value)
    with pytest.raises(StoreError, match="no database of this program"):
        Store.open(server.new_database())


def test_the_package_for_postgresql_is_named_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"overread\[postgresql\]"):
        Store.open("postgresql://localhost/project")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        Store.create(tmp_path, ["a"])


def test_a_damaged_database_is_said(tmp_path: Path) -> None:
    place = tmp_path / "project.db"
    with Store.create(place, ["a"]) as store:
        store.add_items((f"image-{number}", None) for number in range(5000))
    with place.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * 4096 * 60)
    with pytest.raises(StoreError, match="damaged"), closing(Store.open(place)) as store:
        list(store.items())


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_accepted_once_the_file_is_gone(tmp_path: Path, replaced: bool) -> None:
    place = tmp_path / "project.db"
    with Store.create(place, ["a"]) as store:
        store.add_items([("image", None)])
        store.add_reader("ada")
        store.record(answer(0, 1, round_number=None))
        copy = place.read_bytes()
        place.unlink()
        if replaced:
            place.write_bytes(copy)
        with pytest.raises(StoreError, match="removed or replaced"):
            store.record(answer(0, 1, round_number=None))
