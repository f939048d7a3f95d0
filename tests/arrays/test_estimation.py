import json

import numpy as np
import pytest
from cleanlab.count import estimate_py_and_noise_matrices_from_probabilities
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from overread.arrays import FloatArray, IntArray, estimation
from overread.arrays.estimation import estimate_noise, items_to_estimate
from overread.arrays.noise import class_dependent_matrix, flip_labels, symmetric_matrix
from overread.arrays.splits import long_tail, subsample
from overread.errors import DataError
from overread.rng import generator


def digits(imbalance: float = 1.0) -> tuple[FloatArray, IntArray]:
    """Real images: 900 of them balanced, or with a long tail (20 leaves 623)."""
    pixels, labels = load_digits(return_X_y=True)
    rng = generator(0, "digits")
    keep = subsample(labels, 900, rng) if imbalance == 1 else long_tail(labels, imbalance, rng)
    return pixels[keep], labels[keep]


def blobs(n: int, n_classes: int, n_dimensions: int = 6) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, n)
    return 4 * rng.normal(size=(n_classes, n_dimensions))[labels] + rng.normal(size=(n, n_dimensions)), labels


def confident_joint(pixels: FloatArray, noisy: IntArray) -> FloatArray:
    """Reference: cleanlab's estimate of the matrix from out-of-fold probabilities of an untuned regression."""
    model = LogisticRegression(C=0.1, max_iter=300)
    scaled = (pixels - pixels.mean(axis=0)) / pixels.std()
    probabilities = cross_val_predict(model, scaled, noisy, cv=5, method="predict_proba")
    _, matrix, _, _ = estimate_py_and_noise_matrices_from_probabilities(noisy, probabilities)
    transposed: FloatArray = matrix.T
    return transposed


# Tolerances are 1.5 times the largest error over eight noise draws of these very items.  Mean errors over the eight,
# at 0.2, 0.4, 0.6: rate .008, .019, .025 (balanced) and .004, .013, .012 (tail), mean absolute error of the matrix
# .012, .018, .020 and .013, .016, .019.  The confident joint: rate .035, .061, .100 and .146, .114, .105, matrix .022,
# .028, .033 and .048, .051, .052.  Its rate can be the nearer one in a single draw at 0.2; its matrix never was.
@pytest.mark.parametrize(
    ("imbalance", "rate", "rate_error", "matrix_error"),
    [
        (1.0, 0.2, 0.023, 0.020),
        (1.0, 0.4, 0.047, 0.029),
        (1.0, 0.6, 0.084, 0.037),
        (20.0, 0.2, 0.012, 0.024),
        (20.0, 0.4, 0.067, 0.027),
        (20.0, 0.6, 0.038, 0.034),
    ],
)
def test_injected_symmetric_noise_is_found_and_its_matrix_nearer_than_the_confident_joint(
    imbalance: float, rate: float, rate_error: float, matrix_error: float
) -> None:
    pixels, labels = digits(imbalance)
    T = symmetric_matrix(10, rate)
    noisy = flip_labels(labels, T, generator(0, "noise", str(rate)))
    found = estimate_noise(pixels, noisy, 10, generator(0, "estimate"))
    error = np.abs(found.matrix - T).mean()
    assert abs(found.rate - (noisy != labels).mean()) < rate_error
    assert error < matrix_error
    assert np.abs(found.prior - np.bincount(labels) / len(labels)).mean() < 0.027  # largest of eight: .018
    # The given labels are right in a share of 1 - rate; the posterior mends more than half of the others.
    assert (found.posterior.argmax(axis=1) == labels).mean() > 1 - rate / 2
    assert error < np.abs(confident_joint(pixels, noisy) - T).mean()


def test_injected_class_dependent_noise_is_found() -> None:
    pixels, labels = digits()
    T = class_dependent_matrix(10, 0.3)
    noisy = flip_labels(labels, T, generator(0, "pairs"))
    found = estimate_noise(pixels, noisy, 10, generator(0))
    assert np.abs(found.matrix - T).mean() < 0.026  # largest of eight: .0173
    assert found.rate == pytest.approx((noisy != labels).mean(), abs=0.023)  # largest of eight: .015


def test_clean_labels_are_called_clean() -> None:
    pixels, labels = digits()
    found = estimate_noise(pixels, labels, 10, generator(0))
    assert found.rate < 0.010  # largest of eight: .006
    assert np.abs(found.matrix - np.eye(10)).max() < 0.057  # largest of eight: .037


def test_the_result_is_made_of_distributions_and_repeats_whatever_the_threads() -> None:
    features, labels = blobs(300, 3)
    noisy = flip_labels(labels, symmetric_matrix(3, 0.3), generator(0))
    found, again = (estimate_noise(features, noisy, 3, generator(5), threads) for threads in (1, 3))
    assert found.matrix.shape == (3, 3)
    assert found.posterior.shape == (300, 3)
    for distribution in (found.matrix, found.posterior, found.prior[None]):
        assert (distribution >= 0).all()
        assert distribution.sum(axis=1) == pytest.approx(np.ones(len(distribution)))
    assert found.heldout_log_likelihood < 0
    assert found.rate == pytest.approx((noisy != labels).mean(), abs=0.03)
    assert found.rate == pytest.approx(1 - found.posterior[np.arange(300), noisy].mean(), abs=1e-9)
    assert all((a == b).all() for a, b in ((found.matrix, again.matrix), (found.posterior, again.posterior)))
    assert (found.rate, found.heldout_log_likelihood) == (again.rate, again.heldout_log_likelihood)
    assert json.loads(json.dumps(found.matrix.tolist())) == found.matrix.tolist()


