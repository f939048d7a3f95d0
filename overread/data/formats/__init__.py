"""The image formats, one module each; importing this package registers them."""

import zipfile
from pathlib import Path

from overread.config import DataConfig, did_you_mean
from overread.data.formats import csv_table, folder, hdf5, medmnist_npz, npz
from overread.data.formats.npz_files import DAMAGE
from overread.data.manifest import add_test_source
from overread.data.raw import FORMATS, RawItems
from overread.data.texts import shown, writable
from overread.errors import ConfigError, DataError

__all__ = [
    "csv_table",
    "folder",
    "hdf5",
    "infer_format",
    "list_formats",
    "listed_items",
    "medmnist_npz",
    "npz",
    "read_items",
]


def list_formats() -> list[str]:
    """The names of all registered formats, sorted.

    >>> list_formats()
    ['csv', 'folder', 'hdf5', 'medmnist', 'npz']
    """
    return sorted(FORMATS)


def infer_format(path: Path) -> str:
    """The format of what is at `path`, by its suffix, and for .npz by the names of its arrays.

    A name such as dermamnist that is no file is a set of the medmnist package.
    DataError: nothing is there, or its format cannot be seen from outside.
    """
    if not _exists(path):
        if medmnist_npz.is_set_name(str(path)):
            return "medmnist"
        raise DataError(f"data.path={path} does not exist")
    if path.is_dir():
        return "folder"
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return "medmnist" if _has_member(path, "train_images.npy") else "npz"
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix in (".h5", ".hdf5", ".hdf"):
        return "hdf5"
    raise DataError(f"the format of {path} cannot be seen from its name: set data.format to one of {list_formats()}")


def read_items(path: Path | None, config: DataConfig) -> RawItems:
    """The items at `path`, by `config.format` or the format inferred from the path; pixels are not read yet.

    ConfigError: no path, or a format that is not registered.  DataError: what the format finds wrong.
    """
    if path is None:
        raise ConfigError("data.path is not set: it names the file or folder with the images")
    name = config.format or infer_format(path)
    if name not in FORMATS:
        raise ConfigError(f"data.format={name} is unknown: {did_you_mean(name, list_formats())}")
    if not _exists(path) and name != "medmnist":
        raise DataError(f"data.path={path} does not exist")
    return FORMATS[name](path, config)


def listed_items(config: DataConfig) -> RawItems:
    """All items that `config` names, those of `config.test_path` too; pixels are not read yet.

    ConfigError and DataError: as of `read_items` and `add_test_source`, or no items.
    """
    items = read_items(config.path, config)
    if config.test_path is not None:
        items = add_test_source(items, read_items(config.test_path, config))
    if not items.ids:
        raise DataError(f"{config.path} holds no items")
    return items


def _exists(path: Path) -> bool:
    """Whether anything is at `path`; DataError where that cannot be told, or where no result could name it."""
    if writable(str(path)) != str(path):
        raise DataError(f"data.path={shown(path)} is not UTF-8: rename the file or folder")
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise DataError(f"data.path={shown(path)} cannot be read ({getattr(error, 'strerror', error)})") from None
    return True


def _has_member(path: Path, member: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return member in archive.namelist()
    except (*DAMAGE, OSError):
        return False  # the format reports the damage
