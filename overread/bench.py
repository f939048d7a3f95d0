"""Grids of simulations, many at a time: checked before they start, resumable, failures kept apart.

    OUT/bench.json              the plan
    OUT/bench.lock              held while a bench works in OUT
    OUT/runs/NAME/              one run folder per data set, noise, arm and seed; `error.txt` where it failed
    OUT/phase1/                 results of phase 1 that arms share
    OUT/results.md, results.csv, differences.csv, overall.png, curves-*.png

What is complete on disk is never made again, so a bench that was stopped goes on with the same command.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from overread.comparison import write_tables
from overread.config import Cluster, Config, load_config
from overread.data.dataset import load_dataset
from overread.errors import ConfigError, RunError, name_some
from overread.files import write_json
from overread.grid import Grid, PlannedRun, plan_runs, read_grid, with_budgets
from overread.locks import take_lock
from overread.outcomes import PLAN
from overread.progress import Reporter, Silent
from overread.workers import (
    ERROR,
    Runner,
    data_digest,
    is_complete,
    run_all,
    run_folder,
    simulate_run,
    workforce,
)

__all__ = ["run_bench"]

LOCK = "bench.lock"


class DataFacts(NamedTuple):
    """What a bench has to know of data before it starts."""

    n_train: int
    digest: str


def run_bench(
    grid: Path,
    out: Path,
    workers: int | None = None,
    reporter: Reporter | None = None,
    run: Runner = simulate_run,
    cluster: Cluster = "none",
) -> Path:
    """The path of `out/results.md`, after every run of the `grid` file that was not complete has been run.

    `workers` runs at a time, in processes of this machine or, with `cluster`, in tasks of Ray: see
    `overread.workers.workforce`.  On a cluster `out`, the data and the cache must be on a file system that all
    machines share.  `run` (importable, for it is called in other processes) makes one run folder complete.
    Everything is checked before the first run starts; then one run's failure stops no other.
    Errors: ConfigError or DataError before anything starts; RunError where another process benches in `out` or where
    runs there have other settings or data; MissingExtraError or RunError where the cluster cannot be had; RunError at
    the end where runs failed, after the tables are written.  KeyboardInterrupt stops the processes; the same call
    goes on.
    """
    reporter = reporter or Silent()
    asked = read_grid(grid)
    data = _data_facts(reporter)
    runs = with_budgets(plan_runs(asked, out), lambda config: data(config).n_train)
    for each in runs:
        if cluster == "ray" and each.config.device.startswith("cuda:"):
            raise ConfigError(
                f"device={each.config.device}: on a cluster each run gets a GPU for itself; say device=cuda"
            )
    digests = {each.slug: data(each.config).digest for each in runs}
    with workforce(workers, cluster) as force:
        out.mkdir(parents=True, exist_ok=True)
        with take_lock(out / LOCK):
            _refuse_other_data(runs, digests, "than the grid names now")
            runs = [_with_config(each, _with_threads(each.config, force.threads)) for each in runs]
            _write_plan(out, asked, runs, _command(grid, out, workers, cluster), force.cores, force.workers)
            todo = [each for each in runs if not is_complete(each)]
            for each in runs:
                # Of an earlier try: what is open is tried again, and what is complete did not fail.
                (run_folder(each) / ERROR).unlink(missing_ok=True)
            if todo:
                _warm_up(todo, digests, reporter)
                run_all(todo, force, len(runs) - len(todo), out / "phase1", reporter, run)
                _refuse_other_data(runs, digests, "than the bench began with")
            table = write_tables(out)
            failed = [each for each in runs if not is_complete(each)]
    if failed:
        first = (run_folder(failed[0]) / ERROR).read_text(encoding="utf-8").splitlines()[0]
        raise RunError(
            f"{len(failed)} of {len(runs)} runs failed ({name_some([each.slug for each in failed], 2)}; the first: "
            f"{first}); {table} has the others, and the same command tries the failed ones again"
        )
    return table


def _data_facts(reporter: Reporter) -> Callable[[Config], DataFacts]:
    """What a bench asks of the data of a configuration, which is loaded once for all runs that share it."""
    known: dict[tuple[str, int], DataFacts] = {}

    def facts(config: Config) -> DataFacts:
        key = (config.data.model_dump_json(), config.seed)
        if key not in known:
            dataset = load_dataset(config.data, config.seed, reporter)
            known[key] = DataFacts(len(dataset.positions("train")), dataset.digest)
        return known[key]

    return facts


def _refuse_other_data(runs: Sequence[PlannedRun], digests: Mapping[str, str], than_what: str) -> None:
    """RunError where a run that is begun or complete used other data: no table may mix the two.  digests: by slug."""
    other = [run_folder(each) for each in runs if data_digest(each) not in (None, digests[each.slug])]
    if other:
        raise RunError(
            f"{len(other)} of {len(runs)} runs were made with other data {than_what} ({name_some(other)}): "
            "delete these folders, or give another one with --out"
        )


def _with_threads(config: Config, threads: int) -> Config:
    """The configuration with its threads: those of the run folder where one is there, since they are part of a run.

    RunError where the folder holds a run with other settings, which must not pass for this one.
    """
    assert config.out is not None
    file = config.out / "config.yaml"
    if not file.exists():
        return config.model_copy(update={"threads": threads})
    try:
        there = load_config(file)
    except ConfigError as error:
        raise RunError(
            f"{file} cannot be used by this version ({error}): remove its folder or give another one with --out"
        ) from None
    config = config.model_copy(update={"threads": there.threads})
    old, new = (dict(_leaves(each.settings_of_results())) for each in (there, config))
    changed = [key for key in new if old[key] != new[key]]
    if changed:
        values = [f"{key} is {json.dumps(old[key])} there and {json.dumps(new[key])} here" for key in changed[:3]]
        more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
        # Also where nobody changed the grid: a default of this version may be another one than it was.
        raise RunError(
            f"{config.out} holds a run with other settings ({', '.join(values)}{more}): set {name_some(changed, 3)} "
            "in the grid as there to keep that run, else remove the folder or give another one with --out"
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


def _command(grid: Path, out: Path, workers: int | None, cluster: Cluster) -> str:
    """What was typed."""
    at_a_time = f" --workers {workers}" if workers else ""
    on_ray = " --cluster ray" if cluster == "ray" else ""
    return f"overread bench {grid} --out {out}{at_a_time}{on_ray}"


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
            "references": list(grid.references),
            "datasets": list(grid.datasets),
            "noise": list(grid.noise),
            "arms": list(grid.arms),
            "hindsight": grid.hindsight,
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


def _warm_up(todo: Sequence[PlannedRun], digests: Mapping[str, str], reporter: Reporter) -> None:
    """Make embeddings, and weights without labels, once, here: no two processes do so side by side."""
    from overread.learn.device import resolve_device, set_threads
    from overread.learn.processes import Processes
    from overread.learn.task import make_task
    from overread.mode import settle_for

    made: set[tuple[str, ...]] = set()
    for run in todo:
        config = run.config
        key = (digests[run.slug], config.model.model_dump_json(), config.precision, str(config.threads))
        if key not in made:
            made.add(key)
            dataset = load_dataset(config.data, config.seed, reporter)
            processes = Processes(resolve_device(config.device), config.precision == "bfloat16")
            # As the runs do: weights that are learnt from the images depend on it.
            set_threads(config.threads)
            # No label is read for an embedding.
            unread = np.zeros(len(dataset.positions("train")), dtype=np.int64)
            settled = settle_for(config, dataset, processes.device.type)
            make_task(dataset, unread, settled.config, reporter, processes)
