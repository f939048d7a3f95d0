"""What the rounds do with a model, whatever it is: learn from current labels, say what it thinks, be kept and restored.

A `GradientLearner` is a network that is fine-tuned on what is trusted.  A `NoiseModelLearner` is a noise model on
frozen embeddings, which is fitted again to all labels and reads, and writes its classifier into a network.
"""

import time
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.decisions import adjusted_decision, believed, label_posterior
from overread.config import Config
from overread.learn.checkpoint import Tensors, pack_module, unpack_module
from overread.learn.crew import fine_tune, score
from overread.learn.methods import get_method
from overread.learn.models import Network
from overread.learn.noise_head import new_noise_model, pack_noise_model, unpack_noise_model, write_classifier
from overread.learn.phase1 import Phase1, run_phase1
from overread.learn.task import Task
from overread.learn.training import Checkpointer
from overread.progress import Reporter
from overread.rng import derived_seed

__all__ = ["Learner", "Scores", "State", "begin_learning", "untouched"]


class State(NamedTuple):
    """Where phase 2 stands after a round; arrays have one row per training item."""

    labels: IntArray
    """Current labels: given, or what a reader said."""
    bought: BoolArray
    presumed_clean: BoolArray

    def reads(self) -> tuple[IntArray, IntArray]:
        """Positions and labels of the items that were bought, ascending."""
        positions = np.flatnonzero(self.bought)
        return positions, self.labels[positions]


class Scores(NamedTuple):
    """What a learner says of every training item after a round."""

    probs: FloatArray
    """(N, C) `P(true | x)`."""
    posterior: FloatArray
    """(N, C) `P(true | x, given label, reads)`."""
    suggested: IntArray
    exported: IntArray
    noise_rate: float
    """Estimated share of given labels that are wrong."""
    predicted: IntArray
    """(N,) the class that the classifier names, by models that did not train on the item where there are any."""
    blind: FloatArray | None
    """(N, C) `P(true | x, given label)`, the item's own reads left out, by models that did not train on it; None where
    there are no such models."""


class Learner(Protocol):
    """A model between two rounds."""

    network: Network
    """Scores items that have no label."""
    phase1: Phase1

    def update(self, state: State, number: int, checkpointer: Checkpointer, reporter: Reporter) -> float:
        """Learn what round `number` bought; seconds it took, those before an interruption included."""

    def presumed_clean(self, state: State) -> BoolArray:
        """(N,) items whose given label is thought right."""

    def scores(self, state: State) -> Scores:
        """What is thought of every training item."""

    def pack(self) -> dict[str, torch.Tensor | FloatArray]:
        """All that changes from round to round, for a checkpoint."""

    def unpack(self, tensors: Tensors, state: State) -> None:
        """Be as the learner that packed `tensors` in `state`."""


def begin_learning(task: Task, config: Config, folder: Path, true_rate: float | None, reporter: Reporter) -> Learner:
    """The learner at the end of phase 1, which is taken from `folder` where it is there already."""
    network, phase1, tensors = run_phase1(task, config, folder, true_rate, reporter)
    if not get_method(config.lnl.method).models_noise:
        return GradientLearner(task, config, network, phase1)
    learner = NoiseModelLearner(task, config, network, phase1)
    learner.unpack(tensors, untouched(task, phase1))
    return learner


def untouched(task: Task, phase1: Phase1) -> State:
    """The state before any read."""
    return State(task.given.copy(), np.zeros(len(task.given), dtype=bool), phase1.presumed_clean)


class GradientLearner:
    """A network that is fine-tuned on presumed clean and bought items."""

    def __init__(self, task: Task, config: Config, network: Network, phase1: Phase1) -> None:
        self._task = task
        self._config = config
        self.network = network
        self.phase1 = phase1

    def update(self, state: State, number: int, checkpointer: Checkpointer, reporter: Reporter) -> float:
        active, task = self._config.active, self._task
        if active.start == "scratch":
            fresh = task.new_network(derived_seed(self._config.seed, "scratch", number))
            self.network.load_state_dict(fresh.state_dict())
        trained_on = state.bought if active.train_on == "bought" else state.bought | state.presumed_clean
        positions = np.flatnonzero(trained_on)
        fine_tune(task, self._config, self.network, state.labels, positions, number, checkpointer, reporter)
        return checkpointer.spent()

    def presumed_clean(self, state: State) -> BoolArray:
        return self.phase1.presumed_clean

    def scores(self, state: State) -> Scores:
        probs = score(self._task, self.network, "train").probs
        posterior = label_posterior(probs, self.phase1.estimated_matrix, self._task.given)
        posterior[state.bought] = np.eye(self._task.n_classes)[state.labels[state.bought]]
        suggested = probs.argmax(axis=1)
        exported = np.where(state.bought | state.presumed_clean, state.labels, suggested)
        return Scores(probs, posterior, suggested, exported, self.phase1.estimated_rate, suggested, None)

    def pack(self) -> dict[str, torch.Tensor | FloatArray]:
        return {**pack_module("network", self.network)}

    def unpack(self, tensors: Tensors, state: State) -> None:
        unpack_module("network", self.network, tensors)


class NoiseModelLearner:
    """A noise model on frozen embeddings; its classifier is the network."""

    def __init__(self, task: Task, config: Config, network: Network, phase1: Phase1) -> None:
        self._task = task
        self._adjustment = config.lnl.prior_adjustment
        self._model = new_noise_model(task, config)
        self.network = network
        self.phase1 = phase1

    def update(self, state: State, number: int, checkpointer: Checkpointer, reporter: Reporter) -> float:
        started = time.monotonic()
        # Rounds 1, 2, 4, 8 ...: what they add may change the picture, and the others go on from it.
        self._model.update(*state.reads(), reconsider=number & (number - 1) == 0)
        write_classifier(self._task, self._model, self._adjustment, self.network)
        return time.monotonic() - started

    def presumed_clean(self, state: State) -> BoolArray:
        return believed(self._model.belief().posterior, self._task.given)

    def scores(self, state: State) -> Scores:
        belief = self._model.belief()
        suggested = belief.posterior.argmax(axis=1)
        exported = np.where(state.bought, state.labels, suggested)
        predicted = adjusted_decision(belief.probs, belief.prior, self._adjustment)
        blind = label_posterior(belief.probs, belief.matrix, self._task.given)
        return Scores(belief.probs, belief.posterior, suggested, exported, belief.rate, predicted, blind)

    def pack(self) -> dict[str, torch.Tensor | FloatArray]:
        return {**pack_module("network", self.network), **pack_noise_model(self._model)}

    def unpack(self, tensors: Tensors, state: State) -> None:
        unpack_module("network", self.network, tensors)
        unpack_noise_model(self._model, tensors, *state.reads())
