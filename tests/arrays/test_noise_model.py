"""The noise model on blobs whose truth is known, on real digits, on reads of all kinds, and at its edges."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from scipy.stats import beta
from sklearn.datasets import load_digits

from overread.arrays import FloatArray, IntArray
from overread.arrays.channel import projection_of
from overread.arrays.decisions import SMALLEST_PRIOR
from overread.arrays.noise import class_dependent_matrix, flip_labels, realised_matrix, symmetric_matrix
from overread.arrays.noise_model import FEWEST_READS, PENALTIES, READ_WEIGHT, Belief, NoiseModel, _log_prior
from overread.arrays.readers import PRIOR_MEAN
from overread.arrays.splits import long_tail
from overread.errors import ConfigError, DataError
from overread.rng import generator

NOBODY: IntArray = np.empty(0, dtype=np.int64)


def blobs(n: int = 300, n_classes: int = 4, apart: float = 1.0, n_dimensions: int = 20) -> tuple[FloatArray, IntArray]:
    """Blobs with centres some sqrt(40) * `apart` standard deviations from each other, and their classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, n)
    centres = apart * rng.normal(size=(n_classes, n_dimensions))
    return centres[labels] + rng.normal(size=(n, n_dimensions)), labels


def learnt(features: FloatArray, noisy: IntArray, n_classes: int = 4, threads: int = 1) -> NoiseModel:
    model = NoiseModel(features, noisy, n_classes, generator(0), threads)
    model.learn()
    return model


def some_items(n: int, share: float) -> IntArray:
    return generator(0, "read").permutation(n)[: round(share * n)]


def accuracy(belief: Belief, labels: IntArray) -> float:
    return float((belief.posterior.argmax(axis=1) == labels).mean())


def check_distributions(belief: Belief) -> None:
    for distribution in (belief.probs, belief.posterior, belief.matrix, belief.prior[None]):
        assert (distribution >= 0).all()
        assert distribution.sum(axis=1) == pytest.approx(np.ones(len(distribution)))
    assert 0 <= belief.rate <= 1
    assert np.isfinite(belief.score)


def equal(first: Belief, second: Belief) -> bool:
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(first, second, strict=True))


def same(first: NoiseModel, second: NoiseModel) -> bool:
    """Whether all that the two say and keep is equal to the bit."""
    a, b = first.state(), second.state()
    return (
        a.keys() == b.keys()
        and all(np.array_equal(a[name], b[name]) for name in a)
        and equal(first.belief(), second.belief())
        and all(np.array_equal(x, y) for x, y in zip(first.classifier(0.5), second.classifier(0.5), strict=True))
    )


# ---- noise is found


def test_symmetric_noise_is_found_without_a_read() -> None:
    features, labels = blobs()
    noisy = flip_labels(labels, symmetric_matrix(4, 0.4), generator(0))
    belief = learnt(features, noisy).belief()
    check_distributions(belief)
    assert belief.assumption == "symmetric"
    assert belief.rate == pytest.approx((noisy != labels).mean(), abs=0.05)
    assert belief.matrix == pytest.approx(symmetric_matrix(4, 0.4), abs=0.05)
    assert belief.prior == pytest.approx(np.bincount(labels) / len(labels), abs=0.05)
    assert (noisy == labels).mean() < 0.65
    assert accuracy(belief, labels) > 0.93


def test_the_long_tail_of_real_images_is_mended() -> None:
    pixels, labels = load_digits(return_X_y=True)
    keep = long_tail(labels, 20.0, generator(0, "digits"))
    pixels, labels = pixels[keep], labels[keep]
    noisy = flip_labels(labels, symmetric_matrix(10, 0.4), generator(0, "noise", "0.4"))
    belief = learnt(pixels, noisy, 10).belief()
    assert belief.rate == pytest.approx((noisy != labels).mean(), abs=0.05)
    assert accuracy(belief, labels) > 0.9


