"""Atomic writes: after a crash a file is whole or absent, never half."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

__all__ = ["atomic_path", "temporary_beside", "without_nan", "write_arrays", "write_json", "write_table", "write_text"]


# Characters of a name that a temporary one repeats: at four bytes each there is room for the rest.
REPEATED = 40


def temporary_beside(path: Path) -> Path:
    """A new path in the same folder; what a killed process left in the folder of a run, `open_run` removes."""
    return path.with_name(f".{path.name[:REPEATED]}.{uuid.uuid4().hex}.tmp")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed onto it when the block ends without an error.

    An error of the system about the temporary path becomes one about `path`, which is what people know.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is None or str(error.filename) != str(temporary):
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically as JSON; NaN is written as null, since JSON has no NaN."""
    write_text(path, json.dumps(without_nan(value), indent=1, allow_nan=False) + "\n")


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` to `path` atomically as Parquet."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write `arrays` by name to `path` atomically as .npz, uncompressed; ValueError for what would need a pickle."""
    # A stream: to a path that does not end in .npz numpy would add the suffix.
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def without_nan(value: Any) -> Any:
    """`value` with every NaN replaced by None, through lists, tuples and dictionaries."""
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return value
