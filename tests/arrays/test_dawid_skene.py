"""Dawid and Skene's EM against loops over its equations, their own data, and readers whose errors are known."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from read_builders import Reads, reads, renamed, said_by

from overread.arrays import FloatArray, IntArray
from overread.arrays.consensus import count_votes, majority
from overread.arrays.dawid_skene import DawidSkene, dawid_skene
from overread.errors import ConfigError, DataError

quick = settings(deadline=None, max_examples=50)

# Table 1 of Dawid and Skene 1979: of 45 patients what the first anaesthetist said three times, then the other four.
ANAESTHETISTS = """
1111111 3334334 1122122 2221321 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111
1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121
1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
"""


def anaesthetists() -> Reads:
    label = np.array([[int(digit) - 1 for digit in patient] for patient in ANAESTHETISTS.split()])
    item = np.repeat(np.arange(45), 7)
    return Reads(item, np.tile([0, 0, 0, 1, 2, 3, 4], 45), label.ravel(), 45, 5, 4)


def added_reads(n_classes: int, pseudo_reads: float) -> FloatArray:
    """(C, C) the pseudo-reads of every reader: 95 % right, the others evenly wrong."""
    if n_classes == 1:
        return np.full((1, 1), pseudo_reads)
    wrong = 0.05 * pseudo_reads / (n_classes - 1)
    return np.full((n_classes, n_classes), wrong) + (0.95 * pseudo_reads - wrong) * np.eye(n_classes)


def joint_of(item: int, given_reads: Reads, confusion: FloatArray, prior: FloatArray) -> list[float]:
    """Log `P(true = t, all that was said of the item)` for every t: eq. 2.5 before it is divided."""
    joint = [log(p) for p in prior]
    for i, k, said in zip(*given_reads[:3], strict=True):
        if i == item and said != -1:
            joint = [value + log(confusion[k, t, said]) for t, value in enumerate(joint)]
    return joint


def density_of(given_reads: Reads, confusion: FloatArray, prior: FloatArray, pseudo_reads: float) -> float:
    """Log-likelihood of the reads, and of the pseudo-reads."""
    n_classes = given_reads.n_classes
    total = float((added_reads(n_classes, pseudo_reads) * np.log(confusion)).sum())
    total += pseudo_reads / n_classes * float(np.log(prior).sum())
    for item in range(given_reads.n_items):
        total += log(sum(exp(value) for value in joint_of(item, given_reads, confusion, prior)))
    return total


def by_loops(given_reads: Reads, pseudo_reads: float, iterations: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    n_items, n_readers, n_classes = given_reads[3:]
    told = sorted({int(i) for i, said in zip(given_reads.item, given_reads.label, strict=True) if said != -1})
    expected = np.zeros((n_items, n_classes))
    for i, _, said in zip(*given_reads[:3], strict=True):
        if said != -1:
            expected[i, said] += 1
    expected[told] /= expected[told].sum(axis=1, keepdims=True)
    for _ in range(iterations):
        confusion = np.array([added_reads(n_classes, pseudo_reads)] * n_readers)
        for i, k, said in zip(*given_reads[:3], strict=True):
            if said != -1:
                confusion[k, :, said] += expected[i]
        confusion /= confusion.sum(axis=2, keepdims=True)
        prior = expected[told].sum(axis=0) + pseudo_reads / n_classes
        prior /= prior.sum()
        joint = np.exp([joint_of(item, given_reads, confusion, prior) for item in range(n_items)])
        expected = joint / joint.sum(axis=1, keepdims=True)
    return expected, confusion, prior


@given(drawn=reads(), pseudo_reads=st.sampled_from([0.01, 1.0, 10.0]), steps=st.integers(1, 10))
@quick
def test_the_steps_are_the_equations(drawn: Reads, pseudo_reads: float, steps: int) -> None:
    found = dawid_skene(*drawn, pseudo_reads=pseudo_reads, max_iterations=steps, tolerance=1e-9)
    assert found.iterations == steps or found.converged
    expected = by_loops(drawn, pseudo_reads, found.iterations)
    for ours, theirs in zip(found[:3], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@given(drawn=reads(), pseudo_reads=st.sampled_from([1e-9, 0.01, 1.0, 10.0]))
@quick
def test_no_step_makes_the_reads_less_likely(drawn: Reads, pseudo_reads: float) -> None:
    """With 1e-9 pseudo-reads it is the log-likelihood that never falls."""
    path = [dawid_skene(*drawn, pseudo_reads=pseudo_reads, max_iterations=n, tolerance=1e-12) for n in range(1, 9)]
    densities = [density_of(drawn, found.confusion, found.prior, pseudo_reads) for found in path]
    assert np.diff(densities).min() > -1e-8


@given(drawn=reads(), pseudo_reads=st.sampled_from([1e-6, 10.0]))
@quick
def test_everything_is_defined_whatever_was_said(drawn: Reads, pseudo_reads: float) -> None:
    found = dawid_skene(*drawn, pseudo_reads=pseudo_reads)
    assert found.posterior.shape == (drawn.n_items, drawn.n_classes)
    for rows in found[:3]:
        assert (rows >= 0).all()
        np.testing.assert_allclose(rows.sum(axis=-1), 1)
    told = np.isin(np.arange(drawn.n_items), drawn.item[drawn.label != -1])
    np.testing.assert_allclose(found.posterior[~told], np.tile(found.prior, ((~told).sum(), 1)))
    silent = ~np.isin(np.arange(drawn.n_readers), drawn.reader[drawn.label != -1])
    assumed = added_reads(drawn.n_classes, 1.0)
    np.testing.assert_allclose(found.confusion[silent], np.repeat(assumed[None], silent.sum(), axis=0))


@given(drawn=reads(), seed=st.integers(0, 10_000))
@quick
def test_names_do_not_matter(drawn: Reads, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, readers = rng.permutation(drawn.n_items), rng.permutation(drawn.n_readers)
    classes, order = rng.permutation(drawn.n_classes), rng.permutation(len(drawn.item))
    found = dawid_skene(*drawn, tolerance=1e-9)
    shuffled = Reads(drawn.item[order], drawn.reader[order], drawn.label[order], *drawn[3:])
    same = dawid_skene(*renamed(shuffled, items, np.arange(len(readers)), np.arange(len(classes))), tolerance=1e-9)
    assert (same.posterior[items] == found.posterior).all()
    assert (same.confusion == found.confusion).all()
    other = dawid_skene(*renamed(shuffled, items, readers, classes), tolerance=1e-9)
    np.testing.assert_allclose(other.posterior[np.ix_(items, classes)], found.posterior, atol=1e-4)
    np.testing.assert_allclose(other.confusion[np.ix_(readers, classes, classes)], found.confusion, atol=1e-4)
    np.testing.assert_allclose(other.prior[classes], found.prior, atol=1e-4)


def test_the_anaesthetists_of_the_source() -> None:
    """Its tables 2 (prior), 3 (the first anaesthetist) and 4 (the first patients)."""
    found = dawid_skene(*anaesthetists(), pseudo_reads=1e-6, tolerance=1e-9)
    assert found.converged
    assert found.prior.round(2).tolist() == [0.4, 0.42, 0.11, 0.07]
    first = [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    np.testing.assert_allclose(found.confusion[0], first, atol=0.005)
    np.testing.assert_allclose(found.posterior[:6], np.eye(4)[[0, 3, 1, 1, 1, 1]], atol=0.005)


def readers(rng: np.random.Generator, right: list[float], n_classes: int) -> FloatArray:
    """(K, C, C) readers who are right that often in every class, and prefer some errors to others."""
    confusion = np.empty((len(right), n_classes, n_classes))
    for k, share in enumerate(right):
        for t in range(n_classes):
            confusion[k, t] = np.insert((1 - share) * rng.dirichlet(np.full(n_classes - 1, 3.0)), t, share)
    return confusion


def said_and_true(seed: int, n_items: int, right: list[float], each: int) -> tuple[Reads, IntArray, FloatArray]:
    rng = np.random.default_rng(seed)
    confusion = readers(rng, right, 3)
    true = rng.choice(3, n_items, p=[0.6, 0.3, 0.1])
    return said_by(rng, true, confusion, each), true, confusion


def test_known_errors_are_found_within_the_error_of_sampling() -> None:
    deviations = []
    for seed in range(20):
        drawn, true, confusion = said_and_true(seed, 3000, [0.9, 0.8, 0.7, 0.85, 0.6], 5)
        found = dawid_skene(*drawn)
        count = np.bincount(true, minlength=3)[:, None]
        deviations.append((found.confusion - confusion) / np.sqrt(confusion * (1 - confusion) / count))
        assert found.prior == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    # Were the truth known, this would be 1; that it has to be guessed costs a little.
    assert 0.9 < float(np.sqrt(np.mean(np.square(deviations)))) < 1.3
    assert abs(float(np.mean(deviations))) < 0.1


def test_posteriors_come_true_as_often_as_they_say() -> None:
    drawn, true, _ = said_and_true(0, 20_000, [0.9, 0.8, 0.7, 0.85, 0.6], 3)
    posterior = dawid_skene(*drawn).posterior
    for low, high in ((0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 0.99)):
        rows, classes = np.nonzero((posterior > low) & (posterior <= high))
        error = np.sqrt(0.25 / len(rows))
        came_true = float(np.mean(true[rows] == classes))
        assert came_true == pytest.approx(posterior[rows, classes].mean(), abs=4 * error + 0.01)


def test_it_knows_whom_to_believe() -> None:
    drawn, true, _ = said_and_true(1, 1000, [0.97, 0.4, 0.4], 3)
    votes = count_votes(drawn.item, drawn.label, drawn.n_items, 3)
    by_posterior = np.mean(dawid_skene(*drawn).posterior.argmax(axis=1) == true)
    assert by_posterior > np.mean(majority(votes) == true) + 0.1


def test_one_read_of_each_item_is_believed_as_much_as_was_assumed() -> None:
    label = np.repeat([0, 1, 2], [60, 30, 10])
    for reader in (np.zeros(100, dtype=np.int64), np.arange(100) % 7):
        found = dawid_skene(np.arange(100), reader, label, 100, 7, 3)
        assert (found.posterior.argmax(axis=1) == label).all()
        assert found.posterior.max(axis=1).mean() == pytest.approx(0.95, abs=0.03)
        assert np.diagonal(found.confusion, axis1=1, axis2=2) == pytest.approx(0.95, abs=0.03)
        assert found.prior == pytest.approx([0.6, 0.3, 0.1], abs=0.05)


def test_perfect_agreement_leaves_no_doubt_and_a_class_that_nobody_named_stays_possible() -> None:
    label = np.arange(40) % 2
    found = dawid_skene(np.tile(np.arange(40), 3), np.repeat([0, 1, 2], 40), np.tile(label, 3), 40, 3, 3)
    assert found.posterior[np.arange(40), label].min() > 0.999
    assert np.diagonal(found.confusion[:, :2, :2], axis1=1, axis2=2).min() > 0.97
    assert 0 < found.prior[2] < 0.1
    assert found.confusion[:, 2, 2] == pytest.approx(0.95, abs=0.01)


def empty(n_items: int, n_classes: int) -> DawidSkene:
    none = np.empty(0, dtype=np.int64)
    return dawid_skene(none, none, none, n_items, 1, n_classes)


def test_without_reads_all_is_as_assumed() -> None:
    assert empty(2, 4).posterior.tolist() == [[0.25] * 4] * 2
    np.testing.assert_allclose(empty(2, 4).confusion[0], added_reads(4, 1.0))
    assert empty(0, 2).posterior.shape == (0, 2)
    assert empty(1, 1).posterior.tolist() == [[1.0]]
    assert empty(1, 1).converged


def test_items_without_reads_change_nothing_of_the_others() -> None:
    drawn = anaesthetists()
    alone, among = dawid_skene(*drawn), dawid_skene(*drawn[:3], 1000, *drawn[4:])
    assert (among.prior == alone.prior).all()
    assert (among.posterior[:45] == alone.posterior).all()


def test_it_says_when_it_was_cut_off_and_what_is_wrong() -> None:
    assert not dawid_skene(*anaesthetists(), max_iterations=1).converged
    for wrong in ({"pseudo_reads": 0.0}, {"max_iterations": 0}, {"tolerance": -1.0}, {"pseudo_reads": np.nan}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is .*above 0"):
            dawid_skene(*anaesthetists(), **wrong)
    with pytest.raises(DataError, match=r"label\[10\] is 3"):
        dawid_skene(*anaesthetists()[:5], 3)
