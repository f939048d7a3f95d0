"""Grids of simulations in parallel processes: checked before they start, resumable, failures kept apart.

    OUT/bench.json              the plan
    OUT/runs/NAME/              one run folder per data set, noise, arm and seed; `error.txt` where it failed
    OUT/phase1/                 results of phase 1 that arms share
    OUT/results.md, results.csv, curves-*.png

What is complete on disk is never made again, so a bench that was stopped goes on with the same command.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overread.comparison import PLAN, write_tables
from overread.config import Config, load_config
from overread.data.dataset import load_dataset
from overread.errors import RunError, name_some
from overread.files import write_json
from overread.grid import Grid, PlannedRun, plan_runs, read_grid, with_budgets
from overread.progress import Reporter, Silent
from overread.workers import ERROR, Runner, is_complete, run_all, run_folder, simulate_run

__all__ = ["run_bench"]


def run_bench(
    grid: Path, out: Path, workers: int, reporter: Reporter | None = None, run: Runner = simulate_run
) -> Path:
    """The path of `out/results.md`, after every run of the `grid` file that was not complete has been run.

    `workers` processes share the cores evenly.  `run` (importable, for it is called in other processes) makes one
    run folder complete.  Everything is checked before the first run starts; then one run's failure stops no other.
    Errors: ConfigError or DataError before anything starts; RunError at the end where runs failed, after the tables
    are written.  KeyboardInterrupt stops the processes; the same call goes on.
    """
    reporter = reporter or Silent()
    asked = read_grid(grid)
    cores = os.cpu_count() or 1
    threads = max(1, cores // workers)
    runs = with_budgets(plan_runs(asked, out), _counter(reporter))
    runs = [_with_config(each, _settled(each.config, threads)) for each in runs]
    _write_plan(out, asked, runs, f"overread bench {grid} --out {out} --workers {workers}", cores, workers)
    todo = [each for each in runs if not is_complete(each)]
    for each in runs:
        # Of an earlier try: what is open is tried again, and what is complete did not fail.
        (run_folder(each) / ERROR).unlink(missing_ok=True)
    if todo:
        _warm_up(todo, reporter)
        run_all(todo, workers, threads, len(runs) - len(todo), out / "phase1", reporter, run)
    table = write_tables(out)
    failed = [each for each in runs if (run_folder(each) / ERROR).exists() and not is_complete(each)]
    if failed:
        first = (run_folder(failed[0]) / ERROR).read_text(encoding="utf-8").splitlines()[0]
        raise RunError(
            f"{len(failed)} of {len(runs)} runs failed ({name_some([each.slug for each in failed], 2)}; the first: "
            f"{first}); {table} has the others, and the same command tries the failed ones again"
        )
    return table


def _counter(reporter: Reporter) -> Callable[[Config], int]:
    """A function that counts the training items of a configuration; decodes each data set into the cache once."""
    known: dict[tuple[str, int], int] = {}

    def n_train(config: Config) -> int:
        key = (config.data.model_dump_json(), config.seed)
        if key not in known:
            known[key] = len(load_dataset(config.data, config.seed, reporter).positions("train"))
        return known[key]

    return n_train


def _settled(config: Config, threads: int) -> Config:
    """The configuration with its threads: those of the run folder where one is there, since they are part of a run.

    RunError where the folder holds a run with other settings, which must not pass for this one.
    """
    assert config.out is not None
    file = config.out / "config.yaml"
    if not file.exists():
        return config.model_copy(update={"threads": threads})
    there = load_config(file)
    config = config.model_copy(update={"threads": there.threads})
    if config.identity() != there.identity():
        old, new = dict(_leaves(there.settings())), dict(_leaves(config.settings()))
        changed = [f"{key} {old[key]} -> {new[key]}" for key in new if old[key] != new[key] and key not in ("out",)]
        raise RunError(
            f"{config.out} holds a run with other settings ({', '.join(changed[:3])}): "
            "remove that folder or give another one with --out"
        )
    return config


def _leaves(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _with_config(run: PlannedRun, config: Config) -> PlannedRun:
    return PlannedRun(run.dataset, run.noise, run.arm, run.seed, run.slug, config, None)


def _write_plan(out: Path, grid: Grid, runs: Sequence[PlannedRun], command: str, cores: int, workers: int) -> None:
    write_json(
        out / PLAN,
        {
            "title": grid.title,
            "command": command,
            "digest": grid.digest,
            "cores": cores,
            "workers": workers,
            "seeds": list(grid.seeds),
            "reference": grid.reference,
            "datasets": list(grid.datasets),
            "noise": list(grid.noise),
            "arms": list(grid.arms),
            "runs": [
                {
                    "dataset": run.dataset,
                    "noise": run.noise,
                    "arm": run.arm,
                    "seed": run.seed,
                    "slug": run.slug,
                    "planned_reads": run.config.active.rounds * run.config.active.budget,
                }
                for run in runs
            ],
        },
    )


def _warm_up(todo: Sequence[PlannedRun], reporter: Reporter) -> None:
    """Decode every data set and make its embeddings once, here, so that no two processes do it side by side."""
    from overread.learn.task import make_task

    made: set[tuple[str, str]] = set()
    for run in todo:
        dataset = load_dataset(run.config.data, run.config.seed, reporter)
        key = (dataset.digest, run.config.model.model_dump_json())
        if key not in made:
            made.add(key)
            # No label is read for an embedding.
            make_task(dataset, np.zeros(len(dataset.positions("train")), dtype=np.int64), run.config, reporter)
