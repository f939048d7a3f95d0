from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, truncnorm
from sklearn.metrics import confusion_matrix

from overread.arrays import FloatArray
from overread.arrays.noise import (
    check_informative,
    checked_labels,
    checked_matrix,
    class_dependent_matrix,
    diagnose,
    flip_labels,
    instance_dependent_labels,
    noise_rate,
    realised_matrix,
    symmetric_matrix,
)
from overread.errors import DataError, NoiseError
from overread.rng import generator

sizes = st.integers(2, 9)
rates = st.floats(0, 0.99)


@settings(deadline=None, max_examples=50)
@given(n=sizes, rate=rates, data=st.data())
def test_symmetric_noise_spreads_the_rate_evenly_over_the_other_classes(
    n: int, rate: float, data: st.DataObject
) -> None:
    exempt = data.draw(st.sets(st.integers(0, n - 1)))
    T = symmetric_matrix(n, rate, sorted(exempt))
    for i in range(n):
        for j in range(n):
            expected = float(i == j) if i in exempt else (1 - rate if i == j else rate / (n - 1))
            assert T[i, j] == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(n=sizes, rate=rates, data=st.data())
def test_named_pairs_share_the_rate_of_their_class(n: int, rate: float, data: st.DataObject) -> None:
    classes = st.integers(0, n - 1)
    pair = st.tuples(classes, classes).filter(lambda p: p[0] != p[1])
    pairs = data.draw(st.lists(pair, unique=True, max_size=2 * n))
    T = class_dependent_matrix(n, rate, pairs)
    for i in range(n):
        targets = {b for a, b in pairs if a == i}
        for j in range(n):
            stays = 1 - rate if targets else 1.0
            expected = stays if i == j else (rate / len(targets) if j in targets else 0.0)
            assert T[i, j] == pytest.approx(expected, abs=1e-12)


def test_without_pairs_every_class_becomes_the_next() -> None:
    assert class_dependent_matrix(3, 0.4).tolist() == [[0.6, 0.4, 0], [0, 0.6, 0.4], [0.4, 0, 0.6]]
    assert class_dependent_matrix(1, 0.0).tolist() == symmetric_matrix(1, 0.0).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: symmetric_matrix(3, 1.0), "0 <= rate < 1"),
        (lambda: symmetric_matrix(3, -0.1), "not at -0.1"),
        (lambda: symmetric_matrix(3, float("nan")), "not at nan"),
        (lambda: symmetric_matrix(1, 0.2), "with one class no label can be wrong"),
        (lambda: symmetric_matrix(0, 0.2), "at least one class"),
        (lambda: symmetric_matrix(3, 0.2, [3]), "names class 3, but classes run from 0 to 2"),
        (lambda: class_dependent_matrix(3, 1.5), "0 <= rate < 1"),
        (lambda: class_dependent_matrix(3, 0.2, [(0, 5)]), "the pair 0 -> 5 names class 5"),
        (lambda: class_dependent_matrix(3, 0.2, [(1, 1)]), "from a class to itself"),
        (lambda: class_dependent_matrix(3, 0.2, [(0, 1), (0, 1)]), "0 -> 1 stands twice"),
        (lambda: checked_matrix([[1.0, 0.0]], 2), r"shape \(1, 2\) but there are 2 classes"),
        (lambda: checked_matrix([[1.0], [0.0, 1.0]], 2), "rows of equal length"),
        (lambda: checked_matrix([["a", "b"], ["c", "d"]], 2), "not a table of numbers"),
        (lambda: checked_matrix([[1.0, np.inf], [0.0, 1.0]], 2), "not a finite number"),
        (lambda: checked_matrix([[1.0, 0.0], [-0.5, 1.5]], 2), r"entry \(1, 0\) .* negative"),
        (lambda: checked_matrix([[1.0, 0.0], [0.5, 0.6]], 2), "row 1 of the noise matrix sums to 1.1"),
        (lambda: noise_rate(np.eye(2), [1, 2, 3]), r"prior has shape \(3,\) but the noise matrix has 2 classes"),
        (lambda: noise_rate(np.eye(2), [0, 0]), "positive sum"),
        (lambda: noise_rate(np.eye(2), [2, -1]), "not negative"),
    ],
)
def test_noise_that_cannot_be_is_one_clear_sentence(build: Callable[[], object], says: str) -> None:
    with pytest.raises(NoiseError, match=says):
        build()


