"""Bad input ends in one sentence that names the item; or, for single items and on request, in a listed skip."""

import builtins
import importlib
import io
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.features
import PIL.Image
import pytest
from data_builders import (
    Toy,
    config,
    save_image,
    toy,
    write_csv,
    write_folder,
    write_hdf5,
    write_medmnist,
    write_npz,
    write_table,
)

from overread.data import load_dataset
from overread.errors import ConfigError, DataError, MissingExtraError, OverreadError

Case = Callable[[Path], tuple[dict[str, Any], str]]
ITEM_CASES: dict[str, Case] = {}
SET_CASES: dict[str, Case] = {}


def item(case: Case) -> Case:
    """A problem of one item: `im005` or row 5 of the toy set, or those that the test names."""
    ITEM_CASES[case.__name__] = case
    return case


def whole(case: Case) -> Case:
    SET_CASES[case.__name__] = case
    return case


def table_with(folder: Path, change: Callable[[list[list[str]]], object], **keys: Any) -> dict[str, Any]:
    """The toy table after `change` has had its rows; row 6 is im005."""
    made = write_csv(toy(), folder)
    rows = [line.split(",") for line in made["path"].read_text().split()]
    change(rows)
    made["path"].write_text("\n".join(",".join(row) for row in rows))
    return made | keys


# --- one item ---------------------------------------------------------------------------------------------------------


