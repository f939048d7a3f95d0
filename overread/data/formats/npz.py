"""One .npz file with the arrays images, labels and, where there are any, class names, split, annotators, groups."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overread.arrays import IntArray
from overread.config import DataConfig
from overread.data.formats.npz_files import check_pixel_array, load_archive, open_rows
from overread.data.formats.stored import names, texts_or_numbers
from overread.data.labels import encode_column, encode_labels
from overread.data.raw import RawItems, data_format
from overread.errors import DataError

__all__ = ["read_npz"]

Arrays = dict[str, NDArray[Any]]


@data_format("npz")
def read_npz(path: Path, config: DataConfig) -> RawItems:
    """The items of an .npz file with `images` (N, H, W, 3) or (N, H, W) uint8 and `labels` (N,).

    Optional arrays: `class_names` (C,), `split` (N,), `group` or `lesion_id` (N,), `image_id` (N,),
    `source_file` (N,), `annotator_labels` (N, K) with `annotator_names` (K,), and further label columns: whole
    numbers (N,) whose name ends in `_label`.  The id is `image_id`, else `source_file` if no two are equal, else the
    row number.  DataError: an array is missing or has the wrong shape or type.
    """
    headers, arrays = load_archive(path, large=lambda name: name == "images")
    if "train_images" in headers:
        raise DataError(f"{path} is a MedMNIST file: set data.format=medmnist")
    for name in ("images", "labels"):
        if name not in headers:
            raise DataError(f"{path} has no array {name!r}; it holds {', '.join(sorted(headers)) or 'nothing'}")
    shape, dtype = headers["images"]
    check_pixel_array(f"images of {path}", shape, dtype)
    for name, dimensions in {"labels": 1, "annotator_labels": 2}.items():
        if name in arrays:
            _check_length(path, name, arrays[name], shape[0], dimensions)
    found = names(f"class_names of {path}", arrays["class_names"]) if "class_names" in arrays else None
    labels = texts_or_numbers(f"labels of {path}", arrays["labels"])
    codes, class_names, problems = encode_labels(labels, found, config.classes)
    columns = _columns(path, arrays, found, class_names, problems)
    group = next((name for name in ("group", "lesion_id") if name in arrays), None)
    return RawItems(
        name=path.stem,
        class_names=class_names,
        ids=_ids(path, arrays, shape[0]),
        sources=[f"{path}[{i}]" for i in range(shape[0])],
        labels=codes,
        files=[path],
        open_pixels=open_rows(path, [("images", i) for i in range(shape[0])]),
        columns=columns,
        groups=names(f"{group} of {path}", arrays[group], shape[0]) if group else None,
        split=names(f"split of {path}", arrays["split"], shape[0]) if "split" in arrays else None,
        problems=problems,
    )


def _check_length(path: Path, name: str, array: NDArray[Any], rows: int, dimensions: int) -> None:
    if array.ndim != dimensions or len(array) != rows:
        wanted = "(N,)" if dimensions == 1 else "(N, K)"
        raise DataError(f"{name} of {path} has the shape {array.shape}; it must be {wanted} with N = {rows} images")


def _columns(
    path: Path, arrays: Arrays, found: list[str] | None, classes: tuple[str, ...], problems: dict[int, str]
) -> dict[str, IntArray]:
    """Annotators and `*_label` arrays as columns; their problems are added to `problems`."""
    values: dict[str, NDArray[Any]] = {}
    if "annotator_labels" in arrays:
        table = texts_or_numbers(f"annotator_labels of {path}", arrays["annotator_labels"])
        readers = arrays.get("annotator_names", np.array([f"annotator_{k}" for k in range(table.shape[1])]))
        reader_names = names(f"annotator_names of {path}", readers, table.shape[1])
        values |= {name: table[:, k] for k, name in enumerate(reader_names)}
    for name, array in arrays.items():
        if name.endswith("_label") and array.dtype.kind in "iu" and array.shape == arrays["labels"].shape:
            values[name] = array
    columns = {}
    for name, array in values.items():
        columns[name], wrong = encode_column(array, found, classes, name)
        for i, why in wrong.items():
            problems.setdefault(i, why)
    return columns


def _ids(path: Path, arrays: Arrays, rows: int) -> list[str]:
    for name in ("image_id", "source_file"):
        if name in arrays:
            ids = names(f"{name} of {path}", arrays[name], rows)
            # Several crops may share a source file; two items with one image id are a mistake, reported later.
            if name == "image_id" or len(set(ids)) == len(ids):
                return ids
    return [str(i) for i in range(rows)]