def test_a_few_reads_reveal_that_classes_become_each_other() -> None:
    features, labels = blobs(apart=1.5)
    T = class_dependent_matrix(4, 0.4)
    noisy = flip_labels(labels, T, generator(0))
    model = learnt(features, noisy)
    assert model.belief().assumption == "symmetric"  # nobody read anything
    read = some_items(300, 0.15)
    model.update(read, labels[read])
    belief = model.belief()
    check_distributions(belief)
    assert belief.assumption in ("free", "nearly symmetric")
    # Drawn by the pseudo-items towards symmetric noise, so the mean is the nearer one.
    assert np.abs(belief.matrix - T).mean() < 0.06
    assert np.abs(belief.matrix - realised_matrix(labels, noisy, 4)).max() < 0.12
    assert belief.rate == pytest.approx((noisy != labels).mean(), abs=0.03)
    assert accuracy(belief, labels) > 0.95


def test_labels_that_are_all_wrong_are_put_right_by_reads() -> None:
    features, labels = blobs(apart=1.5)
    shifted = (labels + 1) % 4
    model = learnt(features, shifted)
    assert accuracy(model.belief(), labels) == 0  # nothing but a read can tell
    read = some_items(300, 0.2)
    model.update(read, labels[read])
    belief = model.belief()
    assert belief.assumption == "free"
    assert belief.rate > 0.95
    assert (belief.matrix.argmax(axis=1) == (np.arange(4) + 1) % 4).all()
    assert accuracy(belief, labels) > 0.95


@pytest.mark.parametrize("reconsider", [True, False])
def test_a_matrix_that_renames_classes_is_left_in_any_round(reconsider: bool) -> None:
    features, labels = blobs(apart=1.5)
    model = learnt(features, (labels + 1) % 4)
    read = some_items(300, 0.2)
    model.update(read, labels[read], reconsider)
    assert accuracy(model.belief(), labels) > 0.95


def test_labels_that_are_all_right_are_believed() -> None:
    features, labels = blobs()
    model = learnt(features, labels)
    assert model.belief().rate < 0.02
    assert model.belief().penalty == PENALTIES[0]  # there is nothing to smooth away
    read = some_items(300, 0.1)
    model.update(read, labels[read])
    assert model.belief().penalty == PENALTIES[0]  # another one is tried, and does not stay
    assert model.belief().rate < 0.02
    assert model.belief().assumption == "symmetric"
    assert accuracy(model.belief(), labels) > 0.98


# ---- reads


def test_a_read_makes_an_item_certain_and_others_no_worse() -> None:
    features, labels = blobs(apart=0.6)  # they overlap
    noisy = flip_labels(labels, symmetric_matrix(4, 0.4), generator(0))
    model = learnt(features, noisy)
    before = model.belief()
    read = some_items(300, 0.2)
    assert before.posterior[read, labels[read]].min() < 0.1
    model.update(read, labels[read])
    after = model.belief()
    assert (after.posterior[read].argmax(axis=1) == labels[read]).mean() > 0.98
    assert np.median(after.posterior[read, labels[read]]) > 0.99
    others = np.setdiff1d(np.arange(300), read)
    right = [float((belief.posterior[others].argmax(axis=1) == labels[others]).mean()) for belief in (before, after)]
    assert right[1] > right[0] - 0.01


def test_of_reads_that_contradict_each_other_the_majority_counts() -> None:
    # The features say nothing, so that there are reads and given labels alone.
    noisy = np.arange(90) % 3
    model = learnt(np.zeros((90, 1)), noisy, 3)
    read = np.arange(30)
    truth = noisy.copy()
    truth[read[::3]] = (noisy[read[::3]] + 1) % 3  # of ten given labels the readers say that they are wrong
    positions = np.tile(read, 3)
    said = np.concatenate([truth[read], (truth[read] + 1) % 3, truth[read]])  # two to one
    model.update(positions, said)
    posterior = model.belief().posterior
    assert (posterior[read].argmax(axis=1) == truth[read]).all()
    # One vote more is as much as one read.
    assert model.reader_error > 0.2
    # One to one, and the two classes share what there is.
    model.update(positions[:60], said[:60])
    posterior = model.belief().posterior
    assert posterior[read, truth[read]] + posterior[read, said[30:60]] == pytest.approx(np.ones(30), abs=0.1)


