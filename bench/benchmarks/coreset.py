"""The coreset sampler: k-centre greedy picks of a pool."""

from typing import Any, NamedTuple

import numpy as np
from measure import Benchmark, Step, timed
from naive import k_centre_greedy
from numpy.typing import NDArray

from overread.arrays import BoolArray
from overread.arrays.acquisition import Pool, select

WIDTH = 512
CLUSTERS = 20


class Inputs(NamedTuple):
    """Items of which some are labelled."""

    features: NDArray[np.float32]
    labelled: BoolArray
    picks: int


def inputs(size: int, quick: bool) -> Inputs:
    """Clusters whose directions fade like those of an embedding: the first few hold most of the variance."""
    rng = np.random.default_rng(0)
    fading = (1 / np.sqrt(np.arange(1, WIDTH + 1))).astype(np.float32)
    centres = 2 * rng.standard_normal((CLUSTERS, WIDTH), np.float32)
    features = (centres[rng.integers(0, CLUSTERS, size)] + rng.standard_normal((size, WIDTH), np.float32)) * fading
    picks = 20 if quick else 500
    labelled = np.zeros(size, np.bool_)
    labelled[rng.choice(size, picks, replace=False)] = True
    return Inputs(features, labelled, picks)


def naive(data: Inputs) -> Step:
    labelled = np.flatnonzero(data.labelled).tolist()
    return timed(lambda: k_centre_greedy(data.features, labelled, data.picks))


def value(data: Inputs) -> Step:
    given = np.zeros(len(data.features), np.int64)
    pool = Pool(probs=None, draws=None, features=data.features, given=given, open=~data.labelled)
    return timed(lambda: select("coreset", pool, data.picks, np.random.default_rng(0)))


def limit(data: Inputs) -> Step:
    centres = data.features[: 2 * data.picks].T.copy()
    return timed(lambda: data.features @ centres)


def facts(data: Inputs) -> dict[str, Any]:
    return {"width": data.features.shape[1], "picks": data.picks, "labelled": int(data.labelled.sum())}


BENCHMARK = Benchmark(
    what="500 k-centre picks beside 500 labelled items, 512 features",
    unit="s",
    sizes=(20_000, 5_000, 50_000),
    size_is="items",
    quick_size=300,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="one float32 product of all items with all centres",
    facts=facts,
    memory=True,
)
