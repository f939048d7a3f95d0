"""The queue of a round: who reads what next.

Every item of a queue counts its free places: those for which no answer and no lease stands.  Only items with a free
place are in the index by rank, and every reader has a cursor in it.  What lies before the cursor is done as far as he
is concerned, but for items whose place became free again: these are offered to every reader who has not seen them.
So the next item is found in logarithmic time, however much of the queue is done and by whom.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, delete, exists, literal_column, select, update

from overread.store.records import Lease
from overread.store.rounds import require_round
from overread.store.schema import cursors, leases, offers, queue, readers, reads, rounds
from overread.store.standing import ANSWERS, Standing, has_leader, said_later, standing, superseded

__all__ = ["end_lease", "lease", "list_leases", "next_item", "refresh", "release"]


_ROUND: BindParameter[int] = bindparam("of_round")
_ITEM: BindParameter[int] = bindparam("of_item")
_READER: BindParameter[int] = bindparam("of_reader")

# Built once: to put a statement together takes longer than to execute it.
_OFFERED = (
    select(offers.c.rank, offers.c.item)
    .where(offers.c.round == _ROUND, offers.c.reader == _READER)
    .order_by(offers.c.rank)
    .limit(1)
)
_MY_CURSOR = (cursors.c.round == _ROUND) & (cursors.c.reader == _READER)
_CURSOR = select(cursors.c.rank).where(_MY_CURSOR)
_MOVE = update(cursors).where(_MY_CURSOR).values(rank=bindparam("to_rank"))
_AHEAD = (
    select(queue.c.rank, queue.c.item)
    # The index holds only what has a free place; SQLite sees that in a literal alone.
    .where(queue.c.round == _ROUND, queue.c.free > literal_column("0"), queue.c.rank >= bindparam("from_rank"))
    .where(
        *(
            ~exists().where(table.c.round == _ROUND, table.c.item == queue.c.item, table.c.reader == _READER)
            for table in (leases, reads)
        )
    )
    .order_by(queue.c.rank)
    .limit(1)
)
_MINE = reads.alias()
_ANSWERED = exists().where(
    _MINE.c.round == reads.c.round,
    _MINE.c.item == reads.c.item,
    _MINE.c.reader == reads.c.reader,
    _MINE.c.kind.in_(ANSWERS),
    ~superseded(_MINE),
)
_SKIPPED = (
    select(queue.c.item)
    .join_from(reads, queue, (queue.c.round == reads.c.round) & (queue.c.item == reads.c.item))
    .where(
        reads.c.round == _ROUND, reads.c.reader == _READER, reads.c.kind == "skip", ~said_later(reads), queue.c.free > 0
    )
    .where(~_ANSWERED)
    .where(~exists().where(leases.c.round == _ROUND, leases.c.item == queue.c.item, leases.c.reader == _READER))
    # One that is skipped once more goes to the end, so that all others come before it.
    .order_by(reads.c.sequence)
    .limit(1)
)
_OVERDUE = select(leases.c.item, leases.c.reader).where(leases.c.round == _ROUND, leases.c.until <= bindparam("now"))
_END_LEASE = delete(leases).where(leases.c.round == _ROUND, leases.c.item == _ITEM, leases.c.reader == _READER)
_READING = select(leases.c.reader).where(leases.c.round == _ROUND, leases.c.item == _ITEM)
_HERE = (queue.c.round == _ROUND) & (queue.c.item == _ITEM)
_COUNTED = update(queue).where(_HERE)
_COUNTED = _COUNTED.values(wanted=bindparam("places"), answered=bindparam("n_answers"), free=bindparam("n_free"))
_OFFERS = (offers.c.round == _ROUND) & (offers.c.item == _ITEM)
_ASKED = (
    select(
        rounds.c.wanted,
        rounds.c.at_most,
        rounds.c.open,
        queue.c.free,
        queue.c.rank,
        exists().where(_OFFERS).label("offered"),
    )
    .join_from(rounds, queue, rounds.c.number == queue.c.round)
    .where(_HERE)
)
_OFFERED_TO = select(offers.c.reader).where(_OFFERS)
_NO_OFFER = delete(offers).where(_OFFERS)
_NO_OFFER_TO = delete(offers).where(_OFFERS, offers.c.reader.in_(bindparam("readers", expanding=True)))


class _Place(NamedTuple):
    """An item and its place in the order of reading."""

    rank: int
    item: int


def next_item(
    connection: Connection, round_number: int, reader: int, seconds: float, now: datetime, skipped: bool = False
) -> Lease | None:
    """A lease on the first item of the round that has a free place and that the reader has not seen in this round.

    None where there is none, or where the round is closed.  Seen: he answered or skipped it, or reads it now.
    skipped: instead the first of those with a free place that he skipped, the one that he skipped first in front.
    StoreError where there is no such round.
    """
    if not require_round(connection, round_number).open:
        return None
    for item, late in connection.execute(_OVERDUE, {"of_round": round_number, "now": now}).all():
        end_lease(connection, round_number, item, late)
        refresh(connection, round_number, item)
    if skipped:
        again = connection.execute(_SKIPPED, {"of_round": round_number, "of_reader": reader}).scalar()
        return None if again is None else lease(connection, round_number, again, reader, seconds, now)
    behind = connection.execute(_OFFERED, {"of_round": round_number, "of_reader": reader}).first()
    places = (_ahead(connection, round_number, reader), behind and _Place(*behind))
    found = min((place for place in places if place is not None), default=None)
    return None if found is None else lease(connection, round_number, found.item, reader, seconds, now)


def _ahead(connection: Connection, round_number: int, reader: int) -> _Place | None:
    """The first item from the cursor of the reader on that is free and new to him; moves the cursor up to it."""
    mine = {"of_round": round_number, "of_reader": reader}
    cursor = connection.execute(_CURSOR, mine).scalar()
    if cursor is None:
        connection.execute(cursors.insert().values(round=round_number, reader=reader, rank=0))
        cursor = 0
    row = connection.execute(_AHEAD, {**mine, "from_rank": cursor}).first()
    if row is None:
        return None
    if row.rank > cursor:
        connection.execute(_MOVE, {**mine, "to_rank": row.rank})
    return _Place(*row)


def lease(connection: Connection, round_number: int, item: int, reader: int, seconds: float, now: datetime) -> Lease:
    """The lease of a place that is free, or that was the reader's own; he must hold none of this item."""
    given = Lease(round_number, item, reader, now + timedelta(seconds=seconds))
    connection.execute(leases.insert(), given._asdict())
    refresh(connection, round_number, item)
    return given


