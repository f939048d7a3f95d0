"""What the database knows of a batch of items: for imports, which would not hold the whole project in memory."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from overread.store.records import StoredRead
from overread.store.schema import items, queue, reads, rounds
from overread.store.streams import standing_among

__all__ = ["asked_in", "items_since", "last_events", "positions_of", "standing_of"]

MOST_AT_ONCE = 10_000
"""Values of one statement: SQLite takes 32,766 at most."""


def positions_of(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Id -> position of those of the `ids` that are items."""
    found: dict[str, int] = {}
    for start in range(0, len(ids), MOST_AT_ONCE):
        some = select(items.c.id, items.c.position).where(items.c.id.in_(ids[start : start + MOST_AT_ONCE]))
        found.update((row.id, row.position) for row in connection.execute(some))
    return found


def standing_of(connection: Connection, positions: Sequence[int]) -> list[StoredRead]:
    """The standing reads of the items at `positions`, as `streams.current_reads` has them."""
    return [
        read
        for start in range(0, len(positions), MOST_AT_ONCE)
        for read in standing_among(connection, positions[start : start + MOST_AT_ONCE])
    ]


def asked_in(connection: Connection, positions: Sequence[int]) -> dict[int, int]:
    """Position -> the last round whose queue the item was in, for those of the `positions` that were in one."""
    found: dict[int, int] = {}
    for start in range(0, len(positions), MOST_AT_ONCE):
        # The round, too, so that the index, which begins with it, is of use.
        some = (
            select(queue.c.item, func.max(queue.c.round))
            .where(queue.c.round.in_(select(rounds.c.number)))
            .where(queue.c.item.in_(positions[start : start + MOST_AT_ONCE]))
            .group_by(queue.c.item)
        )
        found.update((item, number) for item, number in connection.execute(some))
    return found


def last_events(connection: Connection, positions: Sequence[int]) -> dict[int, int]:
    """Position -> the sequence number of the last event of the item, whatever it was, for those that have one."""
    found: dict[int, int] = {}
    for start in range(0, len(positions), MOST_AT_ONCE):
        some = (
            select(reads.c.item, func.max(reads.c.sequence))
            .where(reads.c.item.in_(positions[start : start + MOST_AT_ONCE]))
            .group_by(reads.c.item)
        )
        found.update((item, number) for item, number in connection.execute(some))
    return found


def items_since(connection: Connection, sequence: int) -> list[int]:
    """Positions, ascending, of the items with an event of a larger sequence number; 0 = with any."""
    touched = select(reads.c.item).where(reads.c.sequence > sequence).distinct().order_by(reads.c.item)
    return list(connection.execute(touched).scalars())
