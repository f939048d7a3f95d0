"""What a bench found: tables (Markdown and CSV) and figures from the run folders, without running anything.

All of it is computed from `bench.json` (the plan) and the `results.json` of every run that is there.
"""

import csv
import io
import json
import math
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from overread.arrays import FloatArray
from overread.arrays.statistics import area_under_budget_curve, holm, mean_interval, paired_comparison
from overread.errors import RunError
from overread.files import write_text
from overread.grid import slug
from overread.plots import Curve, bench_figure
from overread.results import RESULTS, read_results

__all__ = ["PLAN", "run_scores", "write_tables"]

PLAN = "bench.json"
COLUMNS = {
    "macro_f1_start": "macro-F1, round 0",
    "macro_f1": "macro-F1, last round",
    "area": "area under macro-F1/reads",
    "balanced_accuracy": "balanced accuracy",
    "label_accuracy": "label accuracy",
    "rare_recall": "recall, rarest class",
    "rare_kept": "presumed-clean recall, rarest class",
}
COMPARED = ("area", "macro_f1", "rare_recall")
PACKAGES = ("overread", "torch", "timm", "numpy", "scipy", "scikit-learn")


class Cell(NamedTuple):
    """All runs of one data set and noise: arm -> seed -> results; arms in the order of the grid."""

    dataset: str
    noise: str
    arms: dict[str, dict[int, dict[str, Any]]]
    planned: dict[str, list[int]]
    """arm -> seeds of the plan, whether or not they were run."""


def write_tables(out: Path) -> Path:
    """The path of `results.md`, written with `results.csv` and one figure a data set from the runs in `out`.

    Runs that are not complete are left out, and every row says how many of its seeds it rests on.
    Errors: RunError where `out` holds no bench.
    """
    plan = read_plan(out)
    cells = _read_cells(out, plan)
    write_text(out / "results.csv", _long_table(cells))
    figures = {name: f"curves-{slug(name)}.png" for name in plan["datasets"]}
    for dataset, file in figures.items():
        panels = {cell.noise: _curves(cell) for cell in cells if cell.dataset == dataset}
        panels = {noise: curves for noise, curves in panels.items() if curves}
        if panels:
            bench_figure(panels, f"{plan['title']}: {dataset}", "macro-F1", out / file)
        else:
            (out / file).unlink(missing_ok=True)
    lines = list(_header(plan, cells))
    for dataset, file in figures.items():
        lines += [f"## {dataset}", ""]
        if (out / file).exists():
            lines += [f"![macro-F1 against reads bought, {dataset}]({file})", ""]
        for cell in cells:
            if cell.dataset == dataset:
                lines += _section(cell, plan["reference"])
    write_text(out / "results.md", "\n".join(lines).rstrip() + "\n")
    return out / "results.md"


