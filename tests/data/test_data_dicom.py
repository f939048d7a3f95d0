"""DICOM files become what the standard says, checked against pydicom and Pillow."""

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_files import dicom, noise, save, shipped
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing, pixel_array
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from overread.data.deep_image import DeepImage
from overread.data.images import read_deep, read_image
from overread.data.raw import ItemError
from overread.errors import MissingExtraError

GREY_FILES = [
    "693_J2KI.dcm",
    "CT_small.dcm",
    "JPEG2000.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_padded.dcm",
    "examples_overlay.dcm",
    "liver_1frame.dcm",
]
COLOUR_FILES = [
    "ExplVR_BigEnd.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jpeg.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_jpeg2k.dcm",
    "examples_rgb_color.dcm",
]


def values_of(image: DeepImage) -> NDArray[Any]:
    """Grey pixels in the units of the file."""
    assert image.grey is not None
    return image.slope * image.grey + image.intercept


def by_pydicom(path: Path) -> tuple[NDArray[Any], Dataset]:
    with warnings.catch_warnings(action="ignore"):
        dataset = pydicom.dcmread(path)
        return pixel_array(dataset), dataset


@pytest.mark.parametrize("name", GREY_FILES)
def test_grey_files_have_the_values_that_pydicom_finds(name: str) -> None:
    stored, dataset = by_pydicom(shipped(name))
    image = read_deep(shipped(name))
    np.testing.assert_array_equal(values_of(image), apply_modality_lut(stored, dataset))
    if "WindowCenter" in dataset and dataset.WindowCenter is not None:
        low, high = (-32768, 32767) if stored.dtype.kind == "i" else (0, 2**dataset.BitsStored - 1)
        if stored.dtype.kind == "i":
            low, high = -(2 ** (dataset.BitsStored - 1)), 2 ** (dataset.BitsStored - 1) - 1
        shift = float(dataset.get("RescaleIntercept", 0))
        shown = apply_windowing(apply_modality_lut(stored, dataset), dataset)
        expected = (shown - low - shift) / (high - low) * 255
        np.testing.assert_allclose(image.rgb()[:, :, 0], expected, atol=0.5 + 1e-6)


@pytest.mark.parametrize("name", COLOUR_FILES)
def test_colour_files_are_those_of_pydicom(name: str) -> None:
    """Where pydicom decodes with Pillow, too: other decoders of JPEG differ in the last bit."""
    with warnings.catch_warnings(action="ignore"):
        expected = pixel_array(pydicom.dcmread(shipped(name)))
    np.testing.assert_array_equal(read_image(shipped(name)), expected)


def test_lossless_compression_changes_nothing() -> None:
    plain = read_deep(shipped("MR_small.dcm"))
    packed = read_deep(shipped("MR_small_jpeg_ls_lossless.dcm"))
    np.testing.assert_array_equal(packed.rgb(), plain.rgb())
    # The same picture as JPEG lossless and as RLE.
    rle = read_image(shipped("SC_rgb_rle.dcm"))
    np.testing.assert_array_equal(read_image(shipped("SC_rgb_jpeg_gdcm.dcm")), rle)


def test_a_palette_is_looked_up() -> None:
    stored, dataset = by_pydicom(shipped("examples_palette.dcm"))
    looked_up = apply_color_lut(stored, dataset)
    np.testing.assert_array_equal(read_image(shipped("examples_palette.dcm")), looked_up >> 8)


@given(
    bits=st.integers(1, 16),
    signed=st.booleans(),
    garbage=st.booleans(),
    inverted=st.booleans(),
    slope=st.sampled_from([1.0, 2.0, 0.5, -1.0, -0.25]),
    intercept=st.integers(-3000, 3000),
    seed=st.integers(0, 2**16),
    syntax=st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", RLELossless, JPEGLSLossless, JPEGLosslessSV1]),
)
@settings(deadline=None, max_examples=120)
def test_every_depth_and_sign(
    bits: int,
    signed: bool,
    garbage: bool,
    inverted: bool,
    slope: float,
    intercept: int,
    seed: int,
    syntax: str,
) -> None:
    """Values as they were written, whatever lies in the bits above; the darkest becomes black, the brightest white."""
    stored = noise((9, 7), bits, signed, seed)
    kept = stored.copy()
    if garbage and bits % 8:
        rubbish = np.random.default_rng(seed).integers(0, 1 << 8 * stored.itemsize, stored.shape)
        mask = (1 << bits) - 1
        stored = ((stored.astype(np.int64) & mask) | (rubbish & ~mask)).astype(f"u{stored.itemsize}").view(stored.dtype)
    frame = None
    unsigned = stored.view(f"u{stored.itemsize}")
    if syntax == JPEGLSLossless:
        frame = bytes(imagecodecs.jpegls_encode(unsigned))
    elif syntax == JPEGLosslessSV1:
        frame = bytes(imagecodecs.ljpeg_encode(unsigned, bitspersample=8 * stored.itemsize))
    elif syntax == RLELossless:
        frame = run_lengths(unsigned)
    dataset = dicom(stored, bits, "MONOCHROME1" if inverted else "MONOCHROME2")
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    with tempfile.TemporaryDirectory() as folder:
        image = read_deep(save(dataset, Path(folder) / "a", syntax, frame))
    values = slope * kept.astype(np.float64) + intercept
    np.testing.assert_allclose(values_of(image), values)
    assert image.slope > 0
    shades = (values - values.min()) / max(np.ptp(values), 1e-9) * 255
    np.testing.assert_allclose(image.rgb()[:, :, 1], 255 - shades if inverted else shades, atol=0.5 + 1e-6)


def run_lengths(unsigned: NDArray[Any]) -> bytes:
    """An RLE frame in literal runs: the upper byte first (PS3.5 G)."""
    planes = unsigned.astype(unsigned.dtype.newbyteorder(">")).reshape(-1, 1).view(np.uint8)
    parts = []
    for plane in planes.T:
        content = plane.tobytes()
        part = b"".join(
            bytes([len(content[k : k + 128]) - 1]) + content[k : k + 128] for k in range(0, len(content), 128)
        )
        parts.append(part + b"\0" * (len(part) % 2))
    starts = np.zeros(16, dtype="<u4")
    starts[0] = len(parts)
    starts[1 : len(parts) + 1] = 64 + np.cumsum([0, *(len(part) for part in parts[:-1])])
    return starts.tobytes() + b"".join(parts)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("slope", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("width", [1, 2, 350])
def test_windows_in_the_units_of_the_file(function: str, slope: float, width: int, tmp_path: Path) -> None:
    """Several windows: the first."""
    stored = noise((40, 50), 12, seed=3)
    dataset = dicom(stored, 12, RescaleSlope=slope, RescaleIntercept=-1024, VOILUTFunction=function)
    dataset.WindowCenter, dataset.WindowWidth = [40, 300], [width, 1500]
    image = read_deep(save(dataset, tmp_path / "a.dcm"))
    with np.errstate(over="ignore"):
        shown = apply_windowing(apply_modality_lut(stored, dataset), dataset)
    low, high = -1024, 4095 * slope - 1024
    np.testing.assert_allclose(image.rgb()[:, :, 0], (shown - low) / (high - low) * 255, atol=0.5 + 1e-6)
    assert (image.curve is not None) == (function == "SIGMOID")


def table(values: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values), first, bits])
    item.add_new("LUTData", "US", values)
    return item


