"""Reading .npz archives without pickles and without holding their images in memory."""

import lzma
import shutil
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overread.data.deep_image import LIMIT, DeepImage, colour_image, grey_image
from overread.data.raw import ReadPixels
from overread.data.texts import shown
from overread.errors import DataError

__all__ = ["DAMAGE", "Header", "check_pixel_array", "load_archive", "open_rows", "row_to_deep"]

Header = tuple[tuple[int, ...], np.dtype[Any]]
# RuntimeError: encrypted; MemoryError: the header promises more than any file can hold; TokenError: a torn header.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,
    EOFError,
    ValueError,
    RuntimeError,
    MemoryError,
)


def load_archive(path: Path, large: Callable[[str], bool]) -> tuple[dict[str, Header], dict[str, NDArray[Any]]]:
    """Shape and dtype of every array of an .npz file, and all arrays but those whose name is `large`.

    DataError: not an .npz file, damaged, or an array of Python objects, which would have to be unpickled.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            headers = {name.removesuffix(".npy"): _header(archive, name) for name in members}
        with np.load(path, allow_pickle=False) as stored:
            return headers, {name: stored[name] for name in headers if not large(name)}
    except (*DAMAGE, OSError) as error:
        raise DataError(
            f"{path} cannot be read as an .npz file without pickles, or it is damaged ({shown(error)})"
        ) from None


def _header(archive: zipfile.ZipFile, member: str) -> Header:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        return shape, dtype


def check_pixel_array(where: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """DataError unless an array is (N, H, W, 3), (N, H, W, 1) or (N, H, W) of uint8."""
    if dtype != np.uint8:
        raise DataError(f"{where} has the type {shown(dtype)}; images must be uint8, 0 to 255")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or 0 in shape[1:]:
        raise DataError(f"{where} has the shape {shape}; images must be (N, H, W, 3), or (N, H, W) for grey")
    if shape[1] * shape[2] > LIMIT:
        raise DataError(f"{where} has images of {shape[2]} x {shape[1]} pixels, more than {LIMIT}; save them smaller")


def row_to_deep(row: NDArray[np.uint8]) -> DeepImage:
    """A copy of one image: (H, W) and (H, W, 1) are grey, (H, W, 3) is colour."""
    if row.ndim == 2 or row.shape[2] == 1:
        return grey_image(row.reshape(row.shape[:2]))
    return colour_image(np.array(row))


def open_rows(path: Path, rows: list[tuple[str, int]]) -> Callable[[Path], AbstractContextManager[ReadPixels]]:
    """Access to images that are rows of arrays in `path`: item i is row `rows[i][1]` of the array `rows[i][0]`.

    The arrays are unpacked into the scratch folder and memory-mapped, so no set is too large for the memory.
    """

    @contextmanager
    def open_pixels(scratch: Path) -> Iterator[ReadPixels]:
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".unpacked-") as folder:
            members = dict.fromkeys(member for member, _ in rows)
            mapped = {member: _unpack(path, member, Path(folder)) for member in members}
            yield lambda i: row_to_deep(mapped[rows[i][0]][rows[i][1]])

    return open_pixels


def _unpack(path: Path, member: str, folder: Path) -> NDArray[np.uint8]:
    target = folder / f"{member}.npy"
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        mapped: NDArray[np.uint8] = np.load(target, mmap_mode="r", allow_pickle=False)
    except DAMAGE as error:
        raise DataError(f"the array {member} of {path} is damaged ({shown(error)})") from None
    return mapped
