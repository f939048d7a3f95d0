"""What a file of reads says, whatever its format, one answer after another."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from overread.data.formats.tables import stream_table
from overread.errors import DataError

__all__ = ["Answer", "table_answers"]

LABEL_STUDIO = {"annotation_id", "lead_time", "annotator"}
# Of the tables that we export: their labels are the model's where nobody read.
EXPORTED = {"source", "reads"}


class Answer(NamedTuple):
    """One answer, as its file words it."""

    where: str
    """How messages name it, such as "row 3"."""
    item: str
    label: str
    """The name of a class, or "cannot tell"; empty = nothing was said."""
    reader: str
    """Empty where the file does not say."""
    comment: str = ""
    seconds: float | None = None
    decides: bool = False
    """Whether the label is above all others."""


def table_answers(path: Path, *, exports: bool = False) -> Iterator[Answer]:
    """The answers of the CSV at `path`: columns `id` and `label`, optionally `reader` and `comment`.

    exports: also of a table that we exported.
    DataError: what `stream_table` refuses, Label Studio's own CSV, whose `id` is a number that it made up, and without
    `exports` a table of ours, in which nobody need have read anything.
    """
    for i, row in enumerate(stream_table(path, ("id", "label"))):
        if row.keys() >= LABEL_STUDIO:
            raise DataError(f"{path} is Label Studio's CSV, whose ids are its own: export JSON there, or JSON-MIN")
        if row.keys() >= EXPORTED and not exports:
            raise DataError(
                f"{path} is a table that `overread export` wrote, with labels that nobody need have read: give a table "
                "that somebody filled in, or the reads of another project as tasks of Label Studio (--out tasks.json)"
            )
        yield Answer(f"row {i + 1}", row["id"], row["label"], row.get("reader", ""), row.get("comment", ""))
