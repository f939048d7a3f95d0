"""The channel against plain loops, and fits against fits that must agree."""

import math

import numpy as np
import pytest
from scipy.optimize import check_grad

from overread.arrays import FloatArray, IntArray, channel
from overread.arrays.channel import (
    Channel,
    fit_weights,
    fold_weights,
    held_out,
    likelihood_of,
    loss_and_gradient,
    projection_of,
    shrunken,
    softmax_in_place,
    stratified_folds,
    update_matrices,
)
from overread.arrays.noise import flip_labels, symmetric_matrix
from overread.rng import generator

N, K, C, D = 14, 3, 4, 5


def some_channel(n_models: int, with_reads: bool) -> tuple[Channel, FloatArray, FloatArray]:
    """A problem of uneven folds and item weights, with matrices and weights of M models that all differ."""
    rng = np.random.default_rng(0)
    fold = np.minimum(np.arange(N) % 4, K - 1)  # the last fold is twice as large
    weights = np.vstack([fold_weights(fold, K), np.full((1, N), 1 / N)])[:n_models] * rng.uniform(0.5, 4, N)
    reads = np.where(rng.random(N) < 0.5, rng.uniform(0.01, 1, (C, N)), 1.0) if with_reads else None
    problem = Channel(rng.normal(size=(N, D)), rng.integers(0, C, N), fold, weights, C, reads)
    return problem, rng.dirichlet(np.ones(C), (n_models, C)), rng.normal(size=(n_models, C, D))


