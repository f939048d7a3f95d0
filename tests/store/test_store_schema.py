from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

import overread.store.migrations
from overread.errors import StoreError
from overread.store import Store, opening
from overread.store.opening import HEAD
from overread.store.schema import KINDS, ROLES, metadata

FOLDER = Path(str(overread.store.migrations.__file__)).parent


def engine_for(place: str) -> Any:
    return create_engine(place if "://" in place else f"sqlite:///{place}")


def test_the_migrations_make_the_tables_that_queries_know(place: str) -> None:
    Store.create(place, ["a"]).close()
    engine = engine_for(place)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        checks = {t: {c["name"] for c in inspect(connection).get_check_constraints(t)} for t in metadata.tables}
    engine.dispose()
    expected = {
        name: {c.name for c in table.constraints if type(c).__name__ == "CheckConstraint"}
        for name, table in metadata.tables.items()
    }
    assert {table: checks[table] for table in expected} == expected


def test_the_newest_migration_is_the_one_that_a_start_expects() -> None:
    scripts = ScriptDirectory(str(FOLDER))
    assert scripts.get_current_head() == HEAD
    assert all(Path(script.path).stem == script.revision for script in scripts.walk_revisions())


def test_a_newer_schema_is_refused_and_left_alone(place: str) -> None:
    Store.create(place, ["a"]).close()
    engine = engine_for(place)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    with pytest.raises(StoreError, match=r"schema v9999.*upgrade overread"):
        Store.open(place)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "v9999"
    engine.dispose()


def test_a_store_whose_making_was_cut_off_can_be_made_again(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate = opening.migrate

    def cut_off(connection: Any) -> None:
        migrate(connection)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(opening, "migrate", cut_off)
        with pytest.raises(KeyboardInterrupt):
            Store.create(place, ["a"])
    with pytest.raises(StoreError, match="no database of this program"):
        Store.open(place)
    with Store.create(place, ["a", "b"]) as store:
        assert store.classes == ("a", "b")


def test_the_checks_of_the_tables_name_the_kinds_and_roles_of_the_program() -> None:
    texts = {str(c.sqltext) for t in metadata.tables.values() for c in t.constraints if hasattr(c, "sqltext")}
    for column, values in (("kind", KINDS), ("role", ROLES)):
        assert f"{column} IN ({', '.join(map(repr, values))})" in texts
