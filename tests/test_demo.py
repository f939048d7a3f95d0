"""The demo: its data, its table, and that what it shows is what is on disk."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from overread.demo import run_demo, write_digits
from overread.errors import ConfigError, OverreadError
from overread.progress import Silent
from overread.rng import generator


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERREAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Three classes of coloured noise, 16 x 16 pixels, 20 training and 10 test images each."""
    labels = np.repeat([0, 1, 2], 30)
    pixels = generator(0, "images").integers(0, 200, (len(labels), 16, 16, 3))
    pixels[np.arange(len(labels)), :, :, labels] += 55
    split = np.tile(np.repeat(["train", "test"], [20, 10]), 3)
    path = tmp_path / "tiny.npz"
    np.savez(path, images=pixels.astype(np.uint8), labels=labels, class_names=np.array(["r", "g", "b"]), split=split)
    return path


def test_the_digits_are_long_tailed_upscaled_and_written_once(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    write_digits(path)
    with np.load(path) as archive:
        images, labels, split = archive["images"], archive["labels"], archive["split"]
    assert images.shape[1:] == (32, 32, 3)
    assert images.dtype == np.uint8
    train, test = np.bincount(labels[split == "train"]), np.bincount(labels[split == "test"])
    assert train.max() / train.min() == pytest.approx(10, rel=0.05)
    # The test part keeps the balance of the original: a quarter of about 180 a class.
    assert ((test >= 43) & (test <= 46)).all()
    # Shrunk again, every picture is nearest to an original with its own label.
    bunch = load_digits()
    for image, label in list(zip(images, labels, strict=True))[::50]:
        means = image[..., 0].reshape(8, 4, 8, 4).mean(axis=(1, 3)) * (16 / 255)
        assert bunch.target[np.abs(bunch.images - means).mean(axis=(1, 2)).argmin()] == label
        assert (image == image[..., :1]).all()
    path.write_bytes(b"kept")
    write_digits(path)
    assert path.read_bytes() == b"kept"


def test_the_table_says_what_the_runs_say(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    report = run_demo(str(tiny), out, Silent(), seeds=(0, 1))
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"report: {report}"
    assert report.exists()
    assert max(map(len, printed.splitlines()[:-1])) <= 80

    def scores(preset: str, number: int) -> list[float]:
        runs = [json.loads((out / f"{preset}-seed{seed}" / "results.json").read_text()) for seed in (0, 1)]
        assert all(run["complete"] for run in runs)
        return [run["rounds"][number]["test"]["macro_f1"] for run in runs]

    plain = scores("cross-entropy", 0)
    for name, found in {
        "after phase 1": scores("default", 0),
        "after round 4": scores("default", 4),
        "cross-entropy, random": scores("cross-entropy", 4),
    }.items():
        row = next(line for line in printed.splitlines() if line.strip().startswith(name))
        assert f" {np.mean(found):.3f} " in row
        differences = np.subtract(found, plain)
        if differences.any():
            low, high = stats.t.interval(0.95, 1, differences.mean(), stats.sem(differences))
            assert f"{differences.mean():+.2f} [{low:+.2f}, {high:+.2f}]" in row

    given = {
        (preset, seed): pq.read_table(out / f"{preset}-seed{seed}" / "scores" / "round-000.parquet")[
            "given"
        ].to_pylist()
        for preset in ("default", "cross-entropy")
        for seed in (0, 1)
    }
    assert given["default", 0] == given["cross-entropy", 0]
    assert given["default", 0] != given["default", 1]

    before = {path: path.stat().st_mtime_ns for path in out.glob("*/results.json")}
    run_demo(str(tiny), out, Silent(), seeds=(0, 1))
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/results.json")} == before
    again = capsys.readouterr().out
    assert re.sub(r"\d+ s of run time", "", again) == re.sub(r"\d+ s of run time", "", printed)


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one seed"):
        run_demo(None, tmp_path / "demo", Silent(), seeds=())
    with pytest.raises(OverreadError, match="dermamnits"):
        run_demo("dermamnits", tmp_path / "demo", Silent())
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_both_phases_beat_cross_entropy_on_the_same_noisy_digits(tmp_path: Path) -> None:
    run_demo(None, tmp_path, Silent())
    read = {
        (preset, seed): json.loads((tmp_path / f"{preset}-seed{seed}" / "results.json").read_text())["rounds"]
        for preset in ("default", "cross-entropy")
        for seed in range(3)
    }
    margins = [
        read["default", seed][-1]["test"]["macro_f1"] - read["cross-entropy", seed][0]["test"]["macro_f1"]
        for seed in range(3)
    ]
    assert min(margins) > 0.05
