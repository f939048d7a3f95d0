"""MedMNIST .npz files as they are published, by path or by name."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import numpy as np

from overread.config import DataConfig, did_you_mean
from overread.data.cache import cache_folder
from overread.data.formats.npz_files import check_pixel_array, load_archive, open_rows
from overread.data.formats.stored import texts_or_numbers
from overread.data.labels import encode_labels
from overread.data.manifest import SPLITS
from overread.data.raw import RawItems, data_format
from overread.errors import DataError, MissingExtraError

__all__ = ["MEDMNIST_2D", "is_set_name", "read_medmnist"]

MEDMNIST_2D = (
    "pathmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
)
"""The 2-D sets with one label an image; chestmnist has fourteen."""
RECORD = "https://zenodo.org/records/10519652"
SIZED_NAME = re.compile(r"([a-z]+mnist)(?:_(64|128|224))?")


def is_set_name(text: str) -> bool:
    """Whether `text` is a 2-D set of MedMNIST, such as dermamnist, or dermamnist_64 for its 64-pixel version.

    >>> is_set_name("dermamnist_64"), is_set_name("mnist")
    (True, False)
    """
    match = SIZED_NAME.fullmatch(text)
    return match is not None and match[1] in MEDMNIST_2D


@data_format("medmnist")
def read_medmnist(path: Path, config: DataConfig) -> RawItems:
    """The items of a MedMNIST file: `train_images`, `train_labels` and so on for val and test, colour or grey.

    `path` is the file, or the name of a set: then it is looked for in the folder `medmnist` of the cache, and
    downloaded there by the medmnist package.  Class names are those of the package where it is installed, else the
    numbers.  DataError: a wrong file, several labels an image, volumes, a failed download.
    """
    file = path if path.exists() else _named_file(str(path), cache_folder(config.cache) / "medmnist")
    headers, arrays = load_archive(file, large=lambda name: name.endswith("_images"))
    splits = [split for split in SPLITS if f"{split}_images" in headers]
    if "train" not in splits:
        raise DataError(f"{file} is no MedMNIST file: it has no array 'train_images'")
    rows: list[tuple[str, int]] = []
    words: list[str] = []
    targets = []
    for split in splits:
        shape, dtype = headers[f"{split}_images"]
        check_pixel_array(f"{split}_images of {file}", shape, dtype)
        values = arrays.get(f"{split}_labels")
        if values is None or values.shape not in ((shape[0],), (shape[0], 1)):
            have = "missing" if values is None else f"of shape {values.shape}"
            raise DataError(
                f"{split}_labels of {file} is {have}; there must be one label for each of {shape[0]} images"
            )
        rows += [(f"{split}_images", i) for i in range(shape[0])]
        words += [split] * shape[0]
        targets.append(texts_or_numbers(f"{split}_labels of {file}", values).reshape(-1))
    labels, class_names, problems = encode_labels(np.concatenate(targets), _class_names(file.stem), config.classes)
    return RawItems(
        name=file.stem,
        class_names=class_names,
        ids=[f"{member.removesuffix('_images')}/{i}" for member, i in rows],
        sources=[f"{file}[{member}, {i}]" for member, i in rows],
        labels=labels,
        files=[file],
        open_pixels=open_rows(file, rows),
        split=words,
        problems=problems,
    )


def _medmnist() -> ModuleType | None:
    try:
        return importlib.import_module("medmnist")
    except ImportError:
        return None


def _class_names(stem: str) -> list[str] | None:
    """Names from the package, which is imported for its own sets only: the import is slow."""
    package = _medmnist() if is_set_name(stem) else None
    if package is None:
        return None
    names = package.INFO[stem.partition("_")[0]]["label"]
    return [names[str(k)] for k in range(len(names))]


def _named_file(name: str, folder: Path) -> Path:
    """The file of a set in `folder`, downloaded where it is not there yet."""
    match = SIZED_NAME.fullmatch(name)
    if match is None or match[1] not in MEDMNIST_2D:
        raise DataError(f"data.path={name} is neither a file nor a set of MedMNIST: {did_you_mean(name, MEDMNIST_2D)}")
    file = folder / f"{name}.npz"
    if file.exists():
        return file
    by_hand = f"download {name}.npz from {RECORD} by hand and put it into {folder}, or set data.path to the file"
    package = _medmnist()
    if package is None:
        raise MissingExtraError("medmnist", "medmnist", f"{name} is not on this machine: {by_hand}; a download")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        dataset = getattr(package, package.INFO[match[1]]["python_class"])
        dataset(split="train", download=True, root=str(folder), size=int(match[2] or 28))
    except Exception as error:  # the package raises what its network library raises, and RuntimeError
        # A file that was cut off must not pass for the set at the next start.
        file.unlink(missing_ok=True)
        raise DataError(f"{name} could not be downloaded ({error}): {by_hand}") from None
    if not file.exists():
        raise DataError(f"the medmnist package did not write {file}: {by_hand}")
    return file