def read_plan(out: Path) -> dict[str, Any]:
    """The plan of the bench in `out`; RunError where there is none."""
    try:
        plan = json.loads((out / PLAN).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise RunError(f"{out} holds no bench: {PLAN} cannot be read ({error})") from None
    if not isinstance(plan, dict):
        raise RunError(f"{out / PLAN} is damaged; run the bench again, complete runs are kept")
    return plan


def run_scores(results: Mapping[str, Any], planned_reads: int) -> dict[str, float]:
    """The scores of one complete run by the keys of the table, plus `reads` and `free` (truths revealed by a leak).

    All in [0, 1] but the two counts, higher = better.  `area` is the mean macro-F1 over 0 .. `planned_reads`; where
    the pool ran empty earlier the curve goes on flat, since nothing more changes.  NaN where a run has no value.
    The rarest class is the one with the fewest training items by reference label, the first of equals.
    """
    first, last = results["rounds"][0], results["rounds"][-1]
    rare = int(np.argmin(results["dataset"]["train_counts"]))
    leak = results.get("leak") or {}
    return {
        "macro_f1_start": _number(first["test"]["macro_f1"]),
        "macro_f1": _number(last["test"]["macro_f1"]),
        "area": _area(results["rounds"], planned_reads),
        "balanced_accuracy": _number(last["test"]["balanced_accuracy"]),
        "label_accuracy": _number(last["label_accuracy"]),
        "rare_recall": _number(last["test"]["per_class"][rare]["recall"]),
        "rare_kept": _number(first["selection"]["per_class"][rare]["recall"]) if first["selection"] else math.nan,
        "reads": float(last["bought"]),
        "free": float(leak.get("revealed", 0)),
    }


def _area(rounds: Sequence[Mapping[str, Any]], planned_reads: int) -> float:
    points: dict[int, float] = {}
    for entry in rounds:
        points.setdefault(entry["bought"], _number(entry["test"]["macro_f1"]))
    last = max(points)
    if last < planned_reads:
        points[planned_reads] = points[last]
    return area_under_budget_curve(np.array(list(points)), np.array(list(points.values())))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _read_cells(out: Path, plan: Mapping[str, Any]) -> list[Cell]:
    cells: dict[tuple[str, str], Cell] = {}
    for run in plan["runs"]:
        key = (run["dataset"], run["noise"])
        cell = cells.setdefault(key, Cell(*key, arms={}, planned={}))
        cell.planned.setdefault(run["arm"], []).append(run["seed"])
        seeds = cell.arms.setdefault(run["arm"], {})
        folder = out / "runs" / run["slug"]
        if not (folder / RESULTS).exists():
            continue
        results = read_results(folder)
        if results["complete"]:
            seeds[run["seed"]] = {**results, "scores": run_scores(results, run["planned_reads"])}
    # The order of the grid, whatever the order in which the runs were made.
    order = [(dataset, noise) for dataset in plan["datasets"] for noise in plan["noise"]]
    return [
        cells[key]._replace(arms={arm: cells[key].arms[arm] for arm in plan["arms"] if arm in cells[key].arms})
        for key in order
        if key in cells
    ]


def _header(plan: Mapping[str, Any], cells: Sequence[Cell]) -> Iterator[str]:
    runs = [results for cell in cells for seeds in cell.arms.values() for results in seeds.values()]
    codes = sorted({results["code"] for results in runs})
    hours = sum(results["wall_seconds"] for results in runs) / 3600
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    yield from [f"# {plan['title']}", ""]
    yield f"Written by `{plan['command']}`; grid file `{plan['digest']}`, seeds {', '.join(map(str, plan['seeds']))}."
    yield f"Python {platform.python_version()}, {versions}; code {', '.join(codes) or 'not run yet'}."
    yield (
        f"{len(runs)} of {len(plan['runs'])} runs complete, {hours:.1f} hours if no run shared a phase 1; "
        f"{plan['cores']} cores, {plan['workers']} runs at a time."
    )
    yield from [
        "",
        "Mean ± half of the 95 % interval (Student t) over seeds; every seed has its own noise draw. All scores are on",
        "the test split, which nothing that chooses ever sees. *Area*: mean macro-F1 over the reads from none to the",
        f"last. Differences are to the arm **{plan['reference']}**, paired by seed; p values are of a paired t test,",
        "corrected by Holm's method over the arms of a table. *Free truths*: reference labels that a label leak",
        "revealed and that nobody paid for.",
        "",
    ]


def _section(cell: Cell, reference: str) -> list[str]:
    lines = [f"### {cell.dataset}, {cell.noise}", ""]
    runs = [results for seeds in cell.arms.values() for results in seeds.values()]
    if not runs:
        return [*lines, "No complete run.", ""]
    lines += [_about(runs), ""]
    heads = ["arm", "seeds", "reads", *COLUMNS.values(), "free truths"]
    lines += _markdown(heads, (_row(arm, seeds, len(cell.planned[arm])) for arm, seeds in cell.arms.items()))
    compared = _differences(cell, reference)
    if compared:
        heads = [text for key in COMPARED for text in (f"Δ {COLUMNS[key]}", "p")]
        lines += _markdown([f"arm − {reference}", "pairs", *heads], compared)
    return lines


def _about(runs: Sequence[Mapping[str, Any]]) -> str:
    data = runs[0]["dataset"]
    rare = int(np.argmin(data["train_counts"]))
    sizes = [run["dataset"]["n_train"] for run in runs]
    injected = np.mean([run["noise"]["rate"] for run in runs])
    estimated = [run["noise"]["estimated_rate"] for run in runs if run["noise"]["estimated_rate"] is not None]
    size = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    return (
        f"{size} training and {data['n_test']} test items, {len(data['classes'])} classes, imbalance "
        f"{data['imbalance']:.0f}; rarest class {_safe(data['classes'][rare])} ({data['train_counts'][rare]} training "
        f"items). Share of wrong labels {injected:.3f}"
        + (f", estimated {np.mean(estimated):.3f}." if estimated else ".")
    )


def _row(arm: str, seeds: Mapping[int, Mapping[str, Any]], planned: int) -> list[str]:
    n = str(planned) if len(seeds) == planned else f"{len(seeds)} of {planned}"
    if not seeds:
        return [arm, n, *["–"] * (len(COLUMNS) + 2)]
    scores = {key: np.array([run["scores"][key] for run in seeds.values()]) for key in [*COLUMNS, "reads", "free"]}
    cells = [_mean(scores[key]) for key in COLUMNS]
    return [arm, n, f"{scores['reads'].mean():.0f}", *cells, f"{scores['free'].mean():.0f}"]


def _mean(values: FloatArray) -> str:
    mean, low, high = mean_interval(values)
    if math.isnan(mean):
        return "–"
    return f"{mean:.3f}" if math.isnan(low) else f"{mean:.3f} ± {(high - low) / 2:.3f}"


def _differences(cell: Cell, reference: str) -> list[list[str]]:
    """One row an arm that shares a seed with the reference."""
    base = cell.arms.get(reference, {})
    shared = {arm: sorted(seeds.keys() & base.keys()) for arm, seeds in cell.arms.items() if arm != reference}
    shared = {arm: seeds for arm, seeds in shared.items() if seeds}
    rows = {arm: [arm, str(len(seeds))] for arm, seeds in shared.items()}
    for key in COMPARED if rows else ():
        found = [
            paired_comparison(
                np.array([cell.arms[arm][seed]["scores"][key] for seed in seeds]),
                np.array([base[seed]["scores"][key] for seed in seeds]),
            )
            for arm, seeds in shared.items()
        ]
        for row, difference, p in zip(rows.values(), found, holm(np.array([d.p_value for d in found])), strict=True):
            row += [_difference(difference.difference, difference.low, difference.high), _p_value(float(p))]
    return list(rows.values())


def _difference(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:+.3f}" if math.isnan(low) else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _p_value(p: float) -> str:
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(_safe(cell) for cell in cells)} |"

    return [line(heads), f"| --- | {' | '.join('---:' for _ in heads[1:])} |", *(line(row) for row in rows), ""]


