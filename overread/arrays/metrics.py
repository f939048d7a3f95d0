"""Scores of one state: a classifier against the truth, a presumed-clean set, a label vector."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.errors import DataError

__all__ = [
    "ClassScores",
    "ClassSelection",
    "ClassificationMetrics",
    "SelectionMetrics",
    "classification_metrics",
    "label_accuracy",
    "label_quality",
    "selection_metrics",
]

# The functional form, because "class" is the key's name in results.json and a reserved word in Python.
ClassScores = TypedDict(
    "ClassScores",
    {"class": str, "precision": float, "recall": float, "f1": float, "support": int, "auroc": float},
)
ClassSelection = TypedDict("ClassSelection", {"class": str, "precision": float, "recall": float})


class ClassificationMetrics(TypedDict):
    """What `classification_metrics` returns; the `test` entry of a round in results.json."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    mcc: float
    auroc: float
    auroc_undefined: int
    per_class: list[ClassScores]


class SelectionMetrics(TypedDict):
    """What `selection_metrics` returns; the `selection` entry of a round in results.json."""

    precision: float
    recall: float
    per_class: list[ClassSelection]


def classification_metrics(reference: IntArray, probs: FloatArray, class_names: Sequence[str]) -> ClassificationMetrics:
    """Scores of the predictions argmax(probs) and of the probabilities themselves; all but `mcc` within 0..1.

    reference: (N,), true classes; probs: (N, C). Higher = better throughout. Ties of probabilities: lower class.
    balanced_accuracy: mean recall of the classes that occur in the reference.
    macro_f1: mean F1 of the classes that occur in the reference or among the predictions (scikit-learn's rule).
    mcc: multi-class Matthews correlation (Gorodkin 2004), -1..1; 0 when reference or predictions have one class.
    auroc: mean one-vs-rest AUROC of the classes that have items and do not have all of them; others are NaN in
    `per_class` and counted in `auroc_undefined`; NaN when no class is left.
    per_class: a 0/0 precision, recall or F1 is 0, and `support` says why.
    Raises DataError without items, for shapes that do not fit, labels outside the classes, non-finite numbers.

    >>> scores = classification_metrics(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]), ["a", "b"])
    >>> scores["accuracy"], scores["auroc"]
    (0.5, 1.0)
    """
    n_classes = len(class_names)
    if len(reference) == 0 or probs.shape != (len(reference), n_classes):
        raise DataError(
            f"probs of shape {probs.shape} for {len(reference)} items of {n_classes} classes; "
            "give one row per item and one column per class, and at least one item"
        )
    if not np.isfinite(probs).all():
        row = int(np.argmin(np.isfinite(probs).all(axis=1)))
        raise DataError(f"the probabilities of row {row} are not finite; the model has diverged")
    _check_classes(reference, n_classes)
    predicted = probs.argmax(axis=1)
    labels = np.arange(n_classes)
    # By hand: scikit-learn's confusion_matrix warns where there is one class.
    confusion = np.bincount(reference * n_classes + predicted, minlength=n_classes**2)
    confusion = confusion.reshape(n_classes, n_classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        reference, predicted, labels=labels, zero_division=0
    )
    auroc = [_auroc(reference == c, probs[:, c]) for c in range(n_classes)]
    defined = [value for value in auroc if not np.isnan(value)]
    return {
        "accuracy": float(np.trace(confusion) / len(reference)),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "macro_f1": float(f1[(support > 0) | (confusion.sum(axis=0) > 0)].mean()),
        "mcc": _matthews(confusion),
        "auroc": float(np.mean(defined)) if defined else np.nan,
        "auroc_undefined": n_classes - len(defined),
        "per_class": [
            {
                "class": str(class_names[c]),
                "precision": float(precision[c]),
                "recall": float(recall[c]),
                "f1": float(f1[c]),
                "support": int(support[c]),
                "auroc": auroc[c],
            }
            for c in range(n_classes)
        ],
    }


def selection_metrics(
    selected: BoolArray, label_is_right: BoolArray, reference: IntArray, class_names: Sequence[str]
) -> SelectionMetrics:
    """How well a presumed-clean set finds the right labels, over all items and within each reference class.

    selected, label_is_right, reference: (N,). precision: share of the selected items whose label is right; recall:
    share of the items with a right label that are selected; both 0..1, higher = better. 0/0 is NaN.
    Raises DataError for unequal lengths or labels outside the classes.

    >>> picked, right = np.array([True, True, False]), np.array([True, False, True])
    >>> selection_metrics(picked, right, np.array([0, 0, 0]), ["a"])["precision"]
    0.5
    """
    if not selected.shape == label_is_right.shape == reference.shape:
        raise DataError(
            f"selected {selected.shape}, label_is_right {label_is_right.shape} and reference {reference.shape} "
            "differ in shape; give one of each per item"
        )
    _check_classes(reference, len(class_names))
    n_selected = np.bincount(reference[selected], minlength=len(class_names))
    n_right = np.bincount(reference[label_is_right], minlength=len(class_names))
    n_both = np.bincount(reference[selected & label_is_right], minlength=len(class_names))
    return {
        "precision": _share(n_both.sum(), n_selected.sum()),
        "recall": _share(n_both.sum(), n_right.sum()),
        "per_class": [
            {
                "class": str(name),
                "precision": _share(n_both[c], n_selected[c]),
                "recall": _share(n_both[c], n_right[c]),
            }
            for c, name in enumerate(class_names)
        ],
    }


def label_accuracy(exported: IntArray, reference: IntArray) -> float:
    """Share of the items whose exported label equals the reference label, 0..1; NaN without items.

    Raises DataError for unequal lengths.

    >>> label_accuracy(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]))
    0.75
    """
    if exported.shape != reference.shape:
        raise DataError(f"{exported.shape} exported labels against {reference.shape} reference labels")
    return _share(int(np.count_nonzero(exported == reference)), len(reference))


def label_quality(probs: FloatArray, given: IntArray) -> FloatArray:
    """Self-confidence (N,): the probability of the given label, 0..1; lower = more likely wrong.

    probs: (N, C); given: (N,). Called self-confidence by Northcutt et al., confident learning, arXiv 1911.00068.
    Raises DataError for unequal lengths or labels outside the classes.

    >>> label_quality(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1])).tolist()
    [0.9, 0.2]
    """
    if len(probs) != len(given):
        raise DataError(f"{len(probs)} rows of probs for {len(given)} given labels; give one row per label")
    _check_classes(given, probs.shape[1])
    return probs[np.arange(len(given)), given]


def _check_classes(labels: IntArray, n_classes: int) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(outside):
        raise DataError(
            f"the label {labels[outside[0]]} at position {outside[0]} is not one of the {n_classes} classes"
        )


def _auroc(is_class: BoolArray, score: FloatArray) -> float:
    return float(roc_auc_score(is_class, score)) if 0 < is_class.sum() < len(is_class) else float("nan")


def _matthews(confusion: IntArray) -> float:
    """Matthews correlation from the counts: scikit-learn's own warns where there is one class, and takes labels."""
    count = confusion.astype(np.float64)
    true, predicted, total = count.sum(axis=1), count.sum(axis=0), count.sum()
    covariance = np.trace(count) * total - true @ predicted
    spread = (total**2 - true @ true) * (total**2 - predicted @ predicted)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
