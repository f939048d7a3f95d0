"""An epoch of co-teaching with VOG of two linear heads on stored embeddings."""

from typing import Any, NamedTuple

import numpy as np
import torch
from epochs import N_CLASSES, naive_epoch, random_labels, steady_epoch
from measure import Benchmark, Step, timed
from naive_torch import Classifier, FeatureItems
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from overread.arrays import IntArray
from overread.config import ModelConfig
from overread.learn.models import build_network
from overread.learn.sources import FeatureSource

WIDTH = 1280
BATCH = 256
MODEL = ModelConfig()


class Inputs(NamedTuple):
    """Embeddings and given labels."""

    features: NDArray[np.float32]
    given: IntArray


def inputs(size: int, quick: bool) -> Inputs:
    return Inputs(np.random.default_rng(0).standard_normal((size, WIDTH), np.float32), random_labels(size))


def naive(data: Inputs) -> Step:
    heads = [Classifier(nn.Identity(), WIDTH, N_CLASSES, MODEL.dropout) for _ in range(2)]
    loader = DataLoader(FeatureItems(data.features, data.given), BATCH, shuffle=True)
    return naive_epoch(heads, loader, with_vog=True)


def value(data: Inputs) -> Step:
    return _product(data, "co-teaching-vog")


def without_vog(data: Inputs) -> Step:
    return _product(data, "co-teaching")


def _product(data: Inputs, method: str) -> Step:
    heads = [build_network(MODEL, N_CLASSES, WIDTH, seed) for seed in range(2)]
    return steady_epoch(method, heads, FeatureSource(data.features, torch.device("cpu")), data.given, BATCH)


def limit(data: Inputs) -> Step:
    rows = torch.from_numpy(data.features)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    weight = torch.zeros(N_CLASSES, WIDTH)
    gradient = torch.zeros(BATCH, N_CLASSES)

    def work() -> None:
        for batch in batches:
            for _ in range(2):
                batch @ weight.T
                gradient[: len(batch)].T @ batch

    return timed(work)


def facts(data: Inputs) -> dict[str, Any]:
    return {"width": WIDTH, "classes": N_CLASSES, "batch": BATCH, "dropout": MODEL.dropout}


BENCHMARK = Benchmark(
    what="one epoch of co-teaching with VOG, two linear heads on 1280 features",
    unit="s per epoch",
    sizes=(20_000,),
    size_is="items",
    quick_size=300,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="the matrix products of forward and backward of both heads, rows in order",
    facts=facts,
    also={"value without VOG": without_vog},
)
