"""One small image set, written in every format."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from overread.config import DataConfig

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Toy:
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    split: NDArray[np.str_]
    ids: list[str]
    class_names: tuple[str, ...] = ("bcc", "mel", "nv")


def toy(n: int = 36, side: int = 12, seed: int = 0) -> Toy:
    rng = np.random.default_rng(seed)
    return Toy(
        images=rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8),
        labels=np.arange(n) % 3,
        split=np.array([SPLITS[0 if i % 12 < 6 else 1 if i % 12 < 9 else 2] for i in range(n)]),
        ids=[f"im{i:03d}" for i in range(n)],
    )


def write_npz(data: Toy, folder: Path, splits: bool = True, **more: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {"images": data.images, "labels": data.labels, "class_names": np.array(data.class_names)}
    if splits:
        arrays["split"] = data.split
    arrays = {name: value for name, value in {**arrays, **more}.items() if value is not None}
    np.savez_compressed(folder / "toy.npz", **arrays)
    return {"path": folder / "toy.npz"}


def write_medmnist(data: Toy, folder: Path, splits: bool = True, **more: Any) -> dict[str, Any]:
    assert splits, "MedMNIST files always have splits"
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        arrays[f"{split}_images"] = data.images[data.split == split]
        arrays[f"{split}_labels"] = data.labels[data.split == split].astype(np.uint8)[:, None]
    arrays = {name: value for name, value in {**arrays, **more}.items() if value is not None}
    np.savez_compressed(folder / "toymnist.npz", **arrays)
    return {"path": folder / "toymnist.npz"}


def save_image(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def write_folder(data: Toy, folder: Path, splits: bool = True) -> dict[str, Any]:
    for image, label, split, name in zip(data.images, data.labels, data.split, data.ids, strict=True):
        top = folder / "toy" / split if splits else folder / "toy"
        save_image(image, top / data.class_names[label] / f"{name}.png")
    return {"path": folder / "toy"}


def write_table(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def write_csv(data: Toy, folder: Path, splits: bool = True) -> dict[str, Any]:
    rows = []
    for image, label, split, name in zip(data.images, data.labels, data.split, data.ids, strict=True):
        save_image(image, folder / "pictures" / f"{name}.png")
        rows.append([f"pictures/{name}.png", data.class_names[label], split])
    write_table(folder / "toy.csv", ["path", "label", "split"], rows)
    return {"path": folder / "toy.csv", **({"split_column": "split"} if splits else {})}


def write_hdf5(data: Toy, folder: Path, splits: bool = True, **more: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "images": data.images,
        "targets": data.labels,
        "class_names": np.array(data.class_names, dtype="S"),
    }
    if splits:
        arrays["split"] = data.split.astype("S")
    with h5py.File(folder / "toy.h5", "w") as file:
        for name, value in {**arrays, **more}.items():
            if value is not None:
                file[f"dataset/{name}"] = value
    return {"path": folder / "toy.h5"}


WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "csv": write_csv,
    "folder": write_folder,
    "hdf5": write_hdf5,
    "medmnist": write_medmnist,
    "npz": write_npz,
}


def config(folder: Path, **keys: Any) -> DataConfig:
    return DataConfig(**{"cache": folder / "cache", **keys})
