"""What the rounds do with a model, whatever it is: learn from current labels, say what it thinks, be kept and restored.

A `GradientLearner` is a network that is fine-tuned on what is trusted.  A `NoiseModelLearner` is a noise model on
frozen embeddings, which is fitted again to all labels and reads: alone, its classifier written into a network, or
beside networks that learn from what it knows.
"""

import time
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.decisions import adjusted_decision, believed, label_posterior
from overread.arrays.forecast import MODEL, MODEL_AND_NETWORKS, NETWORK, Judge
from overread.config import Config
from overread.learn.checkpoint import Tensors, pack_module, unpack_module
from overread.learn.crew import fine_tune, score
from overread.learn.methods import get_method
from overread.learn.models import Network
from overread.learn.noise_head import (
    Opinion,
    adjustment_of,
    network_probs,
    new_noise_model,
    opinion_of,
    pack_noise_model,
    test_probabilities,
    training_parts,
    unpack_noise_model,
    write_classifier,
)
from overread.learn.phase1 import Phase1, keeps_networks, other_networks, pack_networks, run_phase1, unpack_networks
from overread.learn.task import Task
from overread.learn.training import Checkpointer
from overread.progress import Reporter
from overread.rng import derived_seed

__all__ = ["Learner", "Scores", "State", "begin_learning", "open_pool", "untouched"]


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
    judge: Judge
    """Who thinks so."""


class Learner(Protocol):
    """A model between two rounds."""

    network: Network
    """The one whose features and dropout samplers look at."""
    phase1: Phase1
    task: Task
    """What it learns from: not the one that it began with where networks beside a noise model were dropped."""
    config: Config

    def update(self, state: State, number: int, checkpointer: Checkpointer, reporter: Reporter) -> float:
        """Learn what round `number` bought; seconds it took, those before an interruption included."""

    def presumed_clean(self, state: State) -> BoolArray:
        """(N,) items whose given label is thought right."""

    def scores(self, state: State) -> Scores:
        """What is thought of every training item."""

    def test_probs(self) -> FloatArray:
        """(N, C) probabilities of the test items; not part of `Scores`, which those see who choose."""

    def pack(self) -> dict[str, torch.Tensor | FloatArray]:
        """All that changes from round to round, for a checkpoint."""

    def unpack(self, tensors: Tensors, state: State) -> None:
        """Be as the learner that packed `tensors` in `state`."""


def begin_learning(task: Task, config: Config, folder: Path, true_rate: float | None, reporter: Reporter) -> Learner:
    """The learner at the end of phase 1, which is taken from `folder` where it is there already."""
    network, phase1, tensors = run_phase1(task, config, folder, true_rate, reporter)
    if not get_method(config.lnl.method).models_noise:
        return GradientLearner(task, config, network, phase1)
    if phase1.trial is not None and not keeps_networks(config, phase1.trial):
        # From here on it is as if they had never been.
        model = config.model.on_embeddings()
        task, config = task.on_embeddings(model), config.model_copy(update={"model": model})
        network = task.new_network(derived_seed(config.seed, "network", 0))
    learner = NoiseModelLearner(task, config, network, phase1)
    learner.begin(tensors)
    return learner


def untouched(task: Task, phase1: Phase1) -> State:
    """The state before any read."""
    return State(task.given.copy(), np.zeros(len(task.given), dtype=bool), phase1.presumed_clean)


def open_pool(state: State, config: Config) -> BoolArray:
    """Which items can be bought: those presumed noisy, or all where the method does not split; never twice."""
    splits = get_method(config.lnl.method).splits
    return ~state.bought & ~state.presumed_clean if splits else ~state.bought


