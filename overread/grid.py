"""A grid file read into the list of runs that it means: data sets x noise x arms x seeds, checked before anything runs.

    title: which sampler finds the rare classes
    seeds: [0, 1, 2]
    reference: paper                                        # what the others are compared with; also [ARM, ARM]
    settings: {model.mode: frozen}                          # for every run
    budget_share: 0.10                                      # instead of active.budget; also inside a data set
    datasets: {ham: {data.path: "${OVERREAD_DATA}/ham10000_64.npz"}}
    noise: {symmetric 0.4: {noise.kind: symmetric, noise.rate: 0.4}}
    arms: {paper: {preset: paper}, "paper, margin": {preset: paper, active.sampler: margin}}
    hindsight: {"paper, adjusted in hindsight": paper}      # arms that no run is made for, see overread.outcomes
    exclude: [{dataset: ham, noise: symmetric 0.4, arm: paper}]

Later sections win: settings, data set, noise, arm.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overread.config import Config, did_you_mean, load_config
from overread.errors import ConfigError
from overread.yaml_files import read_yaml_file

__all__ = ["Grid", "PlannedRun", "plan_runs", "read_grid", "slug", "with_budgets"]

Settings = dict[str, Any]
KEYS = ("title", "seeds", "reference", "settings", "budget_share", "datasets", "noise", "arms", "hindsight", "exclude")
AXES = ("dataset", "noise", "arm", "seed")
BUDGET_SHARE = "budget_share"


@dataclass(frozen=True)
class Grid:
    """A grid file as it was read; every value still unchecked against the configuration."""

    title: str
    seeds: tuple[int, ...]
    references: tuple[str, ...]
    """Arms that all others are compared with, in the order of the tables."""
    settings: Settings
    datasets: dict[str, Settings]
    noise: dict[str, Settings]
    arms: dict[str, Settings]
    hindsight: dict[str, str]
    """Name of an arm that is computed from the runs of another -> the other one."""
    exclude: tuple[dict[str, str], ...]
    """Axis -> name, seeds too: everything that names a part of the grid is compared as text."""
    text: str

    @property
    def digest(self) -> str:
        """A short digest of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PlannedRun:
    """One simulation of a grid.  `slug` is the name of its folder; `budget_share` is still to be turned into reads."""

    dataset: str
    noise: str
    arm: str
    seed: int
    slug: str
    config: Config
    budget_share: float | None

    def phase1_key(self) -> str:
        """Equal for runs that differ in phase 2 alone, which can share phase 1."""
        values = self.config.settings()
        for key in ("active", "preset", "out", "checkpoint_seconds"):
            values.pop(key)
        return json.dumps(values, sort_keys=True)


def read_grid(file: Path) -> Grid:
    """The grid in the YAML `file`, with environment variables such as ${OVERREAD_DATA} put in.

    ConfigError: no such file, what `parse_yaml` refuses, an unknown or missing section, a variable that is not set, a
    seed that stands twice, a reference or an exclusion that names no part of the grid.
    """
    values, text = read_yaml_file(file, "the grid file")
    for key in values:
        if key not in KEYS:
            raise ConfigError(f"the key {key!r} of the grid file {file} is unknown: {did_you_mean(key, KEYS)}")
    settings = _settings(values.get("settings", {}), "settings")
    if BUDGET_SHARE in values:
        settings[BUDGET_SHARE] = values[BUDGET_SHARE]
    arms = _named(values, "arms", file)
    hindsight = _hindsight(values.get("hindsight", {}), arms)
    grid = Grid(
        title=str(values.get("title", file.stem)),
        seeds=_seeds(values.get("seeds"), file),
        references=_references(values.get("reference"), arms, hindsight),
        settings=settings,
        datasets=_named(values, "datasets", file),
        noise=_named(values, "noise", file),
        arms=arms,
        hindsight=hindsight,
        exclude=_exclusions(values.get("exclude", [])),
        text=text,
    )
    _check_exclusions(grid)
    return grid


def plan_runs(grid: Grid, out: Path) -> list[PlannedRun]:
    """Every run of the grid with its validated configuration; runs that can share phase 1 stand side by side.

    ConfigError: a key or value that the configuration refuses (with the names of data set, noise and arm), a data
    path that does not exist, two runs with one folder name, or a grid whose exclusions leave nothing.
    """
    runs: list[PlannedRun] = []
    folders: dict[str, tuple[str, ...]] = {}
    for dataset in grid.datasets:
        for noise in grid.noise:
            for arm in grid.arms:
                for seed in grid.seeds:
                    names = {"dataset": dataset, "noise": noise, "arm": arm, "seed": str(seed)}
                    if any(all(names[axis] == value for axis, value in rule.items()) for rule in grid.exclude):
                        continue
                    run = _plan(grid, dataset, noise, arm, seed, out)
                    cell = (dataset, noise, arm)
                    if folders.setdefault(run.slug, cell) != cell:
                        raise ConfigError(
                            f"{' / '.join(cell)} and {' / '.join(folders[run.slug])} would share the run folder "
                            f"{run.slug}: give them names that differ in more than punctuation"
                        )
                    runs.append(run)
    if not runs:
        raise ConfigError("the exclusions of the grid leave no run: remove one of them")
    # Stable: within a data set and noise, seed by seed, and within a seed arms of one phase 1 after another.
    cells = {cell: place for place, cell in enumerate(dict.fromkeys((run.dataset, run.noise) for run in runs))}
    first = {key: place for place, key in enumerate(dict.fromkeys(run.phase1_key() for run in runs))}
    return sorted(runs, key=lambda run: (cells[run.dataset, run.noise], run.seed, first[run.phase1_key()]))


