"""A whole run in two processes: the same picks and scores as in one, which goes on where two were killed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny import tiny_settings
from torchrun import torchrun

from overread.cli import main
from overread.config import load_config
from overread.errors import ConfigError
from overread.progress import Advance, Silent
from overread.refine import simulate
from overread.results import READS

NO_BATCH_NORM = ("model.mode=finetune", "model.name=test_convnext", "model.weights=none")


def simulate_in_two(folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    texts = [part for text in (*tiny_settings(folder), *settings) for part in ("--set", text)]
    return torchrun(2, "-m", "overread", "simulate", *texts)


def reads(run: Path) -> list[Any]:
    return list(pq.read_table(run / READS).select(["id", "label", "round"]).to_pylist())


class Started(Silent):
    """Notes with how many steps behind it each task began."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        self.done[description] = done
        with super().task(description, total, done) as advance:
            yield advance


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [("active.sampler=bald",), NO_BATCH_NORM, (*NO_BATCH_NORM, "lnl.method=noise-model", "lnl.optimizer=adamw")],
    ids=["frozen", "finetune", "noise model"],
)
def test_two_processes_make_the_run_of_one(tmp_path: Path, settings: tuple[str, ...]) -> None:
    alone = simulate(load_config(settings=[*tiny_settings(tmp_path), *settings, f"out={tmp_path / 'alone'}"]))
    outcome = simulate_in_two(tmp_path, *settings)
    assert outcome.returncode == 0, outcome.stderr
    together = json.loads((tmp_path / "run" / "results.json").read_text())
    assert together["complete"]
    assert reads(tmp_path / "run") == reads(tmp_path / "alone")
    for one, two in zip(alone["rounds"], together["rounds"], strict=True):
        # AUROC may move by a pair of items whose scores differ in the last bit.
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "mcc"):
            assert one["test"][name] == pytest.approx(two["test"][name], abs=1e-9), name
        assert one["selection"] == two["selection"]
        assert one["label_accuracy"] == two["label_accuracy"]
    # What is printed and the report come from one process.
    assert outcome.stdout.count("report:") == 1


def stopping_script(folder: Path, rank: int) -> str:
    """A script of which the process `rank` dies right after the checkpoint of the third epoch, and takes the others."""
    script = folder / "stopped.py"
    script.write_text(
        "import os, sys\n"
        "from overread.cli import main\n"
        "from overread.learn.training import Checkpointer\n"
        "save = Checkpointer.save_if_due\n"
        "def save_and_die(self, epoch, *rest):\n"
        "    save(self, epoch, *rest)\n"
        f"    if epoch == 2 and os.environ.get('RANK', '0') == '{rank}':\n"
        "        os._exit(9)\n"
        "Checkpointer.save_if_due = save_and_die\n"
        "main()\n"
    )
    return str(script)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_one_process_goes_on_where_two_were_stopped(tmp_path: Path, rank: int) -> None:
    settings = [*tiny_settings(tmp_path), f"data.cache={tmp_path / 'cache'}", "checkpoint_seconds=0", *NO_BATCH_NORM]
    alone = simulate(load_config(settings=[*settings, f"out={tmp_path / 'alone'}"]))
    texts = [part for text in settings for part in ("--set", text)]
    assert torchrun(2, stopping_script(tmp_path, rank), "simulate", *texts).returncode != 0
    assert list((tmp_path / "run" / "checkpoints").glob("*in-progress*"))
    tasks = Started()
    resumed = simulate(load_config(settings=settings), tasks)
    # Where the second one dies, the first may not have come to this checkpoint.
    assert tasks.done["phase 1, co-teaching-vog"] in ([3] if rank == 0 else [2, 3])
    assert resumed["complete"]
    assert reads(tmp_path / "run") == reads(tmp_path / "alone")
    assert resumed["rounds"][-1]["test"]["macro_f1"] == pytest.approx(alone["rounds"][-1]["test"]["macro_f1"], abs=1e-9)


@pytest.mark.slow
def test_two_processes_go_on_where_one_was_stopped(tmp_path: Path) -> None:
    settings = [*tiny_settings(tmp_path), f"data.cache={tmp_path / 'cache'}", "checkpoint_seconds=0", *NO_BATCH_NORM]
    alone = simulate(load_config(settings=[*settings, f"out={tmp_path / 'alone'}"]))
    texts = [part for text in settings for part in ("--set", text)]
    command = [sys.executable, stopping_script(tmp_path, 0), "simulate", *texts]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 9
    (half,) = (tmp_path / "run" / "checkpoints").glob("*in-progress*")
    outcome = torchrun(2, "-m", "overread", "simulate", *texts)
    assert outcome.returncode == 0, outcome.stderr
    assert not half.exists()
    assert reads(tmp_path / "run") == reads(tmp_path / "alone")
    together = json.loads((tmp_path / "run" / "results.json").read_text())
    assert together["rounds"][-1]["test"]["macro_f1"] == pytest.approx(
        alone["rounds"][-1]["test"]["macro_f1"], abs=1e-9
    )


def test_several_processes_and_a_cluster_are_one_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"cluster=ray.*leave one of them out"):
        simulate(load_config(settings=[*tiny_settings(tmp_path), "cluster=ray"]))


@pytest.mark.slow
def test_batch_norm_on_several_cpu_processes_is_refused(tmp_path: Path) -> None:
    outcome = simulate_in_two(tmp_path, "model.mode=finetune", "model.name=test_resnet", "model.weights=none")
    assert outcome.returncode != 0
    assert "batch norm, which several CPU processes cannot share" in outcome.stderr
    assert "Error: " not in outcome.stderr.partition("torch.distributed.elastic")[0]


@pytest.mark.parametrize("command", [["bench", "grid.yaml"], ["demo"]])
def test_commands_that_start_runs_refuse_a_launcher(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("sys.argv", ["overread", *command])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "starts its own runs" in capsys.readouterr().err


def test_bfloat16_runs_through_both_phases(tmp_path: Path) -> None:
    results = simulate(load_config(settings=[*tiny_settings(tmp_path), "precision=bfloat16"]))
    assert results["complete"]
    exact = simulate(load_config(settings=[*tiny_settings(tmp_path), f"out={tmp_path / 'exact'}"]))
    first, second = (each["rounds"][0]["test"]["macro_f1"] for each in (results, exact))
    assert first == pytest.approx(second, abs=0.15)
