"""One exception tree.  Every message is one sentence or two: what is wrong, and the way out.

OverreadError            anything a user can mend; the command line prints it and exits with 2
├── ConfigError          a key, a value or a preset
├── DataError            a file, an item, a label, a split; names the items
├── NoiseError           a noise matrix or rate that cannot be
├── ModelError           a model name, its weights, a device
├── RunError             a run folder that cannot be used or resumed
├── StoreError           a database of reads that cannot be used, or a reader or round that it does not have
│   ├── Conflict         one client-made id for two different writes
│   ├── StoreBusy        another process holds the database for too long
│   ├── StoreFull        no room on the disk of the database
│   └── StoreUnreachable no connection to the server
└── MissingExtraError    an optional package is absent; says which `pip install` mends it
"""

from collections.abc import Sequence

__all__ = [
    "ConfigError",
    "Conflict",
    "DataError",
    "MissingExtraError",
    "ModelError",
    "NoiseError",
    "OverreadError",
    "RunError",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreUnreachable",
    "name_some",
]


class OverreadError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(OverreadError):
    """A configuration key or value is wrong."""


class DataError(OverreadError):
    """The data cannot be used as it is; `items` names the offenders."""

    def __init__(self, message: str, items: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.items = tuple(items)


class NoiseError(OverreadError):
    """A noise specification that has no meaning."""


class ModelError(OverreadError):
    """A model, its weights or its device cannot be had."""


class RunError(OverreadError):
    """A run folder cannot be used."""


class StoreError(OverreadError):
    """A database of reads cannot be used, or does not have what is asked for."""


class Conflict(StoreError):  # noqa: N818 - the word of HTTP, whose status 409 it becomes
    """A client-made id came a second time with another content."""


class StoreBusy(StoreError):  # noqa: N818 - a state that passes
    """Another process held the database for longer than the timeout; the same call may be made again."""


class StoreFull(StoreError):  # noqa: N818 - a state that passes
    """The disk of the database is full; nothing of the call was stored."""


class StoreUnreachable(StoreError):  # noqa: N818 - a state that passes
    """The server of the database does not answer; the same call may be made again."""


class MissingExtraError(OverreadError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(f'{why} needs the package {package}: pip install "overread[{extra}]"')
        self._arguments = (package, extra, why)

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str, str]]:
        # As exceptions are, it would be made anew from its message, when it comes from another process.
        return type(self), self._arguments


def name_some(items: Sequence[object], limit: int = 5) -> str:
    """Names of the first `limit` items and the count of the rest, for error messages.

    >>> name_some(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    shown = ", ".join(repr(str(item)) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"