def with_budgets(runs: list[PlannedRun], n_train: Callable[[Config], int]) -> list[PlannedRun]:
    """The runs with `budget_share` turned into active.budget: share x training items / rounds, at least 1 read."""
    done = []
    for run in runs:
        config, active = run.config, run.config.active
        if run.budget_share is not None and active.rounds > 0:
            budget = max(1, round(run.budget_share * n_train(config) / active.rounds))
            config = config.model_copy(update={"active": active.model_copy(update={"budget": budget})})
        done.append(PlannedRun(run.dataset, run.noise, run.arm, run.seed, run.slug, config, None))
    return done


def _plan(grid: Grid, dataset: str, noise: str, arm: str, seed: int, out: Path) -> PlannedRun:
    where = f"dataset {dataset!r}, noise {noise!r}, arm {arm!r}"
    values = {**grid.settings, **grid.datasets[dataset], **grid.noise[noise], **grid.arms[arm]}
    share = values.pop(BUDGET_SHARE, None)
    if share is not None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 < share <= 1.0:
            raise ConfigError(f"{where}: budget_share={share!r} must be a share of the training set above 0, at most 1")
        if "active.budget" in values:
            raise ConfigError(f"{where}: budget_share and active.budget say the same thing twice; remove one")
    said = {key.strip() for key in values}
    for key in ("seed", "out", "threads", "cluster"):
        if key in said:
            raise ConfigError(f"{where}: {key} is set by the bench itself; remove it from the grid")
    try:
        config = load_config(settings=[_as_setting(key, value) for key, value in values.items()])
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    for path in (config.data.path, config.data.test_path):
        if path is not None and config.data.format != "medmnist" and not path.exists():
            raise ConfigError(f"{where}: the data path {path} does not exist")
    if config.data.path is None:
        raise ConfigError(f"{where}: data.path is missing; say it in the data set {dataset!r}")
    folder = f"{slug(dataset)}--{slug(noise)}--{slug(arm)}--seed{seed}"
    config = config.model_copy(update={"seed": seed, "out": out / "runs" / folder})
    return PlannedRun(dataset, noise, arm, seed, folder, config, share)


def _as_setting(key: str, value: Any) -> str:
    # Text stands as it is and everything else as JSON, which is YAML: what `--set` reads.
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def slug(name: str) -> str:
    """`name` as part of a file name: lower-case letters, digits, dots and single hyphens.

    >>> slug("Paper, mix 0.5")
    'paper-mix-0.5'
    """
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "unnamed"


def _seeds(value: Any, file: Path) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"the grid file {file} needs seeds, a list such as [0, 1, 2, 3, 4]")
    for seed in value:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ConfigError(f"seed {seed!r} of the grid file {file} is not a whole number from 0 to 4294967295")
    if len(set(value)) < len(value):
        raise ConfigError(f"seed {next(s for s in value if value.count(s) > 1)} stands twice in the grid file {file}")
    return tuple(value)


def _named(values: Mapping[str, Any], section: str, file: Path) -> dict[str, Settings]:
    entries = values.get(section)
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f"the grid file {file} needs the section {section}: names, each with its settings")
    return {name: _settings(entry, f"{section}, {name}") for name, entry in entries.items()}


def _settings(value: Any, where: str) -> Settings:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where} of the grid must hold settings such as noise.rate: 0.4, not {value!r}")
    return {key: _expand(entry, f"{where}, {key}") for key, entry in value.items()}


def _expand(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise ConfigError(f"{where} needs the environment variable {name}, which is not set: export {name}=FOLDER")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}|\$(\w+)", replaced, value)


def _references(value: Any, arms: Collection[str], hindsight: Collection[str]) -> tuple[str, ...]:
    names = [str(name) for name in (value if isinstance(value, list) else [value or ""])]
    known = [*arms, *hindsight]
    for name in names:
        if name not in known:
            raise ConfigError(f"reference {name!r} is none of the arms: {did_you_mean(name, known)}")
    if not names or len(set(names)) < len(names):
        raise ConfigError("reference of the grid must name one arm, or a list of different ones")
    return tuple(names)


def _hindsight(value: Any, arms: Mapping[str, Any]) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ConfigError("hindsight of the grid must name arms and those they are made of, such as {NEW ARM: ARM}")
    sources = {name: str(source) for name, source in value.items()}
    for name, source in sources.items():
        if name in arms:
            raise ConfigError(f"hindsight of the grid makes the arm {name!r}, which is one of the arms: rename it")
        if source not in arms:
            raise ConfigError(
                f"hindsight of the grid takes the arm {source!r}, which the grid does not have: "
                f"{did_you_mean(source, arms)}"
            )
    return sources


def _exclusions(value: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(value, list) or not all(isinstance(rule, dict) and rule for rule in value):
        raise ConfigError("exclude of the grid must be a list such as [{dataset: NAME, noise: NAME}]")
    return tuple({axis: str(name) for axis, name in rule.items()} for rule in value)


def _check_exclusions(grid: Grid) -> None:
    known = {
        "dataset": list(grid.datasets),
        "noise": list(grid.noise),
        "arm": list(grid.arms),
        "seed": [str(seed) for seed in grid.seeds],
    }
    for rule in grid.exclude:
        for axis, name in rule.items():
            if axis not in known:
                raise ConfigError(f"exclude of the grid names {axis!r}: {did_you_mean(axis, AXES)}")
            if name not in known[axis]:
                raise ConfigError(
                    f"exclude of the grid names {axis} {name!r}, which the grid does not have: "
                    f"{did_you_mean(name, known[axis])}"
                )
