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

from overread import referee, refine
from overread.config import Config
from overread.learn.checkpoint import load_checkpoint

TIMES = ("seconds", "preparing_seconds", "wall_seconds", "peak_rss_mb")


def fingerprints(run: Path) -> dict[str, str]:
    """Digest of every file of a run; times, which cannot repeat, are left out of two of them."""
    digests = {}
    for path in sorted(run.rglob("*")):
        if path.is_dir() or path.suffix == ".lock":
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


def die() -> None:
    """What `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


class DiesInTask:
    """A reporter that kills its process at a step of the task whose description begins with `task_name`."""

    def __init__(self, task_name: str, step: int) -> None:
        self.task_name = task_name
        self.left = step

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Any]:
        yield self.step if description.startswith(self.task_name) else lambda steps: None

    def note(self, text: str) -> None:
        pass

    def step(self, steps: int) -> None:
        self.left -= 1
        if self.left == 0:
            die()


def run_in_child(config: Config, reporter: DiesInTask | None, dies_after: str | None) -> None:
    """Run; where `dies_after` names a function of the state machine, die when it has returned for the first time."""
    if dies_after is not None:
        module = refine if hasattr(refine, dies_after) else referee
        function = getattr(module, dies_after)

        def last_call(*args: Any, **kwargs: Any) -> None:
            function(*args, **kwargs)
            die()

        setattr(module, dies_after, last_call)
    refine.simulate(config, reporter)


def start(config: Config, reporter: DiesInTask | None = None, dies_after: str | None = None) -> BaseProcess:
    # A server that has torch imported already forks a clean child at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["overread.refine"])
    child = context.Process(target=run_in_child, args=(config, reporter, dies_after))
    child.start()
    return child


# In the order in which a run passes them: within phase 1, between the files of a round, within the updates.
DEATHS: list[tuple[str, int] | str] = [
    ("phase 1", 2),
    ("phase 1", 2),
    "save_checkpoint",
    "write_scores",
    "write_results",
    ("round 1", 2),
    "save_reads",
    ("round 1", 1),
    "save_checkpoint",
    "write_scores",
    ("round 2", 1),
    "write_gallery",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("lnl.epochs=20", "active.epochs=10", "active.sampler=bald", "active.oracle_error=0.2"),
        ("preset=paper-as-published", "model.head=mlp", "lnl.epochs=12", "active.start=scratch", "active.audit=1"),
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
    for number, death in enumerate(DEATHS):
        child = start(killed, dies_after=death) if isinstance(death, str) else start(killed, DiesInTask(*death))
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"the run was over before {death}: the test proves nothing"
        if number % 4:
            continue
        # And at a moment of the clock, within whatever it is doing; short, so that the next death is not passed.
        child = start(killed)
        time.sleep(float(moments.uniform(0.0, 0.1)))
        child.kill()
        child.join()

    child = start(killed)
    child.join()
    assert child.exitcode == 0
    assert fingerprints(tmp_path / "killed") == expected


# Of a noise model in frozen mode nothing is trained, so there is no epoch to die in.
NOISE_MODEL_DEATHS: list[tuple[str, int] | str] = [
    *("save_checkpoint", "write_results", "save_reads", "save_checkpoint", "write_scores", "write_gallery")
]
NETWORK_DEATHS: list[tuple[str, int] | str] = [("phase 1", 2), "write_results", ("round 1", 2), *NOISE_MODEL_DEATHS[2:]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "deaths"),
    [
        (("active.rounds=3",), NOISE_MODEL_DEATHS),
        (
            ("model.mode=finetune", "model.name=small_resnet", "model.weights=none", "lnl.optimizer=adamw"),
            NETWORK_DEATHS,
        ),
    ],
    ids=["frozen", "finetune"],
)
def test_a_killed_noise_model_ends_with_the_same_bytes(
    tmp_path: Path, settings: tuple[str, ...], deaths: list[tuple[str, int] | str]
) -> None:
    method = ("checkpoint_seconds=0", "lnl.method=noise-model", "active.sampler=posterior-entropy", "active.audit=2")
    base = tiny_config(tmp_path, *method, *settings)
    alone, killed = (base.model_copy(update={"out": tmp_path / name}) for name in ("alone", "killed"))
    refine.simulate(alone)
    for death in deaths:
        child = start(killed, dies_after=death) if isinstance(death, str) else start(killed, DiesInTask(*death))
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"the run was over before {death}: the test proves nothing"
    refine.simulate(killed)
    assert fingerprints(tmp_path / "killed") == fingerprints(tmp_path / "alone")


@pytest.mark.slow
def test_a_killed_run_stops_where_one_that_is_left_alone_stops(tmp_path: Path) -> None:
    base = tiny_config(tmp_path, "active.rounds=4", "active.until=label_accuracy=0.55", "active.audit=2")
    alone, killed = (base.model_copy(update={"out": tmp_path / name}) for name in ("alone", "killed"))
    stopped = refine.simulate(alone)["stopped"]
    assert 0 < stopped["round"] < 4, "the run was over at once, or never stopped: the test proves nothing"
    child = start(killed, dies_after="write_results")
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert refine.simulate(killed)["stopped"] == stopped
    assert fingerprints(tmp_path / "killed") == fingerprints(tmp_path / "alone")


def test_a_complete_run_is_not_done_again(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "active.rounds=1")
    first = refine.simulate(config)
    before = fingerprints(tmp_path / "run")
    assert refine.simulate(config) == json.loads(json.dumps(first))
    assert fingerprints(tmp_path / "run") == before
