"""What a bench found: tables (Markdown and CSV) and figures from the run folders, without running anything.

All of it is computed from `bench.json` (the plan) and the files of every run that is there.
"""

import math
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from overread.arm_styles import ArmStyle, arm_styles
from overread.arrays import FloatArray
from overread.arrays.statistics import PairedComparison, mean_interval
from overread.contrasts import Band, Contrast, common_seeds, contrasts, mean_curve, mean_scores, share_curve
from overread.files import write_text
from overread.grid import slug
from overread.long_tables import difference_table, score_table
from overread.outcomes import SHARES, Cell, read_cells, read_plan, share_key
from overread.plots import Curve, bench_figure

__all__ = ["write_tables"]

SCORES = {
    "macro_f1_start": "macro-F1, no read",
    **{share_key(share): f"macro-F1, {100 * share:g} % read" for share in SHARES},
    "macro_f1": "macro-F1, last round",
    "area": "area",
    "balanced_accuracy": "balanced accuracy",
    "label_accuracy": "label accuracy",
}
RARE = {
    "rare_recall": "recall, rarest class",
    "rare_f1": "F1, rarest class",
    "rare_kept": "presumed clean, no read",
    "rare_trusted": "presumed clean or read, last round",
    "rate_error_start": "noise rate off by, no read",
    "rate_error_at_5": "noise rate off by, 5 % read",
    "rate_error": "noise rate off by, last round",
}
COMPARED = {
    "macro_f1_start": "Δ macro-F1, no read",
    **{share_key(share): f"Δ macro-F1, {100 * share:g} % read" for share in SHARES},
    "macro_f1": "Δ macro-F1, last round",
    "area": "Δ area",
    "label_accuracy": "Δ label accuracy",
    "rare_recall": "Δ recall, rarest class",
    "rare_kept": "Δ presumed clean, no read",
}
COUNTS = ("reads", "free")
NOTHING = "–"
OVERALL = "overall.png"
PACKAGES = ("overread", "torch", "timm", "numpy", "scipy", "scikit-learn")


def write_tables(out: Path) -> Path:
    """The path of `results.md`, written with two CSV files and the figures from the runs in `out`.

    `results.csv` has every score of every round, `differences.csv` every difference to a reference arm; there is a
    figure for each data set and, where there are several conditions, one of their mean.  Runs that are not complete
    are left out, and every row says how many of its seeds it rests on.
    Errors: RunError where `out` holds no bench, or where test scores are lost that hindsight needs.
    """
    plan = read_plan(out)
    cells = read_cells(out, plan)
    compared = [_compared([cell], plan["references"]) for cell in cells]
    overall = _compared(cells, plan["references"]) if len(cells) > 1 else []
    write_text(out / "results.csv", score_table(cells))
    write_text(out / "differences.csv", difference_table(cells, compared, overall))
    # Of all arms of the grid, so that each is drawn alike in all its figures.
    styles = arm_styles([*plan["arms"], *plan["hindsight"]])
    lines = list(_header(plan, cells)) + _overall(plan, cells, overall, out / OVERALL, styles)
    for dataset in plan["datasets"]:
        file = f"curves-{slug(dataset)}.png"
        lines += [f"## {dataset}", ""]
        own = [(cell, found) for cell, found in zip(cells, compared, strict=True) if cell.dataset == dataset]
        panels = {cell.noise: {arm: mean_curve(list(runs.values())) for arm, runs in _made(cell)} for cell, _ in own}
        if _figure(panels, f"{plan['title']}: {dataset}", out / file, styles):
            lines += [f"![macro-F1 against reads bought, {dataset}]({file})", ""]
        for cell, found in own:
            lines += _section(cell, found)
    write_text(out / "results.md", "\n".join(lines).rstrip() + "\n")
    return out / "results.md"


def _compared(cells: Sequence[Cell], references: Sequence[str]) -> list[Contrast]:
    return [found for reference in references for found in contrasts(cells, reference, list(COMPARED))]


