"""Phase 2's update: train one network with cross-entropy on chosen items and their current labels."""

import math

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from overread.arrays import IntArray
from overread.config import LnlConfig
from overread.learn.models import Network
from overread.learn.processes import Processes
from overread.learn.sources import Source
from overread.learn.training import (
    Checkpointer,
    batches,
    check_finite,
    cosine_rate,
    new_optimizer,
    seed_dropout,
    set_rate,
    step,
)
from overread.progress import Reporter
from overread.rng import derived_seed, generator

__all__ = ["fine_tune"]


def fine_tune(
    network: Network,
    source: Source,
    labels: IntArray,
    positions: IntArray,
    epochs: int,
    config: LnlConfig,
    seed: int,
    round_number: int,
    checkpointer: Checkpointer,
    reporter: Reporter,
    processes: Processes | None = None,
) -> None:
    """Train `network` in place on `positions` for `epochs` with fresh SGD and a cosine over these epochs.

    labels: (N,) current labels of all items; only those of `positions` are read.  processes: who shares the work.
    """
    processes = processes or Processes(network.last.weight.device)
    trained = processes.trainable(network)
    targets = torch.from_numpy(labels)
    # Batch norm cannot train on one sample, and no process on none; each of them several times has the same mean loss.
    positions = np.repeat(positions, math.ceil(max(2, processes.count) / len(positions)))
    optimizer = new_optimizer(network, config)
    start, _ = checkpointer.resume([network], [optimizer], processes)
    with reporter.task(f"round {round_number}, {len(positions)} items", epochs, done=start) as advance:
        for epoch in range(start, epochs):
            rng = generator(seed, "fine-tune", round_number, epoch)
            seed_dropout(derived_seed(seed, "fine-tune-dropout", round_number, epoch))
            trained.train()
            set_rate(optimizer, cosine_rate(config.learning_rate, epoch, epochs))
            for batch in batches(positions, config.batch_size, rng, processes.count):
                part = processes.part(len(batch))
                inputs = source.train_batch(batch, rng, part.rows)
                with processes.autocast():
                    logits, _ = trained(inputs, part)
                losses = cross_entropy(logits.float(), targets[batch[part.rows]].to(inputs.device), reduction="none")
                check_finite(processes.gather(losses.detach(), part).cpu().numpy(), config, epoch)
                step(optimizer, losses, np.arange(len(batch)), part, processes)
            checkpointer.save_if_due(epoch, [network], [optimizer], {})
            advance(1)
