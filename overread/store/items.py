"""The items of a project: what they are called, and the label that they came with."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from overread.errors import DataError
from overread.store.schema import items
from overread.store.texts import stored_text

__all__ = ["add_items", "count_items"]

BATCH = 10_000
# Bare statements of the drivers: a million rows would otherwise spend most of their time as dictionaries.
INTO_SQLITE = "INSERT INTO items (position, id, given) VALUES (?, ?, ?)"
INTO_POSTGRESQL = "INSERT INTO items (position, id, given) SELECT * FROM unnest(%s::int[], %s::text[], %s::int[])"


def count_items(connection: Connection) -> int:
    """How many items the project has."""
    last = connection.execute(select(func.max(items.c.position))).scalar()
    return 0 if last is None else int(last) + 1


def add_items(connection: Connection, rows: Iterable[tuple[str, int | None]], n_classes: int) -> int:
    """The number of items that were added, at the positions after the last one, in the order of `rows`.

    rows: (id, given label or None); taken in batches, so they need not fit into memory.  DataError, and nothing is
    added, where an id is empty or stands twice or a label is no class.
    """
    first = count_items(connection)
    position = first
    checked = _checked(rows, n_classes)
    while batch := list(islice(checked, BATCH)):
        _insert(connection, position, batch)
        position += len(batch)
    return position - first


def _insert(connection: Connection, position: int, batch: Sequence[tuple[str, int | None]]) -> None:
    try:
        if connection.dialect.name == "sqlite":
            numbered = [(position + index, *row) for index, row in enumerate(batch)]
            connection.exec_driver_sql(INTO_SQLITE, numbered)
        else:
            positions = list(range(position, position + len(batch)))
            names, given = (list(column) for column in zip(*batch, strict=True))
            connection.exec_driver_sql(INTO_POSTGRESQL, (positions, names, given))
    except IntegrityError as error:
        if connection.dialect.name == "sqlite":
            # The rows before the one in question are in the table, until the transaction ends.
            twice = batch[count_items(connection) - position][0]
        else:
            twice = str(getattr(error.orig, "diag").message_detail).partition("=(")[2].rpartition(")")[0]  # noqa: B009
        raise DataError(f"the item id {twice!r} stands twice; ids must be unique", [twice]) from None


def _checked(rows: Iterable[tuple[str, int | None]], n_classes: int) -> Iterator[tuple[str, int | None]]:
    for name, given in rows:
        if not stored_text(name, "an item id"):
            raise DataError("an item has an empty id; give every item a name")
        if given is not None and not 0 <= given < n_classes:
            raise DataError(f"item {name!r} has the given label {given}; classes are 0 to {n_classes - 1}", [name])
        yield name, given
