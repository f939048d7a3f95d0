"""One process at a time in a folder: a lock that the system frees when its holder dies, also by `kill -9`."""

from contextlib import AbstractContextManager
from pathlib import Path

import filelock

from overread.errors import RunError

__all__ = ["take_lock"]


def take_lock(
    file: Path, wait: bool = False, way_out: str = "wait for it or give another --out"
) -> AbstractContextManager[object]:
    """The lock `file`, taken for this process; a `with` block over it frees it at its end.

    Where another process holds it, RunError at once, which names the folder of the file and the way out; with `wait`
    when it is free.
    """
    try:
        return filelock.FileLock(file).acquire(timeout=-1 if wait else 0)
    except filelock.Timeout:
        raise RunError(f"another process is working in {file.parent}; {way_out}") from None
