"""The whole pipeline on real images that an installed package brings.

They are the handwritten digits of scikit-learn, made long-tailed, with half of the training labels wrong.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from overread.arrays.splits import long_tail, stratified_group_split
from overread.arrays.statistics import mean_interval, paired_comparison
from overread.config import Config, load_config
from overread.errors import ConfigError
from overread.files import write_arrays
from overread.progress import Reporter
from overread.refine import simulate
from overread.report import write_report
from overread.rng import generator

__all__ = ["run_demo", "write_digits"]

SIDE = 32
IMBALANCE = 10.0
# One data set for all seeds, so that its embeddings are made once; every seed has its own noise and its own training.
DATA_SEED = 0
SETTINGS = (
    "model.mode=frozen",
    "model.weights=packaged",
    "noise.kind=symmetric",
    "noise.rate=0.5",
    "active.rounds=4",
    # So little work a step that more threads mostly wait for each other.
    "threads=1",
)
DIGITS = ("data.format=npz", "active.budget=30")
# Enough to see the effect, and an embedding in a minute or two without a graphics card.
OTHERS = ("data.max_train=2000", "active.budget=50")
SCORES = ("macro_f1", "balanced_accuracy", "label_accuracy")


class Stage(NamedTuple):
    """One row of the table: a state of training, its score dictionary per seed."""

    name: str
    entries: list[dict[str, Any]]


def run_demo(data: str | None, out: Path, reporter: Reporter, seeds: Sequence[int] = (0, 1, 2)) -> Path:
    """The path of the report of the first seed's run, after both phases and a plain baseline have been run.

    data: none = the digits; else a 2-D set of MedMNIST by name, or a file or folder with labelled images.  Prints a
    table with means over `seeds` and the margin over cross-entropy on the same noisy labels, then the path.  The same
    call goes on where an earlier one was stopped.  Errors: ConfigError without a seed, DataError for unusable data.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; give a folder with --out")
    if not seeds:
        raise ConfigError("the demo needs at least one seed")
    source = _source(data, out)
    default, baseline = (
        [_configured(preset, seed, source, out) for seed in seeds] for preset in ("default", "cross-entropy")
    )
    with reporter.task("demo runs", 2 * len(seeds)) as advance:
        results = []
        for config in [*baseline, *default]:
            # Quiet: one bar for all runs says more than a bar for every step of each.
            results.append(simulate(config, phase1_folder=out / "phase1"))
            advance(1)
    plain, refined = results[: len(seeds)], results[len(seeds) :]
    reports = [write_report(config.out) for config in [*default, *baseline] if config.out]
    console = Console()
    console.print(_table(plain, refined))
    console.print(_explanation(plain, refined, len(seeds)), markup=False, highlight=False)
    # One line whatever the width of the terminal, so that it can be copied.
    console.print(f"report: {reports[0]}", markup=False, highlight=False, soft_wrap=True)
    return reports[0]


def write_digits(path: Path) -> None:
    """Write scikit-learn's 1,797 digits (8 x 8, grey) as 32 px RGB with splits, the training part long-tailed 10:1.

    Class "0" keeps most of its training images and "9" fewest.  The file has the arrays images, labels, class_names
    and split, and is left alone where it exists.
    """
    if path.exists():
        return
    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    grey = np.round(bunch.images * (255.0 / 16.0)).astype(np.uint8)
    large = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in grey]
    images = np.repeat(np.stack([np.asarray(image) for image in large])[..., None], 3, axis=-1)
    split = stratified_group_split(labels, None, {"train": 0.75, "test": 0.25}, generator(DATA_SEED, "demo", "split"))
    train = np.flatnonzero(split == "train")
    train = train[long_tail(labels[train], IMBALANCE, generator(DATA_SEED, "demo", "tail"))]
    keep = np.sort(np.concatenate([train, np.flatnonzero(split == "test")]))
    write_arrays(
        path,
        images=images[keep],
        labels=labels[keep],
        class_names=np.array([str(digit) for digit in range(10)]),
        split=np.asarray(split, dtype=np.str_)[keep],
    )


def _source(data: str | None, out: Path) -> list[str]:
    if data is None:
        path = out / "digits.npz"
        write_digits(path)
        return [f"data.path={path}", *DIGITS]
    if Path(data).exists():
        return [f"data.path={data}", *OTHERS]
    return [f"data.path={data}", "data.format=medmnist", *OTHERS]


def _configured(preset: str, seed: int, source: Sequence[str], out: Path) -> Config:
    run = out / f"{preset}-seed{seed}"
    return load_config(settings=[*SETTINGS, *source, f"preset={preset}", f"seed={seed}", f"out={run}"])


def _stages(plain: Sequence[dict[str, Any]], refined: Sequence[dict[str, Any]]) -> list[Stage]:
    rounds = range(min(len(result["rounds"]) for result in refined))
    return [
        Stage("cross-entropy", [result["rounds"][0] for result in plain]),
        *(
            Stage(f"after round {n}" if n else "after phase 1", [result["rounds"][n] for result in refined])
            for n in rounds
        ),
        Stage("cross-entropy, random", [result["rounds"][-1] for result in plain]),
    ]


def _table(plain: Sequence[dict[str, Any]], refined: Sequence[dict[str, Any]]) -> Table:
    """Means over seeds; the last column is the gain over the first row, paired by seed, with its interval."""
    heads = ["", "reads", "macro-\nF1", "balanced\naccuracy", "label\naccuracy", "macro-F1 over row 1\n[95 % interval]"]
    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)  # fits into 80 columns
    for column in table.columns[1:]:
        column.justify = "right"
    stages = _stages(plain, refined)
    first = _scores(stages[0], "macro_f1")
    for stage in stages:
        reads = np.mean([entry["oracle_reads"] for entry in stage.entries])
        means = [f"{mean_interval(_scores(stage, key))[0]:.3f}" for key in SCORES]
        margin = paired_comparison(_scores(stage, "macro_f1"), first)
        interval = f" [{margin.low:+.2f}, {margin.high:+.2f}]" if len(first) > 1 else ""
        shown = "" if stage is stages[0] else f"{margin.difference:+.2f}{interval}"
        table.add_row(stage.name, f"{reads:.0f}", *means, shown, end_section=stage in (stages[0], stages[-2]))
    return table


def _scores(stage: Stage, key: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = [entry[key] if key in entry else entry["test"][key] for entry in stage.entries]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _explanation(plain: Sequence[dict[str, Any]], refined: Sequence[dict[str, Any]], n_seeds: int) -> str:
    data = refined[0]["dataset"]
    wrong = np.mean([result["noise"]["rate"] for result in refined])
    return (
        f"{data['name']}: {data['n_train']} training and {data['n_test']} test images, {len(data['classes'])} classes, "
        f"largest over smallest {data['imbalance']:.0f}; {wrong:.0%} of the training labels wrong. Means over "
        f"{n_seeds} seeds; a seed has its own noise, the same for all rows."
    )
