"""One HDF5 file with the datasets dataset/images and dataset/targets."""

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from overread.config import DataConfig
from overread.data.formats.npz_files import check_pixel_array, row_to_rgb
from overread.data.labels import encode_column, encode_labels
from overread.data.raw import ItemError, RawItems, ReadPixels, data_format
from overread.errors import DataError, MissingExtraError

__all__ = ["read_hdf5"]

# Decompressed chunks that h5py keeps: reading row by row must not decompress a chunk once a row.
CHUNK_CACHE_BYTES = 64 << 20
OPTIONAL = ("split", "groups", "ids", "given", "class_names")


@data_format("hdf5")
def read_hdf5(path: Path, config: DataConfig) -> RawItems:
    """The items of `dataset/images` (N, H, W, 3) or (N, H, W) uint8 and `dataset/targets` (N,).

    Optional, beside them: `split`, `groups`, `ids` and `given` (N,), the last a second label column, and
    `class_names` (C,).  Images are read row by row, never as a whole.
    DataError: a dataset is missing or has the wrong shape or type, or the file is damaged.
    """
    with _open(path) as file:
        group = file.get("dataset")
        names = sorted(group) if hasattr(group, "keys") else []
        for name in ("images", "targets"):
            if name not in names:
                have = ", ".join(f"dataset/{other}" for other in names) or ", ".join(sorted(file)) or "nothing"
                raise DataError(f"{path} has no dataset/{name}; it holds {have}")
        shape: tuple[int, ...] = getattr(group["images"], "shape", ())
        check_pixel_array(f"dataset/images of {path}", shape, getattr(group["images"], "dtype", np.dtype(object)))
        values = {name: _decoded(group[name][()]) for name in ("targets", *OPTIONAL) if name in names}
    targets = values["targets"].reshape(-1) if values["targets"].shape == (shape[0], 1) else values["targets"]
    for name, array in values.items():
        if name != "class_names" and (targets if name == "targets" else array).shape != (shape[0],):
            raise DataError(f"dataset/{name} of {path} has the shape {array.shape}; there are {shape[0]} images")
    found = [str(name) for name in values["class_names"]] if "class_names" in values else None
    labels, class_names, problems = encode_labels(targets, found, config.classes)
    columns = {}
    if "given" in values:
        columns["given"], wrong = encode_column(values["given"], found, class_names, "given")
        problems = wrong | problems
    return RawItems(
        name=path.stem,
        class_names=class_names,
        ids=_texts(values["ids"]) if "ids" in values else [str(i) for i in range(shape[0])],
        sources=[f"{path}[{i}]" for i in range(shape[0])],
        labels=labels,
        files=[path],
        open_pixels=_open_images(path),
        columns=columns,
        groups=_texts(values["groups"]) if "groups" in values else None,
        split=_texts(values["split"]) if "split" in values else None,
        problems=problems,
    )


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        raise MissingExtraError("h5py", "hdf5", f"reading {path}") from None
    try:
        file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5, or it is damaged ({error})") from None
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
                        return row_to_rgb(images[i])
                except OSError as error:
                    raise ItemError(f"row {i} of {path} cannot be read ({error})") from None

            yield read

    return open_pixels


def _decoded(array: Any) -> Any:
    """Byte strings as text, anything else as it is."""
    array = np.asarray(array)
    if array.dtype.kind in "OS":
        return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel()]).reshape(array.shape)
    return array


def _texts(array: Any) -> list[str]:
    return [str(value) for value in array.tolist()]
