"""Metrics against scikit-learn, absent classes included, and against counting."""

import warnings
from typing import Any

import numpy as np
import pytest
from cleanlab.rank import get_self_confidence_for_each_label
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from overread.arrays.metrics import (
    classification_metrics,
    label_accuracy,
    label_quality,
    selection_metrics,
)
from overread.errors import DataError

quick = settings(deadline=None, max_examples=40)


def names(n_classes: int) -> list[str]:
    return [f"class {c}" for c in range(n_classes)]


@given(seed=st.integers(0, 100_000), n=st.integers(1, 30), n_classes=st.integers(1, 5))
@quick
def test_classification_metrics_are_scikit_learns(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    present = rng.permutation(n_classes)[: rng.integers(1, n_classes + 1)]  # others are absent
    reference = rng.choice(present, n)
    probs = rng.dirichlet(np.full(n_classes, 0.5), n).round(1)  # rounded: ties of scores
    predicted = probs.argmax(axis=1)
    found = classification_metrics(reference, probs, names(n_classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's own, on absent classes; ours must raise none
        expected: dict[str, Any] = {
            "accuracy": sk.accuracy_score(reference, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(reference, predicted),
            "macro_f1": sk.f1_score(reference, predicted, average="macro", zero_division=0),
            "mcc": sk.matthews_corrcoef(reference, predicted),
        }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name  # type: ignore[literal-required]
    aurocs = []
    for c, scores in enumerate(found["per_class"]):
        is_class = reference == c
        assert scores["class"] == f"class {c}"
        assert scores["support"] == is_class.sum()
        for name, score in [
            ("precision", sk.precision_score),
            ("recall", sk.recall_score),
            ("f1", sk.f1_score),
        ]:
            value = score(is_class, predicted == c, zero_division=0)
            assert scores[name] == pytest.approx(value), name  # type: ignore[literal-required]
        if is_class.any() and not is_class.all():
            # By its meaning: the chance that a random member scores above a random other, ties half.
            ours, others = probs[is_class, c][:, None], probs[~is_class, c]
            aurocs.append(float(((ours > others) + 0.5 * (ours == others)).mean()))
            assert scores["auroc"] == pytest.approx(aurocs[-1])
        else:
            assert np.isnan(scores["auroc"])
    assert found["auroc_undefined"] == n_classes - len(aurocs)
    assert found["auroc"] == pytest.approx(np.mean(aurocs) if aurocs else np.nan, nan_ok=True)


def test_auroc_is_scikit_learns_where_that_is_defined() -> None:
    rng = np.random.default_rng(0)
    reference, probs = rng.integers(0, 4, 200), rng.dirichlet(np.ones(4), 200)
    expected = sk.roc_auc_score(reference, probs, multi_class="ovr", average="macro")
    assert classification_metrics(reference, probs, names(4))["auroc"] == pytest.approx(expected)


def test_an_absent_class_is_counted_and_not_averaged() -> None:
    """scikit-learn raises, or warns and gives NaN for all, where one class has no item."""
    reference = np.array([0, 0, 1, 1])
    probs = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    found = classification_metrics(reference, probs, ["a", "b", "never"])
    assert found["auroc"] == found["macro_f1"] == found["balanced_accuracy"] == found["mcc"] == 1
    assert found["auroc_undefined"] == 1
    assert np.isnan(found["per_class"][2]["auroc"])
    assert found["per_class"][2]["support"] == 0


def test_a_predicted_class_without_items_lowers_macro_f1() -> None:
    found = classification_metrics(np.array([0, 0]), np.eye(2), ["a", "b"])
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["balanced_accuracy"] == 0.5


def test_keys_are_the_contract() -> None:
    found = classification_metrics(np.array([0]), np.array([[1.0, 0.0]]), ["a", "b"])
    assert list(found) == [
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "mcc",
        "auroc",
        "auroc_undefined",
        "per_class",
    ]
    assert list(found["per_class"][0]) == ["class", "precision", "recall", "f1", "support", "auroc"]


@given(seed=st.integers(0, 100_000), n=st.integers(0, 30), n_classes=st.integers(1, 4))
@quick
def test_selection_metrics_count_items(seed: int, n: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    selected, right, reference = rng.random(n) < 0.5, rng.random(n) < 0.5, rng.integers(0, n_classes, n)

    def share(of: list[int], among: list[int]) -> float:
        return len(set(of) & set(among)) / len(among) if among else np.nan

    found = selection_metrics(selected, right, reference, names(n_classes))
    for c, scores in enumerate([found, *found["per_class"]], start=-1):
        within = [i for i in range(n) if c in (-1, reference[i])]
        picked, good = [i for i in within if selected[i]], [i for i in within if right[i]]
        assert scores["precision"] == pytest.approx(share(good, picked), nan_ok=True)
        assert scores["recall"] == pytest.approx(share(picked, good), nan_ok=True)
    assert [scores["class"] for scores in found["per_class"]] == names(n_classes)


def test_label_accuracy_counts() -> None:
    assert label_accuracy(np.array([1, 2, 0]), np.array([1, 2, 2])) == pytest.approx(2 / 3)
    assert np.isnan(label_accuracy(np.array([], dtype=np.int64), np.array([], dtype=np.int64)))


def test_label_quality_is_cleanlabs_self_confidence() -> None:
    rng = np.random.default_rng(0)
    labels, probs = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)
    np.testing.assert_array_equal(label_quality(probs, labels), get_self_confidence_for_each_label(labels, probs))


def test_errors_name_what_is_wrong() -> None:
    probs = np.array([[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(DataError, match=r"\(2, 2\) for 3 items of 2 classes"):
        classification_metrics(np.zeros(3, np.int64), probs, names(2))
    with pytest.raises(DataError, match="at least one item"):
        classification_metrics(np.zeros(0, np.int64), np.zeros((0, 2)), names(2))
    with pytest.raises(DataError, match="row 1 are not finite"):
        classification_metrics(np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, 0.5]]), names(2))
    with pytest.raises(DataError, match="label 2 at position 1 is not one of the 2 classes"):
        classification_metrics(np.array([0, 2]), probs, names(2))
    with pytest.raises(DataError, match="differ in shape"):
        selection_metrics(np.ones(2, bool), np.ones(3, bool), np.zeros(3, np.int64), names(1))
    with pytest.raises(DataError, match="label -1"):
        selection_metrics(np.ones(1, bool), np.ones(1, bool), np.array([-1]), names(1))
    with pytest.raises(DataError, match=r"\(2,\) exported labels against \(3,\)"):
        label_accuracy(np.zeros(2, np.int64), np.zeros(3, np.int64))
    with pytest.raises(DataError, match="2 rows of probs for 1 given"):
        label_quality(probs, np.array([0]))
