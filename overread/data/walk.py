"""All files below a folder, through links, with everything named that could not be gone through."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

__all__ = ["Walk", "walk"]


class Walk(NamedTuple):
    """What is below a folder; every list is sorted."""

    files: list[Path]
    """Everything that is no folder."""
    folders: list[Path]
    unread: dict[Path, str]
    """What may be a folder -> why it is not in `folders`, and nothing below it in `files`."""


def walk(top: Path, passed_over: Callable[[str], bool] = lambda name: False) -> Walk:
    """The files and folders below `top`, but those whose name is `passed_over`, and what is below those.

    Links to folders are followed, as torchvision does; one that leads back to a folder that it is in is a loop.
    """
    files: list[Path] = []
    folders: list[Path] = []
    unread: dict[Path, str] = {}
    pending: list[tuple[Path, frozenset[tuple[int, int]]]] = [(top, frozenset())]
    while pending:
        folder, above = pending.pop()
        try:
            status = folder.stat()
            with os.scandir(folder) as listing:
                entries = [entry for entry in listing if not passed_over(entry.name)]
        except OSError as error:
            unread[folder] = f"the folder cannot be read ({error.strerror})"
            continue
        itself = (status.st_dev, status.st_ino)
        if itself in above:
            unread[folder] = "the link leads back to a folder that it is in: remove it"
            continue
        folders.append(folder)
        for entry in entries:
            below = folder / entry.name
            if entry.is_symlink() and not os.path.exists(below):  # noqa: PTH110, since Path.exists raises what it meets
                unread[below] = "the link leads nowhere, or to where nothing may be read"
            elif entry.is_dir():
                pending.append((below, above | {itself}))
            else:
                files.append(below)
    return Walk(sorted(files), sorted(folders), dict(sorted(unread.items())))
