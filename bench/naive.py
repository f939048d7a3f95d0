"""The published way on arrays, written anew as plainly as a researcher would: what the product is compared with.

Slow in the ways of the published code (lists for sets, everything in memory at once, float64 by accident), but right:
a test compares its results with the product's.  Not to be made faster.  The part with networks is `naive_torch.py`.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import pairwise_distances

from overread.arrays import FloatArray, IntArray

__all__ = ["k_centre_greedy", "relabel", "vog_of_history"]


def vog_of_history(history: Sequence[FloatArray], folder: Path) -> FloatArray:
    """VOG (N,) of a list of gradient matrices (N, D+1), one an epoch; the last one is pickled into `folder`."""
    with (folder / "gradients.pkl").open("wb") as stream:
        pickle.dump(history[-1], stream)
    gradients = np.stack(history)
    return np.asarray(np.std(gradients, axis=0).mean(axis=1))


def k_centre_greedy(features: FloatArray, labelled: list[int], k: int) -> list[int]:
    """The next `k` centres: each time the item farthest from all centres; a full update of distances a pick."""
    features = features.astype(np.float64)
    nearest = np.min(pairwise_distances(features, features[labelled]), axis=1)
    picks = []
    for _ in range(k):
        farthest = int(np.argmax(nearest))
        picks.append(farthest)
        nearest = np.minimum(nearest, pairwise_distances(features, features[[farthest]])[:, 0])
    return picks


def relabel(labels: IntArray, bought: list[int], answers: IntArray) -> IntArray:
    """Labels after a round: those that were bought are looked up for every item of the set."""
    positions = np.array(bought)
    new = []
    for index in range(len(labels)):
        if index in bought:
            new.append(answers[np.where(positions == index)[0][0]])
        else:
            new.append(labels[index])
    return np.array(new)
