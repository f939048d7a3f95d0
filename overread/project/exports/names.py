"""Names of folders and files that every file system takes, and that cannot collide."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from overread.errors import RunError

__all__ = ["class_folders", "file_stem"]

LONGEST = 255
"""Bytes of a name."""
READABLE = 80
# What Windows takes for a device, whatever the suffix.
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)


def class_folders(classes: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """Class -> the name of its folder: its own, with what no file name can have as %XX.

    taken: names that are used for something else.  RunError where two names differ by case alone, which some file
    systems do not tell apart, or one is too long.

    >>> class_folders(["benign", "and/or", "..", "a.", "100%"])
    {'benign': 'benign', 'and/or': 'and%2For', '..': '%2E%2E', 'a.': 'a%2E', '100%': '100%25'}
    """
    folders = {name: _folder(name) for name in classes}
    used: dict[str, str] = {name.casefold(): name for name in taken}
    for name, folder in folders.items():
        if len(folder.encode()) > LONGEST:
            raise RunError(f"the class '{name[:40]}...' is too long to name a folder: export a table, --format csv")
        other = used.setdefault(folder.casefold(), name)
        if other != name:
            raise RunError(
                f"the classes {other!r} and {name!r} cannot name folders beside each other: export a table, "
                "--format csv"
            )
    return folders


def _folder(name: str) -> str:
    text = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|%]', _escaped, name)
    # Hidden, or dropped by Windows.
    text = re.sub(r"^[. ]|[. ]$", _escaped, text)
    return re.sub(r"^.", _escaped, text) if DEVICES.match(text) else text


def _escaped(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def file_stem(position: int, name: str) -> str:
    """The name of an image's file without its suffix: the position makes it unique, the id makes it readable.

    >>> file_stem(17, "benign/Läsion 3.jpeg")
    '0000017-L_sion_3'
    """
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", PurePosixPath(name).stem)[:READABLE]
    return f"{position:07d}-{readable}"