def test_of_many_items_a_sample_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert items_to_estimate(300, generator(5)).tolist() == list(range(300))
    monkeypatch.setattr(estimation, "MOST_ITEMS", 300)
    assert items_to_estimate(300, generator(5)).tolist() == list(range(300))
    some = items_to_estimate(2000, generator(5))
    assert len(np.unique(some)) == 300
    assert (np.diff(some) > 0).all()
    assert some.max() < 2000
    assert some.mean() == pytest.approx(1000, abs=150)
    assert not np.array_equal(some, items_to_estimate(2000, generator(6)))


def test_shift_and_common_scale_of_the_features_do_not_matter() -> None:
    features, labels = blobs(200, 3)
    noisy = flip_labels(labels, symmetric_matrix(3, 0.3), generator(0))
    first = estimate_noise(features, noisy, 3, generator(0))
    second = estimate_noise(features * 1000 + 7, noisy, 3, generator(0))
    assert second.matrix == pytest.approx(first.matrix, abs=1e-2)
    assert second.rate == pytest.approx(first.rate, abs=1e-2)


def test_many_dimensions_are_projected_and_the_signal_survives() -> None:
    features, labels = blobs(400, 3)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(300, 6)))[0]
    wide = features @ rotation.T + 0.01 * np.random.default_rng(1).normal(size=(400, 300))
    noisy = flip_labels(labels, symmetric_matrix(3, 0.4), generator(0))
    found = estimate_noise(wide, noisy, 3, generator(0))
    assert found.rate == pytest.approx((noisy != labels).mean(), abs=0.05)


def test_a_class_that_nobody_was_given_has_an_identity_row_and_no_weight() -> None:
    features, labels = blobs(200, 2)
    noisy = flip_labels(labels, symmetric_matrix(2, 0.2), generator(0)) * 2  # classes 0 and 2 of 4
    found = estimate_noise(features, noisy, 4, generator(0))
    assert (found.matrix[[1, 3]] == np.eye(4)[[1, 3]]).all()
    assert (found.matrix[:, [1, 3]] == np.eye(4)[:, [1, 3]]).all()
    assert (found.prior[[1, 3]] == 0).all()
    assert (found.posterior[:, [1, 3]] == 0).all()
    inner = estimate_noise(features, noisy // 2, 2, generator(0))
    assert (found.matrix[np.ix_([0, 2], [0, 2])] == inner.matrix).all()
    assert found.rate == inner.rate == pytest.approx(0.2, abs=0.06)


def test_one_class_has_no_noise() -> None:
    found = estimate_noise(np.random.default_rng(0).normal(size=(5, 2)), np.full(5, 1), 3, generator(0))
    assert found.rate == 0
    assert (found.matrix == np.eye(3)).all()
    assert found.prior.tolist() == [0, 1, 0]
    assert (found.posterior == np.eye(3)[[1] * 5]).all()


@pytest.mark.parametrize("n", [2, 3, 6])
def test_a_handful_of_items_is_answered(n: int) -> None:
    found = estimate_noise(np.arange(2.0 * n).reshape(n, 2), np.arange(n) % 2, 2, generator(0))
    assert 0 <= found.rate <= 1
    assert np.isfinite(found.posterior).all()
    assert found.matrix.sum(axis=1) == pytest.approx([1, 1])


def test_features_that_say_nothing_give_a_finite_answer() -> None:
    noisy = np.arange(60) % 3
    found = estimate_noise(np.full((60, 4), 0.1), noisy, 3, generator(0))
    assert found.heldout_log_likelihood == pytest.approx(np.log(1 / 3), abs=0.05)
    assert np.isfinite(found.matrix).all()
    assert np.isfinite(estimate_noise(np.empty((60, 0)), noisy, 3, generator(0)).rate)


@pytest.mark.parametrize(
    ("features", "labels", "says"),
    [
        (np.zeros((2, 3)), [0, 1, 1], r"shape \(2, 3\) but there are 3 given labels"),
        (np.zeros(3), [0, 1, 1], r"shape \(3,\) but"),
        (np.full((2, 2), np.nan), [0, 1], "not finite"),
        (np.zeros((0, 2)), [], "from no items"),
        (np.zeros((2, 2)), [0, 5], "given labels must lie in 0 .. 2"),
    ],
)
def test_input_that_cannot_be_used_is_named(features: FloatArray, labels: list[int], says: str) -> None:
    with pytest.raises(DataError, match=says):
        estimate_noise(features, np.array(labels, dtype=np.int64), 3, generator(0))
