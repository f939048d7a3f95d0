"""A classifier that knows how labels go wrong, and learns that from labels and reads: the method `noise-model`.

The softmax regression of `overread.arrays.channel`, with three assumptions on the noise matrix `T` side by side: it is
symmetric, nearly so, or free.  Noisy labels alone cannot tell these apart where classes overlap in the features: a free
matrix always fits them better, and is often wrong.  Reads can.  So below 20 reads noise is taken as symmetric; later
the assumption is chosen by the probability of what experts said and of the given labels of the same items, by models
that did not train on them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.channel import (
    FIRST_ITERATIONS,
    LATER_ITERATIONS,
    Channel,
    Held,
    expectation_maximisation,
    fit_weights,
    fitting_threads,
    fold_weights,
    held_out,
    held_out_factor,
    projection_of,
    start_rates,
    stratified_folds,
)
from overread.arrays.decisions import SMALLEST_PRIOR
from overread.arrays.estimation import items_to_estimate
from overread.arrays.noise import checked_labels, symmetric_matrix
from overread.arrays.readers import PRIOR_MEAN, log_likelihood_of_votes
from overread.arrays.readers import reader_error as estimated_error
from overread.arrays.rows import RowArray, row_slices
from overread.errors import ConfigError, DataError

__all__ = ["FEWEST_READS", "Belief", "NoiseModel", "check_reader_error"]

# Pseudo-items that pull a free, a nearly symmetric and a symmetric matrix towards symmetric noise.
FREE, NEARLY, SYMMETRIC = 20.0, 200.0, 5000.0
ASSUMPTIONS = (FREE, NEARLY, SYMMETRIC)
# Labels are right: a matrix that nothing moves.
NONE = np.inf
# What noise matrices may be asked for, and the assumptions that stand side by side then.
NOISE_MATRICES = {"chosen": ASSUMPTIONS, "free": (FREE,), "symmetric": (SYMMETRIC,), "none": (NONE,)}
# Share of wrong labels where none is thought wrong, and least share of wrong reads: a label that was thought
# impossible would be infinitely unlikely.
NO_NOISE = 1e-12
# Nats by which another assumption must explain the reads better than symmetric noise, and images the given labels
# better than no image does.
MARGIN = 5.0
# Fewer reads, all of them of suspicious items, can make a free matrix rename whole classes.
FEWEST_READS = 20
# A read item weighs as much as so many others: what an expert said is closer to the truth than any likelihood.
READ_WEIGHT = 4.0
PENALTIES = (0.01, 0.03, 0.1, 0.3)
LEAST_PENALTY, LARGEST_PENALTY = 0.01, 1.0
GIVEN_WEIGHT = 0.1
# Penalty and start are looked for among so many items.
SEARCH_ITEMS = 4000
SEARCH_ROUNDS, RESTART_ROUNDS, UPDATE_ROUNDS = 6, 4, 2
# Pseudo-reads of symmetric noise in a matrix that is counted from reads.
COUNT_SHRINKAGE = 5.0


Job = TypeVar("Job")


class Belief(NamedTuple):
    """What a noise model says of C classes and N items after a fit."""

    probs: FloatArray
    """(N, C) `P(true | x)` by models that did not train on the item; rows sum to one."""
    posterior: FloatArray
    """(N, C) `P(true | x, given label, reads)`, x as above; rows sum to one."""
    prior: FloatArray
    """(C,) frequencies of the true classes."""
    matrix: FloatArray
    """(C, C) `P(given = j | true = i)`."""
    rate: float
    """Share of given labels that are wrong, 0 .. 1."""
    assumption: str
    """On the noise matrix: symmetric, nearly symmetric, free or none."""
    penalty: float
    score: float
    """Mean log probability of given labels and reads of held-out items, nats, higher is better."""
    informed: bool
    """Whether reads, or given labels of held-out items that images foretell, say what the classes look like.  Where
    not, rate and prior are guesses: buy `FEWEST_READS` reads first."""


class _Fit(NamedTuple):
    """One assumption's fit: M = K + 1 models, the last one of all items."""

    shrinkage: float
    penalty: float
    W: FloatArray  # (M, C, D + 1)
    matrices: FloatArray  # (M, C, C)
    held: Held


