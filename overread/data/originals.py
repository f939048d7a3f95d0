"""The image of an item as its source has it: what a copy of the set is made of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from overread.config import DataConfig
from overread.data.deep import DeepImage, deep_pixels
from overread.data.formats import listed_items
from overread.data.images import IMAGE_SUFFIXES, is_dicom
from overread.data.raw import ItemError
from overread.data.texts import shown, writable
from overread.errors import DataError

__all__ = ["originals"]

COPIED = IMAGE_SUFFIXES - {".dcm", ".dicom"}


@contextmanager
def originals(config: DataConfig) -> Iterator[Callable[[str], Path | DeepImage]]:
    """A function from the id of an item to the file that is its image, or to its pixels where there is no such file.

    Pixels: of images in arrays, and of DICOM files, of which nothing but pixels is to be passed on.  Errors as of
    `deep_pixels`, which it uses; DataError, too, for a file that is no longer there.
    """
    items = listed_items(config)
    files = {writable(str(file)): file for file in items.files}
    sources = {name: files.get(source) for name, source in zip(items.ids, items.sources, strict=True)}
    del items, files
    with deep_pixels(config) as pixels:

        def original(name: str) -> Path | DeepImage:
            file = sources.get(name)
            try:
                if file is not None and file.suffix.lower() in COPIED and not is_dicom(file):
                    return file
            except ItemError as error:
                raise DataError(f"'{shown(name)}' cannot be copied: {error}", [name]) from None
            return pixels(name)

        yield original
