"""Progress of long work: bars with time left on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Bars", "Reporter", "Silent"]

Advance = Callable[[int], None]

# Where no bar can be drawn: after how many seconds work is mentioned for the first time, and again.
FIRST_LINE, NEXT_LINE = 10.0, 30.0


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

    Where stderr is no terminal that can draw them, a line says now and then how far work is that takes long, so that a
    log shows it too and short work leaves none.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            yield _Lines(self.console, description, total, done).advance
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task(description, total=total, completed=done)
            yield lambda steps: progress.advance(bar, steps)

    def note(self, text: str) -> None:
        # Not markup: class names and paths may hold square brackets.
        self.console.print(text, markup=False, highlight=False)


class _Lines:
    """A piece of work that is told of in lines: how far it is, the time spent and the time left."""

    def __init__(self, console: Console, description: str, total: int, done: int) -> None:
        self.console = console
        self.description = description
        self.total = total
        self.begun = self.done = done
        self.started = time.monotonic()
        self.due = self.started + FIRST_LINE

    def advance(self, steps: int) -> None:
        self.done += steps
        now = time.monotonic()
        if now < self.due or not self.begun < self.done < self.total:
            return
        self.due = now + NEXT_LINE
        spent = now - self.started
        left = spent * (self.total - self.done) / (self.done - self.begun)
        self.console.print(
            f"{self.description}: {self.done} of {self.total}, {timedelta(seconds=round(spent))} spent, "
            f"about {timedelta(seconds=round(left))} left",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
