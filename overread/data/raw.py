"""What a format hands over: a table of items and a way to read their pixels.  And the registry of formats."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from overread.arrays import IntArray
from overread.config import DataConfig
from overread.data.deep_image import DeepImage

__all__ = ["FORMATS", "ItemError", "RawItems", "ReadFormat", "ReadPixels", "data_format"]

ReadPixels = Callable[[int], DeepImage]


class ItemError(Exception):
    """One item cannot be used; the text says why and leaves its name to the caller."""


@dataclass(frozen=True)
class RawItems:
    """N items as their source lists them: nothing is checked across items, no pixel is decoded."""

    name: str
    class_names: tuple[str, ...]
    ids: list[str]
    sources: list[str]
    labels: IntArray
    """(N,) 0..C-1, or -1 where `problems` says why."""
    files: list[Path]
    """Every file that pixels come from: a change of one of them makes the cache stale."""
    open_pixels: Callable[[Path], AbstractContextManager[ReadPixels]]
    """Scratch folder -> a thread-safe `read(i)`, which returns all that the source holds of an image, or raises
    ItemError."""
    columns: dict[str, IntArray] = field(default_factory=dict)
    """Further label columns (N,), -1 = absent."""
    groups: list[str] | None = None
    """(N,), the empty string = a group of its own."""
    split: list[str] | None = None
    problems: dict[int, str] = field(default_factory=dict)
    """Position -> why the item cannot be used."""


ReadFormat = Callable[[Path, DataConfig], RawItems]
FORMATS: dict[str, ReadFormat] = {}


def data_format(name: str) -> Callable[[ReadFormat], ReadFormat]:
    """A decorator that registers a function `path, config -> RawItems` as the format `name`."""

    def register(function: ReadFormat) -> ReadFormat:
        if name in FORMATS:
            raise ValueError(f"the format {name!r} is registered twice")
        FORMATS[name] = function
        return function

    return register
