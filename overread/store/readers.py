"""Who reads, and who owns the project."""

from datetime import datetime

from sqlalchemy import Connection, select

from overread.errors import StoreError
from overread.store.records import Reader, Role
from overread.store.schema import ROLES, readers
from overread.store.texts import reader_name

__all__ = ["add_reader", "change_reader", "list_readers", "require_reader"]


def add_reader(connection: Connection, name: str, role: Role, password_hash: str | None, now: datetime) -> Reader:
    """The new reader.  DataError as of `reader_name`; StoreError where the name is taken, or the role is none."""
    _check_role(role)
    name = reader_name(name)
    if connection.execute(select(readers.c.id).where(readers.c.name == name)).first():
        raise StoreError(f"there is a reader {name!r} already; give another name")
    row = {"name": name, "role": role, "password_hash": password_hash, "created": now, "active": True}
    number = connection.execute(readers.insert().values(row).returning(readers.c.id)).scalar_one()
    return require_reader(connection, number)


def change_reader(
    connection: Connection, reader: int, role: Role | None, password_hash: str | None, active: bool | None
) -> Reader:
    """The reader as he is now; None leaves a fact as it was.  StoreError where there is no such reader."""
    require_reader(connection, reader)
    if role is not None:
        _check_role(role)
    facts = {"role": role, "password_hash": password_hash, "active": active}
    changed = {name: value for name, value in facts.items() if value is not None}
    if changed:
        connection.execute(readers.update().where(readers.c.id == reader).values(changed))
    return require_reader(connection, reader)


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise StoreError(f"there is no role {role!r}; known are {' and '.join(ROLES)}")


def list_readers(connection: Connection) -> list[Reader]:
    """All readers, in the order in which they were added."""
    return [Reader(*row) for row in connection.execute(select(readers).order_by(readers.c.id))]


def require_reader(connection: Connection, reader: int) -> Reader:
    """The reader with this id; StoreError where there is none."""
    row = connection.execute(select(readers).where(readers.c.id == reader)).first()
    if row is None:
        raise StoreError(f"there is no reader {reader}; add the reader first")
    return Reader(*row)
