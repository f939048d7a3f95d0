"""Where the reads of a project stand, computed again only when something was said, and not all the time."""

import threading
import time

from overread.project.agreement import opinions_in
from overread.project.status import Said, what_was_said
from overread.store import Store

__all__ = ["Overview"]

# Below this it is computed whenever something is new; above, for so large a share of the time.
QUICK_SECONDS = 0.1
SHARE_OF_TIME = 0.05


class Overview:
    """What was said in a store; may be used from several threads, of which one computes and the others wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._said: Said | None = None
        self._sequence = 0
        self._until = 0.0

    def get(self, sequence: int) -> Said | None:
        """What stands, None without a read.  sequence: the number of the last event.

        In a large project some seconds old, but never older than the time that computing it took divided by 0.05.
        """
        with self._lock:
            if sequence != self._sequence and time.monotonic() >= self._until:
                started = time.monotonic()
                self._said = what_was_said(opinions_in(self._store))
                seconds = time.monotonic() - started
                self._sequence = sequence
                self._until = started + (seconds / SHARE_OF_TIME if seconds > QUICK_SECONDS else 0.0)
            return self._said
