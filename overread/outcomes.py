"""What the complete runs of a bench came to: their results by data set, noise, arm and seed, and scores of each.

An arm may be made with hindsight: of the runs of another arm, with the logit adjustment that is best for the test items
themselves.  It is an upper bound of what a decision rule alone can give, and costs no run.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from overread.arrays import FloatArray
from overread.arrays.decisions import adjustment_in_hindsight, prior_adjusted
from overread.arrays.metrics import classification_metrics
from overread.arrays.statistics import area_under_budget_curve, score_at
from overread.errors import RunError
from overread.results import RESULTS, read_column, read_results, round_file

__all__ = [
    "PLAN",
    "SHARES",
    "Cell",
    "Points",
    "curve_of",
    "number",
    "read_cells",
    "read_plan",
    "run_scores",
    "share_key",
]

PLAN = "bench.json"
SHARES = (0.05, 0.10, 0.20)
"""Of the training set: where arms are compared at the same number of reads."""
STRENGTHS = tuple(step / 10 for step in range(16))

Results = Mapping[str, Any]


class Cell(NamedTuple):
    """All runs of one data set and noise: arm -> seed -> results; arms in the order of the grid."""

    dataset: str
    noise: str
    arms: dict[str, dict[int, dict[str, Any]]]
    planned: dict[str, list[int]]
    """arm -> seeds of the plan, whether or not they were run."""


class Points(NamedTuple):
    """A curve of a score, mostly macro-F1, over reads, (R,) each."""

    reads: FloatArray
    """Strictly increasing."""
    score: FloatArray


def read_plan(out: Path) -> dict[str, Any]:
    """The plan of the bench in `out`; RunError where there is none."""
    try:
        plan = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise RunError(f"{out} holds no bench: {PLAN} cannot be read ({error})") from None
    if not isinstance(plan, dict):
        raise RunError(f"{out / PLAN} is damaged; run the bench again, complete runs are kept")
    return plan


def read_cells(out: Path, plan: Results) -> list[Cell]:
    """The complete runs of the plan, in the order of the grid, with their `run_scores` under "scores".

    Arms that are made with hindsight stand behind the others.  RunError where test scores that they need are lost.
    """
    cells: dict[tuple[str, str], Cell] = {}
    for run in plan["runs"]:
        key = (run["dataset"], run["noise"])
        cell = cells.setdefault(key, Cell(*key, arms={}, planned={}))
        folder = out / "runs" / run["slug"]
        there = read_results(folder) if (folder / RESULTS).exists() else {"complete": False}
        made = {run["arm"]: there}
        for name, source in plan["hindsight"].items():
            if source == run["arm"]:
                made[name] = with_hindsight(folder, there) if there["complete"] else there
        for arm, results in made.items():
            cell.planned.setdefault(arm, []).append(run["seed"])
            seeds = cell.arms.setdefault(arm, {})
            if results["complete"]:
                seeds[run["seed"]] = {**results, "scores": run_scores(results, run["planned_reads"])}
    # The order of the grid, whatever the order in which the runs were made.
    order = [(dataset, noise) for dataset in plan["datasets"] for noise in plan["noise"]]
    arms = [*plan["arms"], *plan["hindsight"]]
    return [
        cells[key]._replace(arms={arm: cells[key].arms[arm] for arm in arms if arm in cells[key].arms})
        for key in order
        if key in cells
    ]


def with_hindsight(run: Path, results: Results) -> dict[str, Any]:
    """The results of the run in folder `run`, its test scores of every round those of the best adjustment for them.

    The prior is that of the reference labels of the training items.  `adjustment` in the test scores is what was best.
    RunError where the test scores are lost.
    """
    names = results["dataset"]["classes"]
    counts = np.array(results["dataset"]["train_counts"], dtype=np.float64)
    prior = np.maximum(counts, 1.0) / counts.sum()
    rounds = []
    for entry in results["rounds"]:
        file = round_file(run, "test", entry["round"])
        if not file.is_file():
            raise RunError(
                f"{file}, which hindsight needs, is lost: `overread simulate {run / 'config.yaml'} --out {run}` makes "
                "it again"
            )
        reference = read_column(file, "reference")
        probs = np.stack([read_column(file, f"prob_{c}") for c in range(len(names))], axis=1)
        strength = adjustment_in_hindsight(reference, probs, prior, STRENGTHS)
        test = classification_metrics(reference, prior_adjusted(probs, prior, strength), names)
        rounds.append({**entry, "test": {"adjustment": strength, **test}})
    return {**results, "rounds": rounds}


def run_scores(results: Results, planned_reads: int) -> dict[str, float]:
    """The scores of one complete run by the keys of the tables, plus `reads` and `free` (truths revealed by a leak).

    All in [0, 1] but the two counts; higher = better but for the errors of the noise rate.  `macro_f1_at_5` and the
    like: after reads of so many percent of the training set; NaN where that is no fewer than `planned_reads`.  `area`
    is the mean macro-F1 over 0 .. `planned_reads`; where the pool ran empty earlier the curve goes on flat, since
    nothing more changes.  `rare_kept` is of the rightly labelled items of the rarest class the share that is presumed
    clean before any read, `rare_trusted` after all of them (presumed clean or read).  `rate_error`: absolute error of
    the estimated share of wrong given labels; `rate_error_at_5` after reads of 5 %.  NaN where a run has no value.
    The rarest class is the one with the fewest training items by reference label, the first of equals.
    """
    first, last = results["rounds"][0], results["rounds"][-1]
    rare = int(np.argmin(results["dataset"]["train_counts"]))
    leak = results.get("leak") or {}
    curve = curve_of(results["rounds"])
    errors = curve_of(results["rounds"], lambda entry: _rate_error(entry, results))
    ahead = planned_reads - len(results["rounds"]) / 2  # the budget of a round is a whole number
    wanted = {share: share * results["dataset"]["n_train"] for share in SHARES}
    return {
        "macro_f1_start": number(first["test"]["macro_f1"]),
        **{share_key(share): score_at(*curve, reads) if reads < ahead else math.nan for share, reads in wanted.items()},
        "macro_f1": number(last["test"]["macro_f1"]),
        "area": _area(curve, planned_reads),
        "balanced_accuracy": number(last["test"]["balanced_accuracy"]),
        "label_accuracy": number(last["label_accuracy"]),
        "rare_recall": number(last["test"]["per_class"][rare]["recall"]),
        "rare_f1": number(last["test"]["per_class"][rare]["f1"]),
        "rare_kept": _of_rarest(first, rare),
        "rare_trusted": _of_rarest(last, rare),
        "rate_error_start": _rate_error(first, results),
        "rate_error_at_5": score_at(*errors, wanted[0.05]) if wanted[0.05] < ahead else math.nan,
        "rate_error": _rate_error(last, results),
        "reads": float(last["bought"]),
        "free": float(leak.get("revealed", 0)),
    }


def share_key(share: float) -> str:
    """The key of the macro-F1 after reads of a share of the training set.

    >>> share_key(0.05)
    'macro_f1_at_5'
    """
    return f"macro_f1_at_{100 * share:g}"


def macro_f1_of(entry: Results) -> float:
    """Of the test items after a round."""
    return number(entry["test"]["macro_f1"])


def curve_of(rounds: Sequence[Results], score: Callable[[Results], float] = macro_f1_of) -> Points:
    """A score of every round over the reads bought; of rounds that bought nothing the first."""
    points: dict[int, float] = {}
    for entry in rounds:
        points.setdefault(entry["bought"], score(entry))
    return Points(np.array(list(points), dtype=np.float64), np.array(list(points.values())))


def number(value: float | None) -> float:
    """`value`, which is None in a file where it is undefined, as a number."""
    return math.nan if value is None else float(value)


def _area(curve: Points, planned_reads: int) -> float:
    if curve.reads[-1] < planned_reads:
        curve = Points(np.append(curve.reads, planned_reads), np.append(curve.score, curve.score[-1]))
    return area_under_budget_curve(*curve)


def _of_rarest(entry: Results, rare: int) -> float:
    return number(entry["selection"]["per_class"][rare]["recall"]) if entry["selection"] else math.nan


def _rate_error(entry: Results, results: Results) -> float:
    # Rounds of runs of earlier versions have no estimate of their own.
    estimate = entry.get("estimated_rate", results["noise"]["estimated_rate"])
    return abs(number(estimate) - number(results["noise"]["rate"]))