class GradientLearner:
    """A network that is fine-tuned on presumed clean and bought items."""

    def __init__(self, task: Task, config: Config, network: Network, phase1: Phase1) -> None:
        self.task = task
        self.config = config
        self.network = network
        self.phase1 = phase1

    def update(self, state: State, number: int, checkpointer: Checkpointer, reporter: Reporter) -> float:
        active, task = self.config.active, self.task
        if active.start == "scratch":
            fresh = task.new_network(derived_seed(self.config.seed, "scratch", number))
            self.network.load_state_dict(fresh.state_dict())
        trained_on = state.bought if active.train_on == "bought" else state.bought | state.presumed_clean
        positions = np.flatnonzero(trained_on)
        epochs = active.epochs
        fine_tune(task, self.config, [self.network], state.labels, [positions], epochs, number, checkpointer, reporter)
        return checkpointer.spent()

    def presumed_clean(self, state: State) -> BoolArray:
        return self.phase1.presumed_clean

    def scores(self, state: State) -> Scores:
        probs = score(self.task, self.network, "train").probs
        posterior = label_posterior(probs, self.phase1.estimated_matrix, self.task.given)
        posterior[state.bought] = np.eye(self.task.n_classes)[state.labels[state.bought]]
        suggested = probs.argmax(axis=1)
        exported = np.where(state.bought | state.presumed_clean, state.labels, suggested)
        return Scores(probs, posterior, suggested, exported, self.phase1.estimated_rate, suggested, None, NETWORK)

    def test_probs(self) -> FloatArray:
        return score(self.task, self.network, "test").probs

    def pack(self) -> dict[str, torch.Tensor | FloatArray]:
        return {**pack_module("network", self.network)}

    def unpack(self, tensors: Tensors, state: State) -> None:
        unpack_module("network", self.network, tensors)


class NoiseModelLearner:
    """A noise model on frozen embeddings.

    In frozen mode its classifier is the network.  Else networks learn from what it knows of every item, and the
    classifier is all of them together.
    """

    def __init__(self, task: Task, config: Config, network: Network, phase1: Phase1) -> None:
        self.task = task
        self.config = config
        self._model = new_noise_model(task, config)
        self._networks = [] if config.model.mode == "frozen" else [network, *other_networks(task, config)]
        self._opinion: Opinion | None = None
        self.network = network
        self.phase1 = phase1

    def update(self, state: State, number: int, checkpointer: Checkpointer, reporter: Reporter) -> float:
        started = time.monotonic()
        # Rounds 1, 2, 4, 8 ...: what they add may change the picture, and the others go on from it.
        self._model.update(*state.reads(), reconsider=number & (number - 1) == 0)
        self._opinion = None
        if not self._networks:
            self._write_classifier()
            return time.monotonic() - started
        seconds = time.monotonic() - started
        known, parts = self._model.log_likelihood(), training_parts(self._model, len(self._networks))
        epochs = self.config.active.epochs
        fine_tune(self.task, self.config, self._networks, known, parts, epochs, number, checkpointer, reporter)
        return seconds + checkpointer.spent()

    def begin(self, tensors: Tensors) -> None:
        """Be as the end of phase 1 that packed `tensors`; networks that it dropped are left where they are."""
        unpack_noise_model(self._model, tensors, *untouched(self.task, self.phase1).reads())
        if self._networks:
            unpack_networks(self._networks, tensors)
        else:
            self._write_classifier()

    def _write_classifier(self) -> None:
        write_classifier(self.task, self._model, adjustment_of(self._model, self.config), self.network)

    def presumed_clean(self, state: State) -> BoolArray:
        return believed(self._thought().posterior, self.task.given)

    def scores(self, state: State) -> Scores:
        opinion = self._thought()
        suggested = opinion.posterior.argmax(axis=1)
        exported = np.where(state.bought, state.labels, suggested)
        predicted = adjusted_decision(opinion.probs, opinion.prior, adjustment_of(self._model, self.config))
        said = opinion.probs, opinion.posterior, suggested, exported, opinion.noise_rate, predicted
        if self._networks:
            # They train on what is read, so what they say of it is not blind.
            return Scores(*said, None, MODEL_AND_NETWORKS)
        return Scores(*said, label_posterior(opinion.probs, self._model.belief().matrix, self.task.given), MODEL)

    def test_probs(self) -> FloatArray:
        if not self._networks:
            return score(self.task, self.network, "test").probs
        prior, adjustment = self._thought().prior, adjustment_of(self._model, self.config)
        return test_probabilities(self.task, self._model, self._networks, prior, adjustment)

    def _thought(self) -> Opinion:
        """What is thought since the last update: networks score the training items once a round."""
        if self._opinion is None:
            self._opinion = opinion_of(self._model, network_probs(self.task, self._networks, "train"))
        return self._opinion

    def pack(self) -> dict[str, torch.Tensor | FloatArray]:
        return {**pack_networks([self.network, *self._networks[1:]]), **pack_noise_model(self._model)}

    def unpack(self, tensors: Tensors, state: State) -> None:
        unpack_networks([self.network, *self._networks[1:]], tensors)
        unpack_noise_model(self._model, tensors, *state.reads())
        self._opinion = None
