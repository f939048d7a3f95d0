"""Stand-ins for a simulation, in a module of their own since other processes import it."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from overread.config import Config
from overread.data.dataset import load_dataset
from overread.errors import OverreadError
from overread.files import write_json, write_text
from overread.rng import generator


def fake_results(config: Config) -> dict[str, Any]:
    """Results with the shape of real ones and numbers drawn from the name of the run."""
    assert config.out
    rng = generator(config.seed, "fake", config.out.name)
    rounds = []
    for number in range(config.active.rounds + 1):
        per_class = [
            {"class": name, "recall": float(rng.random()), "f1": float(rng.random())} for name in ("dark", "bright")
        ]
        rounds.append(
            {
                "round": number,
                "bought": number * config.active.budget,
                "oracle_reads": number * config.active.budget,
                "pool": 7,
                "test": {
                    "macro_f1": float(rng.random()),
                    "balanced_accuracy": float(rng.random()),
                    "per_class": per_class,
                },
                "selection": {
                    "precision": None,
                    "per_class": [{"class": "dark", "recall": 0.5}, {"class": "bright", "recall": None}],
                },
                "label_accuracy": float(rng.random()),
                "estimated_rate": float(rng.random()),
            }
        )
    return {
        "schema": 1,
        "complete": True,
        "code": "0",
        "config_id": config.identity(),
        "data_digest": load_dataset(config.data, config.seed).digest,
        "wall_seconds": 36.0,
        "dataset": {
            "classes": ["dark", "bright"],
            "train_counts": [30, 10],
            "n_train": 40,
            "n_test": 20,
            "imbalance": 3,
        },
        "noise": {"rate": 0.2, "estimated_rate": 0.25},
        "leak": None,
        "rounds": rounds,
    }


def fake_run(config: Config, phase1_folder: Path) -> None:
    assert config.out
    with (config.out.parent.parent / "calls.txt").open("a") as stream:
        stream.write(f"{config.out.name} {os.getpid()} {os.environ['OMP_NUM_THREADS']}\n")
    write_text(config.out / "config.yaml", yaml.safe_dump(config.settings()))
    write_json(config.out / "results.json", fake_results(config))


def troubled_run(config: Config, phase1_folder: Path) -> None:
    """Refuses seed 0, stumbles over seed 1 and dies on seed 2 of arm b, until the file `mended` is there."""
    assert config.out
    if config.active.sampler == "margin" and not (config.out.parent.parent / "mended").exists():
        if config.seed == 0:
            raise OverreadError("the moon is too bright")
        if config.seed == 1:
            raise ZeroDivisionError("unexpected")
        os.kill(os.getpid(), signal.SIGKILL)
    fake_run(config, phase1_folder)


def spoiling_run(config: Config, phase1_folder: Path) -> None:
    """A run during which somebody writes another data file in the place of the one in use."""
    assert config.data.path
    fake_run(config, phase1_folder)
    spoil(config.data.path)


def spoil(path: Path) -> None:
    """Change the first label in a data file of the project's form."""
    with np.load(path) as data:
        arrays = dict(data)
    arrays["labels"][0] = 1 - arrays["labels"][0]
    np.savez(path, **arrays)


def slow_run(config: Config, phase1_folder: Path) -> None:
    assert config.out
    (config.out.parent.parent / "pids").mkdir(parents=True, exist_ok=True)
    (config.out.parent.parent / "pids" / str(os.getpid())).touch()
    time.sleep(60)
