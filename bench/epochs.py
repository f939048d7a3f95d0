"""What the benchmarks of training share: made-up data, and one epoch of phase 1 in the middle of a run."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measure import Seconds, Step, timed
from naive import vog_of_history
from naive_torch import MEAN, STD, Classifier, Loader, coteaching_epoch, gradients_of_pass, new_optimizer
from numpy.typing import NDArray
from torch import nn

from overread.arrays import FloatArray, IntArray
from overread.config import LnlConfig
from overread.learn.lnl import learn_with_noisy_labels
from overread.learn.models import Network
from overread.learn.processes import Processes
from overread.learn.sources import Source
from overread.learn.training import Checkpointer
from overread.learn.weights import Preprocess
from overread.progress import Silent

__all__ = ["N_CLASSES", "PREPROCESS", "Images", "make_images", "naive_epoch", "random_labels", "steady_epoch"]

N_CLASSES = 8
FORGET_RATE = 0.4
WINDOW = 5
# The window is full before the last epoch, the one that is timed.
EPOCHS = WINDOW + 1
PREPROCESS = Preprocess(MEAN, STD)


class Images(NamedTuple):
    """Made-up images that a network is to see at `side` pixels."""

    pixels: NDArray[np.uint8]
    """(N, H, W, 3)"""
    given: IntArray
    side: int
    batch: int


def make_images(n: int, side: int, batch: int, uncut: bool) -> Images:
    """`n` images of random pixels with random labels; the same at every call.

    They are stored at the size that needs no resizing: `side`, or what a crop of `side` is cut from.
    """
    stored = round(side * 256 / 224) if uncut else side
    pixels = np.random.default_rng(0).integers(0, 256, (n, stored, stored, 3), np.uint8)
    return Images(pixels, random_labels(n), side, batch)


def random_labels(n: int) -> IntArray:
    """Class indices (n,)."""
    return np.random.default_rng(1).integers(0, N_CLASSES, n)


def steady_epoch(method: str, networks: list[Network], source: Source, given: IntArray, batch: int) -> Step:
    """A step that runs one epoch of the product's phase 1, with a full VOG window where `method` has one.

    Earlier epochs run now; every step then goes on from their end, as a run does that was interrupted there.
    """
    config = LnlConfig(
        method=method,
        epochs=EPOCHS,
        batch_size=batch,
        warmup_epochs=0,
        forget_ramp_epochs=0,
        vog_window=WINDOW,
    )
    memory = _Memory()
    clock = _EpochClock()

    def step() -> Seconds:
        learn_with_noisy_labels(networks, source, given, N_CLASSES, FORGET_RATE, config, 0, memory, clock)
        return clock.epochs[-1]

    step()
    return step


class _Memory(Checkpointer):
    """Keeps the state before the last epoch in memory; networks stay as they are."""

    def __init__(self) -> None:
        super().__init__(None, 0.0, "bench")
        self.state: dict[str, NDArray[Any]] = {}

    def save_if_due(
        self,
        epoch: int,
        networks: Sequence[nn.Module],
        optimizers: list[torch.optim.Optimizer],
        arrays: Mapping[str, NDArray[Any]],
    ) -> None:
        if epoch == EPOCHS - 2:
            self.state = {name: array.copy() for name, array in arrays.items()}

    def resume(
        self, networks: Sequence[nn.Module], optimizers: list[torch.optim.Optimizer], processes: Processes
    ) -> tuple[int, dict[str, NDArray[Any]]]:
        return (EPOCHS - 1, self.state) if self.state else (0, {})


class _EpochClock(Silent):
    """Listens to the progress of phase 1, which advances by one at the end of every epoch."""

    def __init__(self) -> None:
        self.epochs: list[Seconds] = []

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        wall, cpu = time.perf_counter(), time.process_time()

        def advance(steps: int) -> None:
            nonlocal wall, cpu
            self.epochs.append(Seconds(time.perf_counter() - wall, time.process_time() - cpu))
            wall, cpu = time.perf_counter(), time.process_time()

        yield advance


def naive_epoch(networks: list[Classifier], loader: Loader, with_vog: bool) -> Step:
    """A step that runs one epoch of co-teaching in the published way, with its two further passes for VOG or not."""
    optimizers = [new_optimizer(network) for network in networks]
    if not with_vog:
        return timed(lambda: coteaching_epoch(networks, optimizers, loader, FORGET_RATE))
    # As many matrices as the window has epochs; which numbers they hold makes no difference to the time.
    histories = [[gradients_of_pass(network, loader)] * WINDOW for network in networks]
    vogs: list[FloatArray] = [history[0][:, 0] for history in histories]

    def work() -> None:
        coteaching_epoch(networks, optimizers, loader, FORGET_RATE, vogs)
        for number, network in enumerate(networks):
            histories[number] = [*histories[number][1:], gradients_of_pass(network, loader)]
            with tempfile.TemporaryDirectory() as folder:
                vogs[number] = vog_of_history(histories[number], Path(folder))

    return timed(work)