def noisy_blobs(n: int = 160) -> tuple[FloatArray, IntArray, IntArray]:
    """Features with a column of ones, true labels of 3 classes, and labels of which 30 % are wrong."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    X = np.hstack([2 * rng.normal(size=(3, 4))[labels] + rng.normal(size=(n, 4)), np.ones((n, 1))])
    return X / np.sqrt(np.mean(X**2)), labels, flip_labels(labels, symmetric_matrix(3, 0.3), generator(0))


def softmax_by_hand(logits: list[float]) -> list[float]:
    powers = [math.exp(value) for value in logits]
    return [value / sum(powers) for value in powers]


@pytest.mark.parametrize("with_reads", [False, True])
@pytest.mark.parametrize("n_models", [K, K + 1])
def test_the_gradient_is_that_of_the_loss_and_the_loss_that_of_a_loop(n_models: int, with_reads: bool) -> None:
    problem, matrices, W = some_channel(n_models, with_reads)
    likelihood = np.take(matrices, problem.given, axis=2) * (1.0 if problem.reads is None else problem.reads)

    def loss(flat: FloatArray) -> float:
        return loss_and_gradient(problem, likelihood, 0.1, flat)[0]

    def gradient(flat: FloatArray) -> FloatArray:
        return loss_and_gradient(problem, likelihood, 0.1, flat)[1]

    assert check_grad(loss, gradient, W.ravel()) < 1e-5
    expected = 0.05 * float((W**2).sum())
    for m in range(n_models):
        for n in range(N):
            p = softmax_by_hand([float(W[m, y] @ problem.X[n]) for y in range(C)])
            evidence = sum(
                p[y] * matrices[m, y, problem.given[n]] * (1.0 if problem.reads is None else problem.reads[y, n])
                for y in range(C)
            )
            expected -= problem.weights[m, n] * math.log(evidence)
    assert loss(W.ravel()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("with_reads", [False, True])
@pytest.mark.parametrize("n_models", [K, K + 1])
def test_the_likelihood_of_an_item_is_by_the_matrix_of_its_own_fold(n_models: int, with_reads: bool) -> None:
    problem, matrices, _ = some_channel(n_models, with_reads)
    found = likelihood_of(problem, matrices)
    assert found.shape == (C, N)
    for n in range(N):
        for y in range(C):
            expected = matrices[problem.fold[n], y, problem.given[n]]
            assert found[y, n] == expected * (1.0 if problem.reads is None else problem.reads[y, n])


@pytest.mark.parametrize("with_reads", [False, True])
@pytest.mark.parametrize("n_models", [K, K + 1])
def test_what_held_out_models_say_is_what_a_loop_finds(n_models: int, with_reads: bool) -> None:
    problem, matrices, W = some_channel(n_models, with_reads)
    held = held_out(problem, W, matrices, 1.7)
    log_evidence, right = [], []
    for n in range(N):
        k = problem.fold[n]
        p = softmax_by_hand([1.7 * float(W[k, y] @ problem.X[n]) for y in range(C)])
        known = [1.0] * C if problem.reads is None else problem.reads[:, n].tolist()
        joint = [p[y] * float(matrices[k, y, problem.given[n]]) * known[y] for y in range(C)]
        assert held.probs[:, n].tolist() == pytest.approx(p, abs=1e-12)
        assert held.posterior[:, n].tolist() == pytest.approx([value / sum(joint) for value in joint], abs=1e-12)
        log_evidence.append(math.log(sum(joint)))
        right.append(joint[problem.given[n]] / sum(joint))
    assert held.score == pytest.approx(np.mean(log_evidence), abs=1e-12)
    assert held.rate == pytest.approx(1 - np.mean(right), abs=1e-12)
    assert held.prior == pytest.approx(held.posterior.mean(axis=1), abs=1e-12)
    assert (held.matrix == matrices[-1]).all()
    assert held.factor == 1.7


def test_a_model_of_all_items_behind_the_folds_changes_nothing_of_theirs() -> None:
    X, _, noisy = noisy_blobs()
    fold, n_folds = stratified_folds(noisy, generator(0))
    matrix = symmetric_matrix(3, 0.3)
    folds = Channel(X, noisy, fold, fold_weights(fold, n_folds), 3)
    one_more = folds._replace(weights=np.vstack([folds.weights, np.full((1, len(noisy)), 1 / len(noisy))]))

    def fitted(problem: Channel) -> FloatArray:
        n_models = len(problem.weights)
        start = np.zeros((n_models, 3, X.shape[1]))
        return fit_weights(problem, start, np.stack([matrix] * n_models), 0.03, 2000)

    W, more = fitted(folds), fitted(one_more)
    # One search for all models together: where it stops depends on all of them, by this much.
    assert more[:n_folds] == pytest.approx(W, abs=5e-3)
    assert np.abs(W[0] - W[1]).max() > 0.05
    assert np.abs(more[n_folds] - W.mean(axis=0)).max() < np.abs(W - W.mean(axis=0)).max()

    (matrices, held), (more_matrices, more_held) = (
        update_matrices(problem, weights, np.stack([matrix] * len(weights)), 20.0)
        for problem, weights in ((folds, more[:n_folds]), (one_more, more))
    )
    assert (more_matrices[:n_folds] == matrices).all()
    assert (more_matrices[n_folds] == held.matrix).all()
    assert (more_held.posterior == held.posterior).all()
    assert (more_held.score, more_held.rate, more_held.factor) == (held.score, held.rate, held.factor)


def test_reads_that_are_certain_leave_no_doubt_of_their_items() -> None:
    X, labels, noisy = noisy_blobs()
    fold, n_folds = stratified_folds(noisy, generator(0))
    certain = np.eye(3)[labels[:40]].T
    reads = np.hstack([certain, np.ones((3, len(labels) - 40))])
    problem = Channel(X, noisy, fold, fold_weights(fold, n_folds), 3, reads)
    start: FloatArray = np.stack([symmetric_matrix(3, 0.3)] * n_folds)
    W = fit_weights(problem, np.zeros((n_folds, 3, X.shape[1])), start, 0.03, 50)
    matrices, held = update_matrices(problem, W, start, 20.0)
    for posterior in (held.posterior, held_out(problem, W, matrices, held.factor).posterior):
        assert (posterior[:, :40] == certain).all()
        assert (posterior[:, 40:] > 0).all()
        assert (posterior[:, 40:] < 1).all()


def test_reads_draw_the_weights_to_what_they_say() -> None:
    X, labels, noisy = noisy_blobs()
    fold, n_folds = stratified_folds(noisy, generator(0))
    start: FloatArray = np.stack([symmetric_matrix(3, 0.3)] * n_folds)
    unread = Channel(X, noisy, fold, fold_weights(fold, n_folds), 3)
    read = unread._replace(reads=np.eye(3)[(labels + 1) % 3].T)  # everyone reads the next class

    def said(problem: Channel) -> FloatArray:
        W = fit_weights(problem, np.zeros((n_folds, 3, X.shape[1])), start, 0.03, 200)
        return held_out(unread, W, start, 1.0).probs

    assert (said(unread).argmax(axis=0) == labels).mean() > 0.9
    assert (said(read).argmax(axis=0) == (labels + 1) % 3).mean() > 0.9


def test_half_the_precision_gives_the_same_fit() -> None:
    X, _, noisy = noisy_blobs()
    fold, n_folds = stratified_folds(noisy, generator(0))
    rng = np.random.default_rng(1)
    reads = np.where(rng.random(len(noisy)) < 0.2, rng.uniform(0.01, 1, (3, len(noisy))), 1.0)
    double = Channel(X, noisy, fold, fold_weights(fold, n_folds), 3, reads)
    single = double._replace(X=X.astype(np.float32), weights=double.weights.astype(np.float32))
    start: FloatArray = np.stack([symmetric_matrix(3, 0.3)] * n_folds)
    found = [fit_weights(problem, np.zeros((n_folds, 3, X.shape[1])), start, 0.03, 300) for problem in (double, single)]
    assert found[1] == pytest.approx(found[0], abs=2e-2)
    held = [held_out(problem, W, start, 1.0) for problem, W in zip((double, single), found, strict=True)]
    assert held[1].posterior == pytest.approx(held[0].posterior, abs=5e-3)
    assert held[1].score == pytest.approx(held[0].score, abs=1e-4)


def test_a_folds_matrix_does_not_count_its_own_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    # One step: later ones let the folds know of each other through the posteriors.
    monkeypatch.setattr(channel, "TEMPERATURE_STEPS", 1)
    monkeypatch.setattr(channel, "MATRIX_STEPS", 1)
    fold, noisy = np.arange(60) % 3, np.arange(60) // 3 % 2
    weights = np.full((3, 60), 1 / 40)
    start: FloatArray = np.stack([symmetric_matrix(2, 0.2)] * 3)

    def matrices(labels: IntArray) -> FloatArray:
        return update_matrices(Channel(np.ones((60, 1)), labels, fold, weights, 2), np.zeros((3, 2, 1)), start, 20.0)[0]

    before, after = matrices(noisy), matrices(np.where(fold == 0, 0, noisy))
    assert before[0] == pytest.approx(after[0], abs=1e-12)
    assert np.abs(before[1] - after[1]).max() > 0.01


def test_folds_share_out_every_class_evenly() -> None:
    noisy = np.random.default_rng(0).choice(4, 203, p=[0.7, 0.2, 0.07, 0.03])
    fold, n_folds = stratified_folds(noisy, generator(0))
    assert n_folds == 5
    for c in range(4):
        counts = np.bincount(fold[noisy == c], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(fold, minlength=5)) <= 1


def test_an_item_has_no_weight_in_its_own_fold_and_equal_weight_in_the_others() -> None:
    assert fold_weights(np.array([0, 1, 1, 2]), 3).tolist() == [
        pytest.approx([0, 1 / 3, 1 / 3, 1 / 3]),
        pytest.approx([1 / 2, 0, 0, 1 / 2]),
        pytest.approx([1 / 3, 1 / 3, 1 / 3, 0]),
    ]
    assert fold_weights(np.array([0]), 1).tolist() == [[0.0]]  # nothing to learn from, and no division by it


def test_a_row_is_drawn_towards_symmetric_noise_at_the_rate_of_all() -> None:
    joint = np.array([[60.0, 20.0, 0.0], [0.0, 20.0, 0.0], [0.0, 0.0, 0.0]])  # a rate of 0.2
    target = symmetric_matrix(3, 0.2)
    found = shrunken(joint, 20.0)
    assert found[0] == pytest.approx((joint[0] + 20 * target[0]) / 100)
    assert found[1] == pytest.approx((joint[1] + 20 * target[1]) / 40)
    assert found[2] == pytest.approx(target[2])  # nothing was seen of this class
    assert shrunken(joint, 1e9) == pytest.approx(target, abs=1e-6)
    # All labels wrong: the target keeps a diagonal that is just above chance.
    assert shrunken(np.roll(np.eye(3), 1, axis=1), 1e9)[0] == pytest.approx([0.34, 0.33, 0.33], abs=1e-6)


def test_softmax_neither_overflows_nor_needs_more_memory() -> None:
    logits = np.array([[1000.0, -1000.0], [1000.0, 0.0]])
    found = softmax_in_place(logits)
    assert found is logits
    assert found.tolist() == [[0.5, 0.0], [0.5, 1.0]]


@pytest.mark.parametrize(("n", "n_dimensions", "kept"), [(50, 7, 7), (200, 300, 128), (40, 300, 40)])
def test_a_projection_is_centred_and_its_mean_square_is_one(n: int, n_dimensions: int, kept: int) -> None:
    features = 100 + np.random.default_rng(0).normal(size=(n, n_dimensions)) * np.linspace(1, 9, n_dimensions)
    projection = projection_of(features, generator(0))
    X = projection.of(features)
    assert X.shape == (n, kept + 1)
    assert (X[:, -1] == 1).all()
    assert X[:, :-1].mean(axis=0) == pytest.approx(np.zeros(kept), abs=1e-9)
    assert np.mean(X[:, :-1] ** 2) == pytest.approx(1)
    # One scale for all: components are orthogonal and of equal length.
    gram = projection.components @ projection.components.T
    assert gram == pytest.approx(gram[0, 0] * np.eye(kept), abs=1e-9 * gram[0, 0])
    assert projection.of(features[3:5]) == pytest.approx(X[3:5])


def test_constant_features_have_no_components() -> None:
    assert projection_of(np.full((9, 4), 0.1), generator(0)).of(np.full((2, 4), 0.1)).tolist() == [[1.0], [1.0]]