def test_reads_count_by_what_they_say_and_not_by_their_order() -> None:
    features, labels = blobs()
    noisy = flip_labels(labels, symmetric_matrix(4, 0.3), generator(0))
    first, second = learnt(features, noisy), learnt(features, noisy)
    positions = np.concatenate([some_items(300, 0.1), some_items(300, 0.1)])
    said = flip_labels(labels[positions], symmetric_matrix(4, 0.2), generator(0, "readers"))
    order = generator(1).permutation(len(positions))
    first.update(positions, said)
    second.update(positions[order], said[order])
    assert same(first, second)


def test_readers_that_err_are_found_out_and_perfect_ones_trusted() -> None:
    features, labels = blobs()
    noisy = flip_labels(labels, symmetric_matrix(4, 0.3), generator(0))
    positions = np.tile(some_items(300, 0.5), 2)
    said = flip_labels(labels[positions], symmetric_matrix(4, 0.2), generator(0, "readers"))
    model = learnt(features, noisy)
    kept = model.state()
    assert model.reader_error == PRIOR_MEAN
    model.update(positions, labels[positions])
    assert model.reader_error < 0.04
    model.load_state(kept, NOBODY, NOBODY)
    model.update(positions, said)
    model.update(positions, said, reconsider=False)
    assert 0.1 < model.reader_error < 0.3
    assert accuracy(model.belief(), labels) > 0.95


# ---- the same numbers


@pytest.mark.parametrize("reconsider", [True, False])
def test_what_is_restored_goes_on_to_the_same_bits(reconsider: bool) -> None:
    features, labels = blobs(160)
    noisy = flip_labels(labels, class_dependent_matrix(4, 0.4), generator(0))
    read = some_items(160, 0.3)
    said = flip_labels(labels[read], symmetric_matrix(4, 0.1), generator(0, "readers"))
    model = learnt(features, noisy)

    def restored(number: int) -> NoiseModel:
        twin = NoiseModel(features, noisy, 4, generator(0))
        kept = {name: values.copy() for name, values in model.state().items()}
        twin.load_state(kept, read[:number], said[:number])
        return twin

    twins = [restored(0)]
    for number in (16, 32, 48):
        assert all(same(model, twin) for twin in twins)
        for one in (model, *twins):
            one.update(read[:number], said[:number], reconsider)
        twins.append(restored(number))
    assert all(same(model, twin) for twin in twins)
    assert model.reader_error != PRIOR_MEAN


def test_threads_change_nothing_and_seeds_do() -> None:
    features, labels = blobs(100)
    noisy = flip_labels(labels, symmetric_matrix(4, 0.4), generator(0))
    read = some_items(100, 0.2)

    def model(seed: int, threads: int) -> NoiseModel:
        found = NoiseModel(features, noisy, 4, generator(seed), threads)
        found.learn()
        found.update(read, labels[read])
        return found

    first = model(0, 1)
    assert same(first, model(0, 2))
    assert same(first, model(0, 1))
    assert not same(first, model(1, 1))


def test_an_update_without_reads_changes_nothing() -> None:
    features, labels = blobs(100)
    model = learnt(features, flip_labels(labels, symmetric_matrix(4, 0.3), generator(0)))
    before, belief = model.state(), model.belief()
    model.update(NOBODY, NOBODY)
    assert all((before[name] == values).all() for name, values in model.state().items())
    assert equal(belief, model.belief())


def test_single_precision_is_enough() -> None:
    features, labels = blobs()
    noisy = flip_labels(labels, symmetric_matrix(4, 0.4), generator(0))
    double, single = learnt(features, noisy).belief(), learnt(features.astype(np.float32), noisy).belief()
    assert single.rate == pytest.approx(double.rate, abs=0.02)
    assert (single.posterior.argmax(axis=1) == double.posterior.argmax(axis=1)).mean() > 0.98


# ---- parts that are switched off


def fixed(features: FloatArray, noisy: IntArray, read: IntArray, said: IntArray, **parts: Any) -> NoiseModel:
    model = NoiseModel(features, noisy, 4, generator(0), **parts)
    model.learn()
    model.update(read, said)
    return model


