"""Which reads stand, and where each reader stands with an item of a round."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, FromClause, bindparam, exists, select

from overread.store.records import StoredRead
from overread.store.schema import reads

__all__ = ["ANSWERS", "Standing", "current", "current_among", "has_leader", "said_later", "standing", "superseded"]

ANSWERS = ("label", "cannot-tell")
"""Kinds that are an opinion of a reader and take one of an item's places."""

Standing = dict[int, tuple[str, int | None]]
"""Reader -> kind and label of his last event at one item in one round; a skip takes no answer back."""


def superseded(table: FromClause) -> ColumnElement[bool]:
    """Whether a later read replaces the one in a row of `table`, which is `reads` or an alias of it."""
    later = reads.alias()
    return exists().where(later.c.supersedes == table.c.sequence)


def said_later(table: FromClause) -> ColumnElement[bool]:
    """Whether the same reader answered, skipped or took back at the same item and round after a row of `table`."""
    later = reads.alias()
    return exists().where(
        later.c.round == table.c.round,
        later.c.item == table.c.item,
        later.c.reader == table.c.reader,
        later.c.sequence > table.c.sequence,
        later.c.kind != "adjudication",
    )


def current(table: FromClause) -> ColumnElement[bool]:
    """Whether the read in a row of `table` stands: an opinion or an adjudication that nothing supersedes."""
    return table.c.kind.in_((*ANSWERS, "adjudication")) & ~superseded(table)


def current_among(events: Sequence[StoredRead]) -> list[StoredRead]:
    """Those of all events of an item that stand: `current`, for who has them at hand."""
    replaced = {event.supersedes for event in events}
    return [each for each in events if each.kind in (*ANSWERS, "adjudication") and each.sequence not in replaced]


_EVENTS = (
    select(reads.c.reader, reads.c.kind, reads.c.label)
    .where(reads.c.round == bindparam("of_round"), reads.c.item == bindparam("of_item"), reads.c.kind != "adjudication")
    .order_by(reads.c.sequence)
)


def standing(connection: Connection, round_number: int, item: int) -> Standing:
    """Where all readers stand who answered, skipped or took back at this item in this round; no adjudications."""
    found: Standing = {}
    for reader, kind, label in connection.execute(_EVENTS, {"of_round": round_number, "of_item": item}):
        # A skip, by another tab for one, takes no answer back.
        if kind != "skip" or found.get(reader, ("", None))[0] not in ANSWERS:
            found[reader] = (kind, label)
    return found


def has_leader(votes: Counter[int]) -> bool:
    """Whether one label has strictly more votes than every other one; no votes have no leader.

    >>> has_leader(Counter([2, 2, 0])), has_leader(Counter([2, 0])), has_leader(Counter())
    (True, False, False)
    """
    first, second = ([count for _, count in votes.most_common(2)] + [0, 0])[:2]
    return first > second
