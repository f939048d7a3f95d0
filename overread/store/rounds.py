"""Rounds: which items are to be read, by how many readers, and how far that is."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, delete, false, func, literal_column, select
from sqlalchemy.exc import IntegrityError

from overread.errors import DataError, StoreError
from overread.store.items import count_items
from overread.store.records import Part, Progress, Round
from overread.store.schema import cursors, leases, offers, queue, reads, rounds
from overread.store.standing import ANSWERS
from overread.store.texts import stored_text

__all__ = ["close_round", "list_rounds", "open_round", "part", "progress", "require_round"]


def open_round(
    connection: Connection, sampler: str, order: Sequence[int], wanted: int, at_most: int, now: datetime
) -> Round:
    """The new round; its number is one above the last.

    order: positions of the items, to be read in this order.  wanted, at_most: reads for each item.
    StoreError while another round is open; DataError for positions that are no items or stand twice, and for numbers of
    reads that cannot be.
    """
    if not 1 <= wanted <= at_most:
        raise DataError(f"{wanted} reads for each item, at most {at_most}, cannot be; give 1 <= wanted <= at most")
    last = connection.execute(select(rounds).order_by(rounds.c.number.desc()).limit(1)).first()
    if last is not None and last.open:
        raise StoreError(f"round {last.number} is open; close it before the next one")
    n_items = count_items(connection)
    wrong = [position for position in order if not 0 <= position < n_items]
    if wrong:
        raise DataError(f"there is no item {wrong[0]}; positions are 0 to {n_items - 1}", [str(p) for p in wrong[:5]])
    number = 1 if last is None else last.number + 1
    row = {"number": number, "created": now, "sampler": stored_text(sampler, "the name of a sampler")}
    connection.execute(rounds.insert().values(**row, wanted=wanted, at_most=at_most, open=True))
    rows = [
        {"round": number, "item": item, "rank": rank, "wanted": wanted, "answered": 0, "free": wanted}
        for rank, item in enumerate(order)
    ]
    if rows:
        try:
            connection.execute(queue.insert(), rows)
        except IntegrityError:
            raise DataError("an item stands twice in the queue of a round; give every item once") from None
    return require_round(connection, number)


def close_round(connection: Connection, number: int) -> Round:
    """The round, closed: nothing of it is handed out any more.  Late answers are still taken.  Again: no effect."""
    require_round(connection, number)
    connection.execute(rounds.update().where(rounds.c.number == number).values(open=False))
    for table in (leases, offers, cursors):
        connection.execute(delete(table).where(table.c.round == number))
    return require_round(connection, number)


def list_rounds(connection: Connection) -> list[Round]:
    """All rounds, the first one first."""
    return [Round(*row) for row in connection.execute(select(rounds).order_by(rounds.c.number))]


_ROUND = select(rounds).where(rounds.c.number == bindparam("of_round"))


def require_round(connection: Connection, number: int) -> Round:
    """The round with this number; StoreError where there is none."""
    row = connection.execute(_ROUND, {"of_round": number}).first()
    if row is None:
        raise StoreError(f"there is no round {number}; open it first")
    return Round(*row)


def progress(connection: Connection, number: int) -> Progress:
    """How far the round is; StoreError where there is none."""
    require_round(connection, number)
    done = case((queue.c.answered >= queue.c.wanted, 1), else_=0)
    sums = [func.coalesce(func.sum(column), 0) for column in (done, queue.c.wanted, queue.c.answered)]
    items, *counts = connection.execute(select(func.count(), *sums).where(queue.c.round == number)).one()
    finished, wanted, answered = (int(count) for count in counts)
    return Progress(items, finished, wanted, answered)


def part(connection: Connection, number: int, reader: int, now: datetime) -> Part:
    """What of the round is for the reader; StoreError where there is none.  Of a closed one nothing is left.

    A lease that ran out holds its place until somebody asks for the next item.
    """
    is_open = require_round(connection, number).open
    # The index holds only what has a free place; SQLite sees that in a literal alone.
    is_free = queue.c.free > literal_column("0") if is_open else false()
    n_free = connection.execute(select(func.count()).where(queue.c.round == number, is_free)).scalar_one()
    events = (
        select(reads.c.item, reads.c.kind, is_free)
        .join_from(reads, queue, (queue.c.round == reads.c.round) & (queue.c.item == reads.c.item))
        .where(reads.c.round == number, reads.c.reader == reader, reads.c.kind != "adjudication")
        .order_by(reads.c.sequence)
    )
    # By item, so that the last event counts; a skip takes no answer back.
    last: dict[int, tuple[str, bool]] = {}
    for item, kind, free in connection.execute(events):
        if kind != "skip" or last.get(item, ("", False))[0] not in ANSWERS:
            last[item] = (kind, free)
    seen = {item: (kind, free) for item, (kind, free) in last.items() if kind != "undo"}
    running = (
        select(leases.c.item, leases.c.reader, is_free, queue.c.answered < queue.c.wanted)
        .join_from(leases, queue, (queue.c.round == leases.c.round) & (queue.c.item == leases.c.item))
        .where(leases.c.round == number, leases.c.until > now)
    )
    running_now = connection.execute(running).all()
    held = {item: free for item, who, free, _ in running_now if who == reader}
    known = {item: free for item, (_, free) in seen.items()} | held
    return Part(
        answered=sum(kind in ANSWERS for kind, _ in seen.values()),
        left=n_free - sum(map(bool, known.values())) + len(held),
        skipped=sum(kind == "skip" and bool(free) for item, (kind, free) in seen.items() if item not in held),
        # A late answer of somebody else may have completed one that is read still.
        with_others=len({item for item, _, _, is_wanted in running_now if is_wanted} - known.keys()),
    )
