"""Given labels for a data set whose reference labels are known: what a simulation starts from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from overread.arrays import FloatArray, IntArray
from overread.arrays.noise import (
    check_informative,
    checked_matrix,
    class_dependent_matrix,
    diagnose,
    flip_labels,
    instance_dependent_labels,
    realised_matrix,
    symmetric_matrix,
)
from overread.config import NoiseConfig, did_you_mean
from overread.data.dataset import Dataset
from overread.errors import DataError, NoiseError, name_some
from overread.rng import generator

__all__ = ["NoisyLabels", "make_noisy_labels"]

THUMBNAIL = 8


class NoisyLabels(NamedTuple):
    """Given labels of the training items and what is known of how they came about."""

    given: IntArray
    matrix: FloatArray
    """(C, C), the realised noise matrix."""
    rate: float
    """Realised share of wrong labels."""
    column: str | None
    """Label column that was taken, for kind=given."""
    warnings: tuple[str, ...]


def make_noisy_labels(dataset: Dataset, positions: IntArray, config: NoiseConfig, seed: int) -> NoisyLabels:
    """Given labels (n,) of the items at `positions` (n,), drawn or read as `config` says.

    The draw depends on the seed, so every seed has its own.  Errors: NoiseError where the labels would carry no
    information, ConfigError or DataError where a class or a column does not exist.
    """
    reference = dataset.reference[positions]
    n_classes = len(dataset.class_names)
    rng = generator(seed, "noise", config.kind)
    column = None
    if config.kind == "given":
        column, given = _label_column(dataset, positions, config.column)
    elif config.kind == "instance-dependent":
        check_informative(symmetric_matrix(n_classes, config.rate))
        given = instance_dependent_labels(reference, thumbnails(dataset, positions), config.rate, n_classes, rng)
    else:
        matrix = _matrix(config, dataset.class_names)
        check_informative(matrix)
        given = flip_labels(reference, matrix, rng)
    realised = realised_matrix(reference, given, n_classes)
    return NoisyLabels(
        given=given,
        matrix=realised,
        rate=float(np.mean(given != reference)),
        column=column,
        warnings=(*_unused_columns(dataset, config), *diagnose(realised, dataset.class_names)),
    )


def _unused_columns(dataset: Dataset, config: NoiseConfig) -> tuple[str, ...]:
    """A warning where the data brings labels that are likely wrong, and noise is drawn all the same."""
    if config.kind == "given" or not dataset.columns:
        return ()
    return (
        f"the label column {next(iter(dataset.columns))} of the data is not used, since noise.kind={config.kind} draws "
        "wrong labels: noise.kind=given takes those of the column",
    )


def thumbnails(dataset: Dataset, positions: IntArray) -> FloatArray:
    """Tiny mean-pooled images as features, (n, 192), for noise that depends on what an image looks like."""
    side = min(THUMBNAIL, *dataset.images.shape[1:3])
    rows = []
    for block in np.array_split(positions, max(1, len(positions) // 1024)):
        images = dataset.images[block].astype(np.float32)
        pooled = [
            np.stack([part.mean(axis=2) for part in np.array_split(band, side, axis=2)], axis=1)
            for band in (b.mean(axis=1, keepdims=True) for b in np.array_split(images, side, axis=1))
        ]
        rows.append(np.concatenate([np.asarray(p).reshape(len(block), -1) for p in pooled], axis=1))
    return np.concatenate(rows)


def _matrix(config: NoiseConfig, class_names: Sequence[str]) -> FloatArray:
    n_classes = len(class_names)
    if config.kind == "symmetric":
        return symmetric_matrix(n_classes, config.rate, [_class(name, class_names) for name in config.exempt])
    if config.matrix is not None:
        return checked_matrix(config.matrix, n_classes)
    pairs = [(_class(a, class_names), _class(b, class_names)) for a, b in config.pairs]
    for a, b in config.pairs:
        if a == b:
            raise NoiseError(f"noise.pairs has {a} -> {b}, which changes nothing; name two different classes")
    return class_dependent_matrix(n_classes, config.rate, pairs or None)


def _class(name: str, class_names: Sequence[str]) -> int:
    if name not in class_names:
        raise NoiseError(f"the class {name!r} is not in the data: {did_you_mean(name, class_names)}")
    return list(class_names).index(name)


def _label_column(dataset: Dataset, positions: IntArray, name: str | None) -> tuple[str, IntArray]:
    if not dataset.columns:
        raise DataError(
            f"noise.kind=given needs a second label column, and {dataset.name} has none that differs from the "
            "reference labels; for a CSV name it with data.given_column"
        )
    if name is None:
        name = next(iter(dataset.columns))
    if name not in dataset.columns:
        raise NoiseError(f"noise.column={name} is not in the data: {did_you_mean(name, dataset.columns)}")
    given = dataset.columns[name][positions]
    missing = [str(dataset.ids[position]) for position in positions[given < 0]]
    if missing:
        raise DataError(
            f"the label column {name} has no label for {name_some(missing)}: fill it in, for noise.kind=given, "
            "or take these items out of the table",
            missing,
        )
    return name, given
