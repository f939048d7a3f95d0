"""Failed log-ins: after a few of them a name, or an address, waits longer and longer."""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Attempts"]

FAILURES_OF_NAME = 5
# Behind one address there may be a whole hospital.
FAILURES_OF_ADDRESS = 20
FIRST_WAIT = 2.0
LONGEST_WAIT = 900.0
FORGOTTEN_AFTER = 3600.0
AT_MOST = 10_000

Key = TypeVar("Key")


@dataclass(slots=True)
class _Tally:
    failures: int = 0
    last: float = 0.0


class Attempts:
    """Who failed to log in how often, in bounded memory: of more than `at_most` names or addresses the oldest go.

    A name waits after 5 failures, wherever they came from, and an address after 20, whomever they were for: 2 seconds,
    then doubling, at most 15 minutes.  What fails while it waits prolongs nothing.  An hour without a failure clears
    the account.  Whoever logged in from an address before does not wait there for what others did to his name, so that
    nobody can be locked out by a stranger.  May be used from several threads.  clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, at_most: int = AT_MOST) -> None:
        self._clock, self._at_most = clock, at_most
        self._lock = threading.Lock()
        self._names: OrderedDict[str, _Tally] = OrderedDict()
        # By pairs of name and address where somebody is known.
        self._known: OrderedDict[tuple[str, str], _Tally] = OrderedDict()
        self._addresses: OrderedDict[str, _Tally] = OrderedDict()

    def begin(self, name: str, address: str) -> float:
        """0.0 where this log-in may be tried, and it counts as failed until `succeeded`; else the seconds to wait."""
        place = _network(address)
        with self._lock:
            now = self._clock()
            of_address = self._addresses.get(place, _Tally())
            known = self._known.get((name, place))
            of_name = self._names.get(name, _Tally()) if known is None else known
            wait = max(
                _wait(of_name, FAILURES_OF_NAME, now),
                _wait(of_address, FAILURES_OF_ADDRESS, now),
            )
            if wait > 0:
                return wait
            # Counted before the password is looked at, else a hundred at once would be one.
            for tally in (of_name, of_address):
                tally.failures = 1 if now - tally.last > FORGOTTEN_AFTER else tally.failures + 1
                tally.last = now
            if known is None:
                self._keep(self._names, name, of_name)
            self._keep(self._addresses, place, of_address)
            return 0.0

    def succeeded(self, name: str, address: str) -> None:
        """What `begin` let through was the right password."""
        place = _network(address)
        with self._lock:
            if (name, place) not in self._known:
                self._names.pop(name, None)
            self._keep(self._known, (name, place), _Tally())
            # Only this one: else one's own name between them would make guesses at others free.
            of_address = self._addresses.get(place)
            if of_address is not None:
                of_address.failures = max(0, of_address.failures - 1)

    def unchecked(self, name: str, address: str) -> None:
        """What `begin` let through was not looked at after all."""
        place = _network(address)
        with self._lock:
            for tally in (self._known.get((name, place)) or self._names.get(name), self._addresses.get(place)):
                if tally is not None:
                    tally.failures = max(0, tally.failures - 1)

    def __len__(self) -> int:
        """How many accounts are kept."""
        return len(self._names) + len(self._known) + len(self._addresses)

    def _keep(self, tallies: OrderedDict[Key, _Tally], key: Key, tally: _Tally) -> None:
        tallies[key] = tally
        tallies.move_to_end(key)
        if len(tallies) > self._at_most:
            tallies.popitem(last=False)


def _wait(tally: _Tally, free: int, now: float) -> float:
    if tally.failures < free or now - tally.last > FORGOTTEN_AFTER:
        return 0.0
    # The exponent is bounded for the float, not for the wait.
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tally.failures - free, 30))
    return max(0.0, tally.last + wait - now)


def _network(address: str) -> str:
    """The address, of IPv6 its /64: that is what one household or host has to itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)
