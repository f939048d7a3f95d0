"""Equal pixels give an equal run, whatever format brings them and whatever the files are called."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny import tiny_config, write_tiny_set

from overread.refine import simulate
from overread.results import round_file

Arrays = dict[str, NDArray[Any]]


def as_folder(folder: Path, data: Arrays) -> tuple[str, ...]:
    for row, (image, label, split) in enumerate(zip(data["images"], data["labels"], data["split"], strict=True)):
        path = folder / str(split) / str(data["class_names"][label]) / f"{999 - row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return (f"data.path={folder}",)


def as_csv(folder: Path, data: Arrays) -> tuple[str, ...]:
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "label", "split"])
        # Another order than that of the other formats.
        for row in np.random.default_rng(0).permutation(len(data["labels"])):
            Image.fromarray(data["images"][row]).save(folder / f"image{row}.png")
            table.writerow([f"image{row}.png", data["class_names"][data["labels"][row]], data["split"][row]])
    return (f"data.path={folder / 'labels.csv'}", "data.split_column=split")


def as_hdf5(folder: Path, data: Arrays) -> tuple[str, ...]:
    folder.mkdir()
    with h5py.File(folder / "set.h5", "w") as file:
        file["dataset/images"] = data["images"][::-1]
        file["dataset/targets"] = data["labels"][::-1]
        file["dataset/split"] = data["split"][::-1].astype("S")
        file["dataset/class_names"] = data["class_names"].astype("S")
    return (f"data.path={folder / 'set.h5'}",)


def outcome(run: Path) -> tuple[list[Any], list[NDArray[np.float64]]]:
    rounds = json.loads((run / "results.json").read_text())["rounds"]
    for entry in rounds:
        entry.pop("seconds")
    tables = []
    for number in range(len(rounds)):
        table = pq.read_table(round_file(run, "scores", number)).drop_columns(["id"])
        tables.append(np.stack([column.to_numpy().astype(np.float64) for column in table.columns]))
    return rounds, tables


@pytest.fixture(scope="module")
def npz_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npz")
    # Class names in sorted order, as a folder of classes has them.
    data = dict(np.load(write_tiny_set(folder / "base.npz"), allow_pickle=False))
    data["class_names"] = np.array(["a-disc", "b-stripe", "c-noise"])
    np.savez(folder / "set.npz", **data)
    simulate(tiny_config(folder, f"data.path={folder / 'set.npz'}", f"data.cache={folder / 'cache'}"))
    return folder


@pytest.mark.parametrize("write", [as_folder, as_csv, as_hdf5])
def test_formats_agree(npz_run: Path, tmp_path: Path, write: Callable[[Path, Arrays], tuple[str, ...]]) -> None:
    data = dict(np.load(npz_run / "set.npz", allow_pickle=False))
    # Embedded anew: a cache of all tests would hand over the same rows.
    simulate(tiny_config(tmp_path, *write(tmp_path / "images", data), f"data.cache={tmp_path / 'cache'}"))
    rounds, tables = outcome(npz_run / "run")
    other_rounds, other_tables = outcome(tmp_path / "run")
    assert rounds == other_rounds
    for one, other in zip(tables, other_tables, strict=True):
        np.testing.assert_array_equal(one, other)
