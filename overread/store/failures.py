"""What a failure of the database means for a user, in one sentence."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from overread.errors import OverreadError, StoreBusy, StoreError, StoreFull, StoreUnreachable

__all__ = ["told"]

_BUSY = "another process has held {place} for too long; try again, or end the process that holds it"
_FULL = "there is no room left on the disk of {place}; make room and try again: nothing of this call was stored"
_NO_ROOM_TO_WRITE = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_FSYNC}
# Classes of SQLSTATE: no connection, no such user or password, no such database, server goes down or comes up.
_UNREACHABLE = ("08", "28", "3D", "57P")


@contextmanager
def told(place: str) -> Iterator[None]:
    """A block whose database errors become the StoreErrors that say what to do; `place` names the database."""
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(error, place) from error
    except OverflowError as error:
        raise StoreError(f"a number is too large for {place}; give one that exists") from error
    except PoolTimeoutError as error:
        raise StoreBusy(_BUSY.format(place=place)) from error
    except DBAPIError as error:
        raise _of_driver(error, place) from error


def _of_driver(error: DBAPIError, place: str) -> OverreadError:
    """The error of this project that stands for an error of a driver."""
    reason = " ".join(str(error.orig).split())
    if isinstance(error.orig, sqlite3.Error):
        return _of_sqlite(error.orig, place)
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state == "55P03":
        return StoreBusy(_BUSY.format(place=place))
    if state == "53100":
        return StoreFull(_FULL.format(place=place))
    if error.connection_invalidated or not state or state.startswith(_UNREACHABLE):
        return StoreUnreachable(f"the server of {place} cannot be reached ({reason}); start it or mend the URL")
    return StoreError(f"the database {place} refuses ({reason})")


def _of_sqlite(error: sqlite3.Error, place: str) -> OverreadError:
    """The error of this project that stands for an error of SQLite, by its extended result code."""
    reason, code = " ".join(str(error).split()), getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(_BUSY.format(place=place))
    if primary == sqlite3.SQLITE_FULL or code in _NO_ROOM_TO_WRITE:
        return StoreFull(_FULL.format(place=place))
    if primary == sqlite3.SQLITE_NOTADB:
        return StoreError(f"{place} is not a database; give the project.db of a project")
    if primary == sqlite3.SQLITE_CORRUPT:
        return StoreError(f"{place} is damaged ({reason}); put a copy of it back in its place")
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreError(f"{place} cannot be written ({reason}); check folder and permissions")
    return StoreError(f"the database {place} refuses ({reason})")