def test_without_a_noise_matrix_it_is_a_softmax_regression_of_the_other_folds() -> None:
    features, labels = blobs(200)
    noisy = flip_labels(labels, symmetric_matrix(4, 0.3), generator(0))
    read = some_items(200, 0.2)
    model = fixed(features, noisy, read, labels[read], noise_matrix="none")
    belief, kept = model.belief(), model.state()
    assert belief.assumption == "none"
    assert belief.rate < 1e-6
    now = noisy.copy()
    now[read] = labels[read]
    assert (belief.posterior.argmax(axis=1) == now).all()
    assert (belief.posterior.max(axis=1) > 1 - 1e-6).all()
    # By hand: weighted cross-entropy of the labels, each fold's model without its own items.
    X = projection_of(features, generator(0)).of(features).astype(np.float32)
    weight = np.where(np.isin(np.arange(200), read), READ_WEIGHT, 1.0)
    W, (penalty, factor) = kept["none/W"], kept["none/penalty_and_factor"]

    def loss(flat: FloatArray, trained: IntArray) -> float:
        log_p = log_softmax(X[trained] @ flat.reshape(4, -1).T, axis=1)[np.arange(len(trained)), now[trained]]
        return float(-(weight[trained] * log_p).sum() / len(trained) + penalty / 2 * flat @ flat)

    for k in range(5):
        held = np.flatnonzero(model._fold == k)
        trained = np.setdiff1d(np.arange(200), held)
        found = minimize(loss, np.zeros(W[k].size), args=(trained,), method="L-BFGS-B")
        assert loss(W[k].ravel(), trained) == pytest.approx(found.fun, abs=0.01)
        assert belief.probs[held] == pytest.approx(softmax(factor * X[held] @ W[k].T, axis=1), abs=1e-5)


@pytest.mark.parametrize("part", ["free", "symmetric"])
def test_a_noise_matrix_that_was_asked_for_is_kept_whatever_reads_say(part: str) -> None:
    features, labels = blobs(apart=1.5)
    T = class_dependent_matrix(4, 0.4) if part == "symmetric" else symmetric_matrix(4, 0.4)
    noisy = flip_labels(labels, T, generator(0))
    read = some_items(300, 0.15)
    chosen = fixed(features, noisy, read, labels[read]).belief().assumption
    assert chosen != part
    model = fixed(features, noisy, read, labels[read], noise_matrix=part)
    assert model.belief().assumption == part
    check_distributions(model.belief())
    twin = NoiseModel(features, noisy, 4, generator(0), noise_matrix=part)
    twin.load_state(model.state(), read, labels[read])
    assert same(model, twin)


