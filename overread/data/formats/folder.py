"""One folder a class, as in torchvision's ImageFolder; optionally below the folders train, val and test."""

from contextlib import nullcontext
from pathlib import Path

from overread.config import DataConfig
from overread.data.images import IMAGE_SUFFIXES, is_dicom, read_deep
from overread.data.labels import class_order, encode_labels
from overread.data.manifest import SPLIT_WORDS
from overread.data.raw import ItemError, RawItems, data_format
from overread.data.texts import NOT_UTF8, shown, writable
from overread.data.walk import walk
from overread.errors import DataError, name_some

__all__ = ["read_folder"]

# What file managers, archivers and file systems leave behind.
LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "lost+found", "dicomdir"})


@data_format("folder")
def read_folder(path: Path, config: DataConfig) -> RawItems:
    """The items of `path/CLASS/**/IMAGE`, or of `path/{train,val,test}/CLASS/**/IMAGE`.

    The id is the path below `path`.  Links to files and folders are followed.  An image has the suffix of one, or is
    DICOM whatever it is called.  Hidden files and what file managers leave behind are passed over, and so is a table of
    contents of DICOM (DICOMDIR), and so are files beside the class folders that are no images.  A problem
    is: an image beside the class folders, any other file in one, a folder that cannot be read, a link that is a loop,
    a name that is not UTF-8.  Folders inside a class folder belong to the class.
    DataError: no class folders, one that cannot be read, split folders mixed with others, or no images.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder; data.format=folder needs a folder with one folder a class")
    found = walk(path, _is_litter)
    folders = [folder.relative_to(path).parts for folder in found.folders]
    tops = [names[0] for names in folders if len(names) == 1]
    others = [top for top in tops if top.lower() not in SPLIT_WORDS]
    # How many folders deep the class folders are.
    depth = 1 if others or not tops else 2
    for folder, why in found.unread.items():
        if len(folder.relative_to(path).parts) <= depth:
            raise DataError(f"{shown(folder)} cannot be used, and it may hold a whole class: {why}", [str(folder)])
    if others and len(others) < len(tops):
        raise DataError(f"{path} has split folders beside other folders, {name_some(others)}: move them elsewhere")
    if not tops:
        raise DataError(f"{path} has no folders; data.format=folder needs one folder a class")
    files: list[Path] = []
    classes: list[str] = []
    reasons: dict[int, str] = {}
    for file in sorted([*found.files, *found.unread]):
        names = file.relative_to(path).parts
        in_class, is_image = len(names) > depth, _is_image(file)
        if not in_class and not is_image:
            continue
        if writable(str(file)) != str(file):
            reasons[len(files)] = NOT_UTF8
        elif file in found.unread:
            reasons[len(files)] = found.unread[file]
        elif not in_class:
            reasons[len(files)] = "it lies beside the class folders and not in one"
        elif not is_image:
            reasons[len(files)] = f"it is not DICOM and has no suffix of an image ({', '.join(sorted(IMAGE_SUFFIXES))})"
        files.append(file)
        classes.append(names[depth - 1] if in_class else "")
    if not any(classes):
        raise DataError(f"{path} has class folders but no images")
    # The name of a folder is a name, also where it looks like a number.
    labels, class_names, problems = encode_labels(classes, class_order(set(classes) - {""}), config.classes)
    empty = {names[-1] for names in folders if len(names) == depth} - set(classes)
    if config.classes is None and empty:
        raise DataError(f"the class folders {name_some(sorted(empty))} of {path} are empty")
    return RawItems(
        name=writable(path.resolve().name),
        class_names=class_names,
        ids=[writable(file.relative_to(path).as_posix()) for file in files],
        sources=[writable(str(file)) for file in files],
        labels=labels,
        files=files,
        open_pixels=lambda _: nullcontext(lambda i: read_deep(files[i])),
        split=None if others else [file.relative_to(path).parts[0] for file in files],
        problems={**problems, **reasons},
    )


def _is_image(file: Path) -> bool:
    """Whether the suffix says so or, since DICOM files are often called by a number, the content."""
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        return is_dicom(file)
    except ItemError:
        return False


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER
