"""The method `noise-model` on frozen embeddings: its model, its classifier as a network, and both in a checkpoint."""

from collections.abc import Mapping

import numpy as np
import torch

from overread.arrays import FloatArray, IntArray
from overread.arrays.noise_model import NoiseModel
from overread.config import Config
from overread.learn.models import Network
from overread.learn.task import Task
from overread.rng import generator

__all__ = ["new_noise_model", "pack_noise_model", "unpack_noise_model", "write_classifier"]

PREFIX = "noise-model/"


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