def test_reader_error_that_was_said_is_not_estimated() -> None:
    features, labels = blobs()
    noisy = flip_labels(labels, symmetric_matrix(4, 0.3), generator(0))
    read = some_items(300, 0.3)
    said = flip_labels(labels[read], symmetric_matrix(4, 0.2), generator(0, "readers"))
    trusting, doubting = (fixed(features, noisy, read, said, reader_error=error) for error in (0.0, 0.4))
    assert trusting.reader_error == pytest.approx(0, abs=1e-9)
    assert (trusting.belief().posterior[read].argmax(axis=1) == said).all()
    assert doubting.reader_error == 0.4
    mended = doubting.belief().posterior[read].argmax(axis=1) == labels[read]
    assert mended.mean() > (said == labels[read]).mean() + 0.1
    twin = NoiseModel(features, noisy, 4, generator(0), reader_error=0.4)
    twin.load_state(doubting.state(), read, said)
    assert same(doubting, twin)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"noise_matrix": "fre"}, "'fre' is unknown: known are chosen, free, symmetric, none"),
        ({"reader_error": 0.75}, "err in a share of 0.75 say nothing of 4 classes"),
        ({"reader_error": -0.1}, "say nothing"),
    ],
)
def test_parts_that_cannot_be_are_refused(parts: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        NoiseModel(np.eye(4), np.array([0, 1, 2, 3]), 4, generator(0), **parts)


# ---- the classifier


def adjusted(probs: FloatArray, prior: FloatArray, strength: float) -> FloatArray:
    """The formula of Menon et al. 2021 on probabilities."""
    scaled: FloatArray = probs / prior**strength
    found: FloatArray = scaled / scaled.sum(axis=1, keepdims=True)
    return found


def test_the_classifier_is_the_model_of_all_items_adjusted() -> None:
    features, labels = blobs(200)
    noisy = flip_labels(labels, symmetric_matrix(4, 0.4), generator(0))
    model = learnt(features, noisy)
    read = some_items(200, 0.2)
    model.update(read, labels[read])
    belief, kept = model.belief(), model.state()
    W, (_, factor) = kept[f"{belief.assumption}/W"][-1], kept[f"{belief.assumption}/penalty_and_factor"]
    X = projection_of(features, generator(0)).of(features)
    expected = softmax(factor * X @ W.T, axis=1)
    assert (expected.argmax(axis=1) == labels).mean() > 0.9
    # Held-out models are of the same kind, and say much the same.
    assert np.abs(expected - belief.probs).mean() < 0.1
    for adjustment in (0.0, 0.5, 1.0):
        weight, bias = model.classifier(adjustment)
        assert weight.shape == (4, 20)
        found = softmax(features @ weight.T + bias, axis=1)
        assert found == pytest.approx(adjusted(expected, belief.prior, adjustment), abs=1e-9)
    (weight, bias), (other_weight, other_bias) = model.classifier(0.0), model.classifier(0.7)
    assert (weight == other_weight).all()
    assert other_bias == pytest.approx(bias - 0.7 * np.log(belief.prior))


def test_wide_features_are_projected_and_the_classifier_is_of_the_wide_ones() -> None:
    narrow, labels = blobs(250, n_dimensions=10, apart=1.5)
    rng = np.random.default_rng(1)
    features = narrow @ np.linalg.qr(rng.normal(size=(600, 10)))[0].T + 0.01 * rng.normal(size=(250, 600))
    noisy = flip_labels(labels, symmetric_matrix(4, 0.4), generator(0))
    model = learnt(features.astype(np.float32), noisy)
    assert accuracy(model.belief(), labels) > 0.9
    weight, bias = model.classifier(0.0)
    assert weight.shape == (4, 600)
    assert ((features @ weight.T + bias).argmax(axis=1) == labels).mean() > 0.93


# ---- edges


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("one_label", [True, False])
@pytest.mark.parametrize("noise_matrix", ["chosen", "none"])
def test_a_handful_of_items_is_answered(n: int, one_label: bool, noise_matrix: str) -> None:
    noisy = np.zeros(n, dtype=np.int64) if one_label else np.arange(n) % 2
    model = NoiseModel(np.arange(2.0 * n).reshape(n, 2), noisy, 2, generator(0), noise_matrix=noise_matrix)
    model.learn()
    check_distributions(model.belief())
    model.update(np.array([0]), np.array([1]))
    check_distributions(model.belief())
    assert np.isfinite(np.hstack([model.classifier(1.0)[0].ravel(), model.classifier(1.0)[1]])).all()


@pytest.mark.parametrize("noise_matrix", ["chosen", "none"])
def test_a_set_of_one_class_has_no_noise(noise_matrix: str) -> None:
    features, noisy = np.arange(20.0).reshape(10, 2), np.zeros(10, dtype=np.int64)
    model = NoiseModel(features, noisy, 1, generator(0), noise_matrix=noise_matrix)
    model.learn()
    model.update(np.array([3]), np.array([0]))
    assert model.belief().rate == 0
    assert (model.belief().posterior == 1).all()


def test_labels_of_one_class_are_believed_until_somebody_reads() -> None:
    features, labels = blobs(apart=1.5)
    model = learnt(features, np.full(300, 1))
    before = model.belief()
    check_distributions(before)
    assert before.rate < 0.02
    assert before.prior[1] > 0.95
    read = some_items(300, 0.2)
    model.update(read, labels[read])
    after = model.belief()
    check_distributions(after)
    assert after.rate == pytest.approx((labels != 1).mean(), abs=0.05)
    assert accuracy(after, labels) > 0.95


def test_a_class_that_nobody_was_given_is_found_by_reads() -> None:
    features, labels = blobs(apart=1.5)
    noisy = np.where(labels == 3, 0, labels)
    model = learnt(features, noisy)
    before = model.belief()
    check_distributions(before)
    assert before.prior[3] < 0.02
    # Not named for being rare: its bias is that of a prior which is not zero.
    plain, full = model.classifier(0.0)[1], model.classifier(1.0)[1]
    assert full - plain == pytest.approx(-np.log(np.maximum(before.prior, SMALLEST_PRIOR)))
    read = some_items(300, 0.2)
    model.update(read, labels[read])
    after = model.belief()
    check_distributions(after)
    assert after.prior[3] == pytest.approx((labels == 3).mean(), abs=0.05)
    assert after.matrix[3].argmax() == 0
    assert accuracy(after, labels) > 0.95


def test_a_class_of_one_item_is_answered() -> None:
    features, labels = blobs(200)
    only = int(np.flatnonzero(labels == 3)[0])
    keep = np.flatnonzero((labels != 3) | (np.arange(200) == only))
    features, labels, only = features[keep], labels[keep], int(np.flatnonzero(keep == only)[0])
    model = learnt(features, labels)
    check_distributions(model.belief())
    model.update(np.arange(only, only + 20), labels[only : only + 20])
    belief = model.belief()
    check_distributions(belief)
    assert (belief.posterior[:, 3] > 0.5).nonzero()[0].tolist() == [only]
    assert belief.prior[3] == pytest.approx(1 / len(labels), abs=0.01)


@pytest.mark.parametrize("features", [np.full((120, 3), 0.1), np.empty((120, 0))], ids=["constant", "none"])
def test_features_that_say_nothing_leave_the_frequencies(features: FloatArray) -> None:
    noisy = np.repeat([0, 1, 2], [60, 40, 20])
    model = learnt(features, noisy, 3)
    belief = model.belief()
    check_distributions(belief)
    assert belief.score == pytest.approx(np.log([1 / 2, 1 / 3, 1 / 6]) @ [1 / 2, 1 / 3, 1 / 6], abs=0.05)
    assert np.ptp(belief.probs, axis=0).max() < 0.1
    model.update(np.arange(30), noisy[:30])
    check_distributions(model.belief())
    weight, bias = model.classifier(1.0)
    assert weight.shape == (3, features.shape[1])
    assert (weight == 0).all()
    assert np.isfinite(bias).all()


def test_very_many_reads_of_one_item_do_no_harm() -> None:
    features, labels = blobs(100)
    noisy = flip_labels(labels, symmetric_matrix(4, 0.3), generator(0))
    model = learnt(features, noisy)
    positions = np.repeat(np.arange(10), 2000)
    model.update(positions, (labels[positions] + 1) % 4)  # against all evidence
    check_distributions(model.belief())
    assert (model.belief().posterior[:10].argmax(axis=1) == (labels[:10] + 1) % 4).all()


def test_a_few_reads_against_right_labels_rename_no_class() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, 300)
        features = rng.normal(size=(4, 8))[labels] * 6 + rng.normal(size=(300, 8))
        model = NoiseModel(features, labels, 4, generator(seed))
        model.learn()
        model.update(np.arange(4), (labels[:4] + 1) % 4)
        assert (model.belief().posterior[4:].argmax(axis=1) == labels[4:]).mean() > 0.98


