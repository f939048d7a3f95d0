"""Reads from a table that people filled in elsewhere, such as a spreadsheet."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid5

from overread.data.formats.tables import Table, read_table
from overread.errors import DataError, name_some
from overread.project.folder import CANNOT_TELL, Project
from overread.project.queue_file import asked_in
from overread.store import Kind, Read, StoredRead

__all__ = ["Imported", "import_reads"]

# Of the ids of reads that come from tables, so that the same answer twice is one read.
NAMESPACE = UUID("6d9b3a52-5f0e-4f4c-9d52-3c0b7a1f8e61")


class Imported(NamedTuple):
    """What a table brought."""

    reads: int
    """New ones."""
    known: int
    """Rows that say what the same reader has said already."""
    empty: int
    """Rows without a label, which say nothing."""


def import_reads(project: Project, file: Path, reader: str | None, *, adjudicate: bool = False) -> Imported:
    """Add the reads in the CSV `file`, with the columns `id` and `label`, optionally `reader` and `comment`.

    label: the name of a class, or "cannot tell"; empty = not read.  reader: who read where there is no such column;
    a name that is new becomes a reader.  adjudicate: the labels decide, whatever was said before.  A row that says
    what its reader has said of the item already adds nothing, another label corrects it.
    Errors: DataError that names rows with an unknown item or class, without a reader, or that stand twice; then nothing
    is added.
    """
    table = read_table(file)
    rows = list(_rows(table, project, reader, adjudicate))
    known = {each.name: each.id for each in project.store.readers()}
    for name in dict.fromkeys(row.reader for row in rows):
        if name not in known:
            known[name] = project.store.add_reader(name).id
    # An adjudication takes the place of that of anybody, a read of one's own alone.
    standing = {
        (read.item, None if read.kind == "adjudication" else read.reader): read
        for read in project.store.current_reads()
    }
    rounds = asked_in(project.folder, len(project.store.rounds()))
    new = []
    for row in rows:
        before = standing.get((row.item, None if adjudicate else known[row.reader]))
        if before is None or not _says(before, row, known[row.reader]):
            new.append(_read(row, known[row.reader], rounds.get(row.item), before))
    project.store.record_all(new)
    return Imported(len(new), len(rows) - len(new), len(table.column("id", "id")) - len(rows))


class _Row(NamedTuple):
    item: int
    kind: Kind
    label: int | None
    reader: str
    comment: str


def _says(before: StoredRead, row: _Row, reader: int) -> bool:
    """Whether `before` says what the row says; a row without a comment leaves that of before."""
    same = (before.kind, before.label, before.reader) == (row.kind, row.label, reader)
    return same and row.comment in ("", before.comment)


def _read(row: _Row, reader: int, number: int | None, before: StoredRead | None) -> Read:
    replaced = 0 if before is None else before.sequence
    return Read(
        client_id=str(uuid5(NAMESPACE, f"{row.item}/{reader}/{row.kind}/{row.label}/{replaced}/{row.comment}")),
        item=row.item,
        reader=reader,
        kind=row.kind,
        label=row.label,
        round=number,
        comment=row.comment,
        shown={"imported": True},
    )


def _rows(table: Table, project: Project, reader: str | None, adjudicate: bool) -> Iterator[_Row]:
    table.refuse_ragged()
    ids, labels = table.column("id", "id"), table.column("label", "label")
    who = table.columns.get("reader", [""] * len(ids))
    comments = table.columns.get("comment", [""] * len(ids))
    positions = {item.id: item.position for item in project.store.items()}
    classes = {name: index for index, name in enumerate(project.store.classes)}
    unknown = [name for name, label in zip(ids, labels, strict=True) if label and name not in positions]
    if unknown:
        raise DataError(
            f"{table.path} names {name_some(unknown)}, which the project does not have: keep the ids as the queue has "
            "them",
            unknown,
        )
    odd = sorted({label for label in labels if label and label not in classes and label != CANNOT_TELL})
    if odd:
        raise DataError(
            f"{table.path} has the label {name_some(odd)}: known are {', '.join(classes)}, and '{CANNOT_TELL}'", odd
        )
    seen: set[tuple[str, str]] = set()
    for i, (name, label) in enumerate(zip(ids, labels, strict=True)):
        if not label:
            continue
        if adjudicate and label == CANNOT_TELL:
            raise DataError(
                f"who decides names a class, and '{name}' has '{CANNOT_TELL}': leave the label empty", [name]
            )
        # One person under one name, however it is spaced.
        by = " ".join((who[i] or reader or "").split())
        if not by:
            raise DataError(f"row {i + 1} of {table.path} does not say who read: fill in `reader`, or give --reader")
        if (name, by) in seen:
            raise DataError(f"{table.path} has two labels by {by!r} for '{name}': leave one line", [name])
        seen.add((name, by))
        said: Kind = "cannot-tell" if label == CANNOT_TELL else "label"
        yield _Row(positions[name], "adjudication" if adjudicate else said, classes.get(label), by, comments[i])
