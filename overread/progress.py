"""Progress of long work: bars with time left on a terminal, nothing where nobody looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Bars", "Reporter", "Silent"]

Advance = Callable[[int], None]


class Reporter(Protocol):
    """What long-running code reports to."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """A piece of work of `total` steps, `done` of them already behind; yields a function that adds steps."""
        yield lambda _: None

    def note(self, text: str) -> None:
        """One line that the user should see."""


class Silent:
    """Reports nothing: for tests, workers and library use."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        yield lambda _: None

    def note(self, text: str) -> None:
        pass


class Bars:
    """Bars with counts, time spent and time left, on stderr so that stdout stays for results.

    Where stderr is no terminal there are no bars, so that a log or a script gets notes and errors alone.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
            bar = progress.add_task(description, total=total, completed=done)
            yield lambda steps: progress.advance(bar, steps)

    def note(self, text: str) -> None:
        # Not markup: class names and paths may hold square brackets.
        self.console.print(text, markup=False, highlight=False)