# ---- small sets, and labels that say nothing


def test_of_a_hundred_items_it_is_not_believed_that_nothing_is_wrong() -> None:
    rates = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, 100)
        features = 0.6 * rng.normal(size=(4, 20))[labels] + rng.normal(size=(100, 20))
        noisy = flip_labels(labels, symmetric_matrix(4, 0.4), generator(seed))
        model = NoiseModel(features, noisy, 4, generator(seed))
        model.learn()
        rates.append(model.belief().rate)
    assert min(rates) > 0.05
    assert np.mean(rates) == pytest.approx(0.4, abs=0.15)


def test_the_prior_of_the_rate_is_a_beta_density_of_smoothed_counts() -> None:
    for rate in (0.0, 0.3, 0.5, 1.0):
        smoothed = np.array([(rate * 50 + 1) / 52, (26.0) / 52])
        expected = np.diff(beta(2, 2).logpdf(smoothed))
        assert _log_prior(0.5, 50) - _log_prior(rate, 50) == pytest.approx(expected[0])


def test_labels_that_no_image_foretells_are_called_so_until_there_are_reads() -> None:
    features, labels = blobs(200)
    noise = np.random.default_rng(5).integers(0, 4, 200)
    model = learnt(features, noise)
    assert not model.belief().informed
    read = some_items(200, 0.5)
    few = read[: FEWEST_READS - 1]
    model.update(few, labels[few])
    assert not model.belief().informed
    model.update(read[:FEWEST_READS], labels[read[:FEWEST_READS]])
    assert model.belief().informed
    assert learnt(features, flip_labels(labels, symmetric_matrix(4, 0.4), generator(0))).belief().informed


