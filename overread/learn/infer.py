"""Scores of items under the evaluation transform."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from overread.arrays import IntArray
from overread.cluster import map_chunks
from overread.config import Cluster
from overread.errors import ModelError
from overread.learn.models import Network
from overread.learn.processes import Processes
from overread.learn.sources import Source
from overread.rng import generator

__all__ = ["Scores", "evaluating", "predict"]


# Batches of a task on a cluster: some seconds of work, and the same batches as without one.
TASK_BATCHES = 16


class Scores(NamedTuple):
    """What a network says about N items; rows in the order of the positions asked for."""

    probs: NDArray[np.float64]
    """(N, C), rows sum to one."""
    features: NDArray[np.float32]
    """(N, D) input of the last layer, without dropout; (N, 0) where they were not asked for."""
    draws: NDArray[np.float32] | None
    """(S, N, C) probabilities, one slice per sampled network; None where none were asked for."""


def predict(
    network: Network,
    source: Source,
    positions: IntArray,
    batch_size: int = 256,
    draws: int = 0,
    seed: int = 0,
    want_features: bool = True,
    processes: Processes | None = None,
    cluster: Cluster = "none",
) -> Scores:
    """Probabilities, features and dropout samples of `positions`, in evaluation mode and without gradients.

    draws: S, the number of networks sampled by dropout (Gal & Ghahramani 2016); their masks depend on `seed` alone.
    One draw uses one mask for all items, as a sampled network should (Kirsch et al. 2019, consistent dropout), so
    neither the order of items nor the batch size matters to it.  The trunk runs once: dropout stands behind it.
    Batch norm stays in evaluation mode, the network keeps its weights, its running statistics and its mode.
    No positions give arrays of no rows.  processes: who shares the work; each gets all of the result.
    cluster: on Ray, tasks with as many threads as this process score some batches of pixels each; stored embeddings
    and a set of one task are scored here, which is quicker, and so is the part of each of several processes.

    Errors: ModelError where draws are asked of a network without dropout: they would all be equal; as in
    `overread.cluster.map_chunks`.
    """
    processes = processes or Processes(network.last.weight.device)
    part = processes.part(len(positions))
    positions = positions[part.rows]
    request = _Request(network, source, batch_size, draws, seed, want_features, processes)
    size = TASK_BATCHES * batch_size
    if cluster == "ray" and source.fixed_features is None and processes.count == 1 and len(positions) > size:
        chunks = [positions[start : start + size] for start in range(0, len(positions), size)]
        pieces = map_chunks(_score, request, chunks, None, processes.device.type == "cuda", torch.get_num_threads())
        probs, features = (np.concatenate([piece[index] for piece in pieces]) for index in (0, 1))
        sampled = np.concatenate([piece[2] for piece in pieces], axis=1)
    else:
        probs, features, sampled = _score(request, positions)
    if processes.count > 1:
        probs, features = (processes.gather_array(values, part) for values in (probs, features))
        sampled = processes.gather_array(sampled.swapaxes(0, 1), part).swapaxes(0, 1)
    return Scores(probs, features, sampled if draws else None)


class _Request(NamedTuple):
    """What to compute of any positions; arguments of `predict`."""

    network: Network
    source: Source
    batch_size: int
    draws: int
    seed: int
    want_features: bool
    processes: Processes


def _score(
    request: _Request, positions: IntArray
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """The arrays of `Scores` for `positions`, in this process alone; no draws are an array (0, n, C)."""
    network, source, batch_size, draws, seed, want_features, processes = request
    n, n_classes = len(positions), network.last.out_features
    probs = np.empty((n, n_classes))
    features = np.empty((n, network.n_features if want_features else 0), dtype=np.float32)
    sampled = np.empty((draws, n, n_classes), dtype=np.float32)
    with evaluating(network), torch.inference_mode():
        layers = _sampled_last_layers(network, draws, seed)
        for start in range(0, n, batch_size):
            rows = slice(start, min(start + batch_size, n))
            with processes.autocast():
                logits, hidden = network(source.eval_batch(positions[rows]))
            hidden = hidden.float()
            probs[rows] = logits.cpu().double().softmax(dim=1).numpy()
            if want_features:
                features[rows] = hidden.cpu().numpy()
            for index, weight in enumerate(layers):
                sampled[index, rows] = (hidden @ weight.T + network.last.bias).softmax(dim=1).cpu().numpy()
    return probs, features, sampled


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A block in which `module` is in evaluation mode; afterwards every part has the mode that it had."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _sampled_last_layers(network: Network, draws: int, seed: int) -> list[torch.Tensor]:
    """Weights (C, D) of the last layer under sampled masks: dropping an input is the same as dropping its column."""
    drop = network.dropout.p
    if draws and not 0.0 < drop < 1.0:
        raise ModelError(f"{draws} dropout draws of a network with dropout {drop} are all equal: set model.dropout")
    weight = network.last.weight
    masks = generator(seed, "dropout-draws").random((draws, network.n_features)) >= drop
    scaled = torch.from_numpy(masks.astype(np.float32)).to(weight.device) / (1.0 - drop)
    return [weight * mask for mask in scaled]
