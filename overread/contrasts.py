"""Arms against a reference arm: differences paired by seed and the reads that its final score takes, by condition and
averaged over conditions.

A condition is one data set with one noise.  Averages over conditions give every condition the same weight, and their
intervals are over seeds: for every seed the mean over conditions, since conditions of one seed share data and draws.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from overread.arrays import FloatArray
from overread.arrays.statistics import (
    PairedComparison,
    holm,
    mean_interval,
    paired_comparison,
    reads_to_stay_above,
    score_at,
)
from overread.outcomes import Cell, Points, curve_of, number

__all__ = ["Band", "Contrast", "common_seeds", "contrasts", "mean_curve", "mean_scores", "reads_needed", "share_curve"]

Runs = Sequence[Mapping[str, Any]]
STEPS = np.linspace(0.0, 1.0, 81)


class Band(NamedTuple):
    """A mean curve and the ends of its 95 % interval over seeds, (R,) each; NaN where there is one seed."""

    points: Points
    low: FloatArray
    high: FloatArray


class Contrast(NamedTuple):
    """One arm minus the reference, over the conditions and seeds that both have."""

    arm: str
    reference: str
    conditions: int
    seeds: int
    """That both arms have in all of these conditions."""
    scores: dict[str, PairedComparison]
    """Key of `run_scores` -> difference; its p values corrected by Holm's method over the arms."""
    reads: float
    """Reads that the arm needs for the reference's final macro-F1, as a share of those of the reference; see
    `reads_needed`."""
    reached: int
    """Conditions in which it needs no more reads than the reference."""


def contrasts(cells: Iterable[Cell], reference: str, keys: Sequence[str]) -> list[Contrast]:
    """Every arm that shares seeds with the reference, which must be the same ones in all conditions of the arm."""
    cells = list(cells)
    arms = dict.fromkeys(arm for cell in cells for arm in cell.arms if arm != reference)
    found = []
    for arm in arms:
        both = [cell for cell in cells if cell.arms.get(arm) and cell.arms.get(reference)]
        seeds = sorted(set(common_seeds(both, arm)) & set(common_seeds(both, reference)))
        if not seeds:
            continue
        scores = {
            key: paired_comparison(_by_seed(both, arm, seeds, key), _by_seed(both, reference, seeds, key))
            for key in keys
        }
        pairs = [(_runs(cell, arm, seeds), _runs(cell, reference, seeds)) for cell in both]
        reached = sum(reads_needed([pair]) <= 1 for pair in pairs)
        found.append(Contrast(arm, reference, len(both), len(seeds), scores, reads_needed(pairs), reached))
    for key in keys:
        corrected = holm(np.array([each.scores[key].p_value for each in found]))
        for each, p in zip(found, corrected, strict=True):
            each.scores[key] = each.scores[key]._replace(p_value=float(p))
    return found


def common_seeds(cells: Sequence[Cell], arm: str) -> list[int]:
    """The seeds that `arm` has in every one of the conditions."""
    return sorted(set.intersection(*(set(cell.arms[arm]) for cell in cells))) if cells else []


def mean_scores(cells: Iterable[Cell], arm: str, keys: Sequence[str]) -> dict[str, FloatArray]:
    """Of every key the means over the seeds of `arm`, one a condition that has any; NaN where there is no score."""
    there = [cell.arms[arm].values() for cell in cells if cell.arms.get(arm)]
    return {key: np.array([np.mean([run["scores"][key] for run in runs]) for runs in there]) for key in keys}


def mean_curve(runs: Runs) -> Band:
    """Macro-F1 over the reads bought, averaged over runs of one arm, round by round."""
    n_rounds = min(len(run["rounds"]) for run in runs)
    reads = np.mean([[entry["bought"] for entry in run["rounds"][:n_rounds]] for run in runs], axis=0)
    # Where the pool ran empty in every run, nothing more happens.
    rounds = [i for i in range(n_rounds) if i == 0 or reads[i] > reads[i - 1]]
    scores = [[number(run["rounds"][i]["test"]["macro_f1"]) for i in rounds] for run in runs]
    return _band(reads[rounds], np.array(scores))


def share_curve(cells: Iterable[Cell], arm: str) -> Band:
    """Macro-F1 over the share of the training set that was read, averaged over conditions with common seeds of `arm`.

    Where the reads of a condition end, its last score counts on.
    """
    cells = list(cells)
    curves = [[_over_share(cell.arms[arm][seed]) for cell in cells] for seed in common_seeds(cells, arm)]
    n_points = max(len(curve.reads) for of_seed in curves for curve in of_seed)
    shares = np.linspace(0.0, max(curve.reads[-1] for of_seed in curves for curve in of_seed), n_points)
    scores = [np.mean([_at(curve, shares) for curve in of_seed], axis=0) for of_seed in curves]
    return _band(shares, np.array(scores))


def reads_needed(pairs: Sequence[tuple[Runs, Runs]]) -> float:
    """Reads from which on an arm stays at or above the final macro-F1 of the reference, over those of the reference.

    pairs: of every condition the runs of the arm and of the reference.  Mean curves over seeds; of several conditions
    the mean over conditions at equal shares of the reference's reads.  Infinity where it ends below, or needs more.
    """
    curves, targets = [], []
    for runs, others in pairs:
        arm, reference = mean_curve(runs).points, mean_curve(others).points
        curves.append(_at(arm, STEPS * max(reference.reads[-1], 1.0)))
        targets.append(reference.score[-1])
    return reads_to_stay_above(STEPS, np.mean(curves, axis=0), float(np.mean(targets)))


def _over_share(run: Mapping[str, Any]) -> Points:
    curve = curve_of(run["rounds"])
    return curve._replace(reads=curve.reads / run["dataset"]["n_train"])


def _at(curve: Points, reads: FloatArray) -> FloatArray:
    return np.array([score_at(*curve, at) for at in reads])


def _band(reads: FloatArray, scores: FloatArray) -> Band:
    """scores: (S, R), one row a seed."""
    mean, low, high = np.array([mean_interval(values) for values in scores.T]).T
    return Band(Points(reads, mean), low, high)


def _runs(cell: Cell, arm: str, seeds: Sequence[int]) -> Runs:
    return [cell.arms[arm][seed] for seed in seeds]


def _by_seed(cells: Sequence[Cell], arm: str, seeds: Sequence[int], key: str) -> FloatArray:
    """Mean over the conditions (S,) of a score, one a seed."""
    values: FloatArray = np.array([[cell.arms[arm][seed]["scores"][key] for seed in seeds] for cell in cells])
    means: FloatArray = values.mean(axis=0)
    return means
