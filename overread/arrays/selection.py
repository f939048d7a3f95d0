"""Which samples of a batch a network believes: small loss, and small loss plus small variance of gradients."""

import numpy as np

from overread.arrays import FloatArray, IntArray
from overread.errors import ConfigError, DataError

__all__ = ["forget_rate_at", "keep_count", "small_loss", "small_loss_and_vog", "smallest"]

# 0.8 * 35 is 28.000000000000004 and 0.58 * 100 is 57.99999999999999: a product that is whole on paper must stay whole.
_FLOAT_GUARD = 1e-9


def forget_rate_at(epoch: int, rate: float, ramp_epochs: int) -> float:
    """Share of a batch to leave out in `epoch`: 0 in epoch 0, then linear up to `rate` in epoch `ramp_epochs`.

    Constant afterwards; `ramp_epochs=0` means no ramp at all. Networks learn right labels before wrong ones,
    so early epochs may see everything (Han et al., co-teaching, arXiv 1804.06872, Algorithm 1).
    Raises ConfigError for a rate outside [0, 1) or a negative epoch or ramp.

    >>> [forget_rate_at(epoch, rate=0.4, ramp_epochs=4) for epoch in (0, 2, 4, 9)]
    [0.0, 0.2, 0.4, 0.4]
    """
    if not 0 <= rate < 1:
        raise ConfigError(f"the forget rate is {rate}; give a number from 0 up to, but not including, 1")
    if epoch < 0 or ramp_epochs < 0:
        raise ConfigError(f"epoch {epoch} and ramp of {ramp_epochs} epochs: neither may be negative")
    return float(rate) if epoch >= ramp_epochs else rate * epoch / ramp_epochs


def keep_count(n: int, forget_rate: float) -> int:
    """Number of samples to keep of a batch of `n`: (1 - R) n rounded down, yet never 0 unless the batch is empty.

    A short last batch at a high rate would else give 0 and a loss over nothing.

    >>> keep_count(256, 0.8), keep_count(3, 0.8), keep_count(0, 0.8)
    (51, 1, 0)
    """
    return min(n, max(1, int((1 - forget_rate) * n + _FLOAT_GUARD)))


def smallest(values: FloatArray, keep: int) -> IntArray:
    """Positions of the `keep` smallest values, ascending; equals `np.argsort(values, kind="stable")[:keep]`.

    values: (N,). Ties: lower position first. NaN sorts last. Linear in N apart from sorting the `keep`.
    Raises DataError when `keep` is not within 0..N.

    >>> smallest(np.array([3.0, 1.0, np.nan, 1.0]), keep=3).tolist()
    [1, 3, 0]
    """
    if values.ndim != 1 or not 0 <= keep <= len(values):
        raise DataError(f"cannot keep {keep} of values of shape {values.shape}; keep 0 to N of an (N,) array")
    if keep == 0:
        return np.empty(0, np.int64)
    cut = np.partition(values, keep - 1)[keep - 1]
    if np.isnan(cut):  # NaN equals nothing, so the comparison with the cut below would lose it
        return np.argsort(values, kind="stable")[:keep]
    below = np.flatnonzero(values < cut)
    tied = np.flatnonzero(values == cut)[: keep - len(below)]
    return np.concatenate([below[np.argsort(values[below], kind="stable")], tied])


def small_loss(loss: FloatArray, keep: int) -> IntArray:
    """Positions of the `keep` samples of smallest loss, ascending by loss.

    loss: (B,), nats. Ties: lower position first. A NaN loss sorts last. Errors as in `smallest`.

    >>> small_loss(np.array([0.9, 0.1, 0.5]), keep=2).tolist()
    [1, 2]
    """
    return smallest(loss, keep)


def small_loss_and_vog(loss: FloatArray, vog: FloatArray, keep: int, mix_ratio: float) -> IntArray:
    """Positions of `keep` samples: first those of smallest loss, then those of smallest VOG among the rest.

    loss: (B,), nats; vog: (B,), lower = more believable. `int(mix_ratio * keep)` come by VOG and all others by
    loss, so exactly `keep` distinct positions come back: 0 is plain small loss, 1 is VOG alone. (The published
    code also rounds the loss share down and may pick one less.) The picks by loss come first, ascending by loss,
    then the picks by VOG, ascending by VOG. Ties: lower position first. A VOG that is not finite is not known yet
    and sorts last. VOG saves hard samples of rare classes, which small loss alone calls noisy (arXiv 2407.05973).
    Raises DataError for unequal lengths, ConfigError for a ratio outside [0, 1].

    >>> loss, vog = np.array([0.1, 0.2, 0.3, 0.9]), np.array([9.0, 9.0, 9.0, 0.0])
    >>> small_loss_and_vog(loss, vog, keep=2, mix_ratio=0.5).tolist()
    [0, 3]
    """
    if loss.shape != vog.shape:
        raise DataError(f"loss has shape {loss.shape} but vog has {vog.shape}; give one of each per sample")
    if not 0 <= mix_ratio <= 1:
        raise ConfigError(f"the mix ratio is {mix_ratio}; give a number from 0 (loss only) to 1 (VOG only)")
    n_vog = int(mix_ratio * keep + _FLOAT_GUARD)
    by_loss = smallest(loss, keep - n_vog)
    rest = np.delete(np.arange(len(loss)), by_loss)
    known = np.where(np.isfinite(vog[rest]), vog[rest], np.inf)
    return np.concatenate([by_loss, rest[smallest(known, n_vog)]])
