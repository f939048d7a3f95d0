"""Both phases from an image file to results: what `overread simulate` does in finetune mode."""

from typing import Any

import numpy as np
import resnet
import torch
from epochs import N_CLASSES, PREPROCESS
from measure import Benchmark, Step, timed
from naive_torch import (
    Classifier,
    ImageItems,
    Loader,
    Plan,
    eval_transform,
    simulate,
    train_transform,
)
from naive_torch import Study as NaiveStudy
from studies import NOISE, Study, make_study, whole_run
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from overread.arrays import IntArray
from overread.arrays.noise import flip_labels, symmetric_matrix
from overread.config import load_config
from overread.learn.sources import PixelSource
from overread.learn.weights import load_backbone

ITEMS = 384
QUICK_ITEMS = 48
BATCH = 128
BUDGET = 4
PAPER = load_config(settings=["preset=paper"])
PLAN = Plan(
    epochs=PAPER.lnl.epochs,
    warmup_epochs=PAPER.lnl.warmup_epochs,
    window=PAPER.lnl.vog_window,
    forget_rate=NOISE,
    rounds=PAPER.active.rounds,
    budget=BUDGET,
    update_epochs=PAPER.active.epochs,
)
QUICK = Plan(epochs=2, warmup_epochs=1, window=2, forget_rate=NOISE, rounds=1, budget=2, update_epochs=1)


def inputs(size: int, quick: bool) -> Study:
    return make_study(QUICK_ITEMS if quick else ITEMS, size)


def plan(data: Study) -> Plan:
    return QUICK if data.n_train == QUICK_ITEMS else PLAN


def naive(data: Study) -> Step:
    images, reference = data.images[: data.n_train], data.reference[: data.n_train]
    given = flip_labels(reference, symmetric_matrix(N_CLASSES, NOISE), np.random.default_rng(0))

    def training(labels: IntArray, positions: list[int]) -> Loader:
        items = ImageItems(images[positions], labels[positions], train_transform(data.side))
        # Batch norm cannot train on a last batch of one.
        return DataLoader(items, BATCH, shuffle=True, drop_last=len(positions) % BATCH == 1)

    def looked_at(rows: slice) -> Loader:
        return DataLoader(ImageItems(data.images[rows], data.reference[rows], eval_transform(data.side)), BATCH)

    def work() -> None:
        networks = [
            Classifier(load_backbone(resnet.MODEL.name, "none")[0], 512, N_CLASSES, resnet.MODEL.dropout)
            for _ in range(2)
        ]
        both = looked_at(slice(data.n_train)), looked_at(slice(data.n_train, None))
        simulate(NaiveStudy(networks, training, *both), given, reference, plan(data))

    return timed(work)


def value(data: Study) -> Step:
    do = plan(data)
    settings = {
        "preset": "paper",
        "model.mode": "finetune",
        "model.name": resnet.MODEL.name,
        "model.weights": "none",
        "lnl.epochs": do.epochs,
        "lnl.batch_size": BATCH,
        "lnl.warmup_epochs": do.warmup_epochs,
        "lnl.vog_window": do.window,
        "active.rounds": do.rounds,
        "active.budget": do.budget,
        "active.epochs": do.update_epochs,
    }
    return whole_run(data, [f"{key}={setting}" for key, setting in settings.items()], fresh_cache=True)


def limit(data: Study) -> Step:
    """Forward and backward for every image that is trained on, and forward for every one that is scored."""
    do = plan(data)
    source = PixelSource(data.images, data.side, PREPROCESS, augment=False, device=torch.device("cpu"))
    batch = source.eval_batch(np.arange(min(BATCH, data.n_train)))
    labels = torch.zeros(len(batch), dtype=torch.long)
    network = resnet.networks()[0]
    updated = int((1 - NOISE) * data.n_train)
    trained = do.epochs * 2 * data.n_train + do.rounds * do.update_epochs * updated
    scored = (do.rounds + 1) * len(data.images)

    def work() -> None:
        network.train()
        for _ in range(trained // len(batch)):
            network.zero_grad(set_to_none=True)
            cross_entropy(network(batch)[0], labels).backward()  # type: ignore[no-untyped-call]
        network.eval()
        with torch.inference_mode():
            for _ in range(scored // len(batch)):
                network(batch)

    return timed(work)


def facts(data: Study) -> dict[str, Any]:
    return {
        "items": data.n_train,
        "test_items": len(data.images) - data.n_train,
        "batch": BATCH,
        "network": resnet.MODEL.name,
        **plan(data)._asdict(),
    }


BENCHMARK = Benchmark(
    what="a run of preset paper, both phases, two ResNet-18 on images; also embeds them to estimate the noise",
    unit="s per run",
    sizes=(32, 64),
    size_is="pixels a side",
    quick_size=32,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="forward and backward of all updates and forward of all scores, batches in memory",
    facts=facts,
    warm_up=False,
)