def _safe(text: str) -> str:
    # A bar in a name would begin a new column.
    return text.replace("|", "\\|").replace("\n", " ")


def _curves(cell: Cell) -> dict[str, Curve]:
    curves = {}
    for arm, seeds in cell.arms.items():
        if not seeds:
            continue
        n_rounds = min(len(run["rounds"]) for run in seeds.values())
        points = []
        for number in range(n_rounds):
            entries = [run["rounds"][number] for run in seeds.values()]
            reads = float(np.mean([entry["bought"] for entry in entries]))
            points.append((reads, *mean_interval(np.array([_number(entry["test"]["macro_f1"]) for entry in entries]))))
        curves[arm] = Curve(*(list(values) for values in zip(*points, strict=True)))
    return curves


def _long_table(cells: Sequence[Cell]) -> str:
    """CSV with one line per run, round and metric; an undefined metric has an empty value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "noise", "arm", "seed", "round", "bought", "oracle_reads", "metric", "value"])
    for cell in cells:
        for arm, seeds in cell.arms.items():
            for seed, results in sorted(seeds.items()):
                for entry in results["rounds"]:
                    where = [
                        cell.dataset,
                        cell.noise,
                        arm,
                        seed,
                        entry["round"],
                        entry["bought"],
                        entry["oracle_reads"],
                    ]
                    for metric, value in _metrics(entry):
                        writer.writerow([*where, metric, "" if value is None else value])
    return text.getvalue()


def _metrics(entry: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield "label_accuracy", entry["label_accuracy"]
    yield "pool", entry["pool"]
    for part in ("test", "selection"):
        for name, value in (entry[part] or {}).items():
            if name != "per_class":
                yield f"{part}.{name}", value
                continue
            for row in value:
                yield from ((f"{part}.{key}[{row['class']}]", row[key]) for key in row if key != "class")
