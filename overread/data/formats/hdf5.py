"""One HDF5 file with the datasets dataset/images and dataset/targets."""

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overread.config import DataConfig
from overread.data.formats.npz_files import check_pixel_array, row_to_deep
from overread.data.formats.stored import names, texts_or_numbers
from overread.data.labels import encode_column, encode_labels
from overread.data.raw import ItemError, RawItems, ReadPixels, data_format
from overread.data.texts import shown
from overread.errors import DataError, MissingExtraError

__all__ = ["read_hdf5"]

# Decompressed chunks that h5py keeps: reading row by row must not decompress a chunk once a row.
CHUNK_CACHE_BYTES = 64 << 20
# What h5py raises; TypeError where numpy has no such type.
DAMAGE = (OSError, KeyError, RuntimeError, TypeError, ValueError)
OPTIONAL = ("split", "groups", "ids", "given", "class_names")


@data_format("hdf5")
def read_hdf5(path: Path, config: DataConfig) -> RawItems:
    """The items of `dataset/images` (N, H, W, 3) or (N, H, W) uint8 and `dataset/targets` (N,).

    Optional, beside them: `split`, `groups`, `ids` and `given` (N,), the last a second label column, and
    `class_names` (C,).  Images are read row by row, never as a whole.
    DataError: a dataset is missing or has the wrong shape or type, or the file is damaged.
    """
    shape, arrays = _arrays(path)
    if arrays["targets"].shape == (shape[0], 1):
        arrays["targets"] = arrays["targets"].reshape(-1)
    for name in ("targets", "given"):
        if name in arrays and arrays[name].shape != (shape[0],):
            raise DataError(f"dataset/{name} of {path} has the shape {arrays[name].shape}; there are {shape[0]} images")
    found = names(f"dataset/class_names of {path}", arrays["class_names"]) if "class_names" in arrays else None
    labels, class_names, problems = encode_labels(arrays["targets"], found, config.classes)
    columns = {}
    if "given" in arrays:
        columns["given"], wrong = encode_column(arrays["given"], found, class_names, "given")
        problems = wrong | problems
    texts = {
        name: names(f"dataset/{name} of {path}", arrays[name], shape[0])
        for name in ("ids", "groups", "split")
        if name in arrays
    }
    return RawItems(
        name=path.stem,
        class_names=class_names,
        ids=texts.get("ids") or [str(i) for i in range(shape[0])],
        sources=[f"{path}[{i}]" for i in range(shape[0])],
        labels=labels,
        files=[path],
        open_pixels=_open_images(path),
        columns=columns,
        groups=texts.get("groups"),
        split=texts.get("split"),
        problems=problems,
    )


def _arrays(path: Path) -> tuple[tuple[int, ...], dict[str, NDArray[Any]]]:
    """The shape of the images, and all other datasets as text or numbers."""
    with _open(path) as file:
        try:
            group = file.get("dataset")
            present = sorted(group) if hasattr(group, "keys") else []
            for name in ("images", "targets"):
                if name not in present:
                    have = ", ".join(f"dataset/{other}" for other in present) or ", ".join(sorted(file)) or "nothing"
                    raise DataError(f"{path} has no dataset/{name}; it holds {shown(have)}")
            images = _dataset(path, group, "images")
            check_pixel_array(f"dataset/images of {path}", images.shape, images.dtype)
            _check_sources(path, images)
            return images.shape, {
                name: _values(path, group, name) for name in ("targets", *OPTIONAL) if name in present
            }
        except DAMAGE as error:
            raise DataError(f"{path} cannot be read as HDF5, or it is damaged ({shown(error)})") from None


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        raise MissingExtraError("h5py", "hdf5", f"reading {path}") from None
    try:
        file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5, or it is damaged ({shown(error)})") from None
    with file:
        yield file


def _open_images(path: Path) -> Callable[[Path], AbstractContextManager[ReadPixels]]:
    @contextmanager
    def open_pixels(_: Path) -> Iterator[ReadPixels]:
        with _open(path) as file:
            images, lock = file["dataset/images"], threading.Lock()

            def read(i: int) -> Any:
                try:
                    with lock:
                        return row_to_deep(images[i])
                except DAMAGE as error:
                    raise ItemError(f"row {i} of {path} cannot be read ({shown(error)})") from None

            yield read

    return open_pixels


def _dataset(path: Path, group: Any, name: str) -> Any:
    """The dataset `name`; DataError for a group, an empty dataset, and a link that leads nowhere."""
    try:
        found = group[name]
    except (KeyError, OSError):
        raise DataError(f"dataset/{name} of {path} is a link that leads nowhere: mend it, or store a copy") from None
    if getattr(found, "shape", None) is None:
        raise DataError(f"dataset/{name} of {path} is a {type(found).__name__.lower()} without values, not an array")
    return found


def _values(path: Path, group: Any, name: str) -> NDArray[Any]:
    """All values of a small dataset, as text or numbers."""
    stored = _dataset(path, group, name)
    try:
        values = np.asarray(stored[()])
    except DAMAGE as error:
        raise DataError(f"dataset/{name} of {path} cannot be read ({shown(error)})") from None
    return texts_or_numbers(f"dataset/{name} of {path}", values)


def _check_sources(path: Path, images: Any) -> None:
    """DataError where images lie in another file that is not there: HDF5 would hand out black ones in their place."""
    for source in images.virtual_sources() if images.is_virtual else ():
        name = source.file_name
        # A dot is the file itself, and a pattern stands for several names.
        if name != "." and "%" not in name and not (path.parent / name).is_file() and not Path(name).is_file():
            raise DataError(f"dataset/images of {path} is put together from {shown(name)}, which is not there")
