"""A whole run in two processes: the same picks and scores as in one, which goes on where two were killed."""

import json
import subprocess
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
@pytest.mark.parametrize("settings", [("active.sampler=bald",), NO_BATCH_NORM], ids=["frozen", "finetune"])
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


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_stopped(tmp_path: Path) -> None:
    settings = ["checkpoint_seconds=0", *NO_BATCH_NORM]
    alone = simulate(load_config(settings=[*tiny_settings(tmp_path), *settings, f"out={tmp_path / 'alone'}"]))
    script = tmp_path / "stopped.py"
    # The first process dies right after the checkpoint of the third epoch, and takes the other with it.
    script.write_text(
        "import os, sys\n"
        "from overread.cli import main\n"
        "from overread.learn.training import Checkpointer\n"
        "save = Checkpointer.save_if_due\n"
        "def save_and_die(self, epoch, *rest):\n"
        "    save(self, epoch, *rest)\n"
        "    if epoch == 2 and self.path:\n"
        "        os._exit(9)\n"
        "Checkpointer.save_if_due = save_and_die\n"
        "main()\n"
    )
    texts = [part for text in (*tiny_settings(tmp_path), *settings) for part in ("--set", text)]
    assert torchrun(2, str(script), "simulate", *texts).returncode != 0
    assert list((tmp_path / "run" / "checkpoints").glob("*in-progress*"))
    tasks = Started()
    resumed = simulate(load_config(settings=[*tiny_settings(tmp_path), *settings]), tasks)
    assert tasks.done["phase 1, co-teaching-vog"] == 3
    assert resumed["complete"]
    assert reads(tmp_path / "run") == reads(tmp_path / "alone")
    assert resumed["rounds"][-1]["test"]["macro_f1"] == pytest.approx(alone["rounds"][-1]["test"]["macro_f1"], abs=1e-9)


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
