"""Equal pixels give equal data sets, whatever the format."""

import doctest
import importlib
import tempfile
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_builders import SPLITS, WRITERS, Toy, config, save_image, toy, write_hdf5, write_npz, write_table
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from overread.config import DataConfig, DataFormat
from overread.data import Dataset, load_dataset
from overread.data.dataset import count_training_items
from overread.data.formats import infer_format, list_formats

MODULES = [
    "texts",
    "labels",
    "formats",
    "formats.medmnist_npz",
    "raw",
    "cache",
    "dataset",
    "manifest",
    "images",
    "deep_image",
    "deep",
]


def assert_same(one: Dataset, other: Dataset) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.reference, other.reference)
    np.testing.assert_array_equal(one.split, other.split)
    assert one.class_names == other.class_names


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"overread.data.{module}")).failed == 0


def test_every_format_of_the_configuration_is_registered_and_tested() -> None:
    assert list_formats() == sorted(typing.get_args(DataFormat)) == sorted(WRITERS)


@pytest.mark.parametrize("name", list_formats())
def test_a_format_gives_back_what_was_written(name: str, tmp_path: Path) -> None:
    data = toy()
    keys = WRITERS[name](data, tmp_path)
    assert infer_format(keys["path"]) == name
    if name == "medmnist":
        keys["classes"] = data.class_names
    loaded = load_dataset(config(tmp_path, **keys), seed=0)

    assert loaded.class_names == data.class_names
    assert len(set(loaded.ids.tolist())) == len(data.labels)
    assert loaded.images.dtype == np.uint8
    assert loaded.reference.dtype == np.int64
    assert loaded.skipped == ()
    assert isinstance(loaded.images, np.memmap)
    assert not loaded.images.flags.writeable
    # Random images are all different, so each stands for its item.
    where = {image.tobytes(): i for i, image in enumerate(data.images)}
    order = [where[image.tobytes()] for image in loaded.images]
    assert sorted(order) == list(range(len(data.labels)))
    np.testing.assert_array_equal(loaded.reference, data.labels[order])
    np.testing.assert_array_equal(loaded.split, data.split[order])
    for split in SPLITS:
        np.testing.assert_array_equal(loaded.positions(split), np.flatnonzero(data.split[order] == split))


@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize("more", [{}, {"image_size": 8}, {"max_train": 12}, {"imbalance_factor": 3.0}])
def test_all_formats_give_one_data_set(splits: bool, more: dict[str, Any], tmp_path: Path) -> None:
    data, loaded = toy(), []
    for name in ["npz", "folder", "csv", "hdf5", *(["medmnist"] if splits else [])]:
        keys = WRITERS[name](data, tmp_path, splits)
        asked = config(tmp_path, classes=data.class_names, **keys, **more)
        loaded.append(load_dataset(asked, seed=3))
        assert count_training_items(asked, seed=3) == len(loaded[-1].positions("train"))
    for other in loaded[1:]:
        assert_same(loaded[0], other)


