"""Reading reads: all of them in bounded memory, those that stand, and where they disagree."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from overread.store.records import Disagreement, Item, StoredRead
from overread.store.schema import items, queue, reads
from overread.store.standing import current

__all__ = ["all_items", "all_reads", "current_reads", "disagreements", "history", "reads_since", "standing_among"]

COLUMNS = [reads.c[name] for name in StoredRead._fields]
ROWS_AT_ONCE = 5_000


def all_items(connection: Connection) -> Iterator[Item]:
    """Every item, in the order of the manifest."""
    for row in _rows(connection, select(items.c.position, items.c.id, items.c.given).order_by(items.c.position)):
        yield Item(row.position, row.id, row.given)


def current_reads(connection: Connection) -> Iterator[StoredRead]:
    """The reads that stand: one for each item and reader over all rounds and imports, and adjudications.

    By item, then by sequence number.  Skips, undos and what they or later reads replaced are left out.
    """
    return _reads(connection, select(*COLUMNS).where(current(reads)).order_by(reads.c.item, reads.c.sequence))


def standing_among(connection: Connection, positions: Sequence[int]) -> Iterator[StoredRead]:
    """Those of `current_reads` whose items are at one of the `positions`."""
    found = select(*COLUMNS).where(reads.c.item.in_(positions), current(reads))
    return _reads(connection, found.order_by(reads.c.item, reads.c.sequence))


def history(connection: Connection, item: int) -> list[StoredRead]:
    """Everything that was ever said of an item, the oldest first."""
    return list(_reads(connection, select(*COLUMNS).where(reads.c.item == item).order_by(reads.c.sequence)))


def all_reads(connection: Connection) -> Iterator[StoredRead]:
    """Everything that was ever said, by item, then by sequence number."""
    return _reads(connection, select(*COLUMNS).order_by(reads.c.item, reads.c.sequence))


def reads_since(connection: Connection, sequence: int) -> Iterator[StoredRead]:
    """All events with a larger sequence number, by that number; 0 = all.

    Events become visible in the order of their numbers, so that a follower who goes on from the last one misses none.
    """
    return _reads(connection, select(*COLUMNS).where(reads.c.sequence > sequence).order_by(reads.c.sequence))


def disagreements(connection: Connection, round_number: int) -> Iterator[Disagreement]:
    """The items of a round whose standing reads name two labels or more, in the order of the round.

    "Cannot tell" is no label.  Reads of other rounds and imports count too, and items with an adjudication stay in.
    """
    said = reads.alias()
    several = (
        select(said.c.item)
        .join(queue, (queue.c.round == round_number) & (queue.c.item == said.c.item))
        .where(said.c.kind == "label", current(said))
        .group_by(said.c.item)
        .having(func.count(said.c.label.distinct()) > 1)
    )
    found = (
        select(*COLUMNS)
        .join(queue, (queue.c.round == round_number) & (queue.c.item == reads.c.item))
        .where(reads.c.item.in_(several), current(reads))
        .order_by(queue.c.rank, reads.c.sequence)
    )
    for item, group in groupby(_reads(connection, found), key=lambda read: read.item):
        standing = list(group)
        above = [read for read in standing if read.kind == "adjudication"]
        yield Disagreement(
            item, tuple(read for read in standing if read.kind != "adjudication"), above[-1] if above else None
        )


def _reads(connection: Connection, query: Select[Any]) -> Iterator[StoredRead]:
    for row in _rows(connection, query):
        values = row._mapping
        yield StoredRead(**{**values, "shown": json.loads(values["shown"])})


def _rows(connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    """The rows, fetched some thousand at a time."""
    yield from connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)
