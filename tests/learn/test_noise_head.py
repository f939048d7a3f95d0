"""What networks beside a noise model add, by given labels that they did not learn from."""

import numpy as np
import pytest

from overread.arrays import FloatArray
from overread.arrays.noise_model import NoiseModel
from overread.learn.noise_head import opinion_of, training_parts, trial_of

N, C = 300, 3


@pytest.fixture(scope="module")
def truth() -> FloatArray:
    return np.eye(C)[np.arange(N) % C]


@pytest.fixture(scope="module")
def model(truth: FloatArray) -> NoiseModel:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N, 5)) + 1.5 * truth @ np.eye(C, 5)
    given = np.where(rng.random(N) < 0.3, rng.integers(0, C, N), truth.argmax(axis=1))
    model = NoiseModel(features, given, C, rng)
    model.learn()
    model.update(np.arange(20), truth[:20].argmax(axis=1))
    return model


def test_every_network_leaves_out_the_unread_items_of_a_fold_of_its_own(model: NoiseModel) -> None:
    parts = training_parts(model, 2)
    left_out = [np.setdiff1d(np.arange(N), part) for part in parts]
    assert not np.intersect1d(left_out[0], left_out[1]).size
    for fold, items in enumerate(left_out):
        np.testing.assert_array_equal(items, model.held_out_items(fold))
        assert 0.1 * N < len(items) < 0.2 * N + 1
        # What was read is learnt by both.
        assert items.min() >= 20


def test_networks_that_know_the_truth_help_and_others_do_not(model: NoiseModel, truth: FloatArray) -> None:
    knowing, contrary = 0.9 * truth + 0.1 / C, 0.9 * np.roll(truth, 1, axis=1) + 0.1 / C
    helpful, harmful = (trial_of(model, [probs, probs]) for probs in (knowing, contrary))
    assert helpful.gain > 3 * helpful.error > 0
    assert harmful.gain < 0
    assert helpful.alone == harmful.alone
    assert helpful.items == sum(len(model.held_out_items(fold)) for fold in (0, 1))


def test_a_trial_looks_at_left_out_items_alone(model: NoiseModel, truth: FloatArray) -> None:
    probs = 0.9 * truth + 0.1 / C
    before = trial_of(model, [probs, probs])
    learnt = [probs.copy(), probs.copy()]
    for fold, part in enumerate(training_parts(model, 2)):
        learnt[fold][part] = 1 / C
    assert trial_of(model, learnt) == before


def test_a_gain_is_the_difference_of_log_probabilities_of_given_labels(model: NoiseModel) -> None:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(C), N)
    found, belief = trial_of(model, [probs]), model.belief()
    items = model.held_out_items(0)
    both = np.sqrt(belief.probs * probs)
    both /= both.sum(axis=1, keepdims=True)
    likelihood = model.held_out_likelihood()
    evidence = [np.log([(p[i] * likelihood[i]).sum() for i in items]) for p in (belief.probs, both)]
    assert found.alone == pytest.approx(evidence[0].mean())
    assert found.gain == pytest.approx((evidence[1] - evidence[0]).mean())


def test_the_model_alone_is_its_own_opinion(model: NoiseModel) -> None:
    opinion, belief = opinion_of(model, []), model.belief()
    np.testing.assert_array_equal(opinion.probs, belief.probs)
    assert opinion.noise_rate == belief.rate


def test_the_likelihood_of_a_given_label_is_that_of_a_matrix_it_had_no_part_in(model: NoiseModel) -> None:
    likelihood, matrix = model.held_out_likelihood(), model.belief().matrix
    assert likelihood.shape == (N, C)
    # Close to that of all items, and not the same.
    difference = np.abs(likelihood - matrix[:, model.given].T)
    assert 0 < difference.max() < 0.1
    for fold in range(5):
        items = model.held_out_items(fold)
        for label in range(C):
            rows = likelihood[items[model.given[items] == label]]
            assert (rows == rows[:1]).all()
