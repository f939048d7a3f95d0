"""Train networks on chosen items: on labels by cross-entropy, or on what is known of the truth by its likelihood."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy, log_softmax

from overread.arrays import FloatArray, IntArray
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
    networks: list[Network],
    source: Source,
    targets: IntArray | FloatArray,
    positions: Sequence[IntArray],
    epochs: int,
    config: LnlConfig,
    seed: int,
    round_number: int,
    checkpointer: Checkpointer,
    reporter: Reporter,
    processes: Processes | None = None,
) -> None:
    """Train `networks` in place for `epochs` with fresh optimisers and a cosine over these epochs.

    positions: for each network the items that it learns from, in batches of its own; it sees no others.  targets: of
    all items, though only those of `positions` are read: labels (N,), learnt by cross-entropy, or log likelihoods
    (N, C) of what is known of an item, were its class c; then the loss is `-log sum_c p_c exp(target_c)`, forward
    correction (Patrini et al., CVPR 2017) with reads as further evidence.  processes: who shares the work.
    """
    processes = processes or Processes(networks[0].last.weight.device)
    trained = [processes.trainable(network) for network in networks]
    wanted = torch.from_numpy(targets if targets.ndim == 1 else targets.astype(np.float32))
    # Batch norm cannot train on one sample, and no process on none; each of them several times has the same mean loss.
    enough = [np.repeat(part, math.ceil(max(2, processes.count) / len(part))) for part in positions]
    optimizers = [new_optimizer(network, config) for network in networks]
    start, _ = checkpointer.resume(networks, optimizers, processes)
    what = f"round {round_number}" if round_number else "phase 1"
    with reporter.task(f"{what}, {max(map(len, positions))} items", epochs, done=start) as advance:
        for epoch in range(start, epochs):
            for index, (network, optimizer, mine) in enumerate(zip(trained, optimizers, enough, strict=True)):
                which = (round_number, epoch, index) if index else (round_number, epoch)
                rng = generator(seed, "fine-tune", *which)
                seed_dropout(derived_seed(seed, "fine-tune-dropout", *which))
                network.train()
                set_rate(optimizer, cosine_rate(config.learning_rate, epoch, epochs))
                for batch in batches(mine, config.batch_size, rng, processes.count):
                    part = processes.part(len(batch))
                    inputs = source.train_batch(batch, rng, part.rows)
                    with processes.autocast():
                        logits, _ = network(inputs, part)
                    losses = _losses(logits.float(), wanted[batch[part.rows]].to(inputs.device))
                    check_finite(processes.gather(losses.detach(), part).cpu().numpy(), config, epoch)
                    step(optimizer, losses, np.arange(len(batch)), part, processes)
            checkpointer.save_if_due(epoch, networks, optimizers, {})
            advance(1)


def _losses(logits: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Loss (B,) of labels (B,) or log likelihoods (B, C), nats."""
    if known.ndim == 1:
        return cross_entropy(logits, known, reduction="none")
    return -(log_softmax(logits, dim=1) + known).logsumexp(dim=1)
