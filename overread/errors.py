"""One exception tree.  Every message is one sentence or two: what is wrong, and the way out.

OverreadError            anything a user can mend; the command line prints it and exits with 2
├── ConfigError          a key, a value or a preset
├── DataError            a file, an item, a label, a split; names the items
├── NoiseError           a noise matrix or rate that cannot be
├── ModelError           a model name, its weights, a device
├── RunError             a run folder that cannot be used or resumed
└── MissingExtraError    an optional package is absent; says which `pip install` mends it
"""

from collections.abc import Sequence

__all__ = [
    "ConfigError",
    "DataError",
    "MissingExtraError",
    "ModelError",
    "NoiseError",
    "OverreadError",
    "RunError",
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
