"""Decode once: a uint8 memory map of all images, in canonical order, in the user's cache folder.

Every file is written beside its place and renamed, and its content follows from its name: two processes that build
the same cache at once write the same bytes, and either result serves both.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from overread.arrays import IntArray
from overread.data.images import to_square
from overread.data.raw import ItemError, RawItems
from overread.errors import DataError
from overread.files import atomic_path, write_json
from overread.progress import Reporter

__all__ = ["DecodedImages", "cache_folder", "decoded_images", "subset_images", "writing"]

# Part of every key: a change of the decoding rules makes all old files stale.
RULES = 4
BLOCK_BYTES = 8 << 20
CHECKED_ROWS = 1024
STALE_SECONDS = 24 * 3600.0

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class DecodedImages:
    """The readable ones of the wanted items, sorted by the digest of their pixels, ties by id."""

    key: str
    images: Images
    """(M, H, W, 3), a read-only memory map."""
    positions: IntArray
    """(M,) the position of every row in the item table."""
    digests: NDArray[np.str_]
    """(M,) hexadecimal."""
    unreadable: dict[int, str]
    """Position -> reason."""


def cache_folder(configured: Path | None) -> Path:
    """The folder for decoded images: `configured`, else $OVERREAD_CACHE, else ~/.cache/overread."""
    return configured or Path(os.environ.get("OVERREAD_CACHE") or "~/.cache/overread").expanduser()


def decoded_images(
    items: RawItems, wanted: IntArray, image_size: int | None, folder: Path, stop: bool, progress: Reporter
) -> DecodedImages:
    """The pixels of the items at the positions `wanted`, from the cache, or decoded into it.

    With `stop` decoding ends at the first block with an unreadable item, and nothing is stored.
    DataError: sizes that differ without `image_size`, or a cache folder that cannot be written.
    """
    key = _key(items, wanted, image_size)
    place = folder / "images"
    stored = _stored(key, place)
    if stored is not None:
        return stored
    with writing(folder):
        place.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(place)
    with writing(folder), tempfile.TemporaryDirectory(dir=place, prefix=".decoding-") as scratch:
        unsorted = Path(scratch) / "unsorted"
        digests, readable, unreadable, side = _decode(items, wanted, image_size, unsorted, stop, progress)
        if not readable or (stop and unreadable):
            return _nothing(key, unreadable)
        rows = sorted(range(len(readable)), key=lambda row: (digests[row], items.ids[readable[row]]))
        pixels = np.memmap(unsorted, dtype=np.uint8, mode="r", shape=(len(rows), side, side, 3))
        _write_rows(place / f"{key}.npy", pixels, np.array(rows))
        del pixels
        write_json(
            place / f"{key}.json",
            {
                "positions": [readable[row] for row in rows],
                "digests": [digests[row] for row in rows],
                "unreadable": {str(i): why for i, why in unreadable.items()},
            },
        )
    stored = _stored(key, place)
    if stored is None:
        raise DataError(f"the cache in {place} changes while it is written; set data.cache to a folder on a local disk")
    return stored


def subset_images(decoded: DecodedImages, rows: IntArray, folder: Path) -> Images:
    """The rows of `decoded` as a memory map of their own; all rows are the map itself."""
    if len(rows) == len(decoded.images):
        return decoded.images
    name = hashlib.sha256(f"{decoded.key}:".encode() + rows.astype("<i8").tobytes()).hexdigest()[:32]
    path = folder / "images" / f"{name}.npy"
    images = _mapped(path, decoded.digests[rows])
    if images is None:
        with writing(folder):
            _write_rows(path, decoded.images, rows)
        images = _mapped(path, decoded.digests[rows])
    if images is None:
        raise DataError(f"the cache file {path} changes while it is written; set data.cache to a local folder")
    return images


def _key(items: RawItems, wanted: IntArray, image_size: int | None) -> str:
    """A name for the decoded pixels: of the items, their files as they are now, the size and the rules."""
    digest = hashlib.sha256(f"{RULES} {PIL.__version__} {image_size}".encode())
    for i in wanted.tolist():
        digest.update(f"\n{i}\0{items.ids[i]}".encode())
    for file in items.files:
        # A file that is not there, or whose name no file can have, is a problem of its item.
        with suppress(OSError, ValueError):
            status = file.stat()
            digest.update(b"\n" + os.fsencode(file.absolute()))
            digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]


def _decode(
    items: RawItems, wanted: IntArray, image_size: int | None, target: Path, stop: bool, progress: Reporter
) -> tuple[list[str], list[int], dict[int, str], int]:
    """Write the pixels to `target` in the order of `wanted`; digests, positions, unreadable ones, side."""
    digests: list[str] = []
    readable: list[int] = []
    unreadable: dict[int, str] = {}
    first: tuple[int, ...] | None = None
    threads = min(8, os.cpu_count() or 1)
    block = int(np.clip(BLOCK_BYTES // (3 * (image_size or 1024) ** 2), threads, 256))
    with (
        items.open_pixels(target.parent) as read,
        ThreadPoolExecutor(threads) as pool,
        progress.task("decode images", len(wanted)) as advance,
        target.open("wb") as stream,
        warnings.catch_warnings(),
    ):
        # Pillow warns of large images, and of side notes that are damaged; what spoils pixels is an error.
        warnings.filterwarnings("ignore", module=r"PIL\.")

        def load(i: int) -> tuple[Images, str] | ItemError:
            try:
                pixels = to_square(read(i).rgb(), image_size)
            except ItemError as error:
                return error
            return pixels, hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()

        for start in range(0, len(wanted), block):
            positions = wanted[start : start + block].tolist()
            for i, result in zip(positions, pool.map(load, positions), strict=True):
                if isinstance(result, ItemError):
                    unreadable[i] = str(result)
                    continue
                pixels, digest = result
                first = first or pixels.shape
                _check_size(items, readable[0] if readable else i, first, i, pixels.shape)
                stream.write(np.ascontiguousarray(pixels).data)
                digests.append(digest)
                readable.append(i)
            advance(len(positions))
            if stop and unreadable:
                break
    return digests, readable, unreadable, first[0] if first else 0


def _check_size(items: RawItems, i: int, first: tuple[int, ...], j: int, shape: tuple[int, ...]) -> None:
    if shape != first:
        raise DataError(
            f"{items.ids[i]!r} is {first[1]} x {first[0]} pixels and {items.ids[j]!r} is {shape[1]} x {shape[0]}: "
            "set data.image_size, to which all are resized",
            [items.ids[i], items.ids[j]],
        )
    if shape[0] != shape[1]:
        raise DataError(
            f"{items.ids[j]!r} is {shape[1]} x {shape[0]} pixels and not square: set data.image_size", [items.ids[j]]
        )


def _nothing(key: str, unreadable: dict[int, str]) -> DecodedImages:
    none = np.empty((0, 0, 0, 3), dtype=np.uint8)
    return DecodedImages(key, none, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.str_), unreadable)


def _write_rows(path: Path, images: Images, rows: IntArray) -> None:
    """`images[rows]` as an .npy file.  Written, not mapped: a full disk is an error then, and no crash."""
    block = max(1, BLOCK_BYTES // images[0].nbytes)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *images.shape[1:])}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(rows), block):
            stream.write(images[rows[start : start + block]].data)


def _stored(key: str, place: Path) -> DecodedImages | None:
    """What the cache holds under `key`; None where it is absent, half or damaged."""
    try:
        table = json.loads((place / f"{key}.json").read_text(encoding="utf-8"))
        positions = np.array(table["positions"], dtype=np.int64)
        digests = np.array(table["digests"], dtype=np.str_)
        unreadable = {int(i): str(why) for i, why in table["unreadable"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    images = _mapped(place / f"{key}.npy", digests)
    if images is None or len(positions) != len(images):
        return None
    return DecodedImages(key, images, positions, digests, unreadable)


def _mapped(path: Path, digests: NDArray[np.str_]) -> Images | None:
    """The images of a cache file, or None where it is not what `digests` (M,) say; large files are sampled."""
    try:
        images: Images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(digests) or not len(images):
        return None
    for row in np.unique(np.linspace(0, len(images) - 1, CHECKED_ROWS).astype(np.int64)).tolist():
        if hashlib.blake2b(images[row].tobytes(), digest_size=16).hexdigest() != digests[row]:
            return None
    return images


def _remove_leftovers(place: Path) -> None:
    """Delete what killed processes left half-written, once it is so old that nobody is writing it."""
    for leftover in place.glob(".*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Around what writes into the cache `folder`: DataError where the system does not let it."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the cache folder {folder} cannot be written ({error.strerror or error}): "
            "set data.cache or the variable OVERREAD_CACHE to a folder with room"
        ) from None
