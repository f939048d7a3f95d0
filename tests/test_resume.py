"""A run that is killed at random moments ends with the same bytes as one that is left alone."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import tiny_config

from overread.config import Config
from overread.learn.checkpoint import load_checkpoint
from overread.refine import simulate

TIMES = ("seconds", "wall_seconds", "peak_rss_mb")
KILLS = 6


def fingerprints(run: Path) -> dict[str, str]:
    """Digest of every file of a run; times, which cannot repeat, are left out of two of them."""
    digests = {}
    for path in sorted(run.rglob("*")):
        if path.is_dir() or path.name == "run.lock":
            continue
        content = path.read_bytes()
        if path.name == "results.json":
            content = json.dumps(without_times(json.loads(content))).encode()
        if path.name.startswith(("phase1-", "noise-")):
            tensors, meta = load_checkpoint(path)
            arrays = [tensor.numpy().tobytes() for _, tensor in sorted(tensors.items())]
            content = b"".join(arrays) + json.dumps(without_times(meta)).encode()
        digests[str(path.relative_to(run))] = hashlib.sha256(content).hexdigest()
    return digests


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(entry) for key, entry in value.items() if key not in TIMES}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


class Suicidal:
    """A reporter that kills its process, as `kill -9` would, at a given step of work."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Any]:
        yield self.step

    def note(self, text: str) -> None:
        self.step(1)

    def step(self, steps: int) -> None:
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def run_in_child(config: Config, reporter: Suicidal | None) -> None:
    simulate(config, reporter)


def start(config: Config, reporter: Suicidal | None = None) -> BaseProcess:
    # A server that has torch imported already forks a clean child at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["overread.refine"])
    child = context.Process(target=run_in_child, args=(config, reporter))
    child.start()
    return child


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("lnl.epochs=20", "active.epochs=10", "active.sampler=bald", "active.oracle_error=0.2"),
        ("preset=paper-as-published", "model.head=mlp", "lnl.epochs=12", "active.start=scratch"),
        ("model.mode=finetune", "model.name=test_resnet", "model.weights=none"),
    ],
    ids=["frozen", "as-published", "finetune"],
)
def test_killed_runs_end_with_the_same_bytes(tmp_path: Path, settings: tuple[str, ...]) -> None:
    base = tiny_config(tmp_path, "checkpoint_seconds=0", *settings)
    alone, killed = (base.model_copy(update={"out": tmp_path / name}) for name in ("alone", "killed"))
    child = start(alone)
    child.join()
    assert child.exitcode == 0
    expected = fingerprints(tmp_path / "alone")

    # Other numbers at every call of the test would make a failure hard to find again.
    moments = np.random.default_rng(0)
    deaths = 0
    for attempt in range(KILLS):
        if attempt % 2:  # at a step of work
            child = start(killed, Suicidal(int(moments.integers(1, 12))))
        else:  # at a moment of the clock, within a step
            child = start(killed)
            time.sleep(float(moments.uniform(0.05, 0.8)))
            child.kill()
        child.join()
        deaths += child.exitcode == -signal.SIGKILL
    assert deaths >= 3, "the run is over before it is killed: the test proves nothing"

    child = start(killed)
    child.join()
    assert child.exitcode == 0
    assert fingerprints(tmp_path / "killed") == expected


def test_a_complete_run_is_not_done_again(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "active.rounds=1")
    first = simulate(config)
    before = fingerprints(tmp_path / "run")
    assert simulate(config) == json.loads(json.dumps(first))
    assert fingerprints(tmp_path / "run") == before