def end_lease(connection: Connection, round_number: int, item: int, reader: int) -> None:
    """End a lease, if there is one; what the item has free is to be counted after it."""
    connection.execute(_END_LEASE, {"of_round": round_number, "of_item": item, "of_reader": reader})


def release(connection: Connection, reader: int, item: int) -> None:
    """Give back what the reader has of this item, in every round; nothing where he has nothing."""
    held = connection.execute(select(leases.c.round).where(leases.c.reader == reader, leases.c.item == item)).scalars()
    for round_number in held.all():
        end_lease(connection, round_number, item, reader)
        refresh(connection, round_number, item)


def list_leases(connection: Connection, round_number: int, reader: int, now: datetime) -> list[Lease]:
    """What the reader reads now, the lease that ends first in front."""
    mine = (leases.c.round == round_number) & (leases.c.reader == reader) & (leases.c.until > now)
    return [
        Lease(*row) for row in connection.execute(select(leases).where(mine).order_by(leases.c.until, leases.c.item))
    ]


def refresh(connection: Connection, round_number: int, item: int) -> None:
    """Count the places of an item anew, after anything that concerns it; a reader who has answered holds no lease."""
    here = {"of_round": round_number, "of_item": item}
    asked = connection.execute(_ASKED, here).one()
    seen: Standing = {r: event for r, event in standing(connection, round_number, item).items() if event[0] != "undo"}
    answers = [event for event in seen.values() if event[0] in ANSWERS]
    reading = set(connection.execute(_READING, here).scalars())
    wanted = asked.wanted
    if len(answers) >= wanted and not has_leader(Counter(label for _, label in answers if label is not None)):
        wanted = max(wanted, min(asked.at_most, len(answers) + 1))
    free = max(0, wanted - len(answers) - len(reading)) if asked.open else 0
    connection.execute(_COUNTED, {**here, "places": wanted, "n_answers": len(answers), "n_free": free})
    if asked.offered and free == 0:
        connection.execute(_NO_OFFER, here)
    elif asked.offered:
        connection.execute(_NO_OFFER_TO, {**here, "readers": list(seen.keys() | reading)})
    if free > asked.free:
        _offer(connection, here, asked.rank, seen.keys() | reading)


def _offer(connection: Connection, here: dict[str, int], rank: int, seen: set[int]) -> None:
    """Offer an item with more free places than before to all who have not seen it."""
    offered = set(connection.execute(_OFFERED_TO, here).scalars())
    everybody = set(connection.execute(select(readers.c.id)).scalars())
    rows = [
        {"round": here["of_round"], "item": here["of_item"], "reader": reader, "rank": rank}
        for reader in sorted(everybody - seen - offered)
    ]
    if rows:
        connection.execute(offers.insert(), rows)
