"""What every image looks like in a few numbers, so that those that look alike are found without a network."""

import tokenize
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overread.arrays import FloatArray, IntArray
from overread.arrays.rows import RowArray, row_slices
from overread.errors import RunError
from overread.files import atomic_path

__all__ = ["FEATURES", "most_alike", "open_features", "write_features"]

FEATURES = "features.npy"
DIMENSIONS = 64
# More rows hardly turn the components, and these fit into memory at any width.
SAMPLED = 20_000

Features = NDArray[np.float16]


def write_features(folder: Path, embeddings: RowArray) -> None:
    """Write `features.npy` of the project in `folder`: (N, d) float16 with d <= 64, in the order of `embeddings`.

    Every column of `embeddings` (N, D) is standardised, all are projected to their principal components, both as seen
    in at most 20,000 rows evenly spread, and every row has the length 1; one without any feature stays 0.  So the
    product of two rows is their cosine.  The same embeddings give the same file; no random stream is drawn from.
    """
    # Here, since who only looks features up needs nothing of it.
    from sklearn.utils.extmath import randomized_svd

    n = len(embeddings)
    sample = np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).round().astype(np.int64))
    rows = np.asarray(embeddings[sample], dtype=np.float64)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation[deviation == 0] = 1.0
    scaled = ((rows - mean) / deviation).astype(np.float32)
    components: FloatArray = randomized_svd(scaled, min(DIMENSIONS, *scaled.shape), random_state=0)[2].T
    with atomic_path(folder / FEATURES) as path, path.open("wb") as stream:
        head = {"descr": "<f2", "fortran_order": False, "shape": (n, components.shape[1])}
        np.lib.format.write_array_header_1_0(stream, head)
        for part in row_slices(embeddings):
            projected = ((embeddings[part] - mean) / deviation).astype(np.float32) @ components
            length = np.linalg.norm(projected, axis=1, keepdims=True)
            stream.write((projected / np.where(length > 0, length, 1.0)).astype("<f2").tobytes())


def open_features(folder: Path, n_items: int) -> Features | None:
    """The features of the project in `folder`, a memory map; None where an older version made it.

    RunError where they are damaged or not of so many items.
    """
    path = folder / FEATURES
    try:
        features: Features = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise RunError(f"{path} is damaged ({error}): restore it from a copy, or remove it") from None
    if features.ndim != 2 or len(features) != n_items or features.dtype != np.float16:
        raise RunError(f"{path} is not of the {n_items} items of this project: restore it from a copy, or remove it")
    return features


def most_alike(features: Features, item: int, candidates: IntArray, k: int) -> IntArray:
    """Of `candidates` (M,), indices into it, the `k` whose features have the largest cosine with those of `item`.

    The most alike first; ties: the lower index.  All of them where there are fewer than `k`.

    >>> features = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float16)
    >>> most_alike(features, 0, np.array([1, 2]), 2).tolist()
    [1, 0]
    """
    cosines = np.asarray(features[candidates], dtype=np.float32) @ np.asarray(features[item], dtype=np.float32)
    return np.argsort(-cosines, kind="stable")[:k]
