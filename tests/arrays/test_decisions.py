"""What is concluded from probabilities, against loops that read like the rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.decisions import (
    adjustment_in_hindsight,
    believed,
    geometric_mean,
    label_posterior,
    posterior_of,
    prior_adjusted,
)
from overread.arrays.metrics import classification_metrics
from overread.arrays.noise import class_dependent_matrix, symmetric_matrix
from overread.errors import DataError

quick = settings(deadline=None, max_examples=100)
# Exact zeros and ties meet often, and weights that are far apart.
WEIGHTS = st.sampled_from([0.0, 0.0, 1e-9, 0.25, 0.5, 1.0, 1.0, 3.0, 1e6])


@st.composite
def distributions(draw: st.DrawFn, rows: int, n_classes: int) -> FloatArray:
    """(rows, C) probabilities, some of them exactly 0; rows sum to one."""
    weights = np.array(draw(st.lists(WEIGHTS, min_size=rows * n_classes, max_size=rows * n_classes)))
    weights = weights.reshape(rows, n_classes)
    weights[weights.sum(axis=1) == 0] = 1.0
    found: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return found


@st.composite
def labelled(draw: st.DrawFn) -> tuple[FloatArray, FloatArray, IntArray]:
    """Probabilities (N, C), a noise matrix (C, C) and given labels (N,)."""
    n, n_classes = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    labels = draw(st.lists(st.integers(0, n_classes - 1), min_size=n, max_size=n))
    return draw(distributions(n, n_classes)), draw(distributions(n_classes, n_classes)), np.array(labels)


@st.composite
def judged(draw: st.DrawFn) -> tuple[FloatArray, IntArray]:
    """Posteriors (N, 3), unscaled, in quarters so that sums are exact and ties frequent; given labels of 0 and 2."""
    n = draw(st.integers(1, 12))
    quarters = draw(st.lists(st.integers(0, 4), min_size=3 * n, max_size=3 * n))
    labels = draw(st.lists(st.sampled_from([0, 2]), min_size=n, max_size=n))
    return np.array(quarters).reshape(n, 3) / 4, np.array(labels)


@given(case=labelled())
@quick
def test_the_posterior_is_bayes_rule_and_an_impossible_label_changes_nothing(
    case: tuple[FloatArray, FloatArray, IntArray],
) -> None:
    probs, matrix, labels = case
    found = label_posterior(probs, matrix, labels)
    for i in range(len(labels)):
        joint = [float(probs[i, c] * matrix[c, labels[i]]) for c in range(probs.shape[1])]
        expected = [value / sum(joint) for value in joint] if sum(joint) > 0 else probs[i].tolist()
        assert found[i].tolist() == pytest.approx(expected, abs=1e-12)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(labels)))


def test_a_label_counts_for_as_much_as_its_column_says() -> None:
    probs = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    told = label_posterior(probs, class_dependent_matrix(3, 0.5, [(0, 1)]), np.array([1, 2]))
    assert told.tolist() == [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]  # nothing of class 0 is labelled 2: kept
    assert (label_posterior(probs, np.full((3, 3), 1 / 3), np.array([1, 2])) == probs).all()
    assert label_posterior(probs, symmetric_matrix(3, 0.0), np.array([1, 0])).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert label_posterior(np.empty((0, 3)), np.eye(3), np.array([], dtype=np.int64)).shape == (0, 3)


def kept_by_the_rule(posterior: FloatArray, labels: IntArray) -> list[bool]:
    kept = [False] * len(labels)
    for c in range(posterior.shape[1]):
        ranking = sorted((-float(posterior[i, c]), i) for i in range(len(labels)) if labels[i] == c)
        expected = sum(-negative for negative, _ in ranking)
        for _, i in ranking[: round(expected)]:
            kept[i] = True
    return kept


@given(case=judged())
@quick
def test_each_class_keeps_as_many_labels_as_are_expected_to_be_right_the_surest_first(
    case: tuple[FloatArray, IntArray],
) -> None:
    posterior, labels = case
    found: BoolArray = believed(posterior, labels)
    assert found.dtype == bool
    assert found.tolist() == kept_by_the_rule(posterior, labels)
    for c in range(3):
        assert found[labels == c].sum() == pytest.approx(posterior[labels == c, c].sum(), abs=0.5)


@given(numbers=st.lists(st.integers(0, 1023), min_size=1, max_size=20, unique=True), seed=st.integers(0, 99))
@quick
def test_the_order_of_the_items_does_not_matter_unless_two_are_equal(numbers: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, order = rng.integers(0, 3, len(numbers)), rng.permutation(len(numbers))
    posterior = np.zeros((len(numbers), 3))
    posterior[np.arange(len(numbers)), labels] = np.array(numbers) / 1024
    assert (believed(posterior[order], labels[order]) == believed(posterior, labels)[order]).all()


def test_of_equal_items_the_first_ones_are_kept() -> None:
    assert believed(np.full((4, 2), 0.5), np.zeros(4, dtype=np.int64)).tolist() == [True, True, False, False]
    assert believed(np.full((4, 2), 0.5), np.array([0, 1, 0, 1])).tolist() == [True, True, False, False]


def test_certain_labels_are_all_kept_and_impossible_ones_never() -> None:
    labels = np.array([0, 1, 1, 3])
    assert believed(np.eye(4)[labels], labels).all()
    assert not believed(np.eye(4)[(labels + 1) % 4], labels).any()
    assert believed(np.empty((0, 4)), np.array([], dtype=np.int64)).tolist() == []


@quick
@given(labelled())
def test_the_posterior_of_a_matrix_is_that_of_its_likelihood(drawn: tuple[FloatArray, FloatArray, IntArray]) -> None:
    probs, matrix, given_labels = drawn
    likelihood = matrix[:, given_labels].T
    sure = (np.minimum(probs, likelihood) > 1e-6).all(axis=1)
    with np.errstate(divide="ignore"):
        found = posterior_of(probs, np.maximum(np.log(likelihood), -700.0))
    np.testing.assert_allclose(found[sure], label_posterior(probs, matrix, given_labels)[sure], atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


@quick
@given(st.data(), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_a_geometric_mean_is_between_its_parts(data: st.DataObject, rows: int, n_classes: int, several: int) -> None:
    parts = [data.draw(distributions(rows, n_classes)) for _ in range(several)]
    found = geometric_mean(parts)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    for row in range(rows):
        kept = np.array([np.prod([max(p[row, c], 1e-12) for p in parts]) ** (1 / several) for c in range(n_classes)])
        np.testing.assert_allclose(found[row], kept / kept.sum(), rtol=1e-6)
    np.testing.assert_allclose(geometric_mean([parts[0]] * 3), geometric_mean(parts[:1]), atol=1e-12)


@given(case=labelled(), strength=st.floats(0, 2))
@quick
def test_an_adjustment_divides_by_a_power_of_the_prior(
    case: tuple[FloatArray, FloatArray, IntArray], strength: float
) -> None:
    probs, _, _ = case
    prior = np.arange(1, probs.shape[1] + 1) / 10
    found = prior_adjusted(probs, prior, strength)
    for row, adjusted in zip(probs.tolist(), found.tolist(), strict=True):
        scaled = [p / float(prior[c]) ** strength for c, p in enumerate(row)]
        assert adjusted == pytest.approx([value / sum(scaled) for value in scaled], abs=1e-12)
    assert prior_adjusted(probs, prior, 0.0) == pytest.approx(probs)


@given(case=labelled())
@quick
def test_hindsight_takes_the_strength_of_largest_macro_f1(case: tuple[FloatArray, FloatArray, IntArray]) -> None:
    probs, _, reference = case
    prior = np.arange(1, probs.shape[1] + 1) / 10
    strengths = [0.0, 0.3, 0.6, 1.0, 1.5]
    names = [str(c) for c in range(probs.shape[1])]
    scores = [
        classification_metrics(reference, prior_adjusted(probs, prior, strength), names)["macro_f1"]
        for strength in strengths
    ]
    found = adjustment_in_hindsight(reference, probs, prior, strengths)
    assert scores[strengths.index(found)] == pytest.approx(max(scores))
    assert found == next(s for s, score in zip(strengths, scores, strict=True) if score > max(scores) - 1e-12)


def test_a_class_without_a_prior_cannot_be_adjusted() -> None:
    with pytest.raises(DataError, match=r"class 1 has a prior of 0\.0"):
        prior_adjusted(np.array([[0.5, 0.5]]), np.array([1.0, 0.0]), 0.5)
