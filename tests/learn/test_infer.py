"""Scores under the evaluation transform, and networks sampled by dropout."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from overread.config import ModelConfig
from overread.errors import ModelError
from overread.learn.infer import evaluating, predict
from overread.learn.models import Network, build_network
from overread.learn.sources import FeatureSource, PixelSource
from overread.learn.weights import Preprocess

CPU = torch.device("cpu")
MLP = ModelConfig(head="mlp", hidden=32, dropout=0.4)


@pytest.fixture
def inputs() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(11, 6)).astype(np.float32)


def network_of(model: ModelConfig = MLP) -> Network:
    return build_network(model, 4, 6, seed=0).train()


def test_scores_are_those_of_a_second_implementation(inputs: NDArray[np.float32]) -> None:
    network = network_of()
    positions = np.array([3, 10, 0, 3])
    scores = predict(network, FeatureSource(inputs, CPU), positions, batch_size=3)
    first = network.get_submodule("trunk.0")
    assert isinstance(first, torch.nn.Linear)
    weight, bias, last, last_bias = (
        value.detach().double().numpy() for value in (first.weight, first.bias, network.last.weight, network.last.bias)
    )
    hidden = np.maximum(inputs[positions] @ weight.T + bias, 0)
    np.testing.assert_allclose(scores.features, hidden, atol=1e-5)
    np.testing.assert_allclose(scores.probs, softmax(hidden @ last.T + last_bias, axis=1), atol=1e-6)
    assert scores.probs.dtype == np.float64
    np.testing.assert_allclose(scores.probs.sum(axis=1), 1, atol=1e-12)
    assert scores.draws is None


def test_a_sure_network_still_has_a_probability_for_every_class() -> None:
    network = network_of(ModelConfig(dropout=0.0))
    inputs = np.full((1, 6), 100.0, dtype=np.float32)
    probs = predict(network, FeatureSource(inputs, CPU), np.array([0])).probs
    assert np.all(probs > 0)
    assert np.isfinite(np.log(probs)).all()


def test_draws_follow_the_distribution_of_torchs_dropout(inputs: NDArray[np.float32]) -> None:
    network = network_of()
    with torch.no_grad():
        # Strong weights, so that masks matter.
        network.last.weight.mul_(8)
    source, positions = FeatureSource(inputs, CPU), np.arange(11)
    draws = predict(network, source, positions, draws=3000, seed=1).draws
    torch.manual_seed(0)
    with torch.inference_mode():
        expected = torch.stack([network(torch.from_numpy(inputs))[0].softmax(dim=1) for _ in range(3000)]).numpy()
    assert draws is not None
    assert draws.std(axis=0).max() > 0.05
    np.testing.assert_allclose(draws.mean(axis=0), expected.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(draws.std(axis=0), expected.std(axis=0), atol=0.03)


def test_draws_depend_on_the_seed_and_not_on_batches_or_order(inputs: NDArray[np.float32]) -> None:
    network, source = network_of(), FeatureSource(inputs, CPU)
    positions = np.arange(11)
    first = predict(network, source, positions, draws=4, seed=3).draws
    torch.manual_seed(99)
    backwards = predict(network, source, positions[::-1], batch_size=2, draws=4, seed=3).draws
    other = predict(network, source, positions, draws=4, seed=4).draws
    assert first is not None
    assert backwards is not None
    assert other is not None
    np.testing.assert_allclose(backwards[:, ::-1], first, atol=1e-6)
    assert np.abs(other - first).max() > 1e-3
    assert np.abs(first[0] - first[1]).max() > 1e-3


def test_scoring_moves_nothing_in_the_network() -> None:
    model = ModelConfig(mode="finetune", name="resnet10t", weights="none", dropout=0.3)
    network = build_network(model, 3, None, seed=0).train()
    network.trunk.layer1.eval()  # type: ignore[union-attr]
    modes = [part.training for part in network.modules()]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    source = PixelSource(images, None, Preprocess((0.5,) * 3, (0.5,) * 3), True, CPU)
    state = torch.random.get_rng_state()
    first = predict(network, source, np.arange(5), draws=3)
    # In evaluation mode an item is scored by itself: its neighbours in the batch say nothing about it.
    alone = predict(network, source, np.array([4]), draws=3)
    np.testing.assert_allclose(alone.probs[0], first.probs[4], atol=1e-5)
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_modes_come_back_after_an_error() -> None:
    network = network_of()

    def fail_while_evaluating() -> None:
        with evaluating(network):
            assert not network.dropout.training
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_while_evaluating()
    assert network.dropout.training


def test_no_positions_and_no_features(inputs: NDArray[np.float32]) -> None:
    network, source = network_of(), FeatureSource(inputs, CPU)
    nothing = predict(network, source, np.array([], dtype=np.int64), draws=2)
    assert (nothing.probs.shape, nothing.features.shape) == ((0, 4), (0, 32))
    assert nothing.draws is not None
    assert nothing.draws.shape == (2, 0, 4)
    assert predict(network, source, np.arange(11), want_features=False).features.shape == (11, 0)


def test_draws_without_dropout_are_refused(inputs: NDArray[np.float32]) -> None:
    network = network_of(ModelConfig(dropout=0.0))
    with pytest.raises(ModelError, match=r"model\.dropout"):
        predict(network, FeatureSource(inputs, CPU), np.arange(2), draws=5)
