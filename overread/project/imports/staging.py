"""The answers of a file, all checked before anything is stored.

They wait in a private temporary database, so that memory does not grow with the file.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from overread.data.alike import same_letters, spelt_alike
from overread.errors import DataError, RunError, name_some
from overread.project.folder import CANNOT_TELL, Project
from overread.project.imports.answers import Answer
from overread.project.words import command
from overread.store import Kind
from overread.store.texts import reader_name, stored_text, tidy_name

__all__ = ["Said", "Staged", "stage"]

AT_ONCE = 1_000
# In place of the number of a reader: an adjudication takes the place of that of anybody.
DECISION = -1
TABLES = """
CREATE TABLE readers (number INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE said (
    item INTEGER, number INTEGER, name INTEGER, kind TEXT, label INTEGER, comment TEXT, seconds REAL, who INTEGER,
    PRIMARY KEY (item, number), UNIQUE (item, who)
) WITHOUT ROWID;
"""
ADD = "INSERT OR IGNORE INTO said VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
ORDERED = """
SELECT item, kind, label, readers.name, comment, seconds FROM said JOIN readers ON readers.number = said.name
ORDER BY item, said.number
"""


class Said(NamedTuple):
    """One answer in the words of the store, but for its reader."""

    item: int
    kind: Kind
    label: int | None
    reader: str
    comment: str
    seconds: float | None


class Staged(NamedTuple):
    """Checked answers."""

    empty: int
    """Those that said nothing and are left out."""
    batches: Iterator[list[Said]]
    """By item, in the order of the file; to be taken once."""


@contextmanager
def stage(
    answers: Iterable[Answer], project: Project, file: Path, reader: str | None, adjudicate: bool
) -> Iterator[Staged]:
    """All `answers` of `file`, checked.

    DataError that names an unknown item or class, who said two things of an item, a row without a reader, or a new
    reader whose name is nearly that of another one; RunError where the temporary database has no room.
    """
    try:
        # A database without a name is private, held in memory while it is small, and gone when it is closed.
        with closing(sqlite3.connect("")) as database:
            database.executescript(TABLES)
            empty = _Check(database, project, file, reader, adjudicate).take(answers)
            yield Staged(empty, _batches(database))
    except sqlite3.Error as error:
        raise RunError(
            f"{file} cannot be checked, since a temporary file cannot be written ({error}): make room, or set TMPDIR"
        ) from None


def _batches(database: sqlite3.Connection) -> Iterator[list[Said]]:
    rows = database.execute(ORDERED)
    while batch := [Said(*row) for row in islice(rows, AT_ONCE)]:
        yield batch


class _Check:
    def __init__(
        self, database: sqlite3.Connection, project: Project, file: Path, reader: str | None, adjudicate: bool
    ) -> None:
        self._database = database
        self._folder = project.folder
        self._store = store = project.store
        self._file = file
        self._reader = reader or ""
        self._adjudicate = adjudicate
        self._classes = {name: index for index, name in enumerate(store.classes)}
        self._known = {each.name for each in store.readers()}
        self._numbers: dict[str, int] = {}

    def take(self, answers: Iterable[Answer]) -> int:
        """How many of the answers say nothing; all others are in the database."""
        empty, count, remaining = 0, 0, iter(answers)
        while batch := list(islice(remaining, AT_ONCE)):
            said = [answer for answer in batch if answer.label]
            empty += len(batch) - len(said)
            positions = self._positions(said)
            for answer in said:
                self._add(answer, positions[answer.item], count)
                count += 1
        return empty

    def _positions(self, batch: Sequence[Answer]) -> dict[str, int]:
        for answer in batch:
            stored_text(answer.item, f"the id in {answer.where} of {self._file}")
        positions = self._store.positions_of(list({answer.item for answer in batch}))
        unknown = list(dict.fromkeys(answer.item for answer in batch if answer.item not in positions))
        if unknown:
            raise DataError(
                f"{self._file} names {name_some(unknown)}, which the project does not have: keep the ids as the queue "
                "has them",
                unknown,
            )
        odd = sorted({answer.label for answer in batch} - {*self._classes, CANNOT_TELL})
        if odd:
            known = ", ".join(self._classes)
            raise DataError(f"{self._file} has the label {name_some(odd)}: known are {known}, and '{CANNOT_TELL}'", odd)
        return positions

    def _add(self, answer: Answer, position: int, number: int) -> None:
        decides = self._adjudicate or answer.decides
        if decides and answer.label == CANNOT_TELL:
            raise DataError(
                f"who decides names a class, and '{answer.item}' has '{CANNOT_TELL}': leave the label empty",
                [answer.item],
            )
        # One person under one name, however it is written.
        name = tidy_name(answer.reader or self._reader)
        if not name:
            raise DataError(f"{answer.where} of {self._file} does not say who read: fill in `reader`, or give --reader")
        self._check_name(name, answer.where)
        comment = stored_text(answer.comment, f"the comment in {answer.where} of {self._file}")
        kind = "adjudication" if decides else "cannot-tell" if answer.label == CANNOT_TELL else "label"
        who = self._number(name)
        label, key = self._classes.get(answer.label), DECISION if decides else who
        row = (position, number, who, kind, label, comment, answer.seconds, key)
        if not self._database.execute(ADD, row).rowcount:
            twice = "two decisions" if decides else f"two labels by {name!r}"
            raise DataError(f"{self._file} has {twice} for '{answer.item}': leave one", [answer.item])

    def _check_name(self, name: str, where: str) -> None:
        # Who is a reader already keeps his name, whatever it is.
        if name in self._numbers or name in self._known:
            return
        try:
            reader_name(name)
        except DataError as error:
            raise DataError(f"{error} ({where} of {self._file})") from None
        like = (each for each in (*self._known, *self._numbers) if same_letters(name, each))
        near = next(like, None) or next((each for each in self._known if spelt_alike(name, each)), None)
        if near is not None:
            add = command("reader", self._folder, name, "--no-password")
            raise DataError(
                f"{where} of {self._file} names the reader {name!r}, who is new: did you mean {near!r}? "
                f"Add a new reader first: `{add}`"
            )

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers)
            self._database.execute("INSERT INTO readers VALUES (?, ?)", (self._numbers[name], name))
        return self._numbers[name]
