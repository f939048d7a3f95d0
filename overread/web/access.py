"""What the guards of one server keep in memory: readers, failed log-ins, sessions that ended, names of the server."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from overread.store import Reader, Store
from overread.web.attempts import Attempts
from overread.web.names import Names, names_of
from overread.web.passwords import Checks

__all__ = ["Access", "Ended", "Roster", "make_access"]

ROSTER_SECONDS = 1.0
N_ENDED = 10_000


class Roster:
    """The readers of a project, read anew when older than `seconds`: every request asks for one.

    May be used from several threads.  Whoever changes readers here calls `forget`; of changes by another process it
    knows `seconds` later.
    """

    def __init__(
        self, store: Store, seconds: float = ROSTER_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._seconds, self._clock = store, seconds, clock
        self._lock = threading.Lock()
        self._readers: Mapping[int, Reader] = {}
        self._until: float | None = None

    def readers(self) -> Mapping[int, Reader]:
        """All readers by their id, also those that are not active; errors as of `Store`."""
        with self._lock:
            # Dated before it is read, so that no change is seen later than it should be.
            now = self._clock()
            if self._until is None or now >= self._until:
                self._readers = {reader.id: reader for reader in self._store.readers()}
                self._until = now + self._seconds
            return self._readers

    def named(self, name: str) -> Reader | None:
        """The reader with this name, active or not."""
        return next((reader for reader in self.readers().values() if reader.name == name), None)

    def forget(self) -> None:
        """Read the readers anew when they are asked for next."""
        with self._lock:
            self._until = None


class Ended:
    """Ids of sessions that somebody ended: an answer on its way, or a copied cookie, does not bring them back.

    The last `at_most` are known, and none after a restart.
    """

    def __init__(self, at_most: int = N_ENDED) -> None:
        self._at_most = at_most
        self._lock = threading.Lock()
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, session_id: str) -> None:
        """From now on this session means nobody."""
        with self._lock:
            self._ids[session_id] = None
            if len(self._ids) > self._at_most:
                self._ids.popitem(last=False)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._ids


class Access(NamedTuple):
    """Who comes in, and by which names the server is called."""

    roster: Roster
    attempts: Attempts
    checks: Checks
    ended: Ended
    names: Names
    https: bool
    """Whether browsers come by https, though this server does not see it."""


def make_access(store: Store, host: str, public_names: Iterable[str], https: bool) -> Access:
    """Nobody failed, nobody left."""
    return Access(Roster(store), Attempts(), Checks(), Ended(), names_of(host, public_names), https)
