"""Phase 1: learning with noisy labels, by one network or by two that teach each other.

Read from top to bottom: an epoch is a pass over shuffled batches; in a batch every network picks the samples that it
believes, and its peer is updated on them (Han et al. 2018; Khanal et al. 2024 add the picks by VOG).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.rows import RowArray, row_slices
from overread.arrays.selection import forget_rate_at, keep_count
from overread.arrays.vog import RankOneVogWindow, VogWindow, class_normalised
from overread.config import Cluster, LnlConfig
from overread.learn.infer import predict
from overread.learn.methods import get_method
from overread.learn.models import Network
from overread.learn.processes import Part, Processes
from overread.learn.row_files import WindowFiles
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

__all__ = ["LnlResult", "learn_with_noisy_labels"]

# A window that is larger than this lies in files, one network's at a time.
WINDOW_IN_MEMORY_BYTES = 256 << 20
# Items that are scored at once where a window takes the features of an evaluation pass; whole batches.
EVALUATED_AT_ONCE = 8192


class LnlResult(NamedTuple):
    """What phase 1 knows at its end; arrays have one row per training item."""

    presumed_clean: BoolArray
    loss: FloatArray
    """Cross-entropy of the given label under the evaluation transform, nats; higher = more likely wrong."""
    vog: FloatArray
    """VOG over the last epochs; higher = less settled; NaN where the method keeps none."""
    seconds: float


def learn_with_noisy_labels(
    networks: list[Network],
    source: Source,
    given: IntArray,
    n_classes: int,
    forget_rate: float,
    config: LnlConfig,
    seed: int,
    checkpointer: Checkpointer,
    reporter: Reporter,
    processes: Processes | None = None,
    cluster: Cluster = "none",
) -> LnlResult:
    """The presumed-clean set and per-item scores; `networks` are trained in place, the first one is the result.

    given: (N,) class indices.  forget_rate: in [0, 1), the share of labels thought wrong.  processes: who shares the
    work; the first one keeps the VOG and makes the picks, over whole batches, and its result alone is complete.
    cluster: who scores, as in `predict`.
    """
    processes = processes or Processes(networks[0].last.weight.device)
    trained = [processes.trainable(network) for network in networks]
    method = get_method(config.method)
    n = source.n_items
    labels = torch.from_numpy(given)
    everything = np.arange(n)
    optimizers = [new_optimizer(network, config) for network in networks]
    keeps_vog = method.uses_vog and processes.is_first
    files = WindowFiles(checkpointer.path) if checkpointer.path else None
    watched = networks if keeps_vog else []
    windows = [_new_window(source, network, config, index, files) for index, network in enumerate(watched)]
    vogs: list[FloatArray] = [np.full(n, np.nan) for _ in networks]
    picked_last = np.ones(n, dtype=bool)

    # A variance needs two epochs, however short the warm-up.
    first_vog_epoch = max(config.warmup_epochs, 2)

    start, saved = checkpointer.resume(networks, optimizers, processes)
    if saved:
        picked_last = saved["picked_last"].astype(bool)
        for index, window in enumerate(windows):
            window.load_state({key.partition("/")[2]: v for key, v in saved.items() if key.startswith(f"{index}/")})
            vogs[index] = _vog(window, given, n_classes, config)

    with reporter.task(f"phase 1, {config.method}", config.epochs, done=start) as advance:
        for epoch in range(start, config.epochs):
            rng = generator(seed, "lnl", epoch)
            seed_dropout(derived_seed(seed, "lnl-dropout", epoch))
            forget = forget_rate_at(epoch, forget_rate, config.forget_ramp_epochs) if method.splits else 0.0
            mix_ratio = config.mix_ratio if epoch >= first_vog_epoch else 0.0
            # Earlier gradients leave the window before VOG is first asked for.
            fills_window = method.uses_vog and epoch >= config.warmup_epochs - config.vog_window
            picked_last = np.zeros(n, dtype=bool)
            for network, optimizer in zip(trained, optimizers, strict=True):
                network.train()
                set_rate(optimizer, cosine_rate(config.learning_rate, epoch, config.epochs))

            for batch in batches(everything, config.batch_size, rng, processes.count):
                part = processes.part(len(batch))
                inputs = source.train_batch(batch, rng, part.rows)
                batch_labels = labels[batch[part.rows]].to(inputs.device)
                with processes.autocast():
                    outputs = [network(inputs, part) for network in trained]
                losses = [cross_entropy(logits.float(), batch_labels, reduction="none") for logits, _ in outputs]
                keep = keep_count(len(batch), forget)
                picks = []
                for index, (loss, (_, features)) in enumerate(zip(losses, outputs, strict=True)):
                    loss_values = processes.gather(loss.detach(), part).cpu().numpy()
                    check_finite(loss_values, config, epoch)
                    picks.append(method.pick(loss_values, vogs[index][batch], keep, mix_ratio))
                    if fills_window and config.vog_source == "training":
                        seen = _window_features(source, networks[index], features, part, processes)
                        if processes.is_first:
                            # exp(-loss) is the probability of the given label: nothing is computed twice.
                            windows[index].push(epoch, batch, np.exp(-loss_values), seen)
                picks = processes.from_first(picks)
                picked_last[batch[picks[0]]] = True
                for index, (loss, optimizer) in enumerate(zip(losses, optimizers, strict=True)):
                    step(optimizer, loss, picks[(index + 1) % len(picks)], part, processes)

            if fills_window and config.vog_source == "evaluation":
                for index, network in enumerate(networks):
                    wanted = not _needs_errors_only(source, network)
                    for first in range(0, n, EVALUATED_AT_ONCE):
                        some = everything[first : first + EVALUATED_AT_ONCE]
                        scores = predict(
                            network, source, some, want_features=wanted, processes=processes, cluster=cluster
                        )
                        if processes.is_first:
                            probs_of_given = scores.probs[np.arange(len(some)), given[some]]
                            windows[index].push(epoch, some, probs_of_given, scores.features)
            for index, window in enumerate(windows if fills_window else []):
                vogs[index] = _vog(window, given, n_classes, config)
            arrays = {f"{i}/{key}": value for i, window in enumerate(windows) for key, value in window.state().items()}
            if files is not None:
                files.sync()
            saved_at = checkpointer.saved_at
            checkpointer.save_if_due(
                epoch, networks, optimizers, {**arrays, "picked_last": picked_last.astype(np.uint8)}
            )
            if files is not None and checkpointer.saved_at != saved_at:
                files.forget(epoch - config.vog_window + 1)
            advance(1)

    probs = predict(networks[0], source, everything, want_features=False, processes=processes, cluster=cluster).probs
    final_loss = -np.log(np.maximum(probs[everything, given], np.finfo(np.float64).tiny))
    presumed_clean = picked_last
    if method.splits and config.clean_set == "whole-set":
        presumed_clean = np.zeros(n, dtype=bool)
        # A phase that ends within its warm-up has no VOG to pick by.
        mix_ratio = config.mix_ratio if config.epochs > first_vog_epoch else 0.0
        presumed_clean[method.pick(final_loss, vogs[0], keep_count(n, forget_rate), mix_ratio)] = True
    return LnlResult(presumed_clean, final_loss, vogs[0], checkpointer.spent())


def _window_features(
    source: Source, network: Network, features: torch.Tensor, part: Part, processes: Processes
) -> FloatArray:
    """Features (B, D) of a whole batch for the window; no columns where the window does not look at them."""
    if _needs_errors_only(source, network):
        return np.empty((part.total, 0), dtype=np.float32)
    return np.asarray(processes.gather(features.detach().float(), part).cpu().numpy())


def _needs_errors_only(source: Source, network: Network) -> bool:
    return source.fixed_features is not None and network.reads_inputs_directly


def _new_window(
    source: Source, network: Network, config: LnlConfig, index: int, files: WindowFiles | None
) -> VogWindow | RankOneVogWindow:
    if _needs_errors_only(source, network):
        assert source.fixed_features is not None
        # Without the dropout mask, whose noise says nothing of the label; one number per item and epoch is kept.
        return RankOneVogWindow(_mean_absolute(source.fixed_features), config.vog_window)
    shape = source.n_items, network.n_features + 1
    if files is None or 4 * config.vog_window * shape[0] * shape[1] <= WINDOW_IN_MEMORY_BYTES:
        return VogWindow(*shape, config.vog_window)
    return VogWindow(*shape, config.vog_window, files.of_network(index, shape))


def _mean_absolute(features: RowArray) -> FloatArray:
    """Mean of |[1, h]| per item, (N,)."""
    sums = [np.abs(features[part]).sum(axis=1, dtype=np.float64) for part in row_slices(features)]
    return np.asarray((1.0 + np.concatenate([*sums, np.empty(0)])) / (features.shape[1] + 1))


def _vog(window: VogWindow | RankOneVogWindow, given: IntArray, n_classes: int, config: LnlConfig) -> FloatArray:
    values = window.values()
    return class_normalised(values, given, n_classes) if config.vog_normalise == "class" else values