@item
def truncated_png(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_csv(toy(), folder)
    path = folder / "pictures" / "im005.png"
    path.write_bytes(path.read_bytes()[:200])
    return keys, "im005.png"


@item
def truncated_jpeg(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    path = folder / "toy" / "train" / "nv" / "im005.png"
    stream = io.BytesIO()
    PIL.Image.fromarray(toy(side=64).images[0]).save(stream, "JPEG")
    path.write_bytes(stream.getvalue()[:600])
    return keys | {"image_size": 12}, "im005.png cannot be decoded"


@item
def no_image_at_all(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    (folder / "toy" / "train" / "nv" / "im005.png").write_text("hello")
    return keys, "im005.png is not an image"


@item
def empty_file(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    (folder / "toy" / "train" / "nv" / "im005.png").write_bytes(b"")
    return keys, "im005.png is not an image"


@item
def other_suffix_in_a_class_folder(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    (folder / "toy" / "train" / "nv" / "im005.xyz").write_bytes(b"")
    return keys, "im005.xyz': it is not DICOM and has no suffix of an image"


@item
def floating_point_image(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    (folder / "toy" / "train" / "nv" / "im005.png").unlink()
    PIL.Image.fromarray(np.zeros((12, 12), dtype=np.float32)).save(folder / "toy" / "train" / "nv" / "im005.tif")
    return keys, "im005.tif.*floating-point"


@item
def a_stack_of_images(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    frames = [PIL.Image.fromarray(image) for image in toy().images[:3]]
    frames[0].save(folder / "toy" / "train" / "nv" / "im005.tif", save_all=True, append_images=frames[1:])
    return keys, "im005.tif.*3 frames"


@item
def image_beside_the_class_folders(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder, splits=False)
    save_image(toy().images[0], folder / "toy" / "stray.PNG")
    return keys, "'stray.PNG': it lies beside the class folders"


@item
def image_beside_the_split_folders(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    save_image(toy().images[0], folder / "toy" / "stray.png")
    return keys, "'stray.png': it lies beside the class folders"


@item
def image_in_a_split_folder(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    save_image(toy().images[0], folder / "toy" / "train" / "stray.png")
    return keys, "'train/stray.png': it lies beside the class folders"


@item
def link_that_leads_back(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    (folder / "toy" / "train" / "nv" / "again").symlink_to("..")
    return keys, "'train/nv/again': the link leads back to a folder that it is in"


@item
def link_to_itself(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    (folder / "toy" / "train" / "nv" / "again").symlink_to("again")
    return keys, "'train/nv/again': the link leads nowhere"


@item
def link_to_an_image_that_is_gone(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    (folder / "toy" / "train" / "nv" / "im005.png").unlink()
    (folder / "toy" / "train" / "nv" / "im005.png").symlink_to("gone.png")
    return keys, "'train/nv/im005.png': the link leads nowhere"


@item
def pipe_in_a_class_folder(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    os.mkfifo(folder / "toy" / "train" / "nv" / "pipe.png")
    return keys, "pipe.png is a device or a pipe, not a file"


@item
def file_name_that_is_not_utf8(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    save_image(toy().images[0], folder / "toy" / "train" / "nv" / os.fsdecode(b"caf\xe9.png"))
    return keys, r"'train/nv/caf\\udce9.png': its name is not UTF-8: rename the file"


@item
def folder_name_that_is_not_utf8(folder: Path) -> tuple[dict[str, Any], str]:
    keys = table_with(folder, lambda rows: rows[6].__setitem__(0, "im005.png"))
    (folder / "pictures" / "im005.png").unlink()
    save_image(toy().images[5], folder / os.fsdecode(b"caf\xe9") / "im005.png")
    return keys, r"'im005.png': .*caf\\udce9/im005.png: its name is not UTF-8: rename"


@item
def nul_in_a_path(folder: Path) -> tuple[dict[str, Any], str]:
    return table_with(folder, lambda rows: rows[6].__setitem__(0, "a\0b.png")), r"a\\x00b.png cannot be read \(.*null"


@item
def path_that_is_too_long(folder: Path) -> tuple[dict[str, Any], str]:
    keys = table_with(folder, lambda rows: rows[6].__setitem__(0, "a" * 9000 + ".png"))
    return keys, r"a \.\.\. a+.png cannot be read \(File name too long\)"


@item
def path_to_a_folder(folder: Path) -> tuple[dict[str, Any], str]:
    return table_with(folder, lambda rows: rows[6].__setitem__(0, "pictures")), "pictures is a folder, not a file"


@item
def path_below_a_file(folder: Path) -> tuple[dict[str, Any], str]:
    keys = table_with(folder, lambda rows: rows[6].__setitem__(0, "pictures/im004.png/im005.png"))
    return keys, "im004.png/im005.png does not exist"


@item
def drawing(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_csv(toy(), folder)
    PIL.Image.fromarray(toy().images[5]).save(folder / "pictures" / "im005.png", "EPS")
    return keys, r"im005.png.* it is a drawing \(EPS\)"


@item
def animation(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_csv(toy(), folder)
    frames = [PIL.Image.fromarray(image) for image in toy().images[:2]]
    frames[0].save(folder / "pictures" / "im005.png", "GIF", save_all=True, append_images=frames[1:])
    return keys, "im005.png.* it holds 2 frames"


@item
def animation_of_another_format(folder: Path) -> tuple[dict[str, Any], str]:
    if not PIL.features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    keys = write_csv(toy(), folder)
    frames = [PIL.Image.fromarray(image) for image in toy(side=32).images[:2]]
    frames[0].save(folder / "pictures" / "im005.png", "AVIF", save_all=True, append_images=frames[1:])
    return keys, "im005.png.* it holds 2 frames"


@item
def decompression_bomb(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_csv(toy(), folder)
    size = struct.pack(">4sIIBBBBB", b"IHDR", 60_000, 60_000, 1, 0, 0, 0, 0)
    chunks = [struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)) for data in (size, b"IDAT")]
    (folder / "pictures" / "im005.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return keys, "im005.png has more than 178956970 pixels; save it smaller"


@item
def missing_image(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_csv(toy(), folder)
    (folder / "pictures" / "im005.png").unlink()
    return keys, "im005.png does not exist"


@item
def ambiguous_name(folder: Path) -> tuple[dict[str, Any], str]:
    keys = table_with(folder, lambda rows: rows[6].__setitem__(0, "im005.png"))
    save_image(toy().images[5], folder / "more" / "im005.png")
    return keys, "im005.png stands for several files"


@item
def row_without_path(folder: Path) -> tuple[dict[str, Any], str]:
    return table_with(folder, lambda rows: rows[6].__setitem__(0, "")), "row 6 names no image"


@item
def row_without_label(folder: Path) -> tuple[dict[str, Any], str]:
    return table_with(folder, lambda rows: rows[6].__setitem__(1, "")), "im005.png.*no label"


@item
def label_not_finite(folder: Path) -> tuple[dict[str, Any], str]:
    return table_with(folder, lambda rows: rows[6].__setitem__(1, "nan")), "im005.png.*nan is not finite"


@item
def label_outside_the_classes(folder: Path) -> tuple[dict[str, Any], str]:
    keys = table_with(folder, lambda rows: rows[6].__setitem__(1, "wart"), classes=("bcc", "mel", "nv"))
    return keys, "im005.png.*'wart' is outside the classes"


@item
def ragged_row(folder: Path) -> tuple[dict[str, Any], str]:
    return table_with(folder, lambda rows: rows[6].append("x")), "im005.png.*row 6.*4 fields where the header has 3"


@item
def label_of_a_ragged_row(folder: Path) -> tuple[dict[str, Any], str]:
    return table_with(folder, lambda rows: rows[6].insert(1, "x")), "im005.png.*row 6.*4 fields where the header has 3"


@item
def unknown_split(folder: Path) -> tuple[dict[str, Any], str]:
    return table_with(folder, lambda rows: rows[6].__setitem__(2, "holdout")), "im005.png.*'holdout' is none of"


@item
def empty_id(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, image_id=np.array(["", *toy().ids[1:]])), "toy.npz.0.*id is empty"


@item
def id_twice(folder: Path) -> tuple[dict[str, Any], str]:
    ids = np.array(toy().ids)
    ids[7] = ids[5]
    return write_npz(toy(), folder, image_id=ids), "2 items cannot be used: 'im005' .*its id stands 2 times"


@item
def bad_given_label(folder: Path) -> tuple[dict[str, Any], str]:
    def change(rows: list[list[str]]) -> None:
        for i, row in enumerate(rows):
            row.append("second" if i == 0 else "wart" if i == 6 else "mel")

    keys = table_with(folder, change, given_column="second", classes=("bcc", "mel", "nv"))
    return keys, "im005.png.*column second.*'wart'"


@item
def number_outside_the_classes(folder: Path) -> tuple[dict[str, Any], str]:
    data = toy()
    data.labels[5] = 3
    return write_npz(data, folder), r"'5' .*label 3 is outside the 3 classes|'5': its label 3 is outside the 3 classes"


@item
def negative_number(folder: Path) -> tuple[dict[str, Any], str]:
    data = toy()
    data.labels[5] = -4
    return write_hdf5(data, folder, class_names=None), "'5'.*-4 is negative"


@item
def hole_in_float_labels(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, labels=np.where(np.arange(36) == 5, np.nan, toy().labels)), "'5'.*nan is not finite"


@item
def half_a_class(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, labels=np.where(np.arange(36) == 5, 0.5, toy().labels)), "'5'.*not a whole number"


@item
def annotator_outside_the_classes(folder: Path) -> tuple[dict[str, Any], str]:
    table = np.repeat(toy().labels[:, None], 2, axis=1)
    table[5, 1] = 8
    return write_npz(toy(), folder, annotator_labels=table), "'5'.*annotator_1.*label 8"


def one_hot(folder: Path, row: list[str]) -> dict[str, Any]:
    keys = write_csv(toy(), folder)
    rows = [
        [f"pictures/{n}.png", *("1.0" if k == c else "0.0" for c in range(3))]
        for n, k in zip(toy().ids, toy().labels, strict=True)
    ]
    rows[5][1:] = row
    write_table(keys["path"], ["path", "bcc", "mel", "nv"], rows)
    return {"path": keys["path"], "one_hot_columns": ("bcc", "mel", "nv")}


@item
def one_hot_not_finite(folder: Path) -> tuple[dict[str, Any], str]:
    return one_hot(folder, ["nan", "0", "1"]), "im005.png.*nan, 0, 1, which is not finite"


@item
def one_hot_empty(folder: Path) -> tuple[dict[str, Any], str]:
    return one_hot(folder, ["0", "0", "0"]), "im005.png.*not exactly one 1"


@item
def one_hot_text(folder: Path) -> tuple[dict[str, Any], str]:
    return one_hot(folder, ["0", "yes", "0"]), "im005.png.*not only numbers"


@item
def item_without_metadata(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_csv(toy(), folder, splits=False)
    rows = [[f"pictures/{name}.png", name] for name in toy().ids if name != "im005"]
    write_table(folder / "meta.csv", ["image", "lesion"], rows)
    return keys | {"metadata": folder / "meta.csv", "group_column": "lesion"}, "im005.png.*meta.csv has no row"


@pytest.mark.parametrize("name", sorted(ITEM_CASES))
def test_an_item_that_cannot_be_used_is_named_or_skipped(name: str, tmp_path: Path) -> None:
    keys, message = ITEM_CASES[name](tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(config(tmp_path, **keys), seed=0)
    assert caught.value.items
    assert "data.on_error=skip" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2000

    loaded = load_dataset(config(tmp_path, **keys, on_error="skip"), seed=0)
    assert {item for item, _ in loaded.skipped} == set(caught.value.items)
    assert len(loaded.skipped) + len(loaded.ids) in (36, 37)
    assert not set(caught.value.items) & set(loaded.ids.tolist())
    # What was decoded while skipping does not make the next strict run lenient.
    with pytest.raises(DataError, match=message):
        load_dataset(config(tmp_path, **keys), seed=0)


# --- the whole set ----------------------------------------------------------------------------------------------------


@whole
def no_path(folder: Path) -> tuple[dict[str, Any], str]:
    return {}, "data.path is not set"


@whole
def path_that_is_not_there(folder: Path) -> tuple[dict[str, Any], str]:
    return {"path": folder / "nothing.npz"}, "nothing.npz does not exist"


@whole
def unknown_kind_of_file(folder: Path) -> tuple[dict[str, Any], str]:
    (folder / "a.parquet").write_bytes(b"")
    return {"path": folder / "a.parquet"}, "a.parquet .*set data.format"


@whole
def four_channels(folder: Path) -> tuple[dict[str, Any], str]:
    images = np.zeros((36, 12, 12, 4), dtype=np.uint8)
    return write_npz(toy(), folder, images=images), r"shape \(36, 12, 12, 4\); images must be \(N, H, W, 3\)"


@whole
def float_images(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, images=toy().images / 255.0), "type float64; images must be uint8"


@whole
def signed_images(folder: Path) -> tuple[dict[str, Any], str]:
    return write_hdf5(toy(), folder, images=toy().images.astype(np.int16) - 300), "type int16; images must be uint8"


@whole
def one_flat_image(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, images=np.zeros((36, 144), dtype=np.uint8)), r"shape \(36, 144\)"


@whole
def fewer_labels_than_images(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, labels=toy().labels[:-1]), r"labels of .*toy.npz has the shape \(35,\).*36 images"


@whole
def fewer_targets_than_images(folder: Path) -> tuple[dict[str, Any], str]:
    return write_hdf5(toy(), folder, targets=toy().labels[:-1]), r"dataset/targets .*\(35,\).*36 images"


@whole
def no_labels(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, labels=None), "no array 'labels'; it holds class_names, images, split"


@whole
def no_targets(folder: Path) -> tuple[dict[str, Any], str]:
    return write_hdf5(toy(), folder, targets=None), "no dataset/targets; it holds dataset/class_names, dataset/images"


@whole
def images_elsewhere_in_hdf5(folder: Path) -> tuple[dict[str, Any], str]:
    with h5py.File(folder / "a.h5", "w") as file:
        file["pictures"] = toy().images
    return {"path": folder / "a.h5"}, "no dataset/images; it holds pictures"


@whole
def pickled_labels(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, labels=np.array([{"a": 1}] * 36, dtype=object)), "toy.npz .*without pickles"


@whole
def damaged_npz(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_npz(toy(), folder)
    keys["path"].write_bytes(keys["path"].read_bytes()[:1000])
    return keys, "toy.npz .*damaged"


@whole
def damaged_pixels_in_npz(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_npz(toy(), folder)
    with zipfile.ZipFile(keys["path"]) as archive:
        start = archive.getinfo("images.npy").header_offset + 3000
    content = bytearray(keys["path"].read_bytes())
    content[start : start + 200] = bytes(200)
    keys["path"].write_bytes(bytes(content))
    return keys, "the array images of .*toy.npz is damaged"


@whole
def damaged_hdf5(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_hdf5(toy(), folder)
    keys["path"].write_bytes(keys["path"].read_bytes()[:1000])
    return keys, "toy.h5 cannot be read as HDF5"


@whole
def medmnist_read_as_npz(folder: Path) -> tuple[dict[str, Any], str]:
    return write_medmnist(toy(), folder) | {"format": "npz"}, "set data.format=medmnist"


@whole
def npz_read_as_medmnist(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder) | {"format": "medmnist"}, "no MedMNIST file.*'train_images'"


@whole
def several_labels_an_image(folder: Path) -> tuple[dict[str, Any], str]:
    labels = np.zeros((18, 14), dtype=np.uint8)
    return write_medmnist(toy(), folder, train_labels=labels), r"train_labels .*\(18, 14\).*one label for each of 18"


@whole
def volumes(folder: Path) -> tuple[dict[str, Any], str]:
    images = np.zeros((18, 28, 28, 28), dtype=np.uint8)
    return write_medmnist(toy(), folder, train_images=images), r"train_images .*\(18, 28, 28, 28\)"


@whole
def unknown_medmnist_name(folder: Path) -> tuple[dict[str, Any], str]:
    return {"path": "dermanist", "format": "medmnist"}, "data.path=dermanist .*did you mean dermamnist"


@whole
def file_read_as_folder(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder) | {"format": "folder"}, "toy.npz is not a folder"


@whole
def folder_without_classes(folder: Path) -> tuple[dict[str, Any], str]:
    (folder / "flat").mkdir()
    return {"path": folder / "flat"}, "flat has no folders"


@whole
def folder_without_images(folder: Path) -> tuple[dict[str, Any], str]:
    (folder / "flat" / "nv").mkdir(parents=True)
    return {"path": folder / "flat"}, "no images"


@whole
def empty_class_folder(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder, splits=False)
    (folder / "toy" / "wart").mkdir()
    return keys, "class folders 'wart' of .* are empty"


@whole
def splits_beside_classes(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    (folder / "toy" / "extra").mkdir()
    return keys, "split folders beside other folders, 'extra'"


@whole
def class_folder_that_leads_nowhere(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder, splits=False)
    (folder / "toy" / "wart").symlink_to(folder / "gone")
    return keys | {"on_error": "skip"}, "toy/wart cannot be used, and it may hold a whole class: the link leads nowhere"


@whole
def class_folder_that_leads_back(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    (folder / "toy" / "train" / "wart").symlink_to(folder / "toy")
    return keys, "toy/train/wart cannot be used, .*: the link leads back to a folder that it is in"


@whole
def class_name_that_is_not_utf8(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder, splits=False)
    (folder / "toy" / "nv").rename(folder / "toy" / os.fsdecode(b"caf\xe9"))
    return keys | {"on_error": "skip"}, r"class name 'caf\\+udce9' is empty or not UTF-8"


@whole
def path_that_is_not_utf8(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_npz(toy(), folder)
    return {"path": keys["path"].rename(folder / os.fsdecode(b"caf\xe9.npz"))}, r"caf\\udce9.npz is not UTF-8: rename"


@whole
def path_that_no_file_can_have(folder: Path) -> tuple[dict[str, Any], str]:
    return {"path": folder / ("a" * 400)}, r"data.path=.*aaa cannot be read \(File name too long\)"


@whole
def quote_that_is_never_closed(folder: Path) -> tuple[dict[str, Any], str]:
    keys = table_with(folder, lambda rows: rows[6].__setitem__(1, '"nv'))
    return keys, "the row of .*toy.csv that begins in line 7 never ends: look for a quote that is not closed"


@whole
def quote_that_is_never_closed_in_a_long_table(folder: Path) -> tuple[dict[str, Any], str]:
    keys = table_with(folder, lambda rows: rows[6].__setitem__(1, '"nv'))
    keys["path"].write_text(keys["path"].read_text() + "\nmore,nv,train" * 20_000)
    return keys, "toy.csv cannot be read from line 7 on .*look for a quote that is not closed"


@whole
def quote_in_the_header_that_is_never_closed(folder: Path) -> tuple[dict[str, Any], str]:
    keys = table_with(folder, lambda rows: rows[0].__setitem__(1, '"label'))
    return keys, "toy.csv that begins in line 1 never ends"


@whole
def wrong_column(folder: Path) -> tuple[dict[str, Any], str]:
    return write_csv(toy(), folder) | {
        "label_column": "labl"
    }, r"no column 'labl' \(data.label_column\): did you mean label"


@whole
def column_twice(folder: Path) -> tuple[dict[str, Any], str]:
    return table_with(folder, lambda rows: rows[0].__setitem__(2, "label")), "column 'label' twice"


@whole
def empty_table(folder: Path) -> tuple[dict[str, Any], str]:
    (folder / "a.csv").write_text("path,label\n")
    return {"path": folder / "a.csv"}, "a.csv has no rows"


@whole
def table_in_another_encoding(folder: Path) -> tuple[dict[str, Any], str]:
    (folder / "a.csv").write_bytes("path,label\nä,b\n".encode("utf-16"))
    return {"path": folder / "a.csv"}, "a.csv cannot be read as UTF-8"


@whole
def no_image_root(folder: Path) -> tuple[dict[str, Any], str]:
    return write_csv(toy(), folder) | {"image_root": folder / "gone"}, "data.image_root=.*gone, does not exist"


@whole
def metadata_that_contradicts_itself(folder: Path) -> tuple[dict[str, Any], str]:
    rows = [[f"pictures/{name}.png", name] for name in toy().ids]
    write_table(folder / "meta.csv", ["image", "lesion"], [*rows, ["pictures/im005.png", "other"]])
    keys = write_csv(toy(), folder, splits=False)
    return keys | {"metadata": folder / "meta.csv", "group_column": "lesion"}, "im005.png' into two groups"


@whole
def metadata_without_a_column_for_it(folder: Path) -> tuple[dict[str, Any], str]:
    return write_csv(toy(), folder) | {"metadata": folder / "toy.csv"}, "without data.group_column"


@whole
def group_in_two_splits(folder: Path) -> tuple[dict[str, Any], str]:
    groups = np.array([f"lesion{i}" for i in range(36)])
    groups[10] = groups[0]
    return write_npz(toy(), folder, group=groups), "group 'lesion0' stands in the splits test and train"


@whole
def only_one_class(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, labels=np.zeros(36, dtype=int), class_names=None), "only one class, '0'"


@whole
def class_named_twice(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder) | {"classes": ("bcc", "mel", "nv", "mel")}, "class 'mel' is named twice"


@whole
def class_without_items(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder) | {"classes": ("bcc", "mel", "nv", "wart")}, "classes 'wart' have no items"


@whole
def class_with_too_few_items(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder) | {"min_class_items": 7}, r"fewer than 7 training items .*'bcc \(6\)'"


@whole
def tail_too_long(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder) | {"imbalance_factor": 100.0}, r"fewer than 2 .*'nv \(1\)'"


@whole
def cut_below_the_classes(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder) | {"max_train": 2}, "data.max_train=2 cannot hold .*3 classes"


@whole
def no_training_items(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(toy(), folder, split=np.array(["test"] * 36)), "no train split, only 'test'"


@whole
def no_test_items(folder: Path) -> tuple[dict[str, Any], str]:
    split = np.where(toy().split == "test", "val", toy().split)
    return write_npz(toy(), folder, split=split), "no test split: mark the test items, or give them as data.test_path"


@whole
def nothing_left_for_training(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_npz(toy(), folder, splits=False)
    return keys | {"val_fraction": 0.5, "test_fraction": 0.5}, "data.val_fraction=0.5 .* leave nothing"


@whole
def two_sizes(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_csv(toy(), folder)
    save_image(toy(side=13).images[0], folder / "pictures" / "im005.png")
    return keys, "im000.png' is 12 x 12 pixels and '.*im005.png' is 13 x 13: set data.image_size"


@whole
def oblong_images(folder: Path) -> tuple[dict[str, Any], str]:
    return write_npz(
        toy(), folder, images=toy().images[:, :8]
    ), "'0' is 12 x 8 pixels and not square: set data.image_size"


@whole
def two_test_splits(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_npz(toy(), folder)
    return keys | {"test_path": keys["path"]}, "toy has a test split already"


@whole
def second_source_with_other_classes(folder: Path) -> tuple[dict[str, Any], str]:
    (folder / "b").mkdir()
    other = Toy(toy().images, toy().labels, toy().split, toy().ids, ("bcc", "mel", "wart"))
    second = write_npz(other, folder / "b", splits=False)["path"]
    return write_npz(toy(), folder, splits=False) | {"test_path": second}, "only one has 'nv', 'wart'"


@whole
def every_image_unreadable(folder: Path) -> tuple[dict[str, Any], str]:
    keys = write_folder(toy(), folder)
    for path in (folder / "toy").rglob("*.png"):
        path.write_text("hello")
    return keys | {"on_error": "skip"}, "36 items cannot be used: .*and 33 more"


@pytest.mark.parametrize("name", sorted(SET_CASES))
def test_a_set_that_cannot_be_used_is_refused(name: str, tmp_path: Path) -> None:
    keys, message = SET_CASES[name](tmp_path)
    with pytest.raises(OverreadError, match=message) as caught:
        load_dataset(config(tmp_path, **keys), seed=0)
    assert isinstance(caught.value, (ConfigError, DataError))
    assert "\n" not in str(caught.value)
    # Nothing half-written stays.
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    assert not list((tmp_path / "cache").rglob(".decoding-*"))


def without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the import of a package fail, as where it is not installed."""
    real = importlib.import_module

    def fail(module: str, package: str | None = None) -> Any:
        if module == name:
            raise ImportError(module)
        return real(module, package)

    monkeypatch.setattr(importlib, "import_module", fail)


def test_hdf5_without_h5py_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = write_hdf5(toy(), tmp_path)
    without("h5py", monkeypatch)
    with pytest.raises(MissingExtraError, match=r'pip install "overread\[hdf5\]"'):
        load_dataset(config(tmp_path, **keys), seed=0)


def test_a_medmnist_name_without_the_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("medmnist", monkeypatch)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingExtraError) as caught:
        load_dataset(config(tmp_path, path="dermamnist"), seed=0)
    for part in ("dermamnist.npz", "https://zenodo.org", str(tmp_path / "cache" / "medmnist"), "overread[medmnist]"):
        assert part in str(caught.value)


def test_a_medmnist_file_put_there_by_hand_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("medmnist", monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache" / "medmnist").mkdir(parents=True)
    write_medmnist(toy(), tmp_path)["path"].rename(tmp_path / "cache" / "medmnist" / "dermamnist.npz")
    assert load_dataset(config(tmp_path, path="dermamnist"), seed=0).class_names == ("0", "1", "2")


def test_a_download_that_fails_leaves_nothing_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    def dataset(split: str, download: bool, root: str, size: int) -> None:
        (Path(root) / "dermamnist.npz").write_bytes(b"half")
        raise RuntimeError("no network")

    package = types.ModuleType("medmnist")
    vars(package)["INFO"] = {"dermamnist": {"python_class": "DermaMNIST", "label": {}}}
    vars(package)["DermaMNIST"] = dataset
    monkeypatch.setitem(sys.modules, "medmnist", package)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no network.*by hand") as caught:
        load_dataset(config(tmp_path, path="dermamnist"), seed=0)
    assert "https://zenodo.org" in str(caught.value)
    assert list((tmp_path / "cache" / "medmnist").iterdir()) == []


def test_no_format_unpickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that would run code when unpickled is refused, and the code does not run."""

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return builtins.open, (str(tmp_path / "ran"), "w")

    for name in ("labels", "images", "note", "split"):
        arrays: dict[str, Any] = {name: np.array([Trap()] * 36)}
        with pytest.raises(DataError):
            load_dataset(config(tmp_path, **write_npz(toy(), tmp_path, **arrays)), seed=0)
    assert not (tmp_path / "ran").exists()


def test_a_one_hot_class_that_is_not_wanted_is_a_problem_of_its_items(tmp_path: Path) -> None:
    keys = one_hot(tmp_path, ["0", "0", "1"]) | {"classes": ("mel", "bcc")}
    with pytest.raises(DataError, match=r"12 items cannot be used: .*'nv' is outside the classes 'mel', 'bcc'"):
        load_dataset(config(tmp_path, **keys), seed=0)
    loaded = load_dataset(config(tmp_path, **keys, on_error="skip"), seed=0)
    assert len(loaded.skipped) == 12
    assert np.bincount(loaded.reference).tolist() == [12, 12]


def test_a_quote_that_is_closed_too_late_takes_rows_along_and_they_are_named(tmp_path: Path) -> None:
    """Where the row still has as many fields as the header, and where it has not."""
    for opened, closed in [('"nv', '"nv'), ('nv,"', '"')]:

        def change(rows: list[list[str]], opened: str = opened, closed: str = closed) -> None:
            rows[6][1], rows[9][1] = opened, closed

        keys = table_with(tmp_path, change)
        with pytest.raises(DataError, match=r"row 6 .*line 7 to (line )?10.*look for a quote that is not closed"):
            load_dataset(config(tmp_path, **keys), seed=0)
        loaded = load_dataset(config(tmp_path, **keys, on_error="skip"), seed=0)
        assert len(loaded.ids) == 32
        assert loaded.class_names == ("bcc", "mel", "nv")


def test_line_breaks_in_a_column_of_notes_do_no_harm(tmp_path: Path) -> None:
    def change(rows: list[list[str]]) -> None:
        for row in rows:
            row.append('"two\n""lines"""')

    assert len(load_dataset(config(tmp_path, **table_with(tmp_path, change)), seed=0).ids) == 36
