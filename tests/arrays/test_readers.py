"""Reader errors on made-up readers, against sums written out, and at their edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.arrays import FloatArray, IntArray
from overread.arrays.readers import PRIOR_MEAN, log_likelihood_of_votes, reader_error
from overread.errors import DataError
from overread.rng import generator


def expectations(n: int, n_classes: int, sharpness: float, seed: int) -> tuple[FloatArray, IntArray]:
    """Calibrated `P(true)` (C, n) of items and their true classes, which are drawn from it."""
    rng = generator(seed, "expectations")
    logits = sharpness * rng.normal(size=(n_classes, n))
    expected = np.exp(logits) / np.exp(logits).sum(axis=0)
    truth = (rng.random(n) > expected.cumsum(axis=0)).sum(axis=0).clip(0, n_classes - 1)
    return expected, truth


def votes_of(truth: IntArray, n_classes: int, error: float, seed: int, times: int = 1) -> FloatArray:
    rng = generator(seed, "votes")
    votes = np.zeros((n_classes, len(truth)))
    for _ in range(times):
        wrong = rng.random(len(truth)) < error
        said = np.where(wrong, (truth + rng.integers(1, n_classes, len(truth))) % n_classes, truth)
        votes[said, np.arange(len(truth))] += 1
    return votes


def test_the_likelihood_is_the_product_over_reads() -> None:
    votes, error = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), 0.1
    found = np.exp(log_likelihood_of_votes(votes, error))
    by_hand = np.array([0.9**2 * 0.05, 0.05**2 * 0.9, 0.05**3])
    assert found[:, 0] == pytest.approx(by_hand / by_hand.max())
    assert (found[:, 1] == 1).all()  # nobody read it


@pytest.mark.parametrize("error", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("sharpness", [2.0, 4.0])
def test_errors_are_found_where_many_items_are_read(error: float, sharpness: float) -> None:
    expected, truth = expectations(4000, 5, sharpness, 0)
    found = reader_error(expected, votes_of(truth, 5, error, 0))
    assert found == pytest.approx(error, abs=0.03)


def test_suspicious_items_alone_tell_as_much() -> None:
    expected, truth = expectations(8000, 5, 4.0, 1)
    unsure = np.argsort(expected.max(axis=0))[:4000]
    found = reader_error(expected[:, unsure], votes_of(truth, 5, 0.1, 1)[:, unsure])
    assert found == pytest.approx(0.1, abs=0.04)


def test_expectations_that_are_too_sure_are_not_put_down_to_the_reader() -> None:
    expected, truth = expectations(3000, 4, 2.0, 2)
    too_sure = expected**3 / (expected**3).sum(axis=0)
    assert reader_error(too_sure, votes_of(truth, 4, 0.0, 2)) < 0.02


def test_readers_who_contradict_themselves_are_found_without_any_expectation() -> None:
    truth = generator(3, "truth").integers(0, 4, 2000)
    found = reader_error(np.full((4, 2000), 0.25), votes_of(truth, 4, 0.2, 3, times=3))
    assert found == pytest.approx(0.2, abs=0.03)


def test_no_reads_leave_the_prior() -> None:
    assert reader_error(np.empty((3, 0)), np.empty((3, 0))) == PRIOR_MEAN


def test_a_few_reads_move_it_little() -> None:
    expected = np.array([[0.99], [0.01]])
    right, wrong = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])
    assert 0.02 < reader_error(expected, right) <= PRIOR_MEAN < reader_error(expected, wrong) < 0.15


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 40), n_classes=st.integers(2, 6), sharpness=st.floats(0, 50), seed=st.integers(0, 10_000))
def test_whatever_was_read_a_share_below_chance_comes_out(n: int, n_classes: int, sharpness: float, seed: int) -> None:
    expected, truth = expectations(n, n_classes, sharpness, seed)
    votes = votes_of((truth + seed) % n_classes, n_classes, 0.5, seed, times=1 + seed % 3)
    found = reader_error(expected, votes)
    assert 0 < found < (n_classes - 1) / n_classes
    order = generator(seed, "order").permutation(n)
    assert reader_error(expected[:, order], votes[:, order]) == pytest.approx(found, rel=1e-3)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        reader_error(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(DataError, match="do not fit"):
        reader_error(np.ones((1, 3)), np.ones((1, 3)))
