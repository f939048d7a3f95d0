"""Variance of gradients over the window of one network: what it costs at the end of an epoch, passes not counted."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import Benchmark, Step, timed
from naive import vog_of_history

from overread.arrays import FloatArray
from overread.arrays.vog import VogWindow, last_layer_gradient
from overread.learn.row_files import WindowFiles

WINDOW = 5
BATCH = 256


class Inputs(NamedTuple):
    """What a network says in an epoch."""

    features: FloatArray
    """(N, D) float32"""
    probs_of_given: FloatArray
    """(N,) float32"""


def inputs(size: int, quick: bool) -> Inputs:
    rng = np.random.default_rng(0)
    return Inputs(rng.standard_normal((size, 512), np.float32), rng.random(size, np.float32))


def naive(data: Inputs) -> Step:
    # float64, since np.zeros says so.
    history = [np.zeros((len(data.features), 513)) for _ in range(WINDOW)]
    for epoch in history:
        epoch[:] = _gradients(data)

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            vog_of_history(history, Path(folder))

    return timed(work)


def _gradients(data: Inputs) -> FloatArray:
    everything_wrong = np.stack([data.probs_of_given, 1 - data.probs_of_given], axis=1)
    return last_layer_gradient(everything_wrong, data.features, np.zeros(len(data.features), np.int64))


def value(data: Inputs) -> Step:
    """In files, as training holds a window of this size."""
    with tempfile.TemporaryDirectory() as folder:
        window = _full_window(data, WindowFiles(Path(folder) / "checkpoint"))
    # The files are open, and gone with the window.
    return timed(window.values)


def value_in_memory(data: Inputs) -> Step:
    return timed(_full_window(data, None).values)


def push_and_value(data: Inputs) -> Step:
    window = _full_window(data, None)
    epoch = WINDOW

    def work() -> None:
        nonlocal epoch
        _push(window, epoch, data)
        window.values()
        epoch += 1

    return timed(work)


def _full_window(data: Inputs, files: WindowFiles | None) -> VogWindow:
    shape = len(data.features), data.features.shape[1] + 1
    window = VogWindow(*shape, WINDOW, files.of_network(0, shape) if files else None)
    for epoch in range(WINDOW):
        _push(window, epoch, data)
    return window


def _push(window: VogWindow, epoch: int, data: Inputs) -> None:
    order = np.random.default_rng(epoch).permutation(len(data.features))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        window.push(epoch, batch, data.probs_of_given[batch], data.features[batch])


def limit(data: Inputs) -> Step:
    rows = np.ones((WINDOW, len(data.features), data.features.shape[1] + 1), np.float32)
    return timed(rows.sum)


def facts(data: Inputs) -> dict[str, Any]:
    n, width = data.features.shape
    return {"coordinates": width + 1, "epochs": WINDOW, "window_mb": 4 * WINDOW * n * (width + 1) / 2**20}


BENCHMARK = Benchmark(
    what="VOG of one network from the gradients of 5 epochs",
    unit="s per epoch",
    sizes=(70_000,),
    size_is="items",
    quick_size=300,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="one sum over the window in memory",
    facts=facts,
    also={"value in memory": value_in_memory, "in memory, pushes": push_and_value},
    memory=True,
)
