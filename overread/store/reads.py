"""Writing reads.  A read is an event: it is added, never changed, and what it replaces is named in it."""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    exists,
    literal,
    or_,
    select,
    true,
)

from overread.errors import Conflict, DataError, StoreError
from overread.store.queue import end_lease, lease, refresh
from overread.store.records import Read, Recorded, Withdrawal
from overread.store.schema import KINDS, items, queue, readers, reads, rounds
from overread.store.standing import ANSWERS, current, said_later, superseded
from overread.store.texts import stored_text

__all__ = ["record", "take_back", "undo"]

RECEIPT = (reads.c.sequence, reads.c.item, reads.c.round, reads.c.when, reads.c.supersedes)

# Built once: to put a statement together takes longer than to execute it.
_ITEM: BindParameter[int] = bindparam("of_item")
_READER: BindParameter[int] = bindparam("of_reader")
_ROUND: BindParameter[int] = bindparam("of_round")
_KNOWN = select(reads).where(reads.c.client_id == bindparam("known_id"))
_ADD = reads.insert().returning(*RECEIPT)
_THERE = select(
    *(
        literal(True) & exists().where(condition)
        for condition in (
            readers.c.id == _READER,
            items.c.position == _ITEM,
            and_(queue.c.round == _ROUND, queue.c.item == _ITEM),
        )
    )
)
_MINE = reads.c.reader == _READER
_SKIPPED = and_(reads.c.kind == "skip", reads.c.round == _ROUND)


def _standing(same: ColumnElement[bool]) -> Select[tuple[int]]:
    """A query for the sequence number of the read of an item that stands, of those that are the same."""
    found = select(reads.c.sequence).where(reads.c.item == _ITEM, same, ~superseded(reads))
    # An opinion before a skip: there must never be two that stand.
    return found.order_by(reads.c.kind == "skip", reads.c.sequence.desc()).limit(1)


_ADJUDICATION = _standing(reads.c.kind == "adjudication")
_OWN_SKIP = _standing(and_(_MINE, _SKIPPED))
_OWN_OPINION = _standing(and_(_MINE, or_(reads.c.kind.in_(ANSWERS), _SKIPPED)))


def record(connection: Connection, read: Read, n_classes: int, now: datetime) -> Recorded:
    """The receipt of the read.  The same read sent again gets the receipt of the first time and changes nothing.

    A label or "cannot tell" replaces what the same reader said of the item before, in any round or import; a skip
    replaces no opinion; an adjudication replaces the one before it.  It is taken whether or not a lease stands, and
    also after the end of its round: the minutes of an expert are never thrown away.

    Conflict where the client-made id came with another content; DataError for a label or id that cannot be;
    StoreError where there is no such reader, item, or item in the queue of that round.
    """
    row = _row(read, n_classes)
    known = _receipt(connection, row)
    if known is not None:
        return known
    _require(connection, read)
    replaced = {"adjudication": _ADJUDICATION, "skip": _OWN_SKIP}.get(read.kind, _OWN_OPINION)
    row["supersedes"] = connection.execute(replaced, _place(read)).scalar()
    return _add(connection, row, now)


def undo(
    connection: Connection, reader: int, client_id: str, seconds: float, now: datetime, item: int | None
) -> Recorded | None:
    """The receipt of an event that takes back the reader's last answer or skip in the open round; None without one.

    item: only what he said of this one; None = of whichever was last.  It is leased to the reader again, for so many
    seconds.  Another undo, with another id, takes back the one before.  What the answer had replaced stays replaced.
    Conflict where the client-made id came with another content.
    """
    row: dict[str, Any] = {"client_id": _uuid(client_id), "reader": reader, "kind": "undo", "label": None}
    row |= {} if item is None else {"item": item}
    known = _receipt(connection, row)
    if known is not None:
        return known
    last = connection.execute(
        select(reads.c.sequence, reads.c.item, reads.c.round)
        .join(rounds, rounds.c.number == reads.c.round)
        .where(reads.c.reader == reader, rounds.c.open, reads.c.kind.in_((*ANSWERS, "skip")))
        .where(~superseded(reads), ~said_later(reads), true() if item is None else reads.c.item == item)
        .order_by(reads.c.sequence.desc())
        .limit(1)
    ).first()
    if last is None:
        return None
    row |= {"item": last.item, "round": last.round, "supersedes": last.sequence, "comment": "", "shown": "{}"}
    recorded = _add(connection, row, now)
    lease(connection, last.round, last.item, reader, seconds, now)
    return recorded


