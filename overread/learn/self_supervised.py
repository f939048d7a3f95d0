"""`model.weights=self`: a backbone learns from the training images alone, so that no wrong label can touch it.

SimCLR (Chen et al., ICML 2020): two strong views of an image are to be more alike than views of different images.
What comes of it is a weight file in the user's cache, made once for all labels, methods and seeds of a set of training
images; behind it everything goes on as with any other file.  Test images are never looked at.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from overread.arrays import IntArray
from overread.config import Config, LnlConfig, ModelConfig
from overread.data.cache import cache_folder
from overread.data.dataset import Dataset
from overread.errors import DataError, ModelError, RunError
from overread.learn.augment import draw_view
from overread.learn.checkpoint import load_checkpoint, save_checkpoint
from overread.learn.models import check_takes, network_input_size, output_width
from overread.learn.processes import Processes
from overread.learn.sources import PixelSource
from overread.learn.training import Checkpointer, batches, cosine_rate, new_optimizer, seed_dropout, set_rate
from overread.learn.weights import load_backbone
from overread.locks import take_lock
from overread.progress import Reporter
from overread.rng import derived_seed, generator

__all__ = ["nt_xent", "with_own_weights"]

# Part of every file name: a change of what is learnt makes all old files stale.
RULES = 1
# A contrast needs others to differ from; of fewer images nothing can be learnt anyway.
LEAST_IMAGES = 32
BATCH = 128
OPTIMIZER = LnlConfig(optimizer="adamw", learning_rate=0.003, weight_decay=0.01)
TEMPERATURE = 0.2
HIDDEN = 256
COMPARED = 64


def with_own_weights(dataset: Dataset, config: Config, reporter: Reporter, processes: Processes) -> ModelConfig:
    """`config.model`; where its weights are `self`, with the file that holds them and the input size they learnt at.

    The weights depend on the training images, the network, its input size, `model.self_epochs`, and what changes bits:
    precision, `threads` and the kind of device.  Neither labels nor test images nor `seed` play a part, other than by
    which images are for training.  Of several processes the first one learns, and the others read its file.

    Errors: DataError for too few images; ModelError for a network that cannot take them, or that diverges; RunError
    where the file that the first process wrote is not there for another one.
    """
    model = config.model
    if model.weights != "self":
        return model
    train = dataset.positions("train")
    if len(train) < LEAST_IMAGES:
        raise DataError(
            f"model.weights=self learns from {LEAST_IMAGES} training images at least, and there are {len(train)}: "
            "set model.weights=packaged, none or a file"
        )
    side = network_input_size(model, max(dataset.images.shape[1:3]))
    images = hashlib.sha256("".join(dataset.pixel_digests[train].tolist()).encode()).hexdigest()
    facts = [RULES, images, model.name, side, model.self_epochs]
    facts += [config.precision, config.threads, processes.device.type, timm.__version__]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    path = cache_folder(config.data.cache) / f"self-{key}.safetensors"
    if processes.is_first and not _is_whole(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        reporter.note(f"{model.name} learns from the training images without labels, here or where it is begun already")
        # Runs of a grid begin at the same time and want the same weights: one learns, the others wait.
        with take_lock(path.with_suffix(".lock"), wait=True):
            if not _is_whole(path):
                _make(
                    path, dataset, train, side, derived_seed(0, "self-supervised", images), config, reporter, processes
                )
    processes.wait()
    if not path.exists():
        raise RunError(
            f"the weights {path} are not there though they were made: is the folder not the same on all machines? "
            "OVERREAD_CACHE names one that they share"
        )
    return model.model_copy(update={"weights": str(path), "input_size": side})


def _is_whole(path: Path) -> bool:
    """Whether the weights in `path` are there and can be read; a damaged file is made again like any of the cache."""
    try:
        load_checkpoint(path)
    except RunError:
        return False
    return True


def nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean loss, nats, of two views (B, D) of B images: how hard it is to find the other view among all 2 B - 1.

    `-log(exp(s(i, j) / t) / sum over k != i of exp(s(i, k) / t))`, `s` the cosine, `j` the other view of `i`; Chen et
    al., ICML 2020, equation 1.
    """
    views = normalize(torch.cat([first, second]), dim=1)
    likeness = views @ views.T / temperature
    likeness.fill_diagonal_(-math.inf)
    return cross_entropy(likeness, torch.arange(len(views), device=views.device).roll(len(first)))


def _make(
    path: Path,
    dataset: Dataset,
    train: IntArray,
    side: int,
    seed: int,
    config: Config,
    reporter: Reporter,
    processes: Processes,
) -> None:
    """Learn from the images at `train` and store the trunk in `path`."""
    model = config.model
    # In this process alone: the others wait, and would not answer.
    alone = Processes(processes.device, config.precision == "bfloat16")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, "initial-weights"))
        trunk, preprocess = load_backbone(model.name, "none", input_size=side)
        width = output_width(trunk)
        head = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, COMPARED)
        )
    network = nn.Sequential(trunk, head).to(alone.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    source = PixelSource(dataset.images, side, preprocess, augment=True, device=alone.device, draw=draw_view)
    check_takes(network, source.eval_batch(train[:2]), model.name)
    in_progress = path.with_name(f"{path.stem}-in-progress.safetensors")
    checkpointer = Checkpointer(in_progress, config.checkpoint_seconds, path.stem)
    _learn(network, source, train, model.self_epochs, seed, checkpointer, reporter, alone)
    save_checkpoint(path, trunk.state_dict(), {"model": model.name, "input_size": side, "rules": RULES})
    checkpointer.clear()
    reporter.note(f"{model.name} has learnt from {len(train)} images without labels in {checkpointer.spent():.0f} s")


def _learn(
    network: nn.Module,
    source: PixelSource,
    positions: IntArray,
    epochs: int,
    seed: int,
    checkpointer: Checkpointer,
    reporter: Reporter,
    processes: Processes,
) -> None:
    """Train `network` (trunk and head) in place on two views of every image an epoch."""
    optimizer = new_optimizer(network, OPTIMIZER)
    start, _ = checkpointer.resume([network], [optimizer], processes)
    with reporter.task(f"without labels, {len(positions)} images", epochs, done=start) as advance:
        for epoch in range(start, epochs):
            rng = generator(seed, "views", epoch)
            seed_dropout(derived_seed(seed, "dropout", epoch))
            network.train()
            set_rate(optimizer, cosine_rate(OPTIMIZER.learning_rate, epoch, epochs))
            for batch in batches(positions, BATCH, rng):
                views = torch.cat([source.train_batch(batch, rng), source.train_batch(batch, rng)])
                with processes.autocast():
                    compared = network(views)
                first, second = compared.float().chunk(2)
                loss = nt_xent(first, second, TEMPERATURE)
                if not np.isfinite(loss.item()):
                    raise ModelError(
                        f"the network diverged in epoch {epoch} of model.weights=self: its loss is not finite; "
                        "set precision=float32 or another model.name"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            checkpointer.save_if_due(epoch, [network], [optimizer], {})
            advance(1)
