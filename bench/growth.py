"""How time and memory grow with the items: a benchmark runs itself at several sizes, each in a process of its own."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overread.arrays import IntArray

__all__ = [
    "AT_ONCE",
    "growth",
    "held_by_this_process_mb",
    "in_own_process",
    "peak_of_this_process_mb",
    "write_clusters",
]

AT_ONCE = 4096


def write_clusters(
    file: Path, n: int, width: int, n_classes: int, distance: float, classes: Callable[[int, int], IntArray]
) -> None:
    """Write `n` rows of `width` float32, clusters whose directions fade like those of an embedding.

    The first few directions hold most of the variance.

    distance: between classes, in deviations of one feature.  classes: those of at most `AT_ONCE` rows, by the first of
    them and their number.
    """
    fading = (1 / np.sqrt(np.arange(1, width + 1))).astype(np.float32)
    centres = distance * np.random.default_rng(0).standard_normal((n_classes, width), np.float32)
    with file.open("wb") as stream:
        for start in range(0, n, AT_ONCE):
            noise = np.random.default_rng([1, start]).standard_normal((min(AT_ONCE, n - start), width), np.float32)
            stream.write(((centres[classes(start, len(noise))] + noise) * fading).data)


def in_own_process(script: str, *arguments: object) -> dict[str, Any]:
    """What `script`, called with `arguments`, printed as JSON; it imports the package that stands beside `bench`."""
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def growth(sizes: Sequence[int], outcomes: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Facts for the output, from what every size took: `seconds` by step and `all`, `cpu_seconds`, `peak_mb`,
    and `start_mb` of libraries and nothing else.
    """
    seconds = [outcomes[size]["seconds"] for size in sizes]
    cpu_seconds = [outcomes[size]["cpu_seconds"] for size in sizes]
    return {
        "sizes": list(sizes),
        "seconds_of_sizes": seconds,
        "cpu_seconds_of_sizes": cpu_seconds,
        "peak_mb_of_sizes": [outcomes[size]["peak_mb"] for size in sizes],
        "start_mb_of_sizes": [outcomes[size]["start_mb"] for size in sizes],
        "exponent": _exponent(sizes, [took["all"] for took in seconds]),
        "cpu_exponent": _exponent(sizes, cpu_seconds),
    }


def _exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Slope of a line through log seconds over log items: 1 = linear."""
    if len(set(sizes)) == 1:
        return math.nan
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def peak_of_this_process_mb() -> float | None:
    """Peak of resident memory of this process; None where the system does not say (only Linux does)."""
    # `ru_maxrss` will not do: a child inherits that of its parent.
    return _status_mb("VmHWM")


def held_by_this_process_mb() -> float | None:
    """Resident memory of this process now; None where the system does not say."""
    return _status_mb("VmRSS")


def _status_mb(name: str) -> float | None:
    status = Path("/proc/self/status")
    text = status.read_text(encoding="ascii") if status.exists() else ""
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else None
