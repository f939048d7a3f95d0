"""What both phases share: batches, the learning rate, one optimiser step, and saving in the middle."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from overread.arrays import FloatArray, IntArray
from overread.config import LnlConfig
from overread.errors import ModelError, RunError
from overread.learn.checkpoint import (
    load_checkpoint,
    optimizer_buffers,
    pack_module,
    pack_optimizer,
    save_checkpoint,
    unpack_module,
    unpack_optimizer,
)
from overread.learn.processes import Part, Processes

__all__ = [
    "Checkpointer",
    "batches",
    "check_finite",
    "cosine_rate",
    "new_optimizer",
    "seed_dropout",
    "set_rate",
    "step",
]


def batches(positions: IntArray, batch_size: int, rng: np.random.Generator, processes: int = 1) -> Iterator[IntArray]:
    """Shuffled batches of nearly equal size, at most `batch_size`.

    Equal sizes, so that no short last batch makes a noisy step or a quota of zero.  Where a batch of one sample would
    come of it, which batch norm cannot train on, or one of fewer samples than processes, there are fewer batches, of
    more samples.
    """
    n = len(positions)
    count = max(1, min(math.ceil(n / batch_size), n // max(2, processes)))
    yield from np.array_split(positions[rng.permutation(n)], count)


def cosine_rate(base: float, epoch: int, epochs: int) -> float:
    """Learning rate of `epoch`: from `base` at epoch 0 towards 0 at `epochs`, counted in epochs of this step."""
    return base * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))


def new_optimizer(network: nn.Module, config: LnlConfig) -> torch.optim.Optimizer:
    """A fresh optimiser with weight decay, in one pass over the weights: half the time of torch's default."""
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), **settings)
    return torch.optim.SGD(network.parameters(), momentum=config.momentum, **settings)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def seed_dropout(seed: int) -> None:
    """Make the dropout masks of what follows depend on `seed` alone."""
    torch.manual_seed(seed)


def check_finite(losses: FloatArray, config: LnlConfig, epoch: int) -> None:
    """ModelError where a loss of the batch is not finite: from there on every weight would be lost."""
    if not np.isfinite(losses).all():
        raise ModelError(
            f"the network diverged in epoch {epoch}: its loss is not finite; "
            f"lower lnl.learning_rate (now {config.learning_rate:g})"
        )


def step(
    optimizer: torch.optim.Optimizer, losses: torch.Tensor, picks: IntArray, part: Part, processes: Processes
) -> None:
    """One update on the mean loss of the picked samples of a batch.

    losses: (b,), of the rows `part` of the batch.  picks: positions in the whole batch.
    """
    picks = np.sort(picks)
    mine = picks[(picks >= part.start) & (picks < part.stop)] - part.start
    optimizer.zero_grad(set_to_none=True)
    # The gradients are averaged over the processes, whose numbers of picks differ: their sum, over all picks, is meant.
    total = losses[torch.from_numpy(mine).to(losses.device)].sum()
    (total * (processes.count / len(picks))).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class Checkpointer:
    """Saves training state at the end of an epoch, at most every `seconds`, and brings it back.

    Of several processes, the first one has a path, and the others take over what it read.

    The file belongs to the step `name`; one of another step is left alone, and overwritten by the next save.
    """

    def __init__(self, path: Path | None, seconds: float, name: str) -> None:
        self.path = path
        self.seconds = seconds
        self.name = name
        self.saved_at = time.monotonic()
        self.spent_before = 0.0
        self.started_at = time.monotonic()

    def spent(self) -> float:
        """Seconds that this step has taken so far, those before an interruption included."""
        return self.spent_before + time.monotonic() - self.started_at

    def save_if_due(
        self,
        epoch: int,
        networks: Sequence[nn.Module],
        optimizers: list[torch.optim.Optimizer],
        arrays: Mapping[str, np.ndarray[Any, Any]],
    ) -> None:
        """Save the state after `epoch` where the last save is long enough ago."""
        if self.path is None or time.monotonic() - self.saved_at < self.seconds:
            return
        tensors: dict[str, Any] = {f"array.{key}": value for key, value in arrays.items()}
        for index, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
            tensors |= pack_module(f"network.{index}", network) | pack_optimizer(f"optimizer.{index}", optimizer)
        save_checkpoint(self.path, tensors, {"step": self.name, "epoch": epoch, "spent": self.spent()})
        self.saved_at = time.monotonic()

    def resume(
        self, networks: Sequence[nn.Module], optimizers: list[torch.optim.Optimizer], processes: Processes
    ) -> tuple[int, dict[str, np.ndarray[Any, Any]]]:
        """The next epoch and the saved arrays, networks and optimisers set back; (0, {}) where nothing is saved.

        Only the first process gets the arrays.
        """
        epoch, arrays = self._load(networks, optimizers)
        epoch = processes.from_first(epoch)
        processes.share(*networks)
        if epoch > 0 and processes.count > 1:
            processes.share_tensors([buffer for optimizer in optimizers for buffer in optimizer_buffers(optimizer)])
        return epoch, arrays

    def _load(
        self, networks: Sequence[nn.Module], optimizers: list[torch.optim.Optimizer]
    ) -> tuple[int, dict[str, np.ndarray[Any, Any]]]:
        if self.path is None or not self.path.exists():
            return 0, {}
        try:
            tensors, meta = load_checkpoint(self.path)
        except RunError:
            # It only saves time: without it the step begins anew, and ends with the same numbers.
            return 0, {}
        if meta["step"] != self.name:
            return 0, {}
        for index, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
            unpack_module(f"network.{index}", network, tensors)
            unpack_optimizer(f"optimizer.{index}", optimizer, tensors)
        self.spent_before = float(meta["spent"])
        arrays = {
            key.removeprefix("array."): value.numpy() for key, value in tensors.items() if key.startswith("array.")
        }
        return int(meta["epoch"]) + 1, arrays

    def clear(self) -> None:
        """Forget the saved state, once the result of the step is safe elsewhere."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
