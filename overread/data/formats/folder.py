"""One folder a class, as in torchvision's ImageFolder; optionally below the folders train, val and test."""

import os
from contextlib import nullcontext
from pathlib import Path

from overread.config import DataConfig
from overread.data.images import IMAGE_SUFFIXES, read_image
from overread.data.labels import class_order, encode_labels
from overread.data.manifest import SPLIT_WORDS
from overread.data.raw import RawItems, data_format
from overread.errors import DataError, name_some

__all__ = ["read_folder"]

# What file managers and archivers leave behind.
LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@data_format("folder")
def read_folder(path: Path, config: DataConfig) -> RawItems:
    """The items of `path/CLASS/**/IMAGE`, or of `path/{train,val,test}/CLASS/**/IMAGE`.

    The id is the path below `path`.  Hidden files and what file managers leave behind are passed over; any other file
    without the suffix of an image is a problem.  Folders inside a class folder belong to the class.
    DataError: no class folders, split folders mixed with others, or no images.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder; data.format=folder needs a folder with one folder a class")
    tops = _folders(path)
    has_splits = [top.name.lower() in SPLIT_WORDS for top in tops]
    if any(has_splits) and not all(has_splits):
        others = [top.name for top, is_split in zip(tops, has_splits, strict=True) if not is_split]
        raise DataError(f"{path} has split folders beside other folders, {name_some(others)}: move them elsewhere")
    if not tops:
        raise DataError(f"{path} has no folders; data.format=folder needs one folder a class")
    files: list[Path] = []
    words: list[str] = []
    classes: list[str] = []
    folders: set[str] = set()
    for top in tops:
        for class_folder in _folders(top) if all(has_splits) else [top]:
            folders.add(class_folder.name)
            for file in _files(class_folder):
                files.append(file)
                words.append(top.name)
                classes.append(class_folder.name)
    if not files:
        raise DataError(f"{path} has class folders but no images")
    # The name of a folder is a name, also where it looks like a number.
    labels, class_names, problems = encode_labels(classes, class_order(set(classes)), config.classes)
    if config.classes is None and folders - set(classes):
        raise DataError(f"the class folders {name_some(sorted(folders - set(classes)))} of {path} are empty")
    for i, file in enumerate(files):
        if file.suffix.lower() not in IMAGE_SUFFIXES:
            problems[i] = f"it has no suffix of an image ({', '.join(sorted(IMAGE_SUFFIXES))})"
    return RawItems(
        name=path.resolve().name,
        class_names=class_names,
        ids=[file.relative_to(path).as_posix() for file in files],
        sources=[str(file) for file in files],
        labels=labels,
        files=files,
        open_pixels=lambda _: nullcontext(lambda i: read_image(files[i])),
        split=words if all(has_splits) else None,
        problems=problems,
    )


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not _is_litter(entry.name))


def _files(path: Path) -> list[Path]:
    found: list[Path] = []
    for folder, below, names in os.walk(path):
        below[:] = [name for name in below if not _is_litter(name)]
        found += [Path(folder, name) for name in names if not _is_litter(name)]
    return sorted(found)