NAMES = {FREE: "free", NEARLY: "nearly symmetric", SYMMETRIC: "symmetric", NONE: "none"}


class NoiseModel:
    """The state of the method `noise-model` on N items with frozen features.

    features: (N, D) finite floats.  given: (N,) in 0 .. C-1.  rng: draws the folds.  threads: that fit side by side;
    they change nothing but the time.  noise_matrix: chosen by the reads, or symmetric or free whatever they say; none
    = a plain cross-fitted softmax regression on labels, of which a read replaces the given one.  reader_error: share
    of wrong reads, estimated where none is said.  `state` is complete: what is restored goes on to the same numbers.
    Time and memory are linear in N.
    Errors: DataError for shapes that do not fit, no items, numbers that are not finite; ConfigError for another
    noise matrix, or for readers who are not better than chance.
    """

    def __init__(
        self,
        features: RowArray,
        given: IntArray,
        n_classes: int,
        rng: np.random.Generator,
        threads: int = 1,
        *,
        noise_matrix: str = "chosen",
        reader_error: float | None = None,
    ) -> None:
        if noise_matrix not in NOISE_MATRICES:
            raise ConfigError(f"noise matrix {noise_matrix!r} is unknown: known are {', '.join(NOISE_MATRICES)}")
        if reader_error is not None:
            check_reader_error(reader_error, n_classes)
        self._assumptions = NOISE_MATRICES[noise_matrix]
        self.given = checked_labels(given, n_classes, "given labels")
        if len(features.shape) != 2 or len(features) != len(given) or len(given) == 0:
            raise DataError(f"features have shape {features.shape} for {len(given)} given labels; give one row each")
        if not all(np.isfinite(features[part]).all() for part in row_slices(features)):
            raise DataError("the features hold a value that is not finite")
        self.n, self.n_classes = len(given), n_classes
        self._threads = threads
        with threadpool_limits(1, user_api="blas"):
            seen = np.asarray(features[items_to_estimate(len(given), rng)], dtype=np.float64)
            self._projection = projection_of(seen, rng)
            parts = [self._projection.of(features[part]).astype(np.float32) for part in row_slices(features)]
        self._X = np.concatenate(parts)
        self._fold, self._n_folds = stratified_folds(given, rng)
        self._sample = np.sort(rng.permutation(len(given))[:SEARCH_ITEMS])
        self._fits: dict[float, _Fit] = {}
        self._read: BoolArray = np.zeros(len(given), dtype=bool)
        self._votes: FloatArray = np.zeros((n_classes, len(given)))
        self._known_error = reader_error
        self.reader_error = PRIOR_MEAN if reader_error is None else max(reader_error, NO_NOISE)
        self._error_seen = self.reader_error

    # ---- fitting

    def learn(self) -> None:
        """Fit to the given labels alone: penalty and start on a sample, by the likelihood of held-out given labels."""
        part = self._sample
        # The folds of the model, so that what is found has not seen the items which it goes on to judge.
        fold = self._fold[part]
        weights = _with_all(fold_weights(fold, self._n_folds))
        sample = Channel(self._X[part], self.given[part], fold, weights, self.n_classes)
        starts = start_rates(self.n_classes)
        if self._assumptions == (NONE,):
            starts = [min(NO_NOISE, starts[0])]

        def searched(shrinkage: float) -> _Fit:
            fits = [self._from(sample, shrinkage, penalty, starts[0], SEARCH_ROUNDS) for penalty in PENALTIES]
            penalty = max(fits, key=lambda fit: fit.held.score).penalty
            fits += [self._from(sample, shrinkage, penalty, rate, SEARCH_ROUNDS) for rate in starts[1:]]
            best = max(fits, key=lambda fit: len(part) * fit.held.score + _log_prior(fit.held.rate, len(part)))
            return self._continued(self._channel(), best, best.penalty, UPDATE_ROUNDS)

        for fit in self._map(searched, self._assumptions):
            self._fits[fit.shrinkage] = fit

    def update(self, positions: IntArray, labels: IntArray, reconsider: bool = True) -> None:
        """Fit again after all reads so far: (R,) positions and labels, several of an item where several were made.

        Also tried is a matrix counted from the reads alone, which leaves what the given labels misled to.
        reconsider: other penalties as well.  Repeated reads are thought independent.
        """
        if not self._fits:
            raise DataError("a noise model learns from given labels before it learns from reads")
        labels = checked_labels(labels, self.n_classes, "labels of reads")
        if len(positions) != len(labels) or (len(positions) and not 0 <= positions.min() <= positions.max() < self.n):
            raise DataError(
                f"{len(labels)} reads at {len(positions)} positions: give one position from 0 to {self.n - 1} each"
            )
        self._count(positions, labels)
        if not len(positions):
            return
        self._error_seen = self.reader_error
        channel = self._channel()
        counted = self._counted_matrix()

        def updated(job: tuple[float, str]) -> _Fit:
            shrinkage, how = job
            fit = self._fits[shrinkage]
            if how == "counted":
                return self._from(channel, shrinkage, fit.penalty, counted, RESTART_ROUNDS)
            factor = {"on": 1.0, "less": 0.5, "more": 2.0}[how]
            penalty = float(np.clip(fit.penalty * factor, LEAST_PENALTY, LARGEST_PENALTY))
            return self._continued(channel, fit, penalty, UPDATE_ROUNDS)

        jobs = [(shrinkage, "on") for shrinkage in self._assumptions]
        if reconsider and self._enough_reads():
            jobs += [(shrinkage, how) for shrinkage in self._assumptions for how in ("less", "more")]
        if self._enough_reads():
            # In every round: fitted on and on, a free matrix may drift until it calls a frequent class a rare one.
            jobs += [(shrinkage, "counted") for shrinkage in self._assumptions if shrinkage in (FREE, NEARLY)]
        found: dict[float, _Fit] = {}
        for fit in self._map(updated, jobs):
            best = found.get(fit.shrinkage)
            if best is None or self._merit(fit) > self._merit(best):
                found[fit.shrinkage] = fit
        self._fits = found
        self._update_reader_error()

    def _count(self, positions: IntArray, labels: IntArray) -> None:
        self._votes = np.zeros((self.n_classes, len(self.given)))
        np.add.at(self._votes, (labels, positions), 1.0)
        self._read = self._votes.sum(axis=0) > 0

    def _channel(self) -> Channel:
        weights = _with_all(fold_weights(self._fold, self._n_folds))
        counts = np.where(self._read, READ_WEIGHT, 1.0)
        weights = (weights * counts).astype(np.float32)
        if self._assumptions == (NONE,):
            labels = np.where(self._read, self._votes.argmax(axis=0), self.given)
            return Channel(self._X, labels, self._fold, weights, self.n_classes)
        reads = self._likelihood_of_reads() if self._read.any() else None
        return Channel(self._X, self.given, self._fold, weights, self.n_classes, reads)

    def _likelihood_of_reads(self) -> FloatArray:
        """`P(reads of n | true = y)`, (C, N), up to a factor; 1 where nobody read."""
        likelihood: FloatArray = np.exp(log_likelihood_of_votes(self._votes, self.reader_error))
        return likelihood

    def _update_reader_error(self) -> None:
        """Set the share of wrong reads to the most probable one, by models and matrices that have not heard them."""
        # Where every label is believed, no read can be wrong.
        if self._known_error is not None or self.n_classes < 2 or self._assumptions == (NONE,):
            return
        fit, items = self._chosen(), np.flatnonzero(self._read)
        expected = fit.held.probs[:, items] * self._by_fold(fit, items).T
        self.reader_error = estimated_error(expected / expected.sum(axis=0), self._votes[:, items])

    def _counted_matrix(self) -> FloatArray:
        """The noise matrix of read items alone, drawn towards symmetric noise."""
        joint = np.zeros((self.n_classes, self.n_classes))
        items = np.flatnonzero(self._read)
        np.add.at(joint, (self._votes[:, items].argmax(axis=0), self.given[items]), 1.0)
        rate = min(1.0 - np.trace(joint) / joint.sum(), 0.9 * (self.n_classes - 1) / self.n_classes)
        joint += COUNT_SHRINKAGE * symmetric_matrix(self.n_classes, rate)
        counted: FloatArray = joint / joint.sum(axis=1, keepdims=True)
        return counted

    def _from(self, channel: Channel, shrinkage: float, penalty: float, start: float | FloatArray, rounds: int) -> _Fit:
        """A fit that knows nothing but a noise matrix, or a rate of symmetric noise, to begin with."""
        n_models = len(channel.weights)
        matrix = symmetric_matrix(self.n_classes, start) if isinstance(start, float) else start
        W = np.zeros((n_models, self.n_classes, channel.X.shape[1]))
        matrices = np.stack([matrix] * n_models)
        return _fitted(channel, shrinkage, penalty, W, matrices, rounds, FIRST_ITERATIONS)

    def _continued(self, channel: Channel, fit: _Fit, penalty: float, rounds: int) -> _Fit:
        """`fit` again, from where it stands, on what is known now."""
        return _fitted(channel, fit.shrinkage, penalty, fit.W, fit.matrices, rounds, LATER_ITERATIONS)

    def _map(self, work: Callable[[Job], _Fit], jobs: Iterable[Job]) -> list[_Fit]:
        with fitting_threads(self._threads) as pool:
            return list(pool.map(work, jobs))

    # ---- what it says

    def _chosen(self) -> _Fit:
        """The fit of the assumption that explains the reads best; the symmetric one while there are few of them."""
        if not self._enough_reads():
            return self._fits[max(self._assumptions)]
        return max(
            reversed(self._fits.values()),
            key=lambda fit: self._explained(fit) + (MARGIN if fit.shrinkage == SYMMETRIC else 0.0),
        )

    def _enough_reads(self) -> bool:
        return float(self._votes.sum()) >= FEWEST_READS

    def _merit(self, fit: _Fit) -> float:
        """How good a fit is among those of one assumption: where there are enough reads, they count most."""
        if not self._enough_reads() or fit.shrinkage == NONE:
            return fit.held.score
        return self._explained(fit) + GIVEN_WEIGHT * len(self.given) * fit.held.score

    def _explained(self, fit: _Fit) -> float:
        """Log probability of what experts said, and of the given labels of the same items, nats."""
        items = np.flatnonzero(self._read)
        votes = self._votes[:, items]
        joint = (votes / votes.sum(axis=0) * fit.held.probs[:, items] * self._by_fold(fit, items).T).sum(axis=0)
        return float(np.log(joint + 1e-12).sum())

    def belief(self) -> Belief:
        """What is believed now of every item; see `Belief`."""
        fit = self._chosen()
        return Belief(
            probs=fit.held.probs.T,
            posterior=fit.held.posterior.T,
            prior=fit.held.prior,
            matrix=fit.held.matrix,
            rate=fit.held.rate,
            assumption=NAMES[fit.shrinkage],
            penalty=fit.penalty,
            score=fit.held.score,
            informed=self._informed(fit),
        )

    def held_out_items(self, fold: int) -> IntArray:
        """Positions, ascending, of the unread items that the model of `fold`, 0 .. min(5, N) - 1, did not train on."""
        return np.flatnonzero((self._fold == fold) & ~self._read)

    def held_out_likelihood(self) -> FloatArray:
        """(N, C) `P(given label | true)` by the matrix of the item's fold, in which its own label had no part."""
        return self._by_fold(self._chosen(), np.arange(self.n))

    def _by_fold(self, fit: _Fit, items: IntArray) -> FloatArray:
        """(n, C) `P(given label | true)` of `items` by the matrices of their folds in `fit`."""
        return fit.matrices[self._fold[items], :, self.given[items]]

    def _informed(self, fit: _Fit) -> bool:
        """Whether there are enough reads, or images foretell held-out given labels by `MARGIN` nats.

        The comparison is with their frequencies, which know no image.
        """
        if self._enough_reads():
            return True
        known = self._by_fold(fit, np.arange(self.n)).T
        foretold = float(np.log((fit.held.probs * known).sum(axis=0)).sum())
        counts = np.bincount(self.given)
        counts = counts[counts > 0]
        return foretold - float(counts @ np.log(counts / len(self.given))) > MARGIN

    def log_likelihood(self) -> FloatArray:
        """(N, C) log `P(given label and reads | true)`, the largest of a row 0: what is known beside the image."""
        likelihood: FloatArray = self._chosen().held.matrix[:, self.given]
        if self._read.any():
            likelihood = likelihood * self._likelihood_of_reads()
        logs = np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).T
        found: FloatArray = logs - logs.max(axis=1, keepdims=True)
        return found

    def classifier(self, adjustment: float) -> tuple[FloatArray, FloatArray]:
        """Weights (C, D) and biases (C,) of a linear layer on features that is fitted to all items.

        Its softmax is `P(true | x) / prior^adjustment`, scaled to one: 0 = as frequent as classes are, 1 = all equally
        (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021).
        """
        fit = self._chosen()
        W = fit.held.factor * fit.W[-1]
        weight = W[:, :-1] @ self._projection.components
        log_prior = np.log(np.maximum(fit.held.prior, SMALLEST_PRIOR))
        return weight, W[:, -1] - weight @ self._projection.mean - adjustment * log_prior

    # ---- keeping it

    def state(self) -> dict[str, FloatArray]:
        """Everything that fits carry from one round to the next, as arrays."""
        arrays: dict[str, FloatArray] = {
            # Of the reads, as they were seen by the fits, and as the next fits will see them.
            "reader_error": np.array([self._error_seen, self.reader_error])
        }
        for shrinkage, fit in self._fits.items():
            name = NAMES[shrinkage]
            arrays[f"{name}/W"], arrays[f"{name}/matrices"] = fit.W, fit.matrices
            arrays[f"{name}/penalty_and_factor"] = np.array([fit.penalty, fit.held.factor])
        return arrays

    def load_state(self, arrays: Mapping[str, FloatArray], positions: IntArray, labels: IntArray) -> None:
        """Be as the model that wrote `state` after the reads `positions` and `labels`."""
        self._count(positions, labels)
        self.reader_error = float(arrays["reader_error"][0])
        channel = self._channel()
        self._fits = {}
        for shrinkage in self._assumptions:
            W, matrices = (arrays[f"{NAMES[shrinkage]}/{part}"] for part in ("W", "matrices"))
            penalty, factor = (float(value) for value in arrays[f"{NAMES[shrinkage]}/penalty_and_factor"])
            self._fits[shrinkage] = _Fit(shrinkage, penalty, W, matrices, held_out(channel, W, matrices, factor))
        self._error_seen, self.reader_error = (float(value) for value in arrays["reader_error"])