@pytest.mark.parametrize(
    ("labels", "says", "items"),
    [
        ([0, 3, -1], "must lie in 0 .. 2", ("1", "2")),
        ([0.5, 1.0], "vector of integers", ()),
        ([[0, 1]], "vector of integers", ()),
    ],
)
def test_labels_outside_the_classes_are_named(labels: list[float], says: str, items: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=says) as caught:
        checked_labels(labels, 3)
    assert caught.value.items == items


def test_rounding_in_a_users_matrix_is_evened_out() -> None:
    T = checked_matrix([[0.3333333, 0.6666666], [0.0, 1.0]], 2)
    assert T.sum(axis=1) == pytest.approx([1, 1], abs=1e-15)
    assert T[0, 1] / T[0, 0] == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize(
    "T",
    [
        symmetric_matrix(5, 0.6, [2]),
        class_dependent_matrix(4, 0.3, [(0, 1), (0, 3), (2, 0)]),
        np.array([[0.1, 0.2, 0.7], [0.0, 0.5, 0.5], [0.3, 0.7, 0.0]]),
    ],
    ids=["symmetric", "pairs", "any"],
)
def test_flips_follow_the_rows_of_the_matrix(T: FloatArray) -> None:
    labels = np.repeat(np.arange(len(T)), 4000)
    flipped = flip_labels(labels, T, generator(0, "flips"))
    for i, row in enumerate(T):
        seen = np.bincount(flipped[labels == i], minlength=len(T))
        assert (seen[row == 0] == 0).all()
        if (row > 0).sum() > 1:
            assert chisquare(seen[row > 0], row[row > 0] * 4000).pvalue > 1e-4


def test_flips_are_a_function_of_the_stream_and_leave_the_labels_alone() -> None:
    labels = np.arange(300) % 3
    T = symmetric_matrix(3, 0.5)
    first = flip_labels(labels, T, generator(0, "noise"))
    assert (labels == np.arange(300) % 3).all()
    assert (first == flip_labels(labels, T, generator(0, "noise"))).all()
    assert (first != flip_labels(labels, T, generator(1, "noise"))).any()
    assert (first[:100] == flip_labels(labels[:100], T, generator(0, "noise"))).all()


class HighestDraw:
    """Stands for a generator that draws the largest number below one."""

    def random(self, n: int) -> FloatArray:
        return np.full(n, np.nextafter(1.0, 0.0))


def test_the_highest_draw_never_picks_a_class_of_probability_zero() -> None:
    row = np.append(np.full(10, 0.1), 0.0)  # its cumulative sum ends below one
    assert row.cumsum()[-1] < 1
    T = np.tile(row, (11, 1))
    assert flip_labels(np.array([3]), T, HighestDraw()).tolist() == [9]  # type: ignore[arg-type]


def test_instance_dependent_noise_flips_at_the_mean_of_its_rates() -> None:
    rng = np.random.default_rng(0)
    labels, features = rng.integers(0, 5, 8000), rng.normal(size=(8000, 12))
    for rate in (0.05, 0.2, 0.4, 0.6):
        noisy = instance_dependent_labels(labels, features, rate, 5, generator(0, "instance"))
        expected = truncnorm.mean(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
        assert (noisy != labels).mean() == pytest.approx(expected, abs=0.025)
    assert truncnorm.mean(-2, 8, loc=0.2, scale=0.1) == pytest.approx(0.2, abs=0.006)
    assert truncnorm.mean(-0.5, 9.5, loc=0.05, scale=0.1) == pytest.approx(0.10, abs=0.005)


def test_instance_dependent_targets_depend_on_the_features_and_not_on_their_scale() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros(6000, dtype=np.int64)
    features = rng.normal(size=(6000, 1)) * np.ones(8)  # one hidden number decides
    noisy = instance_dependent_labels(labels, features, 0.5, 4, generator(0, "x"))
    low = np.bincount(noisy[(features[:, 0] < -1) & (noisy > 0)], minlength=4)
    high = np.bincount(noisy[(features[:, 0] > 1) & (noisy > 0)], minlength=4)
    assert low.argmax() != high.argmax()
    assert low.max() > 0.6 * low.sum()
    scaled = instance_dependent_labels(labels, features * 1024 + 4, 0.5, 4, generator(0, "x"))
    assert (scaled == noisy).mean() > 0.999


def test_instance_dependent_noise_at_its_edges() -> None:
    labels, features = np.array([0, 1, 0]), np.zeros((3, 2))
    assert instance_dependent_labels(labels, features, 0.0, 2, generator(0)).tolist() == [0, 1, 0]
    assert instance_dependent_labels(labels[:0], features[:0], 0.3, 2, generator(0)).tolist() == []
    always = instance_dependent_labels(np.tile(labels, 200), np.zeros((600, 2)), 0.9, 2, generator(0))
    assert 0.8 < (always != np.tile(labels, 200)).mean() < 0.95
    with pytest.raises(DataError, match=r"shape \(2, 2\) but there are 3 labels"):
        instance_dependent_labels(labels, features[:2], 0.3, 2, generator(0))
    with pytest.raises(DataError, match="not finite"):
        instance_dependent_labels(labels, features + np.nan, 0.3, 2, generator(0))


@settings(deadline=None, max_examples=40)
@given(n=sizes, data=st.data())
def test_the_realised_matrix_is_the_normalised_confusion_matrix(n: int, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=40))
    reference, noisy = np.array(pairs).T
    counts = confusion_matrix(reference, noisy, labels=range(n))
    T = realised_matrix(reference, noisy, n)
    for i in range(n):
        expected = counts[i] / counts[i].sum() if counts[i].sum() else np.eye(n)[i]
        assert T[i] == pytest.approx(expected)
    prior = np.bincount(reference, minlength=n)
    assert noise_rate(T, prior) == pytest.approx((reference != noisy).mean(), abs=1e-12)
    assert noise_rate(T, prior / prior.sum()) == pytest.approx((reference != noisy).mean(), abs=1e-12)


