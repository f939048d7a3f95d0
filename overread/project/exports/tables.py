"""The cleaned set as a table, CSV or Parquet, written row by row."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from overread.project.exports.rows import Labelled, Row

__all__ = ["SCHEMA", "Write", "csv_table", "parquet_table", "table_row"]

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("given", pa.string()),
        ("suggested", pa.string()),
        ("label", pa.string()),
        ("source", pa.string()),
        ("presumed_clean", pa.bool_()),
        ("label_quality", pa.float64()),
        ("probability", pa.float64()),
        ("round", pa.int64()),
        ("reads", pa.string()),
    ]
)

Write = Callable[[Sequence[Labelled]], object]


def table_row(item: Labelled) -> Row:
    """The row of an item, its reads as one text of JSON."""
    return {**item.row, "reads": json.dumps(item.reads, ensure_ascii=False)}


@contextmanager
def csv_table(path: Path) -> Iterator[Write]:
    """A function that adds rows to the CSV at `path`."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, SCHEMA.names, lineterminator="\n")
        writer.writeheader()
        yield lambda items: writer.writerows(map(table_row, items))


@contextmanager
def parquet_table(path: Path) -> Iterator[Write]:
    """A function that adds rows to the Parquet file at `path`."""
    with pq.ParquetWriter(path, SCHEMA) as writer:
        yield lambda items: writer.write_table(pa.Table.from_pylist([table_row(item) for item in items], SCHEMA))