def _header(plan: Mapping[str, Any], cells: Sequence[Cell]) -> Iterator[str]:
    runs = [run for cell in cells for arm, runs in _made(cell) if arm in plan["arms"] for run in runs.values()]
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
        "Mean ± half of the 95 % interval (Student t) over seeds; every seed has its own noise draw. All scores of a",
        "classifier are on the test split, which nothing that chooses ever sees.",
        "",
        "- *% read*: of the training set, on the line between two rounds. *Area*: mean macro-F1 over the reads from",
        "  none to the last. *Free truths*: reference labels that a label leak revealed and that nobody paid for.",
        "- *Presumed clean*: of the rightly labelled items of the rarest class the share that is presumed clean, 1",
        "  where a method presumes all. *Error of the noise rate*: absolute, of the estimated share of wrong labels.",
        "- Differences are to the arm that the head of a table names, paired by seed, with their 95 % interval; \\*",
        "  where the p value of a paired t test, corrected by Holm's method over the arms of the table, is below 0.05",
        "  (`differences.csv` has it). *Reads needed*: from which on the mean curve is never again below the final",
        "  macro-F1 of that arm, as a share of its reads.",
        *_about_hindsight(plan["hindsight"]),
        "",
    ]


def _about_hindsight(arms: Mapping[str, str]) -> Iterator[str]:
    for arm, source in arms.items():
        yield f"- **{arm}**: the runs of *{source}*, their logits adjusted for the frequencies of the classes in"
        yield "  the way that is best for the macro-F1 of these very test items, in each run and round: an upper bound"
        yield "  of what a decision rule alone can give, no method."


def _overall(
    plan: Mapping[str, Any],
    cells: Sequence[Cell],
    found: Sequence[Contrast],
    figure: Path,
    styles: Mapping[str, ArmStyle],
) -> list[str]:
    """The means over conditions; nothing where there is one condition."""
    there = {arm: [cell for cell in cells if cell.arms.get(arm)] for arm in [*plan["arms"], *plan["hindsight"]]}
    everywhere = [arm for arm, own in there.items() if len(own) == len(cells) > 1 and common_seeds(own, arm)]
    curves = {arm: _in_percent(share_curve(cells, arm)) for arm in everywhere}
    title = f"{plan['title']}: mean over {len(cells)} conditions"
    drawn = _figure({"": curves}, title, figure, styles, in_percent=True)
    if len(cells) < 2 or not any(there.values()):
        return []
    lines = [
        f"## Mean over {len(cells)} conditions",
        "",
        "Every condition counts as much as another; intervals of differences are over seeds, of each the mean over",
        "conditions. A row of fewer conditions cannot be compared with the others.",
        "",
    ]
    if drawn:
        lines += [f"![macro-F1 against the share read, mean over conditions]({figure.name})", ""]
    for columns in (SCORES, RARE):
        rows = []
        for arm, own in there.items():
            if own:
                means = mean_scores(own, arm, list(columns)).values()
                rows.append([arm, str(len(own)), *(_number(each.mean()) for each in means)])
        lines += _markdown(["arm", "conditions", *columns.values()], rows)
    return lines + _differences(found)


def _section(cell: Cell, found: Sequence[Contrast]) -> list[str]:
    lines = [f"### {cell.dataset}, {cell.noise}", ""]
    runs = [results for _, seeds in _made(cell) for results in seeds.values()]
    if not runs:
        return [*lines, "No complete run.", ""]
    lines += [_about(runs), ""]
    rows = (_row(cell, arm, [*SCORES, "free"]) for arm in cell.arms)
    lines += _markdown(["arm", "seeds", "reads", *SCORES.values(), "free truths"], rows)
    lines += _markdown(["arm", "seeds", "reads", *RARE.values()], (_row(cell, arm, list(RARE)) for arm in cell.arms))
    return lines + _differences(found)


def _made(cell: Cell) -> list[tuple[str, Mapping[int, Mapping[str, Any]]]]:
    """The arms that have a complete run, with their runs."""
    return [(arm, runs) for arm, runs in cell.arms.items() if runs]