def test_a_voi_table(tmp_path: Path) -> None:
    stored = noise((30, 30), 8, seed=1).astype(np.uint16)
    dataset = dicom(stored, 12)
    dataset.VOILUTSequence = [table([k * k // 16 for k in range(200)], 20, 12)]
    dataset.WindowCenter, dataset.WindowWidth = 5, 6
    image = read_deep(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_allclose(image.rgb()[:, :, 0], apply_voi(stored, dataset) / 4095 * 255, atol=0.5 + 1e-6)
    assert (image.centre - image.width / 2, image.width) == (20.0, 200.0)


def test_a_modality_table(tmp_path: Path) -> None:
    stored = noise((30, 30), 8, seed=1).astype(np.uint16)
    dataset = dicom(stored, 12)
    modality = table([60000 - 100 * k for k in range(256)], 0, 16)
    modality.ModalityLUTType = "US"
    dataset.ModalityLUTSequence = [modality]
    image = read_deep(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(values_of(image), apply_modality_lut(stored, dataset))
    assert (image.lowest, image.highest) == (60000 - 100 * int(stored.max()), 60000 - 100 * int(stored.min()))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("limit", [None, -1990])
def test_padding_is_left_out_of_the_range(signed: bool, limit: int | None, tmp_path: Path) -> None:
    sign = 1 if signed else -1
    stored = np.array([[-2000, -1995, 100], [200, 300, 400]]) * (sign if not signed else 1)
    stored = np.abs(stored) if not signed else stored
    dataset = dicom(stored.astype(np.int16 if signed else np.uint16))
    kind = "SS" if signed else "US"
    dataset.add_new("PixelPaddingValue", kind, -2000 if signed else 2000)
    if limit is not None:
        dataset.add_new("PixelPaddingRangeLimit", kind, limit if signed else -limit)
    image = read_deep(save(dataset, tmp_path / "a.dcm"))
    lowest, highest = (
        ((-1995, 400) if limit is None else (100, 400)) if signed else (100, 1995 if limit is None else 400)
    )
    assert (image.lowest + image.intercept, image.highest + image.intercept) == (lowest, highest)
    assert image.rgb()[1, 2, 0] == round((400 - lowest) / (highest - lowest) * 255)


def test_nothing_but_padding(tmp_path: Path) -> None:
    dataset = dicom(np.full((3, 3), 7, dtype=np.uint16))
    dataset.add_new("PixelPaddingValue", "US", 7)
    assert (read_image(save(dataset, tmp_path / "a.dcm")) == 0).all()


@pytest.mark.parametrize("width", [0, -3, None])
def test_a_window_that_shows_nothing_is_none(width: int | None, tmp_path: Path) -> None:
    dataset = dicom(np.array([[100, 200]], dtype=np.uint16), WindowCenter=5, WindowWidth=width)
    assert read_image(save(dataset, tmp_path / "a.dcm"))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colour(photometric: str, planar: int, tmp_path: Path) -> None:
    from PIL import Image

    stored = noise((6, 8, 3), 8)
    dataset = dicom(stored, photometric=photometric, PlanarConfiguration=planar)
    if planar:
        dataset.PixelData = np.moveaxis(stored, 2, 0).tobytes()
    expected = stored if photometric == "RGB" else np.asarray(Image.fromarray(stored, "YCbCr").convert("RGB"))
    np.testing.assert_allclose(read_image(save(dataset, tmp_path / "a")).astype(int), expected, atol=1)


@pytest.mark.parametrize("bits", [10, 16])
def test_deep_colour_keeps_its_upper_bits(bits: int, tmp_path: Path) -> None:
    stored = noise((5, 4, 3), bits)
    path = save(dicom(stored, bits, "RGB"), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(path), stored >> (bits - 8))


def test_jpeg_2000_of_sixteen_bits(tmp_path: Path) -> None:
    stored = noise((33, 20), 16)
    frame = bytes(imagecodecs.jpeg2k_encode(stored, codecformat="j2k", reversible=True, level=0))
    path = save(dicom(stored), tmp_path / "a.dcm", JPEG2000Lossless, frame)
    np.testing.assert_array_equal(values_of(read_deep(path)), stored)


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = save(dicom(noise((4, 4), 8)), tmp_path / "a.dcm")
    for name in ("a.png", "1.2.840.113619", "a"):
        np.testing.assert_array_equal(read_image(path.rename(tmp_path / name)), read_image(tmp_path / name))
        path = tmp_path / name


@pytest.mark.parametrize("package", ["pydicom", "imagecodecs"])
def test_without_the_extra(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(dicom(noise((4, 4), 8)), tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'needs the package {package}: pip install "overread\[dicom\]"$'):
        read_image(path)


REFUSED = {
    "SC_rgb_rle_2frame.dcm": "it holds 2 frames, not one image",
    "SC_rgb_rle_32bit.dcm": "32 bits in 32; save it with 1 to 16 bits",
    "image_dfl.dcm": "deflated as a whole",
    "rtplan.dcm": "DICOM without pixels",
    "meta_missing_tsyntax.dcm": "does not say how its pixels are stored",
    "MR_truncated.dcm": "should have 8192 bytes and does not",
    "no_meta.dcm": "has no mark of DICOM at byte 128",
    "badVR.dcm": "damaged",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(ItemError, match=REFUSED[name]):
        read_image(shipped(name))
