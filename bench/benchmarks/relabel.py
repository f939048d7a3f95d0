"""Writing the labels that were bought into those of the set."""

from typing import Any, NamedTuple

import numpy as np
from epochs import N_CLASSES, random_labels
from measure import Benchmark, Seconds, Step, timed
from naive import relabel

from overread.arrays import IntArray
from overread.oracle import SimulatedOracle


class Inputs(NamedTuple):
    """Labels, and which of them are bought; the answers are the reference labels."""

    labels: IntArray
    reference: IntArray
    chosen: IntArray


def inputs(size: int, quick: bool) -> Inputs:
    rng = np.random.default_rng(0)
    reference = rng.integers(0, N_CLASSES, size)
    return Inputs(random_labels(size), reference, rng.permutation(size)[: size // 5])


def naive(data: Inputs) -> Step:
    chosen, answers = data.chosen.tolist(), data.reference[data.chosen]
    return timed(lambda: relabel(data.labels, chosen, answers))


def value(data: Inputs) -> Step:
    def step() -> Seconds:
        # An oracle counts what it has answered, so every round gets a new one.
        oracle = SimulatedOracle(data.reference, N_CLASSES, error_rate=0.0, seed=0)

        def work() -> None:
            labels = data.labels.copy()
            labels[data.chosen] = oracle.answer(data.chosen, 1, "bought")

        return timed(work)()

    return step


def limit(data: Inputs) -> Step:
    labels, answers = data.labels.copy(), data.reference[data.chosen]

    def work() -> None:
        labels[data.chosen] = answers

    return timed(work)


def facts(data: Inputs) -> dict[str, Any]:
    return {"bought": len(data.chosen)}


BENCHMARK = Benchmark(
    what="the answers for a fifth of the items, counted, and a new label vector",
    unit="s",
    sizes=(100_000,),
    size_is="items",
    quick_size=300,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="the bare assignment",
    facts=facts,
)
