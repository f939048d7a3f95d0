"""Writing reads.  A read is an event: it is added, never changed, and what it replaces is named in it."""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, literal, or_, select

from overread.errors import Conflict, DataError, StoreError
from overread.store.queue import lease, refresh
from overread.store.records import Read, Recorded
from overread.store.schema import KINDS, items, leases, queue, readers, reads, rounds
from overread.store.standing import ANSWERS, superseded
from overread.store.texts import stored_text

__all__ = ["record", "undo"]

RECEIPT = (reads.c.sequence, reads.c.item, reads.c.round, reads.c.when, reads.c.supersedes)


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
    row["supersedes"] = connection.execute(_replaced(read)).scalar()
    return _add(connection, row, now)


def undo(connection: Connection, reader: int, client_id: str, seconds: float, now: datetime) -> Recorded | None:
    """The receipt of an event that takes back the reader's last answer or skip in the open round; None without one.

    The item is leased to the reader again, for so many seconds.  Another undo, with another id, takes back the one
    before.  What the answer had replaced stays replaced.  Conflict where the client-made id came with another content.
    """
    row: dict[str, Any] = {"client_id": _uuid(client_id), "reader": reader, "kind": "undo", "label": None}
    known = _receipt(connection, row)
    if known is not None:
        return known
    later = reads.alias()
    again = exists().where(
        later.c.round == reads.c.round,
        later.c.item == reads.c.item,
        later.c.reader == reads.c.reader,
        later.c.sequence > reads.c.sequence,
        later.c.kind != "adjudication",
    )
    last = connection.execute(
        select(reads.c.sequence, reads.c.item, reads.c.round)
        .join(rounds, rounds.c.number == reads.c.round)
        .where(reads.c.reader == reader, rounds.c.open, reads.c.kind.in_((*ANSWERS, "skip")))
        .where(~superseded(reads), ~again)
        .order_by(reads.c.sequence.desc())
        .limit(1)
    ).first()
    if last is None:
        return None
    row |= {"item": last.item, "round": last.round, "supersedes": last.sequence, "comment": "", "shown": "{}"}
    recorded = _add(connection, row, now)
    lease(connection, last.round, last.item, reader, seconds, now)
    return recorded


def _add(connection: Connection, row: Mapping[str, Any], now: datetime) -> Recorded:
    """Add the event, end the reader's lease and count the places of the item."""
    added = connection.execute(reads.insert().values(**row, when=now).returning(*RECEIPT)).one()
    if row["round"] is not None and row["kind"] != "adjudication":
        where = {name: row[name] for name in ("round", "item", "reader")}
        connection.execute(delete(leases).where(*(leases.c[name] == value for name, value in where.items())))
        refresh(connection, row["round"], row["item"])
    return Recorded(*added)


def _receipt(connection: Connection, row: Mapping[str, Any]) -> Recorded | None:
    """The receipt of the event with the client-made id of `row`, if any; Conflict where it says other things."""
    found = connection.execute(select(reads).where(reads.c.client_id == row["client_id"])).first()
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


def _require(connection: Connection, read: Read) -> None:
    """Refuse a read of what does not exist."""
    needs: list[tuple[str, ColumnElement[bool]]] = [
        (f"there is no reader {read.reader}; add the reader first", exists().where(readers.c.id == read.reader)),
        (
            f"there is no item {read.item}; give a position of the manifest",
            exists().where(items.c.position == read.item),
        ),
    ]
    if read.round is not None:
        asked = and_(queue.c.round == read.round, queue.c.item == read.item)
        text = f"item {read.item} is not in the queue of round {read.round}; give the round that asked for it"
        needs.append((text, exists().where(asked)))
    there = connection.execute(select(*(literal(True) & need for _, need in needs))).one()
    for (text, _), found in zip(needs, there, strict=True):
        if not found:
            raise StoreError(text)


def _replaced(read: Read) -> Any:
    """A query for the sequence number of the read that `read` replaces; the latest, where there could be several."""
    if read.kind == "adjudication":
        same = reads.c.kind == "adjudication"
    elif read.kind == "skip":
        same = and_(reads.c.reader == read.reader, reads.c.kind == "skip", reads.c.round == read.round)
    else:
        skipped = and_(reads.c.kind == "skip", reads.c.round == read.round)
        same = and_(reads.c.reader == read.reader, or_(reads.c.kind.in_(ANSWERS), skipped))
    found = select(reads.c.sequence).where(reads.c.item == read.item, same, ~superseded(reads))
    # An opinion before a skip: there must never be two that stand.
    return found.order_by(reads.c.kind == "skip", reads.c.sequence.desc()).limit(1)
