"""Reads from a file that people filled in elsewhere: a spreadsheet, or Label Studio."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID, uuid5

from overread.errors import DataError
from overread.project.folder import Project
from overread.project.imports.answers import Answer, table_answers
from overread.project.imports.label_studio import is_json, task_answers
from overread.project.imports.staging import Said, stage
from overread.store import Read, Store, StoredRead

__all__ = ["IMPORTED", "NAMESPACE", "Imported", "answers_of", "import_reads"]

# Of the ids of reads that come from files, so that the same answer twice is one read.
NAMESPACE = UUID("6d9b3a52-5f0e-4f4c-9d52-3c0b7a1f8e61")
# What was shown with a read from a file: of that nobody knows.
IMPORTED = {"imported": True}
# How files begin that people take for tables.
NO_TABLES = {b"PAR1": "Parquet", b"PK\x03\x04": "a workbook or an archive"}


class Imported(NamedTuple):
    """What a file brought."""

    reads: int
    """New ones."""
    known: int
    """Answers that say what the same reader has said already."""
    empty: int
    """Rows without a label, and annotations that were skipped: they say nothing."""
    by_round: Mapping[int | None, int] = MappingProxyType({})
    """New reads by the last round that asked for their items; None = no round did."""
    new_readers: tuple[str, ...] = ()
    """Names that became readers."""


def import_reads(project: Project, file: Path, reader: str | None, *, adjudicate: bool = False) -> Imported:
    """Add the reads in `file`, a CSV or the JSON or JSON-MIN of Label Studio, in bounded memory.

    A CSV has the columns `id` and `label`, optionally `reader` and `comment`; for JSON see `task_answers`.
    label: the name of a class, or "cannot tell"; empty = not read.  reader: who read where the file does not say;
    a name that is new becomes a reader.  adjudicate: the labels decide, whatever was said before.  An answer that says
    what its reader has said of the item already adds nothing, another label corrects it.
    Errors: DataError that names rows with an unknown item or class, without a reader, or that stand twice, a reader
    whose name is nearly that of another one, and a table that we exported; then nothing is added.
    """
    known = 0
    by_round: Counter[int | None] = Counter()
    before = {each.name for each in project.store.readers()}
    with stage(answers_of(file), project, file, reader, adjudicate) as staged:
        for batch in staged.batches:
            new = _record(project.store, batch)
            by_round.update(new)
            known += len(batch) - len(new)
        added = tuple(each.name for each in project.store.readers() if each.name not in before)
        return Imported(by_round.total(), known, staged.empty, by_round, added)


def answers_of(file: Path, *, exports: bool = False) -> Iterator[Answer]:
    """The answers in a file of any known form; `exports` as of `table_answers`.  DataError where there is no file."""
    if not file.exists():
        raise DataError(f"{file} does not exist: give a table that was filled in, or JSON of Label Studio")
    if file.is_dir():
        raise DataError(f"{file} is a folder: give a table that was filled in, or JSON of Label Studio")
    if is_json(file):
        return task_answers(file)
    with file.open("rb") as stream:
        start = stream.read(4)
    for magic, what in NO_TABLES.items():
        if start == magic:
            raise DataError(f"{file} is {what}: save its rows as CSV")
    return table_answers(file, exports=exports)


def _record(store: Store, batch: Sequence[Said]) -> list[int | None]:
    """The rounds of those answers that say something new and were stored, with those of their readers who are new."""
    positions = sorted({said.item for said in batch})
    ids = {each.name: each.id for each in store.readers()}
    # An adjudication takes the place of that of anybody, a read of one's own alone.
    standing = {
        (read.item, None if read.kind == "adjudication" else read.reader): read for read in store.standing_of(positions)
    }
    rounds, last = store.asked_in(positions), store.last_events(positions)
    new: list[Said] = []
    for said in batch:
        before = standing.get((said.item, None if said.kind == "adjudication" else ids.get(said.reader, -1)))
        if before is None or not _says(before, said, ids.get(said.reader)):
            new.append(said)

    def make(known: Mapping[str, int]) -> list[Read]:
        return [_read(said, known[said.reader], rounds.get(said.item), last.get(said.item, 0)) for said in new]

    if new:
        store.record_by(list(dict.fromkeys(said.reader for said in new)), make)
    return [rounds.get(said.item) for said in new]


def _says(before: StoredRead, said: Said, reader: int | None) -> bool:
    """Whether `before` says what the answer says; an answer without a comment leaves that of before."""
    same = (before.kind, before.label, before.reader) == (said.kind, said.label, reader)
    return same and said.comment in ("", before.comment.strip())


def _read(said: Said, reader: int, number: int | None, last: int) -> Read:
    """last: the last event of the item, so that what was taken back can be said again."""
    took = "" if said.seconds is None else f"/{said.seconds}"
    return Read(
        client_id=str(uuid5(NAMESPACE, f"{said.item}/{reader}/{said.kind}/{said.label}/{last}/{said.comment}{took}")),
        item=said.item,
        reader=reader,
        kind=said.kind,
        label=said.label,
        round=number,
        comment=said.comment,
        shown=IMPORTED,
        seconds=said.seconds,
    )
