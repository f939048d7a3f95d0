"""Rows in files: features and VOG windows that are larger than memory.

Read and written by position, and not memory-mapped: the pages of a map count as memory of the process once they were
touched, and handing them back before they add up costs three times what reading a row costs.
"""

import os
import re
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overread.arrays import FloatArray, IntArray
from overread.errors import RunError

__all__ = ["RowFile", "WindowFiles"]

# Rows this thinly spread are still read as one run, of which most is thrown away: a call costs as much as three rows.
RUN_OVER_ROWS = 4
READ_BYTES = 16 << 20


class RowFile:
    """(N, K) float32 rows in a file; what is read is a copy.

    mode: "r" = read only, "r+" = read and write, "w" = a new file of zeros, of which the system stores what is written.
    Errors: RunError where the file is absent, too short or cannot be written.
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)

    def __init__(self, path: Path, shape: tuple[int, int], mode: str = "r", offset: int = 0) -> None:
        self.path = path
        self.shape = shape
        self._offset = offset
        self._row_bytes = shape[1] * self.dtype.itemsize
        flags = {"r": os.O_RDONLY, "r+": os.O_RDWR, "w": os.O_RDWR | os.O_CREAT | os.O_TRUNC}[mode]
        end = offset + shape[0] * self._row_bytes
        try:
            self._file = os.open(path, flags, 0o666)
            weakref.finalize(self, os.close, self._file)
            if mode == "w":
                os.ftruncate(self._file, end)
        except OSError as error:
            raise RunError(
                f"the file {path} cannot be opened ({error.strerror or error}); "
                "put it back, or start again in another folder"
            ) from None
        if os.fstat(self._file).st_size < end:
            raise RunError(f"the file {path} is too short for {shape[0]} rows of {shape[1]} numbers: it is damaged")

    @classmethod
    def of_map(cls, rows: "np.memmap[Any, np.dtype[np.float32]]") -> "RowFile":
        """The rows of a whole memory map, (N, K) float32 in C order, as `np.load` opens it; the map is not kept."""
        return cls(Path(str(rows.filename)), (rows.shape[0], rows.shape[1]), offset=rows.offset)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | IntArray, /) -> NDArray[np.float32]:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._read(start, max(start, stop))
            rows = np.arange(start, stop, step)
        if len(rows) == 0:
            return np.empty((0, self.shape[1]), np.float32)
        first, last = int(rows.min()), int(rows.max())
        if first < 0 or last >= len(self):
            raise IndexError(f"rows {first} to {last} of {self.path}, which has {len(self)}")
        if last - first < RUN_OVER_ROWS * len(rows):
            return self._read(first, last + 1)[rows - first]
        size, offset = self._row_bytes, self._offset
        parts = [os.pread(self._file, size, offset + row * size) for row in rows.tolist()]
        return np.frombuffer(bytearray().join(parts), np.float32).reshape(-1, self.shape[1])

    def _read(self, start: int, stop: int) -> NDArray[np.float32]:
        rows = np.empty((stop - start, self.shape[1]), np.float32)
        left = rows.data.cast("B") if rows.size else memoryview(b"")
        offset = self._offset + start * self._row_bytes
        while len(left):
            # Not preadv, which macOS may lack; and in parts, since it reads less than 2 GiB at a time.
            part = os.pread(self._file, min(len(left), READ_BYTES), offset)
            if not part:
                raise RunError(f"the file {self.path} was cut short while it was read")
            left[: len(part)] = part
            left, offset = left[len(part) :], offset + len(part)
        return rows

    def __setitem__(self, rows: IntArray, values: FloatArray, /) -> None:
        """Write `values` (B, K) at the positions `rows` (B,); of a position that stands twice the last one stays."""
        content = np.ascontiguousarray(values, np.float32).data.cast("B") if len(rows) else memoryview(b"")
        try:
            for number, row in enumerate(rows.tolist()):
                part = content[number * self._row_bytes : (number + 1) * self._row_bytes]
                if os.pwrite(self._file, part, self._offset + row * self._row_bytes) < len(part):
                    raise OSError("no room left")
        except OSError as error:
            raise RunError(f"the file {self.path} cannot be written ({error.strerror or error})") from None

    def sync(self) -> None:
        """Return when what was written would survive a loss of power."""
        os.fsync(self._file)


class WindowFiles:
    """The rows of VOG windows in a folder beside a `checkpoint`: one file for each network and epoch.

    A file is written during its epoch and never again.  So whatever happened since the last checkpoint, the epochs that
    it looks back on are as they were; files are removed by `forget`, when a later checkpoint is safe.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.folder = checkpoint.with_suffix(".windows")
        self._written: list[RowFile] = []

    def of_network(self, index: int, shape: tuple[int, int]) -> Callable[[int, bool], RowFile]:
        """What gives the rows (N, D+1) of an epoch of network `index`: new ones, all zeros, or those that are there."""

        def rows(epoch: int, new: bool) -> RowFile:
            path = self.folder / f"network-{index}-epoch-{epoch}.rows"
            if not new:
                return RowFile(path, shape, "r+")
            self.folder.mkdir(parents=True, exist_ok=True)
            self._written.append(RowFile(path, shape, "w"))
            return self._written[-1]

        return rows

    def sync(self) -> None:
        """Return when the epochs written so far are safe: before the checkpoint that counts on them."""
        for rows in self._written:
            rows.sync()
        self._written.clear()

    def forget(self, before: int) -> None:
        """Remove the files of epochs below `before`."""
        for path in self.folder.glob("*.rows"):
            number = re.search(r"epoch-(\d+)\.rows$", path.name)
            if number and int(number[1]) < before:
                path.unlink()

    def clear(self) -> None:
        """Remove everything, once the result of the step is safe elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