def check_reader_error(share: float, n_classes: int) -> None:
    """ConfigError for a share of wrong reads, 0 .. 1, with which readers would say nothing of `n_classes` classes."""
    limit = max(1, n_classes - 1) / max(2, n_classes)
    if not 0 <= share < limit:
        raise ConfigError(
            f"readers who err in a share of {share:g} say nothing of {n_classes} classes: "
            f"set lnl.reader_error to less than {limit:.3g}, or to estimate"
        )


def _fitted(
    channel: Channel,
    shrinkage: float,
    penalty: float,
    W: FloatArray,
    matrices: FloatArray,
    rounds: int,
    iterations: int,
) -> _Fit:
    """The fit after `rounds` from `W` and `matrices` on; `iterations`: of L-BFGS in the first."""
    if shrinkage == NONE:
        W = fit_weights(channel, W, matrices, penalty, iterations + (rounds - 1) * LATER_ITERATIONS)
        factor = held_out_factor(channel, W, matrices)
    else:
        W, matrices, held = expectation_maximisation(channel, W, matrices, penalty, shrinkage, rounds, iterations)
        factor = held.factor
    # Said again from what is kept, so that a restored fit says the same.
    return _Fit(shrinkage, penalty, W, matrices, held_out(channel, W, matrices, factor))


def _log_prior(rate: float, n: int) -> float:
    """Log probability of a share of wrong labels among `n`, nats, up to a constant: beta(2, 2), by counts plus one.

    It decides where the labels do not, as among a hundred items, whose likelihood hardly differs from that of no noise.
    """
    return float(np.log(rate * n + 1.0) + np.log((1.0 - rate) * n + 1.0))


def _with_all(weights: FloatArray) -> FloatArray:
    """`weights` (K, N) of the folds and behind them those of a model of all items."""
    n = weights.shape[1]
    return np.vstack([weights, np.full((1, n), 1.0 / n)])
