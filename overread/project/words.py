"""Words of messages: commands as a shell takes them, and numbers with their nouns."""

import shlex
from pathlib import Path

__all__ = ["command", "counted"]


def command(name: str, folder: Path, *more: str | Path) -> str:
    """The command `name` for the project in `folder`, to be given as it stands.

    >>> command("select", Path("my study"), "--budget", "50")
    "overread select 'my study' --budget 50"
    """
    return shlex.join(["overread", name, str(folder), *map(str, more)])


def counted(number: int, noun: str) -> str:
    """The number and the noun in singular or plural.

    >>> counted(1, "read"), counted(0, "item")
    ('1 read', '0 items')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
