"""The cleaned set as an ImageFolder: a folder of images for each class, and a table of where labels come from."""

import csv
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from PIL import Image

from overread.data.bare import write_bare
from overread.data.deep import DeepImage
from overread.data.originals import originals
from overread.data.raw import ItemError
from overread.errors import DataError
from overread.files import temporary_beside
from overread.project.exports.names import class_folders, file_stem
from overread.project.exports.rows import labelled_items
from overread.project.exports.tables import SCHEMA, table_row
from overread.project.folder import Project

__all__ = ["PROVENANCE", "write_folders"]

PROVENANCE = "provenance.csv"


def write_folders(project: Project, out: Path, *, link: bool) -> int:
    """The number of images written to `out/CLASS/`, the class being that of the exported label; whole or not at all.

    Files are copied without their metadata (`write_bare`); images in arrays, and of DICOM files, become PNG with the
    pixels that the project works on before it resizes them.  link: hard links in place of copies, where the file system
    has them; those are the files themselves, with all that is in them.
    `provenance.csv` has the rows of the exported table, and where each `file` is.
    DataError for an image that is gone or unreadable; RunError as of `class_folders` and `labelled_items`.
    """
    folders = class_folders(project.store.classes, [PROVENANCE])
    out.parent.mkdir(parents=True, exist_ok=True)
    made = temporary_beside(out)
    count = 0
    try:
        made.mkdir()
        with (
            originals(project.config.data) as original,
            (made / PROVENANCE).open("w", encoding="utf-8", newline="") as s,
        ):
            writer = csv.DictWriter(s, [*SCHEMA.names, "file"], lineterminator="\n")
            writer.writeheader()
            for batch in labelled_items(project):
                for item in batch:
                    folder = made / folders[item.row["label"]]
                    folder.mkdir(exist_ok=True)
                    file = _write(original, item.row["id"], folder / file_stem(item.position, item.row["id"]), link)
                    writer.writerow({**table_row(item), "file": file.relative_to(made).as_posix()})
                    count += 1
        # One flush for all files: after a power cut the folder must not be there with empty ones.
        os.sync()
        made.replace(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return count


def _write(original: Callable[[str], Path | DeepImage], name: str, stem: Path, link: bool) -> Path:
    """Write the image of an item; the file, whose name begins with `stem`."""
    image = original(name)
    if isinstance(image, DeepImage):
        file = stem.with_name(f"{stem.name}.png")
        pixels = image.rgb()
        Image.fromarray(pixels if image.grey is None else pixels[:, :, 0]).save(file)
        return file
    file = stem.with_name(f"{stem.name}{image.suffix.lower()}")
    try:
        if link:
            with suppress(OSError):
                os.link(os.path.realpath(image), file)
                return file
        return write_bare(image, stem)
    except OSError as error:
        raise DataError(
            f"'{name}' cannot be copied ({error.strerror}): make room, or put the image back", [name]
        ) from None
    except ItemError as error:
        raise DataError(f"'{name}' cannot be copied: {error}", [name]) from None
