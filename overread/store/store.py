"""The database of reads behind one small class."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Connection, Engine, select

from overread.errors import StoreError
from overread.store import items, lookups, opening, queue, readers, reads, rounds, streams
from overread.store.engine import WRITES, engine_of, place_of, same_file, url_of
from overread.store.failures import told
from overread.store.records import (
    Disagreement,
    Item,
    Lease,
    Part,
    Progress,
    Read,
    Reader,
    Recorded,
    Role,
    Round,
    StoredRead,
    Withdrawal,
)
from overread.store.schema import items as item_table
from overread.store.turns import Turns

__all__ = ["Store"]

T = TypeVar("T")
Clock = Callable[[], datetime]

TIMEOUT = 10.0
"""Seconds to wait for another process that writes."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Store:
    """What people said of the items of a project, and what they are asked.

    May be used from several threads; other processes open the database themselves.  Every write is on the disk when its
    method returns.  Beside what each method names, all of them raise StoreBusy where another process writes for longer
    than the timeout, StoreFull where the disk is full, and StoreUnreachable without a connection to the server; then
    nothing is known to be stored, and the same call may be made again.
    """

    def __init__(self, engine: Engine, classes: Sequence[str], clock: Clock) -> None:
        self.classes = tuple(classes)
        """Names of the classes; labels are positions in it."""
        self._engine = engine
        self._place = place_of(engine.url)
        self._clock = clock
        self._turns = Turns(engine.execution_options(**{WRITES: True}), self._place, same_file(engine.url))
        self._process = os.getpid()

    @classmethod
    def create(
        cls, place: str | Path, classes: Sequence[str], timeout: float = TIMEOUT, clock: Clock = _utc_now
    ) -> Self:
        """A new store at `place`: a file for SQLite, or `postgresql+psycopg://user@host/name`, an empty database.

        classes: names in the order of the labels; they never change.  timeout: seconds to wait for another process that
        writes.  clock: the server's time, with its zone.
        DataError for names that cannot be; StoreError where there are tables already.
        """
        engine = engine_of(url_of(place), timeout)
        try:
            opening.make(engine, classes, clock())
            return cls(engine, classes, clock)
        except BaseException:
            engine.dispose()
            raise

    @classmethod
    def open(cls, place: str | Path, timeout: float = TIMEOUT, clock: Clock = _utc_now) -> Self:
        """The store at `place`, its schema brought up to date; arguments as in `create`.

        StoreError where there is none, or one that only a newer version understands.
        """
        engine = engine_of(url_of(place), timeout)
        try:
            return cls(engine, opening.check(engine), clock)
        except BaseException:
            engine.dispose()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add_items(self, rows: Iterable[tuple[str, int | None]]) -> int:
        """The number of items added, all or none; see `items.add_items`."""
        return self._write(lambda c: items.add_items(c, rows, len(self.classes)), repeatable=False)

    def count_items(self) -> int:
        """How many items there are."""
        return self._read(items.count_items)

    def item(self, position: int) -> Item:
        """The item at a position; StoreError where there is none."""
        query = select(item_table.c.position, item_table.c.id, item_table.c.given).where(
            item_table.c.position == position
        )
        row = self._read(lambda c: c.execute(query).first())
        if row is None:
            raise StoreError(f"there is no item {position}; give a position of the manifest")
        return Item(*row)

    def items(self) -> Iterator[Item]:
        """Every item in the order of the manifest, in bounded memory."""
        return self._stream(streams.all_items)

    def positions_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Id -> position of those of the `ids` that are items."""
        return self._read(lambda c: lookups.positions_of(c, ids))

    def add_reader(self, name: str, role: Role = "reader", password_hash: str | None = None) -> Reader:
        """The new reader; DataError for what is no name, StoreError where it is taken."""
        return self._write(lambda c: readers.add_reader(c, name, role, password_hash, self._clock()), repeatable=False)

    def change_reader(
        self, reader: int, role: Role | None = None, password_hash: str | None = None, active: bool | None = None
    ) -> Reader:
        """The reader with what is given changed; StoreError where there is none."""
        return self._write(lambda c: readers.change_reader(c, reader, role, password_hash, active))

    def readers(self) -> list[Reader]:
        """All readers, in the order in which they were added."""
        return self._read(readers.list_readers)

    def open_round(self, sampler: str, order: Iterable[int], wanted: int = 1, at_most: int | None = None) -> Round:
        """The new round over the items at the positions `order`, to be read in that order; see `rounds.open_round`.

        wanted: reads of each item, each by another reader.  at_most: where it is more, an item whose labels tie for the
        lead gets one more place at a time, up to that many.
        """
        positions = list(order)
        limit = wanted if at_most is None else at_most
        return self._write(
            lambda c: rounds.open_round(c, sampler, positions, wanted, limit, self._clock()), repeatable=False
        )

    def close_round(self, number: int) -> Round:
        """The round, closed: nothing is handed out any more, late answers are taken; StoreError where there is none."""
        return self._write(lambda c: rounds.close_round(c, number))

    def rounds(self) -> list[Round]:
        """All rounds, the first one first."""
        return self._read(rounds.list_rounds)

    def next_item(self, round_number: int, reader: int, lease_seconds: float, *, skipped: bool = False) -> Lease | None:
        """A lease on what the reader is to read next, None where nothing is left for him; see `queue.next_item`.

        skipped: of what he skipped in this round, and only of that.
        """

        def work(connection: Connection) -> Lease | None:
            readers.require_reader(connection, reader)
            return queue.next_item(connection, round_number, reader, lease_seconds, self._clock(), skipped)

        return self._write(work)

    def record(self, read: Read) -> Recorded:
        """The receipt of a read; sent again, the same receipt; see `reads.record`."""
        return self._write(lambda c: reads.record(c, read, len(self.classes), self._clock()))

    def record_and_next(self, read: Read, lease_seconds: float) -> tuple[Recorded, Lease | None]:
        """The receipt of a read and what its reader is to read next in its round, in one transaction.

        StoreError for an imported read, which has no round; else as `record` and `next_item`.
        """
        if read.round is None:
            raise StoreError("an imported read has no round and so no next item; use record")
        number = read.round

        def work(connection: Connection) -> tuple[Recorded, Lease | None]:
            now = self._clock()
            recorded = reads.record(connection, read, len(self.classes), now)
            return recorded, queue.next_item(connection, number, read.reader, lease_seconds, now)

        return self._write(work)

    def record_by(self, names: Sequence[str], make: Callable[[Mapping[str, int]], Sequence[Read]]) -> int:
        """The number of reads recorded, all or none, together with those of the readers called `names` who are new.

        make: name -> id of the reader, to the reads; may be called more than once.
        """

        def work(connection: Connection) -> int:
            known = {reader.name: reader.id for reader in readers.list_readers(connection)}
            for name in names:
                if name not in known:
                    known[name] = readers.add_reader(connection, name, "reader", None, self._clock()).id
            several = make(known)
            for read in several:
                reads.record(connection, read, len(self.classes), self._clock())
            return len(several)

        return self._write(work)

    def undo(self, reader: int, client_id: str, lease_seconds: float, item: int | None = None) -> Recorded | None:
        """The receipt of an event that takes back the reader's last answer in the open round; see `reads.undo`.

        client_id: a new UUID, that of the undo itself.  item: the one whose answer is meant; None = the last one's.
        None where there is nothing to take back.
        """
        return self._write(lambda c: reads.undo(c, reader, client_id, lease_seconds, self._clock(), item))

    def take_back(self, withdrawals: Sequence[Withdrawal]) -> int:
        """The number of reads that stood and are taken back, all or none; see `reads.take_back`."""

        def work(connection: Connection) -> int:
            now = self._clock()
            return sum([reads.take_back(connection, each, len(self.classes), now) for each in withdrawals])

        return self._write(work)

    def release(self, reader: int, item: int) -> None:
        """Give the reader's lease of an item back; nothing where he has none."""
        self._write(lambda c: queue.release(c, reader, item))

    def leases(self, round_number: int, reader: int) -> list[Lease]:
        """What the reader reads now: a page that is loaded again goes on with it."""
        return self._read(lambda c: queue.list_leases(c, round_number, reader, self._clock()))

    def progress(self, round_number: int) -> Progress:
        """How far a round is; StoreError where there is none."""
        return self._read(lambda c: rounds.progress(c, round_number))

    def part(self, round_number: int, reader: int) -> Part:
        """What of a round is for one reader; StoreError where there is no such round."""
        return self._read(lambda c: rounds.part(c, round_number, reader, self._clock()))

    def disagreements(self, round_number: int) -> Iterator[Disagreement]:
        """Items of a round whose standing reads name two labels or more; see `streams.disagreements`."""
        return self._stream(lambda c: streams.disagreements(c, round_number))

    def current_reads(self) -> Iterator[StoredRead]:
        """The reads that stand, by item, in bounded memory; see `streams.current_reads`."""
        return self._stream(streams.current_reads)

    def standing_of(self, positions: Sequence[int]) -> list[StoredRead]:
        """The reads of the items at `positions` that stand, by item."""
        return self._read(lambda c: lookups.standing_of(c, positions))

    def asked_in(self, positions: Sequence[int]) -> dict[int, int]:
        """Position -> the last round whose queue the item was in, where it was in one."""
        return self._read(lambda c: lookups.asked_in(c, positions))

    def last_events(self, positions: Sequence[int]) -> dict[int, int]:
        """Position -> the sequence number of the last event of the item, whatever it was, where it has one."""
        return self._read(lambda c: lookups.last_events(c, positions))

    def items_since(self, sequence: int) -> list[int]:
        """Positions of the items of which something was said after a sequence number, ascending; 0 = of all times."""
        return self._read(lambda c: lookups.items_since(c, sequence))

    def all_reads(self) -> Iterator[StoredRead]:
        """Everything that was ever said, by item and then by time, in bounded memory; see `streams.all_reads`."""
        return self._stream(streams.all_reads)

    def history(self, item: int) -> list[StoredRead]:
        """Everything that was ever said of an item, the oldest first."""
        return self._read(lambda c: streams.history(c, item))

    def reads_since(self, sequence: int) -> Iterator[StoredRead]:
        """All events after a sequence number, in bounded memory; see `streams.reads_since`."""
        return self._stream(lambda c: streams.reads_since(c, sequence))

    def _write(self, work: Callable[[Connection], T], repeatable: bool = True) -> T:
        self._check_process()
        return self._turns.run(work, repeatable)

    def _read(self, work: Callable[[Connection], T]) -> T:
        self._check_process()
        with told(self._place), self._engine.connect() as connection:
            return work(connection)

    def _stream(self, rows: Callable[[Connection], Iterator[T]]) -> Iterator[T]:
        """Rows of one state of the database, whatever is written meanwhile."""
        self._check_process()
        with told(self._place), self._engine.connect() as connection:
            yield from rows(connection)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise StoreError(f"{self._place} was opened by another process; open it in each process")
