"""Every real image set, in both modes, under every preset: as small as a run can be, and through all its parts."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from overread.cli import app
from overread.config import PRESETS
from overread.results import read_results

# Given labels that came with the images where there are any, else drawn.
SETS = {
    "brixia_cxr_2readers_64": ("noise.kind=given",),
    "cifar10n_32": ("noise.kind=given", "noise.column=worst_label"),
    "colorectal5_28": ("data.imbalance_factor=10",),
    "colorectal5_64": ("data.imbalance_factor=20", "noise.kind=class-dependent"),
    "ham10000_28": ("noise.kind=instance-dependent",),
    "ham10000_64": (),
}
MODES = {
    "frozen": ("model.weights=packaged",),
    "finetune": ("model.name=test_resnet", "model.weights=none"),
}


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SETS)
def test_every_set_in_both_modes_under_every_preset(
    tmp_path: Path, real_data: Callable[[str], Path], name: str, mode: str, preset: str
) -> None:
    settings = (
        f"preset={preset}",
        f"data.path={real_data(name)}",
        "data.max_train=150",
        f"model.mode={mode}",
        "model.input_size=32",
        "lnl.epochs=3",
        "active.rounds=1",
        "active.budget=10",
        "active.epochs=2",
        "threads=1",
        *SETS[name],
        *MODES[mode],
    )
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    outcome = CliRunner().invoke(app, ["simulate", "--out", str(tmp_path / "run"), *arguments], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    results = read_results(tmp_path / "run")
    assert results["complete"]
    assert results["preset"] == preset
    # A long tail is cut from what max_train leaves.
    assert results["dataset"]["n_train"] <= 150
    assert results["rounds"][1]["bought"] == 10
    assert 0.1 < results["noise"]["rate"] < 0.5
    assert 0.0 < results["rounds"][1]["test"]["macro_f1"] < 1.0
    assert (tmp_path / "run" / "report.html").exists()
