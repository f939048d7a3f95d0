"""How long a command takes before it does anything."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from measure import Benchmark, Seconds, Step


class Inputs(NamedTuple):
    """Nothing but how often a command is started in a row."""

    times: int


def inputs(size: int, quick: bool) -> Inputs:
    return Inputs(size)


def started(*arguments: str) -> Step:
    """A step that runs Python with `arguments`, and expects success."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}

    def step() -> Seconds:
        before, wall = os.times(), time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
        wall, after = time.perf_counter() - wall, os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return Seconds(wall, cpu)

    return step


def repeated(data: Inputs, *arguments: str) -> Step:
    once = started(*arguments)

    def step() -> Seconds:
        took = [once() for _ in range(data.times)]
        return Seconds(*(sum(clock) / data.times for clock in zip(*took, strict=True)))

    return step


def naive(data: Inputs) -> Step:
    return repeated(data, "-c", "import torch, torchvision, sklearn.metrics")


def value(data: Inputs) -> Step:
    return repeated(data, "-m", "overread", "--help")


def limit(data: Inputs) -> Step:
    return repeated(data, "-c", "pass")


def doctor(data: Inputs) -> Step:
    return repeated(data, "-m", "overread", "doctor")


def package(data: Inputs) -> Step:
    return repeated(data, "-c", "import overread")


def facts(data: Inputs) -> dict[str, Any]:
    return {}


BENCHMARK = Benchmark(
    what="`overread --help`; naive = the libraries that a training script imports first",
    unit="s per start",
    sizes=(3,),
    size_is="starts in a row",
    quick_size=1,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="a Python that does nothing",
    facts=facts,
    also={"import overread": package, "overread doctor": doctor},
)
