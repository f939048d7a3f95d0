"""Connections to SQLite and PostgreSQL, set up so that a commit is durable and one writer works at a time."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from overread.errors import MissingExtraError, StoreError

__all__ = ["WRITES", "engine_of", "is_file", "place_of", "same_file", "url_of"]

WRITES = "overread_writes"
"""Execution option of an engine whose transactions write."""

# The key of the lock that makes PostgreSQL's writers take turns, as SQLite's do; locks are of one database.
WRITER_LOCK = 0x6F766572
POSTGRESQL = "postgresql+psycopg"


def url_of(place: str | Path) -> URL:
    """The URL of a database: `place` is a file for SQLite or a URL `postgresql+psycopg://...`.

    StoreError for a URL that is none, or of another database.
    """
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite", database=str(Path(place).absolute()))
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):
        # A ValueError is a port that is no number.
        raise StoreError(f"the database URL cannot be read; it looks like {POSTGRESQL}://user@host/name") from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername=POSTGRESQL)
    if url.drivername != POSTGRESQL:
        raise StoreError(f"a database is a file or {POSTGRESQL}://..., not {url.drivername}://")
    return url


def is_file(url: URL) -> bool:
    """Whether the database is a file of SQLite."""
    return url.get_backend_name() == "sqlite"


def place_of(url: URL) -> str:
    """How messages name the database: its file, or its URL without the password."""
    return str(url.database) if is_file(url) else url.render_as_string(hide_password=True)


def same_file(url: URL) -> Callable[[], None]:
    """A check that the file of the database is still the one that it is now; of a server nothing is checked.

    SQLite goes on writing into a file that was removed, or that another one took the place of: StoreError.
    """
    if not is_file(url):
        return lambda: None
    path = Path(str(url.database))
    before = path.stat()

    def check() -> None:
        try:
            now = path.stat()
            if (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino):
                raise FileNotFoundError("another file is in its place")
        except FileNotFoundError as error:
            raise StoreError(
                f"{path} was removed or replaced while it was open: end this program and start it again; nothing of "
                "this call was stored"
            ) from error

    return check


def engine_of(url: URL, timeout: float) -> Engine:
    """An engine for the database.  timeout: seconds to wait for another process that writes.

    A transaction of an engine with the option `WRITES` is the only one that writes: in SQLite by BEGIN IMMEDIATE, in
    PostgreSQL by a lock that ends with it.  Readers never wait.
    """
    if is_file(url):
        engine = create_engine(url, connect_args={"timeout": timeout, "check_same_thread": False})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options = f"-c lock_timeout={max(1, round(timeout * 1000))} -c timezone=UTC"
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args={"options": options, "connect_timeout": 10})
    except ImportError:
        raise MissingExtraError("psycopg", "postgresql", "a PostgreSQL database") from None
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    # Transactions begin when the engine says so, and not when the driver thinks that a statement writes.
    connection.isolation_level = None
    # Else a REPLACE would delete rows without asking the triggers.
    for pragma in ("foreign_keys=ON", "synchronous=FULL", "recursive_triggers=ON", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if _writes(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")


def _writes(connection: Connection) -> Any:
    return connection.get_execution_options().get(WRITES, False)
