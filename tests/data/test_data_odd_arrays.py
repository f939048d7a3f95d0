"""What may stand in an array file in place of names, labels and images: read right, or refused in one sentence."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data_builders import Toy, config, toy, write_hdf5, write_medmnist, write_npz

from overread.data import Dataset, load_dataset
from overread.errors import DataError

N = 36
TABLE = np.repeat(toy().labels[:, None], 2, axis=1)
DATES = np.arange(N).astype("datetime64[D]")
RECORDS = np.zeros(N, dtype=[("a", "i4"), ("b", "f8")])
LATIN = np.array([b"bcc", b"mel", b"n\xe4vus"])
HALVES = np.array([f"{name}\ud800" for name in toy().ids])
NO_IMAGES = np.empty((0, 12, 12, 3), dtype=np.uint8)
NOTHING = np.empty(0, dtype=np.int64)

# Array name, what stands there, and the sentence.
NPZ_REFUSED: list[tuple[str, Any, str]] = [
    (
        "class_names",
        np.array("bcc"),
        r"class_names of .*toy.npz has the shape \(\); it must be \(C,\), one name a class",
    ),
    ("class_names", np.array([["bcc", "mel", "nv"]]), r"class_names .* has the shape \(1, 3\)"),
    ("class_names", LATIN, r"class_names .* not UTF-8, b'n\\xe4vus': save it as UTF-8"),
    ("class_names", DATES[:3], r"class_names .* has the type datetime64\[D\]; it must hold text or numbers"),
    ("class_names", np.array(["bcc", "", "nv"]), "class name '' is empty or not UTF-8"),
    ("labels", np.array(3), r"labels .* has the shape \(\); it must be \(N,\) with N = 36 images"),
    ("labels", DATES, r"labels .* has the type datetime64\[D\]"),
    ("labels", DATES - DATES[0], r"labels .* has the type timedelta64\[D\]"),
    ("labels", toy().labels.astype(complex), "labels .* has the type complex128"),
    ("labels", RECORDS, r"labels .* has the type \[\('a'"),
    ("labels", np.array([b"n\xe4vus"] * N), "labels .* not UTF-8"),
    ("labels", HALVES, "labels .* characters that Unicode does not have"),
    ("labels", toy().labels.astype("V8"), r"labels .* has the type \|V8"),
    ("split", np.array("train"), r"split .* has the shape \(\); it must be \(36,\)"),
    ("split", RECORDS, "split .* has the type"),
    ("group", TABLE, r"group .* has the shape \(36, 2\)"),
    ("lesion_id", DATES, "lesion_id .* has the type datetime64"),
    ("image_id", np.array(7), r"image_id .* has the shape \(\)"),
    ("image_id", HALVES, "image_id .* characters that Unicode does not have"),
    ("source_file", np.array([b"n\xe4vus"] * N), "source_file .* not UTF-8"),
    ("annotator_labels", TABLE.astype(complex), "annotator_labels .* has the type complex128"),
    ("annotator_labels", TABLE[:, 0], r"annotator_labels .* has the shape \(36,\)"),
    ("images", np.array(7, dtype=np.uint8), r"images .* has the shape \(\)"),
    ("images", np.zeros(N, dtype=[("r", "u1")]), r"images .* has the type \[\('r'"),
]


@pytest.mark.parametrize(("name", "array", "message"), NPZ_REFUSED)
def test_npz_arrays_that_are_refused(name: str, array: Any, message: str, tmp_path: Path) -> None:
    refused(message, tmp_path, **write_npz(toy(), tmp_path, **{name: array}))


def refused(message: str, folder: Path, **keys: Any) -> None:
    """Also where single items may be skipped."""
    for on_error in ("stop", "skip"):
        with pytest.raises(DataError, match=message) as caught:
            load_dataset(config(folder, **keys, on_error=on_error), seed=0)
        assert str(caught.value).isprintable()


def test_annotator_names_of_another_shape(tmp_path: Path) -> None:
    keys = write_npz(toy(), tmp_path, annotator_labels=TABLE, annotator_names=np.array("senior"))
    refused(r"annotator_names .* has the shape \(\); it must be \(2,\)", tmp_path, **keys)


@pytest.mark.parametrize("write", [write_npz, write_hdf5])
def test_no_images(write: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    keys = write(Toy(NO_IMAGES, NOTHING, np.empty(0, dtype="U5"), []), tmp_path)
    refused("toy.* holds no items", tmp_path, **keys)


MEDMNIST_REFUSED: list[tuple[str, Any, str]] = [
    ("train_labels", np.zeros((18, 1), dtype=complex), "train_labels .* has the type complex128"),
    ("val_labels", np.zeros(9, dtype="datetime64[s]"), r"val_labels .* has the type datetime64\[s\]"),
    ("train_labels", np.array(0), r"train_labels .* is of shape \(\)"),
    ("train_labels", np.full((18, 1), b"\xe4"), "train_labels .* not UTF-8"),
    ("train_labels", RECORDS[:18], "train_labels .* has the type"),
    ("train_images", np.zeros((18, 4), dtype=np.uint8), r"train_images .* has the shape \(18, 4\)"),
]


@pytest.mark.parametrize(("name", "array", "message"), MEDMNIST_REFUSED)
def test_medmnist_arrays_that_are_refused(name: str, array: Any, message: str, tmp_path: Path) -> None:
    refused(message, tmp_path, **write_medmnist(toy(), tmp_path, **{name: array}))


HDF5_REFUSED: list[tuple[str, Any, str]] = [
    ("class_names", "bcc", r"dataset/class_names .* has the shape \(\)"),
    ("class_names", LATIN, r"dataset/class_names .* not UTF-8, b'n\\xe4vus'"),
    ("class_names", np.array([[b"bcc", b"mel", b"nv"]]), r"dataset/class_names .* has the shape \(1, 3\)"),
    ("targets", 7, r"dataset/targets .* has the shape \(\); there are 36 images"),
    ("targets", toy().labels.astype(complex), "dataset/targets .* has the type complex128"),
    ("targets", RECORDS, r"dataset/targets .* has the type \[\('a'"),
    ("targets", h5py.Empty("i8"), "dataset/targets .* is a dataset without values"),
    ("targets", h5py.SoftLink("/nowhere"), "dataset/targets .* is a link that leads nowhere"),
    ("targets", h5py.ExternalLink("gone.h5", "/a"), "dataset/targets .* is a link that leads nowhere"),
    ("images", h5py.SoftLink("/nowhere"), "dataset/images .* is a link that leads nowhere"),
    ("images", h5py.ExternalLink("gone.h5", "/a"), "dataset/images .* is a link that leads nowhere"),
    ("images", h5py.Empty("u1"), "dataset/images .* is a dataset without values"),
    ("images", 7, r"dataset/images .* must be uint8"),
    ("ids", h5py.SoftLink("/nowhere"), "dataset/ids .* is a link that leads nowhere"),
    ("ids", RECORDS, "dataset/ids .* has the type"),
    ("groups", TABLE, r"dataset/groups .* has the shape \(36, 2\); it must be \(36,\)"),
    ("given", toy().labels.astype(complex), "dataset/given .* has the type complex128"),
    ("split", np.array([b"tr\xe4in"] * N), "dataset/split .* not UTF-8"),
]


@pytest.mark.parametrize(("name", "value", "message"), HDF5_REFUSED)
def test_hdf5_datasets_that_are_refused(name: str, value: Any, message: str, tmp_path: Path) -> None:
    refused(message, tmp_path, **write_hdf5(toy(), tmp_path, **{name: value}))


@pytest.mark.parametrize("name", ["images", "targets", "ids", "class_names"])
def test_groups_in_place_of_hdf5_datasets(name: str, tmp_path: Path) -> None:
    keys = write_hdf5(toy(), tmp_path)
    with h5py.File(keys["path"], "a") as file:
        file.pop(f"dataset/{name}", None)
        file.create_group(f"dataset/{name}")
    refused(f"dataset/{name} .* is a group without values, not an array", tmp_path, **keys)


def test_python_lists_and_references_in_hdf5(tmp_path: Path) -> None:
    keys = write_hdf5(toy(), tmp_path, targets=None)
    for dtype in (h5py.vlen_dtype(np.int32), h5py.ref_dtype):
        with h5py.File(keys["path"], "a") as file:
            file.pop("dataset/targets", None)
            file.create_dataset("dataset/targets", (N,), dtype)
        refused("dataset/targets .* has the type object; it must hold text or numbers", tmp_path, **keys)


def test_a_virtual_dataset_without_its_source(tmp_path: Path) -> None:
    """HDF5 hands out black images in place of those that it does not find."""
    keys = write_hdf5(toy(), tmp_path, images=None)
    with h5py.File(tmp_path / "source.h5", "w") as source:
        source["pictures"] = toy().images
    layout = h5py.VirtualLayout(toy().images.shape, np.uint8)
    layout[:] = h5py.VirtualSource("source.h5", "pictures", toy().images.shape)
    with h5py.File(keys["path"], "a") as file:
        file.create_virtual_dataset("dataset/images", layout)
    assert same(load_dataset(config(tmp_path, **keys), seed=0), tmp_path)
    (tmp_path / "source.h5").unlink()
    refused("dataset/images .* is put together from source.h5, which is not there", tmp_path, **keys)


def same(loaded: Dataset, folder: Path) -> bool:
    """Whether a data set is that of the toy set as plain arrays, to the last bit."""
    (folder / "plain").mkdir()
    return loaded.digest == load_dataset(config(folder, **write_npz(toy(), folder / "plain")), seed=0).digest


NPZ_READ: dict[str, dict[str, Any]] = {
    "images in the order of Fortran": {"images": np.asfortranarray(toy().images)},
    "big-endian labels": {"labels": toy().labels.astype(">i8")},
    "big-endian names": {"class_names": np.array(toy().class_names).astype(">U3")},
    "labels as floats": {"labels": toy().labels.astype(np.float32)},
    "labels as names": {"labels": np.array(toy().class_names)[toy().labels]},
    "names as bytes": {"class_names": np.array(toy().class_names, dtype="S")},
    "other arrays of any type": {"dates": DATES, "records": RECORDS, "notes": np.array([b"n\xe4vus"] * N)},
}


@pytest.mark.parametrize("name", NPZ_READ)
def test_npz_arrays_that_are_read_as_what_they_mean(name: str, tmp_path: Path) -> None:
    assert same(load_dataset(config(tmp_path, **write_npz(toy(), tmp_path, **NPZ_READ[name])), seed=0), tmp_path)


HDF5_READ: dict[str, dict[str, Any]] = {
    "big-endian labels": {"targets": toy().labels.astype(">i4")},
    "labels in a column": {"targets": toy().labels[:, None]},
    "text of any length": {"targets": np.array(toy().class_names, dtype=object)[toy().labels]},
    "a soft link": {"targets": h5py.SoftLink("/dataset/given"), "given": toy().labels},
}


@pytest.mark.parametrize("name", HDF5_READ)
def test_hdf5_datasets_that_are_read_as_what_they_mean(name: str, tmp_path: Path) -> None:
    assert same(load_dataset(config(tmp_path, **write_hdf5(toy(), tmp_path, **HDF5_READ[name])), seed=0), tmp_path)


def test_a_hole_among_numbered_groups_is_no_group(tmp_path: Path) -> None:
    groups = np.where(np.arange(N) < 30, np.nan, np.arange(N) // 2)
    loaded = load_dataset(config(tmp_path, **write_npz(toy(), tmp_path, splits=False, group=groups)), seed=0)
    assert loaded.groups is not None
    assert len(set(loaded.groups.tolist())) == 30 + 3


def test_an_archive_with_a_password(tmp_path: Path) -> None:
    keys = write_npz(toy(), tmp_path)
    content = bytearray(keys["path"].read_bytes())
    with zipfile.ZipFile(keys["path"]) as archive:
        content[archive.start_dir + 8] |= 1  # the flag of the first member in the directory
    content[6] |= 1
    keys["path"].write_bytes(bytes(content))
    refused("toy.npz cannot be read .*encrypted", tmp_path, **keys)


@pytest.mark.parametrize(
    "header", ["{'descr': '<i8', 'fortran_order': False, 'shape': (36,", "{'shape': (10**20,)}", ""]
)
def test_an_array_with_a_torn_header(header: str, tmp_path: Path) -> None:
    keys = write_npz(toy(), tmp_path, labels=None)
    with zipfile.ZipFile(keys["path"], "a") as archive:
        archive.writestr("labels.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    refused("toy.npz cannot be read as an .npz file", tmp_path, **keys)


def test_an_array_that_promises_more_than_there_is_memory(tmp_path: Path) -> None:
    keys = write_npz(toy(), tmp_path, labels=None)
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000000,)}"
    with zipfile.ZipFile(keys["path"], "a") as archive:
        archive.writestr("labels.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused("toy.npz cannot be read as an .npz file", tmp_path, **keys)
