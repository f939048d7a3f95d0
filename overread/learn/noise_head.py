"""The method `noise-model` between arrays and networks: its model, what it believes, its classifier, its checkpoint.

In frozen mode the classifier is the model's own, written into a linear head.  In the other modes the model looks at
embeddings of frozen backbones beside the networks; they learn from what it knows of every item, and both have an equal
say: they err in different places, and the model's probabilities are of items that it did not train on, so that no label
is believed because a network has learnt it by heart.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from overread.arrays import FloatArray, IntArray
from overread.arrays.decisions import SMALLEST_PRIOR, geometric_mean, posterior_of, prior_adjusted
from overread.arrays.noise_model import NoiseModel
from overread.arrays.rows import row_slices
from overread.config import Config
from overread.learn.crew import score
from overread.learn.models import Network
from overread.learn.task import Task
from overread.rng import generator

__all__ = [
    "Opinion",
    "Trial",
    "adjustment_of",
    "network_probs",
    "new_noise_model",
    "opinion_of",
    "pack_noise_model",
    "test_probabilities",
    "training_parts",
    "trial_of",
    "unpack_noise_model",
    "write_classifier",
]

PREFIX = "noise-model/"


class Opinion(NamedTuple):
    """What model and networks together think of the training items."""

    probs: FloatArray
    """(N, C) `P(true | x)`."""
    posterior: FloatArray
    """(N, C) `P(true | x, given label, reads)`."""
    prior: FloatArray
    """(C,) frequencies of the true classes."""
    noise_rate: float


class Trial(NamedTuple):
    """What networks add to a noise model, by given labels that they did not learn from."""

    alone: float
    """Mean log probability of the given label by the model alone, nats."""
    gain: float
    """What the networks add to it; above 0 = they help."""
    error: float
    """Standard error of the gain."""
    items: int

    @property
    def helps(self) -> bool:
        """Whether the networks add anything."""
        return self.gain > 0


def new_noise_model(task: Task, config: Config) -> NoiseModel:
    """A noise model of the training items that has learnt nothing yet."""
    assert task.embeddings is not None
    error = config.lnl.reader_error
    return NoiseModel(
        task.embeddings.train,
        task.given,
        task.n_classes,
        generator(config.seed, "noise model"),
        torch.get_num_threads(),
        noise_matrix=config.lnl.noise_matrix,
        reader_error=None if error == "estimate" else error,
    )


def adjustment_of(model: NoiseModel, config: Config) -> float:
    """How far rare classes are favoured: not at all while nothing is known of which are rare."""
    return config.lnl.prior_adjustment if model.belief().informed else 0.0


def training_parts(model: NoiseModel, count: int) -> list[IntArray]:
    """The training items of each of `count` networks: all but the unread ones of one fold of `model`, another for each.

    What a network says of those tells whether it learns or only remembers.
    """
    everything = np.arange(model.n)
    return [np.setdiff1d(everything, model.held_out_items(fold)) for fold in range(count)]


def network_probs(task: Task, networks: list[Network], split: str) -> list[FloatArray]:
    """(N, C) probabilities of the items of `split`, train or test, by each of `networks`."""
    return [score(task, network, split).probs for network in networks]


def trial_of(model: NoiseModel, by_network: list[FloatArray]) -> Trial:
    """How probable the given labels of training items are that a network did not learn from (`training_parts`).

    by_network: (N, C) each, probabilities of the training items, at least one.  Given labels alone have a part in it.
    """
    belief, likelihood = model.belief(), model.held_out_likelihood()
    before, after = [], []
    for fold, probs in enumerate(by_network):
        items = model.held_out_items(fold)
        together = geometric_mean([belief.probs[items], probs[items]])
        before.append(np.log((belief.probs[items] * likelihood[items]).sum(axis=1)))
        after.append(np.log((together * likelihood[items]).sum(axis=1)))
    alone = np.concatenate(before)
    gain = np.concatenate(after) - alone
    return Trial(float(alone.mean()), float(gain.mean()), float(gain.std() / np.sqrt(len(gain))), len(gain))


def opinion_of(model: NoiseModel, by_network: list[FloatArray]) -> Opinion:
    """What `model` and networks that learnt from it think of the training items; the model alone where there are none.

    by_network: (N, C) each, probabilities by every network.
    """
    belief = model.belief()
    if not by_network:
        return Opinion(belief.probs, belief.posterior, belief.prior, belief.rate)
    probs = geometric_mean([belief.probs, geometric_mean(by_network)])
    posterior = posterior_of(probs, model.log_likelihood())
    given = posterior[np.arange(model.n), model.given]
    return Opinion(probs, posterior, posterior.mean(axis=0), float(1.0 - given.mean()))


def test_probabilities(
    task: Task, model: NoiseModel, networks: list[Network], prior: FloatArray, adjustment: float
) -> FloatArray:
    """(N, C) probabilities of the test items by `model` and `networks`, rare classes favoured by `adjustment`."""
    assert task.embeddings is not None
    weight, bias = model.classifier(0.0)
    test = task.embeddings.test
    logits = np.concatenate([test[part] @ weight.T + bias for part in row_slices(test)])
    by_model = np.exp(logits - logits.max(axis=1, keepdims=True))
    by_model /= by_model.sum(axis=1, keepdims=True)
    both = geometric_mean([by_model, geometric_mean(network_probs(task, networks, "test"))])
    return prior_adjusted(both, np.maximum(prior, SMALLEST_PRIOR), adjustment)


def write_classifier(task: Task, model: NoiseModel, adjustment: float, network: Network) -> None:
    """Make the last layer of `network`, which sees standardised embeddings, the classifier of `model`."""
    assert task.embeddings is not None
    weight, bias = model.classifier(adjustment)
    mean, scale = task.embeddings.scaling
    with torch.no_grad():
        network.last.weight.copy_(torch.from_numpy(weight * scale))
        network.last.bias.copy_(torch.from_numpy(bias + weight @ mean))


def pack_noise_model(model: NoiseModel) -> dict[str, FloatArray]:
    """The fits of `model` for a checkpoint."""
    return {f"{PREFIX}{name}": values for name, values in model.state().items()}


def unpack_noise_model(
    model: NoiseModel, tensors: Mapping[str, torch.Tensor], positions: IntArray, labels: IntArray
) -> None:
    """Bring back the fits that `pack_noise_model` took after the reads `positions` and `labels`."""
    kept = {name.removeprefix(PREFIX): np.asarray(value) for name, value in tensors.items() if name.startswith(PREFIX)}
    model.load_state(kept, positions, labels)
