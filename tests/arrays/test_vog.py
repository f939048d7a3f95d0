"""VOG against autograd and direct computations; windows against a dictionary that forgets nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.arrays import FloatArray, IntArray
from overread.arrays.vog import (
    RankOneVogWindow,
    VogWindow,
    class_normalised,
    last_layer_gradient,
    vog,
    vog_rank_one,
)
from overread.errors import ConfigError, DataError


def test_closed_form_gradient_is_autograd_per_sample() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(7, 4).double()
    features = torch.randn(12, 7, dtype=torch.float64)
    labels = torch.arange(12) % 4
    closed = last_layer_gradient(layer(features).softmax(1).detach().numpy(), features.numpy(), labels.numpy())
    for i in range(12):  # one sample at a time: its own loss, whatever batch it would stand in
        loss = torch.nn.functional.cross_entropy(layer(features[i : i + 1]), labels[i : i + 1])
        by_weight, by_bias = torch.autograd.grad(loss, [layer.weight, layer.bias])
        row = torch.cat([by_bias[labels[i]][None], by_weight[labels[i]]])
        np.testing.assert_allclose(closed[i], row.numpy(), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 300, 513), (3, 7, 1), (2, 1, 70_000), (4, 0, 3)])
def test_vog_is_the_mean_standard_deviation(shape: tuple[int, ...], dtype: type) -> None:
    gradients: FloatArray = np.random.default_rng(0).normal(3, 1, shape).astype(dtype)
    expected = gradients.astype(np.float64).std(axis=0).mean(axis=1)
    np.testing.assert_allclose(vog(gradients), expected, rtol=2e-6 if dtype is np.float32 else 1e-12)


def test_vog_in_float32_survives_a_large_mean() -> None:
    """The difference of squares would be rounding only: 1e4 squared has no digit left for 1e-2 squared."""
    noise = np.random.default_rng(0).integers(-8, 8, (5, 4, 6)) / 64
    gradients = (8192 + noise).astype(np.float32)
    np.testing.assert_allclose(vog(gradients), noise.std(axis=0).mean(axis=1), rtol=5e-3)


def test_vog_of_one_epoch_is_zero() -> None:
    assert vog(np.ones((1, 3, 2))).tolist() == [0, 0, 0]


@given(seed=st.integers(0, 10_000), n_epochs=st.integers(1, 6), n_items=st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_rank_one_is_exact_for_fixed_features(seed: int, n_epochs: int, n_items: int) -> None:
    rng = np.random.default_rng(seed)
    error, features = -rng.random((n_epochs, n_items)), rng.normal(size=(n_items, 5))
    with_bias = np.concatenate([np.ones((n_items, 1)), features], axis=1)
    general = vog(error[:, :, None] * with_bias)
    np.testing.assert_allclose(vog_rank_one(error, np.abs(with_bias).mean(axis=1)), general, atol=1e-12)


@given(values=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.1, 0.7, 1e3, np.nan])), min_size=0, max_size=25))
@settings(deadline=None, max_examples=60)
def test_class_normalised_is_a_z_score_per_class(values: list[tuple[int, float]]) -> None:
    given_labels = np.array([c for c, _ in values], dtype=np.int64)
    raw = np.array([v for _, v in values], dtype=np.float64)
    scores = class_normalised(raw, given_labels, 4)
    for (c, v), score in zip(values, scores, strict=True):
        peers = [w for d, w in values if d == c and not np.isnan(w)]
        if np.isnan(v):
            assert np.isnan(score)
        elif len(set(peers)) == 1:
            assert score == 0
        else:
            assert score == pytest.approx((v - np.mean(peers)) / np.std(peers))


@given(seed=st.integers(0, 10_000), window=st.integers(2, 4))
@settings(deadline=None, max_examples=40)
def test_windows_agree_with_a_dictionary(seed: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    n_items, features = 6, rng.normal(size=(6, 3)).astype(np.float32)
    with_bias = np.concatenate([np.ones((n_items, 1)), features], axis=1)
    full = VogWindow(n_items, 4, window)
    small = RankOneVogWindow(np.abs(with_bias).mean(axis=1), window)
    seen: dict[tuple[int, int], float] = {}
    epochs = np.flatnonzero(rng.random(10) < 0.8)  # epochs may be skipped, items may be missed
    for epoch in epochs.tolist():
        order = rng.permutation(n_items)[: rng.integers(1, n_items + 1)]
        for batch in np.array_split(order, 2):
            probs = rng.random(len(batch))
            seen.update({(epoch, int(i)): p for i, p in zip(batch, probs, strict=True)})
            for kind in (full, small):
                kind.push(epoch, batch, probs, features[batch])
        expected = np.full(n_items, np.nan)
        for i in range(n_items):
            errors = [p - 1 for (e, j), p in seen.items() if j == i and e > epoch - window]
            if len(errors) > 1:
                expected[i] = np.mean(np.std(np.outer(errors, with_bias[i]), axis=0))
        np.testing.assert_allclose(full.values(), expected, atol=1e-6)
        np.testing.assert_allclose(small.values(), expected, atol=1e-6)


def test_a_resumed_window_goes_on_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    pushes = [(e, rng.permutation(5)[:4], rng.random(4), rng.normal(size=(4, 2))) for e in range(7)]
    whole, first, second = VogWindow(5, 3, 3), VogWindow(5, 3, 3), VogWindow(5, 3, 3)
    for push in pushes:
        whole.push(*push)
    for push in pushes[:4]:
        first.push(*push)
    second.load_state({name: array.copy() for name, array in first.state().items()})
    for push in pushes[4:]:
        second.push(*push)
    np.testing.assert_array_equal(second.values(), whole.values())
    assert not np.isnan(whole.values()).all()


def test_a_window_whose_rows_lie_elsewhere_is_the_same_and_goes_on_from_them() -> None:
    rng = np.random.default_rng(0)
    pushes = [(e, rng.permutation(5)[:4], rng.random(4), rng.normal(size=(4, 2))) for e in range(7)]
    kept: dict[int, FloatArray] = {}

    def rows_of(epoch: int, new: bool) -> FloatArray:
        if new:
            kept[epoch] = np.full((5, 3), np.nan, np.float32)  # what was not pushed must not be looked at
        return kept[epoch]

    whole, first, second = VogWindow(5, 3, 3), VogWindow(5, 3, 3, rows_of), VogWindow(5, 3, 3, rows_of)
    for push in pushes:
        whole.push(*push)
    for push in pushes[:4]:
        first.push(*push)
    state = {name: array.copy() for name, array in first.state().items()}
    assert state["rows"].size == 0
    for push in pushes[4:6]:  # an epoch has rows of its own: what comes after a state was stored does not spoil it
        first.push(*push)
    second.load_state(state)
    for push in pushes[4:]:
        second.push(*push)
    np.testing.assert_array_equal(second.values(), whole.values())
    assert sorted(kept) == list(range(7))


def test_a_loaded_window_owns_its_arrays() -> None:
    first, second = VogWindow(2, 3, 2), VogWindow(2, 3, 2)
    second.load_state(first.state())
    second.push(0, np.array([0]), np.array([0.5]), np.ones((1, 2)))
    assert not first.state()["seen"].any()


def test_an_item_pushed_twice_keeps_the_last() -> None:
    window = RankOneVogWindow(np.ones(1), 2)
    for epoch, prob in [(0, 0.0), (1, 0.5), (1, 1.0)]:
        window.push(epoch, np.array([0]), np.array([prob]), np.empty((1, 0)))
    assert window.values().tolist() == [0.5]


def test_nothing_pushed_means_nothing_known() -> None:
    assert np.isnan(VogWindow(3, 2, 5).values()).all()


@pytest.mark.parametrize(
    ("positions", "probs", "features"),
    [
        (np.array([0, 1]), np.zeros(1), np.zeros((1, 2))),
        (np.array([0]), np.zeros(1), np.zeros((1, 3))),
    ],
)
def test_pushes_that_do_not_fit_are_named(positions: IntArray, probs: FloatArray, features: FloatArray) -> None:
    with pytest.raises(DataError, match="do not fit a window of 3 coordinates"):
        VogWindow(4, 3, 2).push(0, positions, probs, features)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="window of 1 epochs"):
        VogWindow(4, 3, 1)
    window = VogWindow(4, 3, 2)
    window.push(3, np.array([0]), np.zeros(1), np.zeros((1, 2)))
    with pytest.raises(DataError, match="epoch 2 comes after epoch 3"):
        window.push(2, np.array([0]), np.zeros(1), np.zeros((1, 2)))
    with pytest.raises(DataError, match="belongs to another configuration"):
        window.load_state(VogWindow(5, 3, 2).state())
    with pytest.raises(DataError, match=r"\(3, 2\)"):
        vog(np.zeros((3, 2)))
    with pytest.raises(DataError, match="do not fit feature sizes"):
        vog_rank_one(np.zeros((2, 3)), np.zeros(4))
    with pytest.raises(DataError, match="2 rows of probs, 2 of features, 3 given"):
        last_layer_gradient(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(3, np.int64))
    with pytest.raises(DataError, match=r"vog has shape \(2,\)"):
        class_normalised(np.zeros(2), np.zeros(3, np.int64), 2)
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        class_normalised(np.zeros(2), np.array([0, 2]), 2)