@given(order=st.permutations(range(12)), equal=st.sets(st.integers(0, 11)))
@settings(deadline=None, max_examples=20)
def test_the_order_in_the_file_does_not_matter(order: list[int], equal: set[int]) -> None:
    """Also not for images with equal pixels and unequal labels."""
    data = toy(n=12)
    for i in equal:
        data.images[i] = 7
    kept: dict[str, Any] = {"image_id": np.array(data.ids), "split": np.array(["train", "train", "train", "test"] * 3)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = load_dataset(config(folder, **write_npz(data, folder, **kept)), seed=0)
        moved = Toy(data.images[order], data.labels[order], data.split[order], data.ids)
        arrays: dict[str, Any] = {key: value[order] for key, value in kept.items()}
        second = load_dataset(config(folder, **write_npz(moved, folder, **arrays)), seed=0)
        assert_same(first, second)
        np.testing.assert_array_equal(first.ids, second.ids)
        assert first.digest == second.digest


def test_items_are_sorted_by_id_where_pixels_are_equal(tmp_path: Path) -> None:
    data = toy()
    data.images[:] = 9
    loaded = load_dataset(config(tmp_path, **write_npz(data, tmp_path, image_id=np.array(data.ids[::-1]))), seed=0)
    assert loaded.ids.tolist() == sorted(data.ids)


@pytest.mark.parametrize("change", ["labels", "split", "ids", "pixels", "classes"])
def test_the_digest_names_everything(change: str, tmp_path: Path) -> None:
    data, ids = toy(), np.array(toy().ids)
    before = load_dataset(config(tmp_path, **write_npz(data, tmp_path, image_id=ids)), seed=0).digest
    names = data.class_names
    if change == "labels":
        data.labels[0] = 1
    elif change == "split":
        data.split[0] = "val"
    elif change == "ids":
        ids[0] = "new"
    elif change == "pixels":
        data.images[0, 0, 0, 0] ^= 1
    else:
        names = ("a", "b", "c")
    changed = Toy(data.images, data.labels, data.split, data.ids, names)
    assert load_dataset(config(tmp_path, **write_npz(changed, tmp_path, image_id=ids)), seed=0).digest != before


def test_npz_columns_groups_and_ids(tmp_path: Path) -> None:
    data = toy()
    junior = data.labels.copy()
    junior[:4] = [2, -1, 0, 1]
    keys = write_npz(
        data,
        tmp_path,
        splits=False,
        annotator_labels=np.stack([data.labels, junior], axis=1),
        annotator_names=np.array(["senior", "junior"]),
        worst_label=np.where(np.arange(36) < 9, 0, data.labels),
        lesion_id=np.array([f"lesion{i // 2}" for i in range(36)]),
        source_file=np.array([f"scan{i // 3}" for i in range(36)]),
        note=np.array(["x"] * 36),
    )
    loaded = load_dataset(config(tmp_path, **keys), seed=0)
    # The senior repeats the reference; several items share a source file, so rows are the ids.
    assert sorted(loaded.columns) == ["junior", "worst_label"]
    assert sorted(loaded.ids.tolist()) == sorted(str(i) for i in range(36))
    row = loaded.ids.astype(int)
    np.testing.assert_array_equal(loaded.columns["junior"], junior[row])
    assert loaded.sources[0] == f"{keys['path']}[{row[0]}]"
    assert loaded.groups is not None
    np.testing.assert_array_equal(loaded.groups, [f"lesion{i // 2}" for i in row])
    for group in set(loaded.groups.tolist()):
        assert len(set(loaded.split[loaded.groups == group].tolist())) == 1


def test_numbers_without_class_names_are_the_names(tmp_path: Path) -> None:
    data = toy()
    data.labels[:] = np.array([0, 2, 10])[data.labels]
    loaded = load_dataset(config(tmp_path, **write_npz(data, tmp_path, class_names=None)), seed=0)
    assert loaded.class_names == ("0", "2", "10")
    assert loaded.reference.max() == 2


def test_classes_of_the_configuration_fix_the_order(tmp_path: Path) -> None:
    data = toy()
    plain = load_dataset(config(tmp_path, **write_npz(data, tmp_path)), seed=0)
    moved = load_dataset(config(tmp_path, **write_npz(data, tmp_path), classes=("nv", "bcc", "mel")), seed=0)
    assert moved.class_names == ("nv", "bcc", "mel")
    names = [plain.class_names[k] for k in plain.reference]
    assert [moved.class_names[k] for k in moved.reference] == names


def test_grey_images_are_repeated(tmp_path: Path) -> None:
    data = toy()
    grey = Toy(data.images[:, :, :, 0], data.labels, data.split, data.ids)
    one = load_dataset(config(tmp_path, **write_npz(grey, tmp_path)), seed=0)
    two = load_dataset(config(tmp_path, **write_hdf5(grey, tmp_path)), seed=0)
    assert_same(one, two)
    assert (one.images == one.images[:, :, :, :1]).all()


def test_hdf5_with_ids_groups_and_given_labels(tmp_path: Path) -> None:
    data = toy()
    given = data.labels.copy()
    given[0] = 2
    keys = write_hdf5(
        data, tmp_path, splits=False, ids=np.array(data.ids, dtype="S"), groups=np.arange(36) // 2, given=given
    )
    loaded = load_dataset(config(tmp_path, **keys), seed=0)
    assert set(loaded.ids.tolist()) == set(data.ids)
    row = [data.ids.index(name) for name in loaded.ids]
    np.testing.assert_array_equal(loaded.columns["given"], given[row])
    assert loaded.groups is not None
    np.testing.assert_array_equal(loaded.groups.astype(int), np.array(row) // 2)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_with_second_labels_ids_and_a_joined_group(separator: str, tmp_path: Path) -> None:
    data = toy()
    for name, image in zip(data.ids, data.images, strict=True):
        save_image(image, tmp_path / "deep" / name[-1] / f"{name}.png")
    rows = [
        [name, f"#{i}", str(k), "" if i == 0 else "mel"]
        for i, (name, k) in enumerate(zip(data.ids, data.labels, strict=True))
    ]
    text = "\n".join(separator.join(row) for row in [["name", "key", "grade", "first reading"], *rows])
    # A byte order mark, as spreadsheets write it.
    (tmp_path / "toy.csv").write_text(text, encoding="utf-8-sig")
    write_table(
        tmp_path / "more.csv", ["image", "patient"], [[n, f"p{i // 3}" if i else ""] for i, n in enumerate(data.ids)]
    )
    loaded = load_dataset(
        config(
            tmp_path,
            path=tmp_path / "toy.csv",
            image_root=tmp_path / "deep",
            path_column="name",
            path_suffix=".png",
            id_column="key",
            label_column="grade",
            given_column="first reading",
            classes=data.class_names,
            metadata=tmp_path / "more.csv",
            group_column="patient",
        ),
        seed=0,
    )
    row = np.array([int(name[1:]) for name in loaded.ids])
    np.testing.assert_array_equal(loaded.reference, data.labels[row])
    np.testing.assert_array_equal(loaded.columns["given"], np.where(row == 0, -1, 1))
    assert loaded.groups is not None
    assert loaded.groups[row == 1].tolist() == ["p0"]
    # The item with an empty group shares it with nobody.
    assert (loaded.groups == loaded.groups[row == 0]).sum() == 1


def test_medmnist_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package, which would download: class names and the file come from it."""
    import sys
    import types

    data, calls = toy(), []

    def dataset(split: str, download: bool, root: str, size: int) -> None:
        calls.append((split, download, size))
        WRITERS["medmnist"](data, Path(root))[  # the real package writes NAME_SIZE.npz
            "path"
        ].rename(Path(root) / "dermamnist_64.npz")

    package = types.ModuleType("medmnist")
    vars(package)["INFO"] = {
        "dermamnist": {"python_class": "DermaMNIST", "label": {"0": "first", "1": "second", "2": "third"}}
    }
    vars(package)["DermaMNIST"] = dataset
    monkeypatch.setitem(sys.modules, "medmnist", package)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        loaded = load_dataset(config(tmp_path, path="dermamnist_64"), seed=0)
        assert loaded.class_names == ("first", "second", "third")
        assert loaded.name == "dermamnist_64"
    assert calls == [("train", True, 64)]


def test_a_second_source_becomes_the_test_split(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = WRITERS["folder"](toy(seed=1), tmp_path / "a", splits=False)["path"]
    second = WRITERS["folder"](toy(seed=2), tmp_path / "b", splits=False)["path"].rename(tmp_path / "b" / "other")
    loaded = load_dataset(config(tmp_path, path=first, test_path=second), seed=0)
    assert (len(loaded.positions("train")), len(loaded.positions("val")), len(loaded.positions("test"))) == (36, 0, 36)
    pixels = {image.tobytes() for image in toy(seed=2).images}
    assert {loaded.images[i].tobytes() for i in loaded.positions("test")} == pixels
    assert all(loaded.ids[i].startswith("other/") for i in loaded.positions("test"))


def test_a_second_source_with_its_classes_in_another_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    data, other = toy(seed=1), toy(seed=2)
    turned = Toy(other.images, 2 - other.labels, other.split, other.ids, other.class_names[::-1])
    keys = write_npz(data, tmp_path, splits=False)
    second = write_npz(turned, tmp_path / "b", splits=False, worst_label=np.zeros(36, dtype=np.int64))["path"]
    loaded = load_dataset(config(tmp_path, **keys, test_path=second), seed=0)
    where = {image.tobytes(): i for i, image in enumerate(other.images)}
    test = loaded.positions("test")
    assert loaded.reference[test].tolist() == [other.labels[where[loaded.images[i].tobytes()]] for i in test]
    # Label 0 of the second source is its class nv, which is 2 in the first; the first has no such column.
    assert (loaded.columns["worst_label"][test] == 2).all()
    assert (loaded.columns["worst_label"][loaded.positions("train")] == -1).all()


SETS = ["ham10000_28", "ham10000_64", "colorectal5_28", "colorectal5_64", "brixia_cxr_2readers_64", "cifar10n_32"]


@pytest.mark.parametrize("name", SETS)
def test_real_sets_load_as_they_are(name: str, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    path = real_data(name)
    loaded = load_dataset(config(tmp_path, path=path), seed=0)
    with np.load(path, allow_pickle=False) as arrays:
        assert loaded.class_names == tuple(arrays["class_names"].tolist())
        assert len(loaded.ids) == len(arrays["labels"])
        pairs = sorted(zip(arrays["labels"].tolist(), arrays["split"].tolist(), strict=True))
        assert sorted(zip(loaded.reference.tolist(), loaded.split.tolist(), strict=True)) == pairs
    expected = {
        "brixia_cxr_2readers_64": ["junior_radiologist"],
        "cifar10n_32": ["aggregate_label", "annotator_0", "annotator_1", "annotator_2", "worst_label"],
    }
    assert sorted(loaded.columns) == expected.get(name, [])


def test_real_images_are_equal_in_every_format(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    with np.load(real_data("ham10000_64"), allow_pickle=False) as arrays:
        rows = np.sort(np.random.default_rng(0).permutation(len(arrays["labels"]))[:240])
        data = Toy(
            arrays["images"][rows],
            arrays["labels"][rows],
            arrays["split"][rows],
            arrays["image_id"][rows].tolist(),
            tuple(arrays["class_names"].tolist()),
        )
    keys: dict[str, Any] = {"classes": data.class_names, "min_class_items": 1}
    loaded = [
        load_dataset(config(tmp_path, **keys, **WRITERS[name](data, tmp_path)), seed=0)
        for name in ("npz", "folder", "csv", "hdf5")
    ]
    for other in loaded[1:]:
        assert_same(loaded[0], other)


def test_a_plain_configuration_needs_only_a_path(tmp_path: Path) -> None:
    loaded = load_dataset(DataConfig(path=write_npz(toy(), tmp_path)["path"]), seed=0)
    assert loaded.name == "toy"


def test_names_of_class_folders_are_names(tmp_path: Path) -> None:
    for number, name in enumerate(("1", "01", "INF", "NORM")):
        for row in range(6):
            path = tmp_path / "set" / ("train" if row < 4 else "test") / name / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 50 * number + row, dtype=np.uint8)).save(path)
    loaded = load_dataset(DataConfig(path=tmp_path / "set", cache=tmp_path / "cache"), seed=0)
    assert sorted(loaded.class_names) == ["01", "1", "INF", "NORM"]
    assert np.bincount(loaded.reference).tolist() == [6, 6, 6, 6]


def test_long_codes_in_a_table_stay_apart(tmp_path: Path) -> None:
    codes = ("90000000000020708", "90000000000020709", "007", "7")
    lines = ["path,label,split"]
    for number, code in enumerate(codes):
        for row in range(6):
            name = f"{number}-{row}.png"
            Image.fromarray(np.full((8, 8, 3), 50 * number + row, dtype=np.uint8)).save(tmp_path / name)
            lines.append(f"{name},{code},{'train' if row < 4 else 'test'}")
    (tmp_path / "set.csv").write_text("\n".join(lines))
    settings = DataConfig(path=tmp_path / "set.csv", split_column="split", cache=tmp_path / "cache")
    assert set(load_dataset(settings, seed=0).class_names) == set(codes)


def test_bytes_in_an_npz_are_text(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "set.npz",
        images=np.arange(12 * 8 * 8 * 3, dtype=np.uint32).astype(np.uint8).reshape(12, 8, 8, 3),
        labels=np.arange(12) % 2,
        class_names=np.array([b"mel", b"n\xc3\xa4vus"]),
        split=np.array([b"train"] * 8 + [b"test"] * 4),
    )
    loaded = load_dataset(DataConfig(path=tmp_path / "set.npz", cache=tmp_path / "cache"), seed=0)
    assert loaded.class_names == ("mel", "n\u00e4vus")
    assert len(loaded.positions("test")) == 4
