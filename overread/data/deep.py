"""The full-resolution pixels of one item: what a page that shows it needs."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from overread.arrays.windows import windowed
from overread.config import DataConfig
from overread.data.cache import cache_folder, writing
from overread.data.deep_image import DeepImage
from overread.data.formats import listed_items
from overread.data.raw import ItemError
from overread.data.texts import shown
from overread.errors import DataError

__all__ = ["DeepImage", "deep_pixels", "windowed"]


@contextmanager
def deep_pixels(config: DataConfig) -> Iterator[Callable[[str], DeepImage]]:
    """A thread-safe function from the id of an item, as `Dataset.ids` has it, to its pixels before any resizing.

    Listing the items takes as long as it does for `load_dataset`; arrays of an .npz file are unpacked into the cache
    folder, as while they are decoded, and deleted in the end.  So keep it open, and ask it for image after image.
    At most `LIMIT` pixels an image.  ConfigError and DataError as of `load_dataset`; from the function DataError, one
    sentence that names the item, where there is none of that id, or its file has become unreadable, and
    MissingExtraError where a package that decodes it is absent.
    """
    items = listed_items(config)
    positions = {name: i for i, name in enumerate(items.ids) if i not in items.problems}
    folder = cache_folder(config.cache)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".deep-") as scratch, items.open_pixels(Path(scratch)) as read:

        def pixels(name: str) -> DeepImage:
            if name not in positions:
                raise DataError(f"there is no item '{shown(name)}' in {config.path}", [name])
            try:
                return read(positions[name])
            except ItemError as error:
                raise DataError(f"'{shown(name)}' cannot be shown: {error}", [name]) from None

        yield pixels
