"""Variance of gradients (VOG): how much a sample's last-layer gradient moves from epoch to epoch.

For cross-entropy and a last linear layer, the gradient of the row of the given label y, bias first, is in closed
form g = (p_y - 1) [1, h] with h the features that enter the layer. VOG is its standard deviation over the last
epochs, averaged over its coordinates; lower = more believable. Source: arXiv 2407.05973, after VoG, arXiv 2008.11600.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.errors import ConfigError, DataError

__all__ = [
    "EpochRows",
    "RankOneVogWindow",
    "VogWindow",
    "class_normalised",
    "last_layer_gradient",
    "vog",
    "vog_rank_one",
]

# Rows x coordinates worked on at once: the three buffers of `_mean_deviation` then stay in the processor's cache.
_CHUNK_NUMBERS = 1 << 16


def last_layer_gradient(probs: FloatArray, features: FloatArray, given: IntArray) -> FloatArray:
    """Per-sample gradients (N, D+1) of the cross-entropy with respect to row `given` of the last linear layer.

    probs: (N, C), softmax outputs; features: (N, D), inputs of that layer; given: (N,), class indices.
    Column 0 belongs to the bias, the others to the weights. It is the gradient of each sample's own loss, not of
    a mean over a batch. Raises DataError when the lengths differ.

    >>> last_layer_gradient(np.array([[0.25, 0.75]]), np.array([[2.0, 4.0]]), np.array([0])).tolist()
    [[-0.75, -1.5, -3.0]]
    """
    if not len(probs) == len(features) == len(given):
        raise DataError(
            f"{len(probs)} rows of probs, {len(features)} of features, {len(given)} given labels: not equal"
        )
    return _gradient(probs[np.arange(len(given)), given], features)


def vog(gradients: FloatArray) -> FloatArray:
    """VOG (N,) of gradients (T, N, K) of T epochs: the mean over K coordinates of the standard deviation over T.

    Unit of the gradients, >= 0, lower = more believable; divides by T, so one epoch gives 0. Computed in the
    precision of the input (float32 at least) with float64 means, in chunks: no copy of the input is made.
    Raises DataError for another number of dimensions, no epoch or no coordinate.

    >>> vog(np.array([[[0.0, 1.0]], [[2.0, 1.0]]])).tolist()
    [0.5]
    """
    if gradients.ndim != 3 or 0 in (gradients.shape[0], gradients.shape[2]):
        raise DataError(
            f"gradients have shape {gradients.shape}; give (T, N, K) with at least one epoch and coordinate"
        )
    dtype = np.result_type(gradients.dtype, np.float32)
    everything = np.ones(gradients.shape[:2], np.bool_)
    return _mean_deviation(dict(enumerate(gradients)), everything, gradients.shape[2], dtype)


def vog_rank_one(error: FloatArray, feature_l1: FloatArray) -> FloatArray:
    """VOG (N,) for features that never change: the standard deviation of the error times the features' size.

    error: (T, N), the p_y - 1 of T epochs; feature_l1: (N,), mean absolute value of [1, h]. Exact, because
    g_t = e_t [1, h] is then rank one in t. Raises DataError when the shapes do not fit or there is no epoch.

    >>> vog_rank_one(np.array([[0.0], [-1.0]]), np.array([3.0])).tolist()
    [1.5]
    """
    if error.ndim != 2 or len(error) == 0 or feature_l1.shape != error.shape[1:]:
        raise DataError(
            f"errors of shape {error.shape} do not fit feature sizes of shape {feature_l1.shape}: "
            "give (T, N) with T > 0, and (N,)"
        )
    return np.asarray(error.std(axis=0, dtype=np.float64) * feature_l1)


def class_normalised(vog: FloatArray, given: IntArray, n_classes: int) -> FloatArray:
    """VOG (N,) as z-scores within each given class: (v - mean_c) / std_c, as in arXiv 2008.11600.

    Makes classes comparable whose gradients differ in size. A class whose values are all equal, or that has one
    item, gives 0. NaN (not yet known) stays NaN and takes no part in mean and standard deviation.
    Raises DataError for unequal lengths or a label outside 0..n_classes-1.

    >>> class_normalised(np.array([1.0, 3.0, 7.0]), np.array([0, 0, 1]), n_classes=2).tolist()
    [-1.0, 1.0, 0.0]
    """
    if vog.shape != given.shape:
        raise DataError(f"vog has shape {vog.shape} but given has {given.shape}; give one of each per item")
    if len(given) and not (given.min() >= 0 and given.max() < n_classes):
        raise DataError(f"given labels run from {given.min()} to {given.max()}, outside 0..{n_classes - 1}")
    known = ~np.isnan(vog)
    scores = np.full(len(vog), np.nan)
    for c in range(n_classes):
        members = known & (given == c)
        values = vog[members].astype(np.float64)
        # The comparison, and not std > 0: rounding makes the standard deviation of equal values a tiny number.
        spread = len(values) > 0 and values.min() < values.max()
        scores[members] = (values - values.mean()) / values.std() if spread else 0.0
    return scores


class EpochRows(Protocol):
    """Gradients (N, D+1) of one epoch, float32: an array, or rows in a file."""

    def __getitem__(self, items: slice, /) -> FloatArray:
        """The rows of a run of items."""

    def __setitem__(self, items: IntArray, rows: FloatArray, /) -> None:
        """Keep `rows` (B, D+1) as those of the `items` (B,); of an item that stands twice the last one stays."""


class VogWindow:
    """The last-layer gradients of every item in the last `window` epochs, and their VOG.

    Memory: 4 * window * n_items * n_coordinates bytes, with n_coordinates = D + 1. An item need not be seen in
    every epoch: its VOG is over the epochs of the window in which it was. Epochs may be skipped, not go back.

    rows_of: keeps the gradients elsewhere than in memory: `rows_of(epoch, new)` gives the rows of an epoch, new ones
    when its first item is pushed, and those that are there when a stored state is loaded. Whoever gives it keeps the
    rows of the window together with `state()`, which is then without them.
    """

    def __init__(
        self,
        n_items: int,
        n_coordinates: int,
        window: int,
        rows_of: Callable[[int, bool], EpochRows] | None = None,
    ) -> None:
        if window < 2:
            raise ConfigError(f"a VOG window of {window} epochs has no variance; give at least 2")
        self._n_coordinates = n_coordinates
        self._rows_of = rows_of
        self._in_memory = np.zeros((window if rows_of is None else 0, n_items, n_coordinates), np.float32)
        self._rows: dict[int, EpochRows] = dict(enumerate(self._in_memory))  # by slot
        self._seen = np.zeros((window, n_items), np.bool_)
        self._epochs = np.full(window, -1, np.int64)  # the epoch that each slot holds, -1 for none

    def push(self, epoch: int, positions: IntArray, probs_of_given: FloatArray, features: FloatArray) -> None:
        """Nothing; keeps the gradients of one batch of `epoch`, in place of what was `window` epochs ago.

        positions: (B,), which items; probs_of_given: (B,), p_y of the given label; features: (B, D).
        An item pushed twice in an epoch keeps the last. Raises DataError for shapes that do not fit or an
        epoch before one already pushed.
        """
        rows = self._gradients(probs_of_given, features)
        if rows.shape != (len(positions), self._n_coordinates):
            raise DataError(
                f"gradients of shape {rows.shape} for {len(positions)} positions do not fit a window of "
                f"{self._n_coordinates} coordinates"
            )
        if epoch < self._epochs.max():
            raise DataError(f"epoch {epoch} comes after epoch {self._epochs.max()}; push epochs in order")
        slot = epoch % len(self._epochs)
        if self._epochs[slot] != epoch:
            self._epochs[slot] = epoch
            self._seen[slot] = False
            if self._rows_of is not None:
                self._rows[slot] = self._rows_of(epoch, True)
        self._rows[slot][positions] = rows
        self._seen[slot, positions] = True

    def values(self) -> FloatArray:
        """VOG (N,) of every item over the window; NaN for an item that was seen in fewer than two of its epochs."""
        in_window = (self._epochs >= 0) & (self._epochs > self._epochs.max() - len(self._epochs))
        seen = self._seen & in_window[:, None]
        deviation = _mean_deviation(self._rows, seen, self._n_coordinates, np.dtype(np.float32))
        deviation[seen.sum(axis=0) < 2] = np.nan
        return deviation

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays of a checkpoint: `seen`, `epochs` and, where they are in memory, `rows`.

        Not copies: save them before the next push.
        """
        return {"rows": self._in_memory, "seen": self._seen, "epochs": self._epochs}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Nothing; goes on from the arrays of `state()`. Raises DataError when their shapes are others."""
        for name, mine in self.state().items():
            if state[name].shape != mine.shape:
                raise DataError(
                    f"the stored VOG window has {name} of shape {state[name].shape}, this run needs {mine.shape}; "
                    "it belongs to another configuration"
                )
            mine[...] = state[name]
        if self._rows_of is not None:
            held = [(slot, epoch) for slot, epoch in enumerate(self._epochs.tolist()) if epoch >= 0]
            self._rows = {slot: self._rows_of(epoch, False) for slot, epoch in held}

    def _gradients(self, probs_of_given: FloatArray, features: FloatArray) -> FloatArray:
        return _gradient(probs_of_given, features)


class RankOneVogWindow(VogWindow):
    """A `VogWindow` for items whose features never change: keeps one number per item and epoch, not D + 1.

    feature_l1: (N,), mean absolute value of [1, h]. Exact; see `vog_rank_one`. `push` does not read its features.
    """

    def __init__(self, feature_l1: FloatArray, window: int) -> None:
        super().__init__(len(feature_l1), 1, window)
        self._feature_l1 = feature_l1.astype(np.float64)

    def values(self) -> FloatArray:
        """VOG (N,) of every item over the window; NaN for an item that was seen in fewer than two of its epochs."""
        return super().values() * self._feature_l1

    def _gradients(self, probs_of_given: FloatArray, features: FloatArray) -> FloatArray:
        return (probs_of_given - 1)[:, None]


def _gradient(probs_of_given: FloatArray, features: FloatArray) -> FloatArray:
    """Gradients (B, D+1): (p_y - 1) [1, h]."""
    error = (probs_of_given - 1)[:, None]
    return np.concatenate([error, error * features], axis=1)


def _mean_deviation(
    gradients: Mapping[int, EpochRows], seen: BoolArray, n_coordinates: int, dtype: np.dtype[Any]
) -> FloatArray:
    """Mean (N,) over K of the standard deviation over those of the T epochs in which `seen` (T, N) is true.

    gradients: epoch 0..T-1 -> (N, K); of an epoch that nobody was seen in, not asked for.
    Two passes over chunks, mean first: the textbook difference of squares loses float32 to cancellation.
    """
    n_epochs, n_items = seen.shape
    result = np.zeros(n_items)
    rows_at_once = max(1, _CHUNK_NUMBERS // n_coordinates)
    for start in range(0, n_items, rows_at_once):
        chunk = slice(start, start + rows_at_once)
        count = np.maximum(seen[:, chunk].sum(axis=0), 1)[:, None].astype(dtype)
        used = [(gradients[t][chunk], ~seen[t, chunk]) for t in range(n_epochs) if seen[t, chunk].any()]
        mean = np.zeros((len(count), n_coordinates), dtype)
        for rows, unseen in used:
            mean += np.where(unseen[:, None], 0, rows) if unseen.any() else rows
        mean /= count
        square = np.zeros_like(mean)
        for rows, unseen in used:
            centred = rows - mean
            centred[unseen] = 0
            centred *= centred
            square += centred
        square /= count
        result[chunk] = np.sqrt(square, out=square).mean(axis=1, dtype=np.float64)
    return result
