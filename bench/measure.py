"""Times and memory of a benchmark: three ways in turn in one process, and peaks of memory in processes of their own.

A machine that others use too is slower in one minute than in the next.  So the ways take turns, and a ratio is the
median of the ratios within a round, not the ratio of two medians.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

__all__ = [
    "Benchmark",
    "Seconds",
    "Step",
    "Times",
    "median_ratio",
    "peak_mb",
    "scaled",
    "spread",
    "take_turns",
    "timed",
]

I = TypeVar("I")  # noqa: E741 - what the inputs of one benchmark are

PEAK_SCRIPT = Path(__file__).with_name("peak.py")


class Seconds(NamedTuple):
    """What one execution took."""

    wall: float
    cpu: float
    """Of all threads of this process."""


Step = Callable[[], Seconds]
"""Does the work once and says what it took, preparations left out."""

Times = Mapping[str, Sequence[Seconds]]
"""Name of a way -> one entry a round."""


@dataclass(frozen=True)
class Benchmark(Generic[I]):
    """One row of the tables: the same work in the naive way, by the product, and at the limit.

    Each way is a function that gets the inputs, prepares what is not timed, and returns the step that is.
    """

    what: str
    """One sentence: the work."""
    unit: str
    sizes: tuple[int, ...]
    """The first one is the default."""
    size_is: str
    """What the size counts."""
    quick_size: int
    """Also the least that --size takes."""
    inputs: Callable[[int, bool], I]
    """(size, quick) -> what all ways work on; quick: as few items as will do."""
    naive: Callable[[I], Step]
    value: Callable[[I], Step]
    limit: Callable[[I], Step]
    limit_is: str
    facts: Callable[[I], dict[str, Any]]
    """Sizes and settings of the work, for the output."""
    also: Mapping[str, Callable[[I], Step]] = field(default_factory=dict)
    """Further ways that are timed beside the three."""
    warm_up: bool = True
    """Whether everything is done once more before, uncounted: not where it takes minutes."""
    slow: frozenset[str] = frozenset()
    """Those of `also` that take a minute to prepare, which --quick leaves out."""
    memory: bool = False
    """Whether peaks of memory are measured; the module must then not import torch."""
    memory_also: tuple[str, ...] = ()
    """Those of `also` whose peaks are measured, too."""


def timed(work: Callable[[], object]) -> Step:
    """A step that does all of `work` and times all of it."""

    def step() -> Seconds:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return Seconds(time.perf_counter() - wall, time.process_time() - cpu)

    return step


def scaled(step: Step, factor: float) -> Step:
    """A step whose seconds are multiplied: for work of which a part stands for the whole."""
    return lambda: Seconds(*(seconds * factor for seconds in step()))


def take_turns(steps: Mapping[str, Step], rounds: int, warm_up: bool) -> Times:
    """The seconds of every step in every round.  warm_up: one more round before, which does not count.

    Each round begins with another step, so that none always follows the same one.
    """
    names = list(steps)
    if warm_up:
        for name in names:
            steps[name]()
    times: dict[str, list[Seconds]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(steps[name]())
    return times


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def peak_mb(name: str, way: str, size: int, quick: bool) -> float | None:
    """Peak of resident memory, MiB, of one step with its preparation, above the process that holds the inputs.

    In a process of its own.  None where the system does not say (only Linux does).
    """
    command = [sys.executable, str(PEAK_SCRIPT), name, way, str(size), "quick" if quick else "full"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return None if done.stdout.strip() == "unknown" else float(done.stdout)
