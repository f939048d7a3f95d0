"""Training on what is known of items: cross-entropy where it is a label, the likelihood where it is less."""

import numpy as np
import pytest
import torch

from overread.arrays import FloatArray, IntArray
from overread.config import LnlConfig, ModelConfig
from overread.learn.finetune import fine_tune
from overread.learn.models import Network, build_network
from overread.learn.sources import FeatureSource
from overread.learn.training import Checkpointer
from overread.progress import Silent

N, D, C = 240, 6, 3


def trained(
    targets: IntArray | FloatArray, optimizer: str, epochs: int = 3, parts: tuple[IntArray, ...] = (np.arange(N),)
) -> list[Network]:
    model = ModelConfig(mode="frozen", dropout=0.0)
    networks = [build_network(model, C, D, seed) for seed in range(len(parts))]
    source = FeatureSource(features(), torch.device("cpu"))
    config = LnlConfig.model_validate({"batch_size": 8, "learning_rate": 0.05, "optimizer": optimizer})
    nowhere = Checkpointer(None, 0.0, "")
    fine_tune(networks, source, targets, parts, epochs, config, 0, 1, nowhere, Silent())
    return networks


def features() -> FloatArray:
    rng = np.random.default_rng(0)
    return np.asarray(rng.normal(size=(N, D)) + 2.0 * np.eye(C, D)[labels()], dtype=np.float32)


def labels() -> IntArray:
    return np.arange(N) % C


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_likelihood_that_is_sure_is_a_label(optimizer: str) -> None:
    certain = np.where(np.eye(C)[labels()] > 0, 0.0, -1e4)
    by_label, by_likelihood = (trained(targets, optimizer)[0] for targets in (labels(), certain))
    torch.testing.assert_close(by_likelihood.last.weight, by_label.last.weight, rtol=1e-4, atol=1e-6)


def test_a_likelihood_that_says_nothing_teaches_nothing() -> None:
    fresh = build_network(ModelConfig(mode="frozen", dropout=0.0), C, D, 0)
    taught = trained(np.zeros((N, C)), "sgd")[0]
    # The weight decay alone moves it.
    torch.testing.assert_close(taught.last.weight, fresh.last.weight, rtol=1e-2, atol=1e-5)


def test_the_likelihood_of_noisy_labels_learns_the_truth_where_labels_alone_mislead() -> None:
    # Of class 1, two thirds are called 0: labels make it class 0, and the noise matrix brings it back.
    matrix = np.array([[1.0, 1e-6, 1e-6], [0.65, 0.35, 1e-6], [1e-6, 1e-6, 1.0]])
    rng = np.random.default_rng(1)
    given = np.array([rng.choice(C, p=matrix[y] / matrix[y].sum()) for y in labels()])
    source = torch.from_numpy(np.asarray(features()))

    def recall(network: Network) -> float:
        with torch.inference_mode():
            said = network.eval()(source)[0].argmax(dim=1).numpy()
        return float((said[labels() == 1] == 1).mean())

    corrected = trained(np.log(matrix[:, given]).T, "adamw", epochs=40)[0]
    misled = trained(given, "adamw", epochs=40)[0]
    assert recall(corrected) > recall(misled) + 0.2


def test_networks_that_learn_together_learn_as_they_would_alone() -> None:
    together = trained(labels(), "adamw", parts=(np.arange(N), np.arange(N)))
    torch.testing.assert_close(together[0].last.weight, trained(labels(), "adamw")[0].last.weight, rtol=0, atol=0)
    assert not torch.equal(together[0].last.weight, together[1].last.weight)


def test_a_network_sees_nothing_of_items_that_are_not_its_own() -> None:
    parts = (np.arange(0, N, 2), np.arange(100, N))
    networks = trained(labels(), "adamw", parts=parts)
    for index, part in enumerate(parts):
        wrong = labels().copy()
        wrong[np.setdiff1d(np.arange(N), part)] = 0
        again = trained(wrong, "adamw", parts=parts)[index]
        torch.testing.assert_close(again.last.weight, networks[index].last.weight, rtol=0, atol=0)
        assert not torch.equal(
            trained(np.roll(labels(), 1), "adamw", parts=parts)[index].last.weight, again.last.weight
        )
