"""A tiny labelled image set and configurations on which a whole run takes a second."""

from pathlib import Path
from typing import Any

import numpy as np

from overread.config import Config, load_config

CLASSES = ("disc", "stripe", "noise")
COUNTS = {"train": (60, 24, 12), "test": (12, 12, 12)}
SIDE = 16


def write_tiny_set(path: Path, val: int = 0) -> Path:
    """Write three kinds of 16-pixel pictures as .npz in the project's form; the same bytes at every call.

    val: items of each class in a val split.
    """
    rng = np.random.default_rng(7)
    images, labels, split = [], [], []
    for name, counts in {**COUNTS, "val": (val, val, val)}.items():
        for label, count in enumerate(counts):
            for _ in range(count):
                images.append(_picture(label, rng))
                labels.append(label)
                split.append(name)
    np.savez(path, images=np.stack(images), labels=np.array(labels), class_names=CLASSES, split=split)
    return path


def _picture(label: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    y, x = np.mgrid[:SIDE, :SIDE]
    centre = rng.uniform(5, 11, size=2)
    shape = [
        ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 16).astype(float),
        (np.sin(x + centre[0]) > 0).astype(float),
        rng.random((SIDE, SIDE)),
    ][label]
    picture = 160 * shape[..., None] * rng.uniform(0.6, 1, size=3) + rng.uniform(0, 60, size=(SIDE, SIDE, 3))
    return np.asarray(picture, dtype=np.uint8)


def tiny_settings(folder: Path) -> list[str]:
    """Settings of a run of the tiny set in `folder` on which a run takes a second.

    The cache is that of all tests: most of them are about what comes after the embeddings, which are made once.
    """
    return [
        # Two networks that are trained, so that there is something to interrupt; what comes later wins.
        "preset=paper",
        f"data.path={write_tiny_set(folder / 'tiny.npz')}",
        f"out={folder / 'run'}",
        "model.input_size=32",
        "lnl.epochs=6",
        "lnl.warmup_epochs=3",
        "lnl.forget_ramp_epochs=2",
        "lnl.vog_window=2",
        "lnl.batch_size=32",
        "active.rounds=2",
        "active.budget=5",
        "active.epochs=3",
        "threads=1",
    ]


def tiny_config(folder: Path, *settings: str) -> Config:
    """A run of the tiny set in `folder`; later settings win over the quick ones."""
    return load_config(settings=[*tiny_settings(folder), *settings])
