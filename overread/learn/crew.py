"""What all processes of a task do together, and how the others learn of it.

The first process runs the program: it alone knows the run folder, the oracle and the rounds.  Those that were launched
beside it hold the same inputs and `follow`: an order names one of three functions, which all then run side by side.
So nothing above this module knows how many processes there are.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from overread.arrays import FloatArray, IntArray
from overread.config import Config
from overread.data.dataset import Dataset
from overread.errors import DataError
from overread.learn import finetune, infer
from overread.learn.lnl import LnlResult, learn_with_noisy_labels
from overread.learn.methods import get_method
from overread.learn.models import Network
from overread.learn.processes import Processes
from overread.learn.task import Task, make_task
from overread.learn.training import Checkpointer
from overread.progress import Reporter, Silent

__all__ = ["begin", "dismiss", "fine_tune", "follow", "is_wanted", "learn", "score"]


def begin(config: Config, dataset: Dataset, given: IntArray, processes: Processes, reporter: Reporter) -> Task:
    """The task, made by all processes together, when data and configuration are checked and the run folder is ours."""
    with _together(processes, "begin"):
        mine = (dataset.digest, hashlib.sha256(given.tobytes()).hexdigest())
        if processes.from_first(mine) != mine:
            raise DataError(
                f"process {processes.rank} reads other images or labels at {config.data.path} than the first process: "
                "give all machines the same files"
            )
        return make_task(dataset, given, config, reporter, processes)


def is_wanted(processes: Processes) -> bool:
    """Whether the first process begins a task, or has nothing to do for this one."""
    name, _ = processes.from_first(None)
    return bool(name == "begin")


def learn(
    task: Task,
    config: Config,
    networks: list[Network],
    forget_rate: float,
    checkpointer: Checkpointer,
    reporter: Reporter,
) -> LnlResult:
    """Phase 1 on the training items; see `learn_with_noisy_labels`."""
    with _together(task.processes, "learn", forget_rate=forget_rate):
        return learn_with_noisy_labels(
            networks,
            task.train,
            task.given,
            task.n_classes,
            forget_rate,
            config.lnl,
            config.seed,
            checkpointer,
            reporter,
            task.processes,
            task.cluster,
        )


def fine_tune(
    task: Task,
    config: Config,
    networks: list[Network],
    targets: IntArray | FloatArray,
    positions: Sequence[IntArray],
    epochs: int,
    round_number: int,
    checkpointer: Checkpointer,
    reporter: Reporter,
) -> None:
    """Train each of `networks` on its training items `positions`; see `overread.learn.finetune.fine_tune`."""
    wanted = {"targets": targets, "positions": positions, "epochs": epochs, "round_number": round_number}
    with _together(task.processes, "fine_tune", count=len(networks), **wanted):
        finetune.fine_tune(
            networks,
            task.train,
            targets,
            positions,
            epochs,
            config.lnl,
            config.seed,
            round_number,
            checkpointer,
            reporter,
            task.processes,
        )


def score(
    task: Task, network: Network, split: str, draws: int = 0, seed: int = 0, want_features: bool = False
) -> infer.Scores:
    """Scores of all items of `split`, train or test; see `overread.learn.infer.predict`."""
    wanted = {"draws": draws, "seed": seed, "want_features": want_features}
    with _together(task.processes, "score", split=split, **wanted):
        source = task.train if split == "train" else task.test
        task.processes.share(network)
        return infer.predict(
            network,
            source,
            np.arange(source.n_items),
            draws=draws,
            seed=seed,
            want_features=want_features,
            processes=task.processes,
            cluster=task.cluster,
        )


def follow(task: Task, config: Config) -> None:
    """Carry out the orders of the first process until there are no more."""
    nowhere, silent = Checkpointer(None, 0.0, ""), Silent()
    while True:
        name, arguments = task.processes.from_first(None)
        match name:
            case "learn":
                networks = [task.new_network(index) for index in range(get_method(config.lnl.method).networks)]
                learn(task, config, networks, **arguments, checkpointer=nowhere, reporter=silent)
            case "fine_tune":
                networks = [task.new_network(index) for index in range(arguments.pop("count"))]
                fine_tune(task, config, networks, **arguments, checkpointer=nowhere, reporter=silent)
            case "score":
                score(task, task.new_network(0), **arguments)
            case _:
                return


def dismiss(processes: Processes) -> None:
    """Send the others home.  Where a common step failed half-way nobody listens any more: their launcher ends them."""
    if not processes.busy:
        _order(processes, "stop")


@contextmanager
def _together(processes: Processes, name: str, **arguments: Any) -> Iterator[None]:
    """A step that all processes take side by side; the first one tells the others which."""
    processes.busy = True
    _order(processes, name, **arguments)
    yield
    processes.busy = False


def _order(processes: Processes, name: str, **arguments: Any) -> None:
    if processes.is_first:
        processes.from_first((name, arguments))