@settings(max_examples=12, deadline=None)
@given(
    n=st.integers(2, 40),
    n_classes=st.integers(2, 6),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["right", "wrong", "any"]),
)
def test_tiny_sets_with_classes_that_folds_miss_are_answered(n: int, n_classes: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(0.5, n) - 1, n_classes - 1)  # rare classes have an item or none
    features = rng.normal(size=(n_classes, 5))[labels] * 3 + rng.normal(size=(n, 5))
    shift = {"right": np.zeros(n, dtype=np.int64), "wrong": np.ones(n, dtype=np.int64)}.get(
        kind, rng.integers(0, n_classes, n)
    )
    noisy = (labels + shift) % n_classes
    model = NoiseModel(features, noisy, n_classes, generator(seed))
    model.learn()
    check_distributions(model.belief())
    read = rng.permutation(n)[: max(1, n // 2)]
    model.update(read, labels[read])
    check_distributions(model.belief())
    assert 0 < model.reader_error < (n_classes - 1) / n_classes
    assert np.isfinite(model.log_likelihood()).all()
    twin = NoiseModel(features, noisy, n_classes, generator(seed))
    twin.load_state(model.state(), read, labels[read])
    assert same(model, twin)


# ---- errors


@pytest.mark.parametrize(
    ("features", "labels", "says"),
    [
        (np.zeros((2, 3)), [0, 1, 1], r"shape \(2, 3\) for 3 given labels"),
        (np.zeros(3), [0, 1, 1], r"shape \(3,\) for 3"),
        (np.zeros((0, 2)), [], r"shape \(0, 2\) for 0"),
        (np.array([[0.0, np.nan], [1.0, 2.0]]), [0, 1], "not finite"),
        (np.array([[0.0, np.inf], [1.0, 2.0]], dtype=np.float32), [0, 1], "not finite"),
        (np.zeros((2, 2)), [0, 3], "given labels must lie in 0 .. 2"),
        (np.zeros((2, 2)), [0, -1], "given labels must lie in 0 .. 2"),
    ],
)
def test_input_that_cannot_be_used_is_named(features: FloatArray, labels: list[int], says: str) -> None:
    with pytest.raises(DataError, match=says):
        NoiseModel(features, np.array(labels, dtype=np.int64), 3, generator(0))


def test_reads_before_given_labels_are_refused() -> None:
    model = NoiseModel(np.zeros((4, 2)), np.array([0, 1, 0, 1]), 2, generator(0))
    with pytest.raises(DataError, match="learns from given labels before"):
        model.update(np.array([0]), np.array([1]))


@pytest.mark.parametrize(
    ("positions", "labels", "says"),
    [
        ([4], [0], "1 reads at 1 positions: give one position from 0 to 3"),
        ([-1], [0], "one position from 0 to 3"),
        ([0, 1], [0], "1 reads at 2 positions"),
        ([0], [2], "labels of reads must lie in 0 .. 1"),
    ],
)
def test_reads_of_nothing_are_refused(positions: list[int], labels: list[int], says: str) -> None:
    model = NoiseModel(np.eye(4), np.array([0, 1, 0, 1]), 2, generator(0))
    model.learn()
    with pytest.raises(DataError, match=says):
        model.update(np.array(positions), np.array(labels))
