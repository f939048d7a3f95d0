"""Phase 1 from a task to a stored result that several runs can share."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from overread.arrays import BoolArray, FloatArray
from overread.arrays.decisions import believed
from overread.arrays.estimation import estimate_noise
from overread.arrays.noise_model import FEWEST_READS
from overread.arrays.rows import row_slices
from overread.config import Config
from overread.learn.checkpoint import Tensors, load_checkpoint, pack_module, save_checkpoint, unpack_module
from overread.learn.crew import fine_tune, learn
from overread.learn.methods import get_method
from overread.learn.models import Network
from overread.learn.noise_head import (
    Trial,
    adjustment_of,
    network_probs,
    new_noise_model,
    opinion_of,
    pack_noise_model,
    training_parts,
    trial_of,
    write_classifier,
)
from overread.learn.row_files import WindowFiles
from overread.learn.task import Task
from overread.learn.training import Checkpointer
from overread.learn.weights import PACKAGED_MODEL, weights_identity
from overread.locks import take_lock
from overread.progress import Reporter
from overread.rng import derived_seed, generator

__all__ = [
    "UNINFORMED",
    "Phase1",
    "Stored",
    "keeps_networks",
    "other_networks",
    "pack_networks",
    "run_phase1",
    "unpack_networks",
]

# Part of every file name: a change of what phase 1 computes makes all old files stale.
RULES = 4


UNINFORMED = (
    "before any read the images do not foretell the given labels, so that nothing is known then of how these go wrong, "
    f"and no rare class is favoured: buy {FEWEST_READS} reads first"
)


class Phase1(NamedTuple):
    """The end of phase 1; arrays have one row per training item."""

    presumed_clean: BoolArray
    loss: FloatArray
    vog: FloatArray
    forget_rate: float
    estimated_rate: float
    estimated_matrix: FloatArray
    seconds: float
    trial: Trial | None
    """What networks beside a noise model add; None where there are none."""
    informed: bool = True
    """Whether a noise model found out anything from the given labels, see `Belief`; True for the other methods."""


class Stored(NamedTuple):
    """Phase 1 as it lies in its file."""

    network: Network
    """The trained first one."""
    phase1: Phase1
    tensors: Tensors
    """All that is in the file."""


def run_phase1(task: Task, config: Config, folder: Path, true_rate: float | None, reporter: Reporter) -> Stored:
    """The result of phase 1, from `folder` where it is there already.

    true_rate: the injected noise rate, only for lnl.forget_rate=true.
    """
    key = phase1_identity(config, task)
    path = folder / f"phase1-{key}.safetensors"
    network = task.new_network(derived_seed(config.seed, "network", 0))
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        make = _fitted if get_method(config.lnl.method).models_noise else _trained
        # Runs that share it must not make it side by side: on a cluster a machine may be lost from sight and
        # still work.
        with take_lock(folder / f"phase1-{key}.lock"):
            make(task, config, network, path, true_rate, reporter)
    tensors, meta = load_checkpoint(path)
    unpack_module("network", network, tensors)
    arrays = {name: tensors[name].numpy() for name in ("presumed_clean", "loss", "vog", "estimated_matrix")}
    phase1 = Phase1(
        presumed_clean=arrays["presumed_clean"].astype(bool),
        loss=arrays["loss"],
        vog=arrays["vog"],
        forget_rate=meta["forget_rate"],
        estimated_rate=meta["estimated_rate"],
        estimated_matrix=arrays["estimated_matrix"],
        seconds=meta["seconds"],
        trial=None if meta["trial"] is None else Trial(**meta["trial"]),
        informed=meta["informed"],
    )
    return Stored(network, phase1, tensors)


def _trained(
    task: Task, config: Config, network: Network, path: Path, true_rate: float | None, reporter: Reporter
) -> None:
    """Train `network`, and its peer where it has one, and store phase 1 in `path`."""
    estimate = _estimate(task, config, path.parent, reporter)
    wanted = config.lnl.forget_rate
    forget_rate = estimate.rate if wanted == "estimate" else true_rate if wanted == "true" else wanted
    assert isinstance(forget_rate, float)
    checkpointer = _checkpointer(path, config)
    networks = [network, *other_networks(task, config)]
    learned = learn(task, config, networks, forget_rate, checkpointer, reporter)
    seconds = learned.seconds + estimate.seconds
    phase1 = Phase1(
        learned.presumed_clean, learned.loss, learned.vog, forget_rate, estimate.rate, estimate.matrix, seconds, None
    )
    _store(path, [network], phase1, {})
    assert checkpointer.path is not None
    WindowFiles(checkpointer.path).clear()
    checkpointer.clear()


def _fitted(
    task: Task, config: Config, network: Network, path: Path, true_rate: float | None, reporter: Reporter
) -> None:
    """Fit a noise model, make `network` its classifier or train it and its peer, and store phase 1 in `path`."""
    started = time.monotonic()
    reporter.note("phase 1: fitting the noise model to the given labels")
    model = new_noise_model(task, config)
    model.learn()
    informed = model.belief().informed
    if not informed:
        reporter.note(UNINFORMED)
    seconds, networks = time.monotonic() - started, [network]
    checkpointer = _checkpointer(path, config)
    by_network: list[FloatArray] = []
    trial: Trial | None = None
    if config.model.mode == "frozen":
        write_classifier(task, model, adjustment_of(model, config), network)
    else:
        networks += other_networks(task, config)
        parts = training_parts(model, len(networks))
        fine_tune(task, config, networks, model.log_likelihood(), parts, config.lnl.epochs, 0, checkpointer, reporter)
        by_network = network_probs(task, networks, "train")
        trial = trial_of(model, by_network)
        seconds += checkpointer.spent()
    opinion = opinion_of(model, by_network if keeps_networks(config, trial) else [])
    loss = -np.log(np.maximum(opinion.probs[np.arange(len(task.given)), task.given], np.finfo(np.float64).tiny))
    clean, nothing = believed(opinion.posterior, task.given), np.full(len(loss), np.nan)
    # Nothing is forgotten: the forget rate is that of the methods that leave items out.
    phase1 = Phase1(clean, loss, nothing, 0.0, opinion.noise_rate, model.belief().matrix, seconds, trial, informed)
    _store(path, networks, phase1, pack_noise_model(model))
    checkpointer.clear()


def keeps_networks(config: Config, trial: Trial | None) -> bool:
    """Whether networks beside a noise model have a say: where they were asked for, or where `trial` speaks for them."""
    return trial is not None and (config.model.mode == "finetune" or trial.helps)


def other_networks(task: Task, config: Config) -> list[Network]:
    """The networks that learn beside the first one, with their initial weights."""
    count = get_method(config.lnl.method).networks
    return [task.new_network(derived_seed(config.seed, "network", index)) for index in range(1, count)]


def pack_networks(networks: list[Network]) -> Tensors:
    """`networks` for a checkpoint; the first one under the name that it has where it is alone."""
    return {name: value for key, network in _named(networks) for name, value in pack_module(key, network).items()}


def unpack_networks(networks: list[Network], tensors: Tensors) -> None:
    """Set `networks` to what `pack_networks` took."""
    for key, network in _named(networks):
        unpack_module(key, network, tensors)


def _named(networks: list[Network]) -> list[tuple[str, Network]]:
    return [("network" if index == 0 else f"network.{index}", network) for index, network in enumerate(networks)]


def _checkpointer(path: Path, config: Config) -> Checkpointer:
    """Saves what is in the making beside the file `path` of phase 1."""
    in_progress = path.with_name(f"{path.stem}-in-progress.safetensors")
    return Checkpointer(in_progress, config.checkpoint_seconds, path.stem.removeprefix("phase1-"))


def _store(path: Path, networks: list[Network], phase1: Phase1, more: Mapping[str, FloatArray]) -> None:
    save_checkpoint(
        path,
        {
            **pack_networks(networks),
            **more,
            "presumed_clean": phase1.presumed_clean.astype(np.uint8),
            "loss": phase1.loss,
            "vog": phase1.vog,
            "estimated_matrix": phase1.estimated_matrix,
        },
        {
            "forget_rate": phase1.forget_rate,
            "estimated_rate": phase1.estimated_rate,
            "seconds": phase1.seconds,
            "trial": None if phase1.trial is None else phase1.trial._asdict(),
            "informed": phase1.informed,
        },
    )


class _Estimate(NamedTuple):
    rate: float
    matrix: FloatArray
    seconds: float


def _estimate(task: Task, config: Config, folder: Path, reporter: Reporter) -> _Estimate:
    """The estimated noise, from `folder` where it is there: it does not depend on how phase 1 learns."""
    given = task.given[task.noise_items]
    features = hashlib.sha256()
    for part in row_slices(task.noise_features):
        features.update(np.ascontiguousarray(task.noise_features[part]).data)
    facts = [RULES, config.seed, task.n_classes, hashlib.sha256(given.tobytes()).hexdigest(), features.hexdigest()]
    path = folder / f"noise-{_digest(facts)}.safetensors"
    if path.exists():
        tensors, meta = load_checkpoint(path)
        return _Estimate(meta["rate"], tensors["matrix"].numpy(), meta["seconds"])
    started = time.monotonic()
    reporter.note("estimating the noise matrix from the given labels")
    found = estimate_noise(
        task.noise_features, given, task.n_classes, generator(config.seed, "estimate"), torch.get_num_threads()
    )
    estimate = _Estimate(found.rate, found.matrix, time.monotonic() - started)
    save_checkpoint(path, {"matrix": found.matrix}, {"rate": found.rate, "seconds": estimate.seconds})
    return estimate


def phase1_identity(config: Config, task: Task) -> str:
    """A digest of everything that phase 1 depends on, so that runs that differ in phase 2 alone share it."""
    settings = config.settings()
    parts = {name: settings[name] for name in ("seed", "noise", "model", "lnl", "threads", "precision")}
    parts["rules"] = RULES
    parts["device"] = task.processes.device.type
    parts["weights"] = weights_identity(task.model.name, task.model.weights)
    if task.model.mode != "frozen" or task.model.beside == "packaged":
        # Noise is estimated on packaged embeddings there, and a noise model looks at them.
        parts["packaged"] = weights_identity(PACKAGED_MODEL, "packaged")
    parts["data"] = task.data_digest
    parts["given"] = hashlib.sha256(task.given.tobytes()).hexdigest()
    return _digest(parts)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
