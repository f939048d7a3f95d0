"""The queue of a round: who reads what next.

Every item of a queue counts its free places: those for which no answer and no lease stands.  Only items with a free
place are in the index by rank, and every reader has a cursor in it.  What lies before the cursor is done as far as he
is concerned, but for items whose place became free again: these are offered to every reader who has not seen them.
So the next item is found in logarithmic time, however much of the queue is done and by whom.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, and_, delete, exists, literal_column, select, update

from overread.store.records import Lease
from overread.store.rounds import require_round
from overread.store.schema import cursors, leases, offers, queue, readers, reads, rounds
from overread.store.standing import ANSWERS, Standing, has_leader, standing

__all__ = ["lease", "list_leases", "next_item", "refresh", "release"]


class _Place(NamedTuple):
    """An item and its place in the order of reading."""

    rank: int
    item: int


class _Offer(NamedTuple):
    """An item of a round that is offered again."""

    round: int
    item: int
    rank: int


def next_item(connection: Connection, round_number: int, reader: int, seconds: float, now: datetime) -> Lease | None:
    """A lease on the first item of the round that has a free place and that the reader has not seen in this round.

    None where there is none, or where the round is closed.  Seen: he answered or skipped it, or reads it now.
    StoreError where there is no such round.
    """
    if not require_round(connection, round_number).open:
        return None
    _sweep(connection, round_number, now)
    places = (_ahead(connection, round_number, reader), _offered(connection, round_number, reader))
    found = min((place for place in places if place is not None), default=None)
    return None if found is None else lease(connection, round_number, found.item, reader, seconds, now)


def _offered(connection: Connection, round_number: int, reader: int) -> _Place | None:
    """The first item that became free behind the cursor of the reader."""
    mine = (offers.c.round == round_number) & (offers.c.reader == reader)
    row = connection.execute(select(offers.c.rank, offers.c.item).where(mine).order_by(offers.c.rank).limit(1)).first()
    return None if row is None else _Place(*row)


def _ahead(connection: Connection, round_number: int, reader: int) -> _Place | None:
    """The first item from the cursor of the reader on that is free and new to him; moves the cursor up to it."""
    mine = (cursors.c.round == round_number) & (cursors.c.reader == reader)
    cursor = connection.execute(select(cursors.c.rank).where(mine)).scalar()
    if cursor is None:
        connection.execute(cursors.insert().values(round=round_number, reader=reader, rank=0))
        cursor = 0
    known = [
        exists().where(and_(t.c.round == round_number, t.c.item == queue.c.item, t.c.reader == reader))
        for t in (leases, reads)
    ]
    row = connection.execute(
        select(queue.c.rank, queue.c.item)
        # The index holds only what has a free place; SQLite sees that in a literal alone.
        .where(queue.c.round == round_number, queue.c.free > literal_column("0"), queue.c.rank >= cursor)
        .where(~known[0], ~known[1])
        .order_by(queue.c.rank)
        .limit(1)
    ).first()
    if row is None:
        return None
    if row.rank > cursor:
        connection.execute(update(cursors).where(mine).values(rank=row.rank))
    return _Place(*row)


def lease(connection: Connection, round_number: int, item: int, reader: int, seconds: float, now: datetime) -> Lease:
    """The lease of a place that is free, or that was the reader's own."""
    until = now + timedelta(seconds=seconds)
    given = Lease(round_number, item, reader, until)
    _drop_lease(connection, round_number, item, reader)
    connection.execute(leases.insert().values(given._asdict()))
    refresh(connection, round_number, item)
    return given


def release(connection: Connection, reader: int, item: int) -> None:
    """Give back what the reader has of this item, in every round; nothing where he has nothing."""
    held = connection.execute(select(leases.c.round).where(leases.c.reader == reader, leases.c.item == item)).scalars()
    for round_number in held.all():
        _drop_lease(connection, round_number, item, reader)
        refresh(connection, round_number, item)


def list_leases(connection: Connection, round_number: int, reader: int, now: datetime) -> list[Lease]:
    """What the reader reads now, the lease that ends first in front."""
    mine = (leases.c.round == round_number) & (leases.c.reader == reader) & (leases.c.until > now)
    return [
        Lease(*row) for row in connection.execute(select(leases).where(mine).order_by(leases.c.until, leases.c.item))
    ]


def _drop_lease(connection: Connection, round_number: int, item: int, reader: int) -> None:
    mine = (leases.c.round == round_number) & (leases.c.item == item) & (leases.c.reader == reader)
    connection.execute(delete(leases).where(mine))


def _sweep(connection: Connection, round_number: int, now: datetime) -> None:
    """Free the places whose leases ran out."""
    over = (leases.c.round == round_number) & (leases.c.until <= now)
    for item, reader in connection.execute(select(leases.c.item, leases.c.reader).where(over)).all():
        _drop_lease(connection, round_number, item, reader)
        refresh(connection, round_number, item)


def refresh(connection: Connection, round_number: int, item: int) -> None:
    """Count the places of an item anew, after anything that concerns it; a reader who has answered holds no lease."""
    asked = connection.execute(
        select(rounds.c.wanted, rounds.c.at_most, queue.c.free, queue.c.rank, rounds.c.open)
        .join_from(rounds, queue, rounds.c.number == queue.c.round)
        .where(queue.c.round == round_number, queue.c.item == item)
    ).one()
    seen: Standing = {r: event for r, event in standing(connection, round_number, item).items() if event[0] != "undo"}
    answers = [event for event in seen.values() if event[0] in ANSWERS]
    over = (leases.c.round == round_number) & (leases.c.item == item)
    reading = set(connection.execute(select(leases.c.reader).where(over)).scalars())
    wanted = asked.wanted
    if len(answers) >= wanted and not has_leader(Counter(label for _, label in answers if label is not None)):
        wanted = max(wanted, min(asked.at_most, len(answers) + 1))
    free = max(0, wanted - len(answers) - len(reading)) if asked.open else 0
    here = (queue.c.round == round_number) & (queue.c.item == item)
    connection.execute(update(queue).where(here).values(wanted=wanted, answered=len(answers), free=free))
    _offer(connection, _Offer(round_number, item, asked.rank), free, free > asked.free, seen.keys() | reading)


def _offer(connection: Connection, what: _Offer, free: int, more: bool, seen: set[int]) -> None:
    """Offer an item with more free places than before to all who have not seen it; take it from those who may not."""
    here = (offers.c.round == what.round) & (offers.c.item == what.item)
    connection.execute(
        delete(offers).where(here) if free == 0 else delete(offers).where(here, offers.c.reader.in_(seen))
    )
    if more:
        offered = set(connection.execute(select(offers.c.reader).where(here)).scalars())
        everybody = set(connection.execute(select(readers.c.id)).scalars())
        rows = [{**what._asdict(), "reader": reader} for reader in sorted(everybody - seen - offered)]
        if rows:
            connection.execute(offers.insert(), rows)
