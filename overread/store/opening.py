"""Making a database, and finding out whether one can be used."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, select, text

from overread.errors import DataError, StoreError
from overread.store.engine import WRITES, is_file, place_of
from overread.store.failures import told
from overread.store.schema import project
from overread.store.texts import stored_text

__all__ = ["HEAD", "check", "make", "migrate"]

HEAD = "v0001"
"""The newest migration.  Known here so that a start needs no Alembic; a test keeps it equal."""


def make(engine: Engine, classes: Sequence[str], now: datetime) -> None:
    """Fill an empty database with the tables and the project's class names, all or nothing.

    DataError for class names that are empty or stand twice; StoreError where the database already holds tables.
    """
    names = [stored_text(name, "a class name") for name in classes]
    if not names or len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise DataError("class names must be one or more, not empty, each once: mend the list of classes")
    place = place_of(engine.url)
    with told(place):
        if is_file(engine.url):
            _prepare_file(engine, place)
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            if inspect(connection).get_table_names():
                raise StoreError(f"{place} already holds tables; open it, or give another place for a new project")
            migrate(connection)
            connection.execute(project.insert().values(id=1, classes=json.dumps(names), created=now))


def _prepare_file(engine: Engine, place: str) -> None:
    """Write-ahead logging, which the file remembers; it is set outside of transactions."""
    folder = Path(place).parent
    if not folder.is_dir():
        raise StoreError(f"{place} cannot be made: there is no folder {folder}; make it first")
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        mode = cursor.fetchone()
        cursor.close()
    finally:
        connection.close()
    if mode is None or mode[0] != "wal":
        raise StoreError(f"the disk of {place} allows no write-ahead log; put the project on a local disk")


def check(engine: Engine) -> list[str]:
    """The class names of the project in the database; an older schema is brought up to date first.

    StoreError where there is no database, no project in it, or a schema that only a newer version knows.
    """
    place = place_of(engine.url)
    if is_file(engine.url) and not Path(place).is_file():
        raise StoreError(
            f"there is no database {place}; put a copy of it back, or begin another project in another folder with "
            "`overread init`"
        )
    with told(place):
        with engine.connect() as connection:
            revision = _revision(connection, place)
        if revision != HEAD:
            with engine.execution_options(**{WRITES: True}).begin() as connection:
                _upgrade(connection, place)
        with engine.connect() as connection:
            names: list[str] = json.loads(connection.execute(select(project.c.classes)).scalar_one())
    return names


def _revision(connection: Connection, place: str) -> str:
    """The migration that the database stands at."""
    if not {"alembic_version", "project"} <= set(inspect(connection).get_table_names()):
        raise StoreError(
            f"{place} is no database of this program; give the one of a project, or make the project first"
        )
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def _upgrade(connection: Connection, place: str) -> None:
    from alembic.script import ScriptDirectory

    # Another process may have been faster: what counts is read again, under the lock of the writer.
    revision = _revision(connection, place)
    known = {script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()}
    if revision not in known:
        raise StoreError(f"{place} has the schema {revision}, this version knows up to {HEAD}: upgrade overread")
    migrate(connection)


def migrate(connection: Connection) -> None:
    """Bring the tables to the newest schema, within the transaction of `connection`."""
    # It takes a tenth of a second, and a start that finds everything up to date does not need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


_MIGRATIONS = Path(__file__).with_name("migrations")
