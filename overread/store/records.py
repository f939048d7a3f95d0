"""What goes into the store and what comes out: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

__all__ = [
    "Disagreement",
    "Item",
    "Kind",
    "Lease",
    "Part",
    "Progress",
    "Read",
    "Reader",
    "Recorded",
    "Role",
    "Round",
    "StoredRead",
    "Withdrawal",
]

Kind = Literal["label", "cannot-tell", "skip", "undo", "adjudication"]
Role = Literal["reader", "owner"]


class Item(NamedTuple):
    """One image.  `position` is its place in the manifest, from 0; `given` a class, or None without a label."""

    position: int
    id: str
    given: int | None


class Reader(NamedTuple):
    """An expert, or an owner of the project.  `password_hash` is None where no log-in is demanded."""

    id: int
    name: str
    role: Role
    password_hash: str | None
    created: datetime
    active: bool


class Round(NamedTuple):
    """A round: `wanted` reads of every item, and up to `at_most` where labels tie for the lead."""

    number: int
    created: datetime
    sampler: str
    wanted: int
    at_most: int
    open: bool


class Lease(NamedTuple):
    """The place of a reader at an item of a round, kept for him until a point in time (UTC)."""

    round: int
    item: int
    reader: int
    until: datetime


@dataclass(frozen=True)
class Read:
    """What a reader says of an item.

    client_id: a UUID that the client makes, one for each answer; sent twice, it is one read.
    item, reader: position of the item and id of the reader.  round: None = imported.
    label: a class for kinds `label` and `adjudication`, else None.
    shown: what the reader saw beside the image, as JSON values; empty = blind.
    seconds: how long he took; None = unknown.
    """

    client_id: str
    item: int
    reader: int
    kind: Kind
    label: int | None = None
    round: int | None = None
    comment: str = ""
    shown: Mapping[str, object] = field(default_factory=dict)
    seconds: float | None = None


class Recorded(NamedTuple):
    """The receipt of a read: its number (later = larger), the server's time, and the read that it replaces."""

    sequence: int
    item: int
    round: int | None
    when: datetime
    supersedes: int | None


class StoredRead(NamedTuple):
    """A read as it stands in the store."""

    sequence: int
    client_id: str
    round: int | None
    item: int
    reader: int
    kind: Kind
    label: int | None
    comment: str
    shown: dict[str, object]
    seconds: float | None
    when: datetime
    supersedes: int | None


class Withdrawal(NamedTuple):
    """That a read is taken back: its number, the client-made id of the undo, and what is said again in its place."""

    read: int
    client_id: str
    again: Read | None


class Progress(NamedTuple):
    """How far a round is.

    items: in the queue.  finished: of them, those with all reads that they want.  wanted, answered: reads, over all
    items.
    """

    items: int
    finished: int
    wanted: int
    answered: int


class Part(NamedTuple):
    """What of a round is for one reader; all are numbers of items.

    answered: by him.  left: that he can read and has not seen, with those that he reads now.  skipped: by him, and
    still with a free place.  with_others: that others read now and he has not seen; one that is left may come to him.
    """

    answered: int
    left: int
    skipped: int
    with_others: int


class Disagreement(NamedTuple):
    """An item whose readers gave different labels: all its current reads, and the adjudication where there is one."""

    item: int
    reads: tuple[StoredRead, ...]
    adjudication: StoredRead | None
