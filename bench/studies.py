"""What `simulate` and `frozen` share: made-up images that can be told apart, and a whole run of the product on them."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from epochs import N_CLASSES
from measure import Seconds, Step, timed
from numpy.typing import NDArray

from overread.arrays import IntArray
from overread.config import load_config
from overread.refine import simulate

__all__ = ["NOISE", "Study", "make_study", "whole_run"]

NOISE = 0.4


class Study(NamedTuple):
    """Images in a file; of its temporary folder this is the owner."""

    folder: "tempfile.TemporaryDirectory[str]"
    images: NDArray[np.uint8]
    """(N + N / 4, H, W, 3), the training images first"""
    reference: IntArray
    n_train: int
    side: int

    @property
    def file(self) -> Path:
        return Path(self.folder.name) / "images.npz"

    @property
    def cache(self) -> Path:
        return Path(self.folder.name) / "cache"


def make_study(n_train: int, side: int) -> Study:
    """`n_train` images, and a fourth as many for the test, of classes that differ in one colour."""
    rng = np.random.default_rng(0)
    n = n_train + n_train // 4
    colours = rng.integers(60, 196, (N_CLASSES, 3), np.int16)
    reference: IntArray = np.arange(n) % N_CLASSES
    images = np.empty((n, side, side, 3), np.uint8)
    for number, label in enumerate(reference.tolist()):
        images[number] = colours[label] + rng.integers(-60, 60, (side, side, 3), np.int16)
    study = Study(tempfile.TemporaryDirectory(prefix="overread-bench-"), images, reference, n_train, side)
    split = np.repeat(["train", "test"], [n_train, n - n_train])
    np.savez(study.file, images=images, labels=reference, split=split)
    return study


def whole_run(study: Study, settings: list[str], fresh_cache: bool) -> Step:
    """A step that makes a new run from the file; fresh_cache: nothing is kept of earlier runs."""

    def step() -> Seconds:
        with tempfile.TemporaryDirectory(dir=study.folder.name) as name:
            folder = Path(name)
            cache = folder / "cache" if fresh_cache else study.cache
            own = [f"data.path={study.file}", f"data.cache={cache}", f"out={folder / 'run'}", f"noise.rate={NOISE}"]
            config = load_config(settings=[*own, *settings])
            return timed(lambda: simulate(config))()

    return step