def take_back(connection: Connection, withdrawal: Withdrawal, n_classes: int, now: datetime) -> bool:
    """Whether the read stood, and is now taken back by an event: of any kind, in any round, also a closed one, or none.

    What is said `again` is recorded behind it, as `record` does: without it, what the read had replaced stays replaced.
    """
    row = connection.execute(select(reads).where(reads.c.sequence == withdrawal.read, current(reads))).first()
    if row is None:
        return False
    undone = {
        "client_id": _uuid(withdrawal.client_id),
        # What is last in a round is where its reader stands there, and a decision is no part of that.
        "round": None if row.kind == "adjudication" else row.round,
        "item": row.item,
        "reader": row.reader,
        "kind": "undo",
        "label": None,
        "comment": "",
        "shown": "{}",
        "supersedes": row.sequence,
    }
    _add(connection, undone, now)
    if withdrawal.again is not None:
        record(connection, withdrawal.again, n_classes, now)
    return True


def _add(connection: Connection, row: Mapping[str, Any], now: datetime) -> Recorded:
    """Add the event, end the reader's lease and count the places of the item."""
    added = connection.execute(_ADD, {**row, "when": now}).one()
    if row["round"] is not None and row["kind"] != "adjudication":
        end_lease(connection, row["round"], row["item"], row["reader"])
        refresh(connection, row["round"], row["item"])
    return Recorded(*added)


def _receipt(connection: Connection, row: Mapping[str, Any]) -> Recorded | None:
    """The receipt of the event with the client-made id of `row`, if any; Conflict where it says other things."""
    found = connection.execute(_KNOWN, {"known_id": row["client_id"]}).first()
    if found is None:
        return None
    differing = [name for name, value in row.items() if found._mapping[name] != value]
    if differing:
        raise Conflict(
            f"the id {row['client_id']} stands for another read already (its {differing[0]} differs); make a new id"
        )
    return Recorded(*(found._mapping[column.name] for column in RECEIPT))


def _row(read: Read, n_classes: int) -> dict[str, Any]:
    """The columns that the client fills, checked."""
    if read.kind == "undo" or read.kind not in KINDS:
        raise DataError(f"a read is no {read.kind!r}; it is a label, cannot-tell, skip or adjudication")
    if (read.label is not None) != (read.kind in ("label", "adjudication")):
        raise DataError(f"a read of kind {read.kind} {'needs' if read.label is None else 'has no'} label; mend it")
    if read.label is not None and not 0 <= read.label < n_classes:
        raise DataError(f"there is no class {read.label}; classes are 0 to {n_classes - 1}")
    if read.seconds is not None and not (math.isfinite(read.seconds) and read.seconds >= 0):
        raise DataError(f"a read cannot take {read.seconds} seconds; give 0 or more, or nothing")
    try:
        # Escapes keep out what one of the databases could not store.
        shown = json.dumps(dict(read.shown), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        raise DataError("what was shown must be JSON values under names; mend it") from None
    return {
        "client_id": _uuid(read.client_id),
        "round": read.round,
        "item": read.item,
        "reader": read.reader,
        "kind": read.kind,
        "label": read.label,
        "comment": stored_text(read.comment, "a comment"),
        "shown": shown,
        "seconds": read.seconds,
    }


def _uuid(client_id: str) -> str:
    """The one spelling of a client-made id."""
    try:
        return str(UUID(client_id))
    except (ValueError, AttributeError, TypeError):
        raise DataError(f"{client_id!r} is no UUID; the client makes one for each answer") from None


def _place(read: Read) -> dict[str, int | None]:
    """Whom and what the read is about, for statements."""
    return {"of_reader": read.reader, "of_item": read.item, "of_round": read.round}


def _require(connection: Connection, read: Read) -> None:
    """Refuse a read of what does not exist."""
    reader, item, asked = tuple(connection.execute(_THERE, _place(read)).one())
    if not reader:
        raise StoreError(f"there is no reader {read.reader}; add the reader first")
    if not item:
        raise StoreError(f"there is no item {read.item}; give a position of the manifest")
    if read.round is not None and not asked:
        raise StoreError(
            f"item {read.item} is not in the queue of round {read.round}; give the round that asked for it"
        )