def _about(runs: Sequence[Mapping[str, Any]]) -> str:
    data = runs[0]["dataset"]
    rare = int(np.argmin(data["train_counts"]))
    sizes = [run["dataset"]["n_train"] for run in runs]
    injected = np.mean([run["noise"]["rate"] for run in runs])
    size = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    return (
        f"{size} training and {data['n_test']} test items, {len(data['classes'])} classes, imbalance "
        f"{data['imbalance']:.0f}; rarest class {_safe(data['classes'][rare])} ({data['train_counts'][rare]} training "
        f"items). Share of wrong labels {injected:.3f}."
    )


def _row(cell: Cell, arm: str, keys: Sequence[str]) -> list[str]:
    runs, planned = cell.arms[arm].values(), len(cell.planned[arm])
    n = str(planned) if len(runs) == planned else f"{len(runs)} of {planned}"
    if not runs:
        return [arm, n, *[NOTHING] * (len(keys) + 1)]
    scores = {key: np.array([run["scores"][key] for run in runs]) for key in ["reads", *keys]}
    return [arm, n, *(f"{v.mean():.0f}" if key in COUNTS else _mean(v) for key, v in scores.items())]


def _mean(values: FloatArray) -> str:
    mean, low, high = mean_interval(values)
    return _number(mean) if math.isnan(low) else f"{mean:.3f} ± {(high - low) / 2:.3f}"


def _number(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.3f}"


def _differences(found: Sequence[Contrast]) -> list[str]:
    """For every reference a table with a row for each arm that shares a seed with it."""
    lines = []
    for reference, contrasted in groupby(found, key=lambda each: each.reference):
        rows = []
        for each in contrasted:
            counts = [str(each.conditions), str(each.seeds)]
            reached = f"{each.reached} of {each.conditions}"
            rows.append([each.arm, *counts, *map(_difference, each.scores.values()), _share(each.reads), reached])
        heads = [f"arm − {reference}", "conditions", "pairs", *COMPARED.values(), "reads needed", "reached in"]
        if all(row[1] == "1" for row in rows):
            heads, *rows = ([row[0], *row[2:-1]] for row in (heads, *rows))
        lines += _markdown(heads, rows)
    return lines


def _share(reads: float) -> str:
    if math.isnan(reads):
        return NOTHING
    return f"{100 * reads:.0f} %" if reads <= 1 else "> 100 %"


def _difference(found: PairedComparison) -> str:
    if math.isnan(found.difference):
        return NOTHING
    star = " \\*" if found.p_value < 0.05 else ""
    interval = "" if math.isnan(found.low) else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.difference:+.3f}{interval}{star}"


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table, but for the columns of numbers in which no row has one."""
    names, *columns = zip(heads, *rows, strict=True)
    columns = [names, *(column for column in columns if set(column[1:]) != {NOTHING})]
    heads, *rows = ([_safe(cell) for cell in row] for row in zip(*columns, strict=True))
    ruler = ["---", *["---:"] * (len(heads) - 1)]
    return [*(f"| {' | '.join(row)} |" for row in (heads, ruler, *rows)), ""]


def _safe(text: str) -> str:
    # A bar in a name would begin a new column.
    return text.replace("|", "\\|").replace("\n", " ")


def _in_percent(band: Band) -> Band:
    return band._replace(points=band.points._replace(reads=100 * band.points.reads))


def _figure(
    panels: Mapping[str, Mapping[str, Band]],
    title: str,
    path: Path,
    styles: Mapping[str, ArmStyle],
    *,
    in_percent: bool = False,
) -> bool:
    """Draw the panels that have a curve; whether there is any, and else no file of an earlier time either."""
    drawn = {
        name: {arm: Curve(band.points.reads, band.points.score, band.low, band.high) for arm, band in curves.items()}
        for name, curves in panels.items()
        if curves
    }
    if drawn:
        bench_figure(drawn, title, path, styles, in_percent=in_percent)
    else:
        path.unlink(missing_ok=True)
    return bool(drawn)
