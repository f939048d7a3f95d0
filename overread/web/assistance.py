"""What a reader in assisted mode sees beside an image: the given label, and what the model suggests."""

import sys
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overread.errors import RunError
from overread.project.folder import STATE, read_state
from overread.results import read_column, round_file
from overread.store import Store

__all__ = ["Assistance"]


class Assistance:
    """The labels beside the images of the project in `folder`; may be used from several threads."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._lock = threading.Lock()
        self._as_of: tuple[int, int] | None = None
        self._n_rounds = 0
        self._suggested: NDArray[np.unsignedinteger] | None = None

    def of(self, position: int) -> dict[str, str]:
        """`given` and `suggested` of the item, names of classes; one that there is not is left out."""
        names = self._store.classes
        given = self._store.item(position).given
        suggested = self._suggestions()
        found = {} if given is None else {"given": names[given]}
        return found if suggested is None else {**found, "suggested": names[suggested[position]]}

    def _suggestions(self) -> NDArray[np.unsignedinteger] | None:
        """The class (N,) that the model of the last complete round suggests; None where there is no such round."""
        with self._lock:
            # Other commands complete rounds; what tells of it is looked at for every image, but not read.
            try:
                there = (self._folder / STATE).stat()
                as_of = (there.st_mtime_ns, there.st_ino)
                if as_of != self._as_of:
                    n_rounds = len(read_state(self._folder)["rounds"])
                    if n_rounds != self._n_rounds:
                        self._suggested = self._read(n_rounds - 1)
                    self._n_rounds, self._as_of = n_rounds, as_of
            except (OSError, RunError) as error:
                # The answer before it is stored already: what is suggested stays as it was.
                print(f"it cannot be seen whether there are new suggestions: {error}", file=sys.stderr)
            return self._suggested

    def _read(self, number: int) -> NDArray[np.unsignedinteger] | None:
        path = round_file(self._folder, "scores", number)
        try:
            column = read_column(path, "suggested")
        except RunError as error:
            # Readers go on without it: what they say is worth more than what a model thinks.
            print(f"nothing is suggested to readers: {error}", file=sys.stderr)
            return None
        return column.astype(np.min_scalar_type(len(self._store.classes)))
