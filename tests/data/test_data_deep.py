"""A page gets the pixels of an item as they are stored, in every format, and sees what the data set was made of."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from data_builders import WRITERS, Toy, config, save_image, toy, write_folder, write_hdf5, write_medmnist, write_npz
from dicom_files import dicom, noise, save, shipped

from overread.config import DataConfig
from overread.data import deep_image, dicom_header, load_dataset
from overread.data.deep import deep_pixels, windowed
from overread.data.formats import list_formats, npz_files
from overread.data.images import read_deep, read_image
from overread.errors import ConfigError, DataError


@pytest.mark.parametrize("name", list_formats())
def test_every_item_of_every_format(name: str, tmp_path: Path) -> None:
    """Full resolution, also where the data set is smaller."""
    data = toy()
    keys = WRITERS[name](data, tmp_path)
    loaded = load_dataset(config(tmp_path, **keys), seed=0)
    small = config(tmp_path, **keys, image_size=8)
    assert load_dataset(small, seed=0).images.shape[1:] == (8, 8, 3)
    with deep_pixels(small) as pixels:
        for item, stored in zip(loaded.ids.tolist(), loaded.images, strict=True):
            np.testing.assert_array_equal(pixels(item).rgb(), stored)
            assert pixels(item).size == (12, 12)
            assert pixels(item).grey is None
    assert not list((tmp_path / "cache").glob(".deep-*"))


@pytest.mark.parametrize("write", [write_npz, write_hdf5, write_medmnist])
def test_grey_arrays_are_grey(write: Any, tmp_path: Path) -> None:
    data = toy()
    keys = write(Toy(data.images[:, :, :, 0], data.labels, data.split, data.ids), tmp_path)
    loaded = load_dataset(config(tmp_path, **keys), seed=0)
    with deep_pixels(config(tmp_path, **keys)) as pixels:
        for item, stored in zip(loaded.ids.tolist(), loaded.images, strict=True):
            image = pixels(item)
            assert image.grey is not None
            assert image.grey.dtype == np.uint16
            np.testing.assert_array_equal(image.grey, stored[:, :, 0])
            assert (image.centre, image.width, image.invert) == (128.0, 256.0, False)
            assert (image.lowest, image.highest) == (stored.min(), stored.max())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(suffix: str, tmp_path: Path) -> None:
    stored = noise((9, 7), 12).astype(np.uint16)
    PIL.Image.fromarray(stored).save(tmp_path / f"a{suffix}")
    image = read_deep(tmp_path / f"a{suffix}")
    assert image.grey is not None
    np.testing.assert_array_equal(image.grey, stored)
    assert (image.lowest, image.highest) == (stored.min(), stored.max())
    assert (image.centre, image.width, image.slope, image.intercept) == (32768.0, 65536.0, 1.0, 0.0)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_what_is_shown_first_is_what_the_data_set_holds(mode: str, tmp_path: Path) -> None:
    name = "a.tif" if mode == "CMYK" else "a.png"
    if mode == "I;16":
        PIL.Image.fromarray(noise((9, 7), 16)).save(tmp_path / name)
    else:
        PIL.Image.fromarray(noise((9, 7, 3), 8)).convert(mode).save(tmp_path / name)
    image = read_deep(tmp_path / name)
    assert (image.grey is not None) == (mode in ("L", "1", "I;16"))
    assert (image.grey is None) == (image.colour is not None)
    if image.grey is not None:
        shades = windowed(image.grey, image.centre, image.width, image.invert)
        np.testing.assert_array_equal(np.repeat(shades[:, :, None], 3, axis=2), read_image(tmp_path / name))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "examples_overlay.dcm"])
def test_the_window_of_a_dicom_file_is_that_of_the_data_set(name: str) -> None:
    image = read_deep(shipped(name))
    assert image.grey is not None
    shades = windowed(image.grey, image.centre, image.width, image.invert)
    np.testing.assert_array_equal(shades, read_image(shipped(name))[:, :, 0])


def test_both_sources_have_their_ids(tmp_path: Path) -> None:
    first = write_folder(toy(seed=1), tmp_path / "a", splits=False)["path"]
    second = write_folder(toy(seed=2), tmp_path / "b", splits=False)["path"].rename(tmp_path / "other")
    keys = config(tmp_path, path=first, test_path=second)
    loaded = load_dataset(keys, seed=0)
    with deep_pixels(keys) as pixels, ThreadPoolExecutor(4) as pool:
        for stored, image in zip(loaded.images, pool.map(pixels, loaded.ids.tolist()), strict=True):
            np.testing.assert_array_equal(image.rgb(), stored)


def test_dicom_beside_other_images_in_a_folder(tmp_path: Path) -> None:
    """Called by a number or by a suffix; a table of contents is passed over, a stray image is not."""
    keys = write_folder(toy(), tmp_path, splits=False)
    stored = noise((12, 12), 12)
    for place in ("nv/1.2.840.5", "nv/IM0001", "mel/deep/a.dcm"):
        save(dicom(stored, 12), keys["path"] / place)
    (keys["path"] / "DICOMDIR").write_bytes(shipped("CT_small.dcm").read_bytes())
    loaded = load_dataset(config(tmp_path, **keys), seed=0)
    assert {"nv/1.2.840.5", "nv/IM0001", "mel/deep/a.dcm"} < set(loaded.ids.tolist())
    assert len(loaded.ids) == 39
    with deep_pixels(config(tmp_path, **keys)) as pixels:
        np.testing.assert_array_equal(pixels("nv/IM0001").grey, stored)
    save(dicom(stored, 12), keys["path"] / "IM0002")
    with pytest.raises(DataError, match="'IM0002': it lies beside the class folders"):
        load_dataset(config(tmp_path, **keys), seed=0)


def test_items_that_cannot_be_shown(tmp_path: Path) -> None:
    keys = write_folder(toy(), tmp_path)
    with deep_pixels(config(tmp_path, **keys)) as pixels:
        with pytest.raises(DataError, match=r"there is no item '\.\./\.\./etc/passwd' in ") as caught:
            pixels("../../etc/passwd")
        assert caught.value.items == ("../../etc/passwd",)
        (keys["path"] / "train" / "nv" / "im005.png").unlink()
        with pytest.raises(DataError, match=r"'train/nv/im005.png' cannot be shown: the file .* does not exist$"):
            pixels("train/nv/im005.png")
    with pytest.raises(ConfigError, match=r"data\.path is not set"), deep_pixels(DataConfig(cache=tmp_path)):
        pass


def test_no_image_has_more_pixels_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (deep_image, dicom_header, npz_files):
        monkeypatch.setattr(module, "LIMIT", 143)
    with pytest.raises(DataError, match="12 x 12 pixels, more than 143; save them smaller"):
        load_dataset(config(tmp_path, **write_npz(toy(), tmp_path)), seed=0)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 71)
    keys = write_folder(toy(), tmp_path)
    save(dicom(noise((12, 12), 8)), keys["path"] / "train" / "nv" / "a.dcm")
    save_image(toy().images[0], keys["path"] / "train" / "nv" / "b.png")
    with deep_pixels(config(tmp_path, **keys)) as pixels:
        for name in ("a.dcm", "b.png"):
            with pytest.raises(DataError, match=r"more than \d+( pixels)?; save it smaller"):
                pixels(f"train/nv/{name}")
