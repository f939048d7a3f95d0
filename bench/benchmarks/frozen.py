"""Both phases on images that were embedded before: what `overread simulate` does in frozen mode."""

from typing import Any

import numpy as np
import torch
from epochs import N_CLASSES
from measure import Benchmark, Step, scaled, timed
from naive_torch import Classifier, FeatureItems, Loader, Plan, simulate
from naive_torch import Study as NaiveStudy
from studies import NOISE, Study, make_study, whole_run
from torch import nn
from torch.utils.data import DataLoader

from overread.arrays import IntArray
from overread.arrays.noise import flip_labels, symmetric_matrix
from overread.config import Config

SIDE = 32
WIDTH = 1280
BATCH = Config().lnl.batch_size
SMALLEST = 300
# The published way is measured at this share of the items, and multiplied.
NAIVE_SHARE = 10


def inputs(size: int, quick: bool) -> Study:
    study = make_study(size, SIDE)
    # Embeds everything: what is kept of it is what later runs start from.
    whole_run(study, settings(study, rounds=0), fresh_cache=False)()
    return study


def settings(data: Study, rounds: int) -> list[str]:
    """The product's defaults, a hundredth of the items bought in a round; on few items a short phase 1."""
    short = ["lnl.epochs=3", "lnl.warmup_epochs=2"] if data.n_train <= SMALLEST or rounds == 0 else []
    budget = max(1, data.n_train // 100)
    return ["preset=paper", f"model.input_size={SIDE}", f"active.rounds={rounds}", f"active.budget={budget}", *short]


def plan(n: int) -> Plan:
    default = Config()
    epochs, warmup = (3, 2) if n <= SMALLEST else (default.lnl.epochs, default.lnl.warmup_epochs)
    return Plan(
        epochs=epochs,
        warmup_epochs=warmup,
        window=default.lnl.vog_window,
        forget_rate=NOISE,
        rounds=default.active.rounds,
        budget=max(1, n // 100),
        update_epochs=default.active.epochs,
    )


def value(data: Study) -> Step:
    return whole_run(data, settings(data, rounds=plan(data.n_train).rounds), fresh_cache=False)


def naive(data: Study) -> Step:
    n = max(60, data.n_train // NAIVE_SHARE)
    features = np.random.default_rng(0).standard_normal((n + n // 4, WIDTH), np.float32)
    reference = data.reference[: len(features)]
    given = flip_labels(reference[:n], symmetric_matrix(N_CLASSES, NOISE), np.random.default_rng(0))

    def training(labels: IntArray, positions: list[int]) -> Loader:
        return DataLoader(FeatureItems(features[positions], labels[positions]), BATCH, shuffle=True)

    def looked_at(rows: slice) -> Loader:
        return DataLoader(FeatureItems(features[rows], reference[rows]), BATCH)

    def work() -> None:
        heads = [Classifier(nn.Identity(), WIDTH, N_CLASSES, Config().model.dropout) for _ in range(2)]
        study = NaiveStudy(heads, training, looked_at(slice(n)), looked_at(slice(n, None)))
        simulate(study, given, reference[:n], plan(data.n_train)._replace(budget=max(1, n // 100)))

    return scaled(timed(work), data.n_train / n)


def limit(data: Study) -> Step:
    do, n = plan(data.n_train), data.n_train
    rows = torch.randn(BATCH, WIDTH)
    weight, error = torch.zeros(N_CLASSES, WIDTH), torch.zeros(BATCH, N_CLASSES)
    updated = int((1 - NOISE) * n)
    trained = do.epochs * 2 * n + do.rounds * do.update_epochs * updated
    scored = (do.rounds + 1) * len(data.images)

    def work() -> None:
        for _ in range(trained // BATCH):
            rows @ weight.T
            error.T @ rows
        for _ in range(scored // BATCH):
            rows @ weight.T

    return timed(work)


def facts(data: Study) -> dict[str, Any]:
    n = max(60, data.n_train // NAIVE_SHARE)
    return {
        "test_items": len(data.images) - data.n_train,
        "width": WIDTH,
        "batch": BATCH,
        "naive_is": f"at {n} items, times {data.n_train / n:g}",
        **plan(data.n_train)._asdict(),
    }


BENCHMARK = Benchmark(
    what="a run of preset paper, both phases, two linear heads on 1280 features that were embedded before",
    unit="s per run",
    sizes=(20_000,),
    size_is="items",
    quick_size=SMALLEST,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="the matrix products of all updates and all scores, one batch in memory",
    facts=facts,
    warm_up=False,
)