def test_the_realised_matrix_needs_two_vectors_of_one_length() -> None:
    with pytest.raises(DataError, match="2 reference labels but 1 given"):
        realised_matrix(np.array([0, 1]), np.array([0]), 2)
    assert realised_matrix(np.array([], dtype=int), np.array([], dtype=int), 2).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("n", [2, 3, 5, 7, 8, 10])
def test_symmetric_noise_says_nothing_from_its_limit_on(n: int) -> None:
    limit = (n - 1) / n
    check_informative(symmetric_matrix(n, limit - 0.001))
    with pytest.raises(NoiseError, match=rf"at rate {limit:.2f} with {n} classes .* stay below {limit:.2f}"):
        check_informative(symmetric_matrix(n, limit))
    if limit + 0.05 < 1:
        with pytest.raises(NoiseError, match="except which it is not; stay below"):
            check_informative(symmetric_matrix(n, limit + 0.05))


def test_the_message_at_the_limit_names_rate_and_classes() -> None:
    with pytest.raises(NoiseError) as caught:
        check_informative(symmetric_matrix(5, 0.8))
    assert str(caught.value) == (
        "at rate 0.80 with 5 classes a given label says nothing about the true one; stay below 0.80"
    )


@pytest.mark.parametrize(
    ("T", "says"),
    [
        (symmetric_matrix(5, 0.8, [0]), "at rate 0.80 with 5 classes"),
        (symmetric_matrix(5, 0.9, [0, 1]), "except which it is not"),
        (np.tile([0.2, 0.3, 0.5], (3, 1)), "all rows of the noise matrix are equal"),
        (class_dependent_matrix(4, 0.5, [(0, 1), (1, 0)]), "classes 0 and 1 get the same labels"),
        (class_dependent_matrix(4, 0.5), "at a mean rate of 0.50 the noise matrix is singular"),
    ],
)
def test_a_matrix_that_hides_the_classes_is_refused(T: FloatArray, says: str) -> None:
    with pytest.raises(NoiseError, match=says):
        check_informative(T)


@pytest.mark.parametrize(
    "T", [np.eye(1), np.eye(4), class_dependent_matrix(5, 0.5), class_dependent_matrix(3, 0.7, [(0, 1)])]
)
def test_a_matrix_that_keeps_the_classes_apart_passes(T: FloatArray) -> None:
    check_informative(T)


def test_a_class_mostly_labelled_as_another_is_named() -> None:
    names = ["akiec", "bcc", "nv"]
    assert diagnose(class_dependent_matrix(3, 0.3), names) == []
    (warning,) = diagnose(class_dependent_matrix(3, 0.5, [(1, 2)]), names)  # a tie counts
    assert "'bcc' are labelled 'nv' (0.50)" in warning
    assert diagnose(np.eye(1), ["one"]) == []


def test_labels_that_say_little_are_named() -> None:
    warnings = diagnose(symmetric_matrix(3, 0.64), ["a", "b", "c"])
    assert len(warnings) == 1
    assert "smallest singular value of the noise matrix is 0.040" in warnings[0]
