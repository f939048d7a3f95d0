"""Every kind of image file becomes RGB uint8 by a documented rule."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from overread.data.images import read_image, to_square
from overread.data.raw import ItemError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".ppm"])
def test_lossless_colour_is_kept(suffix: str, tmp_path: Path) -> None:
    PIL.Image.fromarray(RGB).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), RGB)


def test_grey_and_black_and_white_are_repeated(tmp_path: Path) -> None:
    PIL.Image.fromarray(RGB[:, :, 0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(RGB[:, :, :1], 3, axis=2))
    PIL.Image.fromarray(RGB[:, :, 0] > 99).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png")[:, :, 1], np.where(RGB[:, :, 0] > 99, 255, 0))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_by_one_factor(suffix: str, tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 257], [65535, 32768, 65278, 4096]], dtype=np.uint16)
    PIL.Image.fromarray(deep).save(tmp_path / f"a{suffix}")
    expected = np.array([[0, 0, 1, 1], [255, 128, 254, 16]])
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), np.repeat(expected[:, :, None], 3, axis=2))


def test_thirty_two_bits_are_refused_where_they_are_needed(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.array([[0, 70000]], dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ItemError, match=r"outside 0\.\.65535"):
        read_image(tmp_path / "a.tif")
    PIL.Image.fromarray(np.array([[0, 65535]], dtype=np.int32)).save(tmp_path / "b.tif")
    assert read_image(tmp_path / "b.tif")[0, :, 0].tolist() == [0, 255]


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = PIL.Image.fromarray(RGB).quantize(5)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


def test_transparent_pixels_are_laid_over_black(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 256, (9, 7, 1), dtype=np.uint8)
    alpha[0], alpha[1] = 0, 255
    PIL.Image.fromarray(np.concatenate([RGB, alpha], axis=2)).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert (pixels[0] == 0).all()
    np.testing.assert_array_equal(pixels[1], RGB[1])
    np.testing.assert_allclose(pixels, RGB * (alpha / 255.0), atol=0.5 + 1e-9)


def test_a_rotation_is_applied_as_viewers_do(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    PIL.Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(RGB, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "pixels"),
    [(".tif", RGB), (".tif", RGB[:, :, 0]), (".tif", RGB[:, :, 0].astype(np.uint16) * 200), (".webp", RGB)],
    ids=["tif", "grey tif", "deep tif", "webp"],
)
def test_every_rotation_of_other_formats_is_that_of_a_png(
    orientation: int, suffix: str, pixels: NDArray[Any], tmp_path: Path
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", f"a{suffix}"):
        PIL.Image.fromarray(pixels).save(tmp_path / name, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), read_image(tmp_path / "a.png"))


def test_the_second_picture_of_a_camera_is_no_stack(tmp_path: Path) -> None:
    flat = PIL.Image.fromarray(np.full((8, 8, 3), 200, dtype=np.uint8))
    flat.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[PIL.Image.new("RGB", (8, 8))])
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), 200, atol=2)


def test_sixteen_bits_whose_zero_is_white_are_refused(tmp_path: Path) -> None:
    """Pillow hands them out with black and white exchanged; 8 bits it turns round."""
    for dtype in (np.uint8, np.uint16):
        PIL.Image.fromarray(np.zeros((3, 3), dtype=dtype)).save(tmp_path / "a.tif")
        # Pillow would turn the pixels round while it writes them; so the tag is changed in the file.
        content = (tmp_path / "a.tif").read_bytes()
        black, white = (struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (1, 0))
        (tmp_path / f"{dtype.__name__}.tif").write_bytes(content.replace(black, white))
    assert (read_image(tmp_path / "uint8.tif") == 255).all()
    with pytest.raises(ItemError, match="0 is white; save it with 0 as black"):
        read_image(tmp_path / "uint16.tif")


def test_a_transparent_value_of_sixteen_bits_is_black(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.array([[65535, 30000]], dtype=np.uint16)).save(tmp_path / "a.png", transparency=65535)
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 117]


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255])])
def test_a_palette_with_transparent_colours_is_laid_over_black(transparency: int | bytes, tmp_path: Path) -> None:
    image = PIL.Image.fromarray(RGB).quantize(3)
    image.save(tmp_path / "a.png", transparency=transparency)
    steps = list(transparency) if isinstance(transparency, bytes) else [0, 255, 255]
    alpha = np.array(steps)[np.asarray(image)][:, :, None]
    expected = np.asarray(image.convert("RGB")) * (alpha / 255.0)
    np.testing.assert_allclose(read_image(tmp_path / "a.png"), expected, atol=0.5 + 1e-9)


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    PIL.Image.fromarray(RGB[:1, :1]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(to_square(read_image(tmp_path / "a.png"), 8), np.tile(RGB[:1, :1], (8, 8, 1)))


CUT = [
    ("PNG", {}),
    ("JPEG", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("BMP", {}),
    ("GIF", {}),
    ("WEBP", {}),
]


@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
@pytest.mark.parametrize(("kind", "options"), CUT)
def test_a_file_that_is_cut_anywhere_is_refused_or_whole(kind: str, options: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PIL.Image.fromarray(RGB).save(path, kind, **options)
    content, whole = path.read_bytes(), read_image(path)
    for end in range(len(content)):
        path.write_bytes(content[:end])
        # Only what stands behind the pixels may be lost without harm.
        with suppress(ItemError):
            np.testing.assert_array_equal(read_image(path), whole)


def test_cmyk_has_three_channels(tmp_path: Path) -> None:
    PIL.Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.tif")
    np.testing.assert_allclose(read_image(tmp_path / "a.tif"), RGB, atol=1)


@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(8, 24), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_resizing_is_antialiased_bilinear(height: int, width: int, side: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tensor = torch.from_numpy(pixels.astype(np.float64)).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(
        tensor, size=(side, side), mode="bilinear", antialias=True, align_corners=False
    )[0].permute(1, 2, 0)
    # Pillow rounds after the horizontal and again after the vertical pass, with fixed-point weights.
    np.testing.assert_allclose(to_square(pixels, side), expected.numpy(), atol=1.1)


def test_nothing_is_resized_without_need() -> None:
    square = RGB[:7]
    assert to_square(square, 7) is square
    assert to_square(RGB, None) is RGB


def test_flat_colour_stays_flat() -> None:
    np.testing.assert_array_equal(to_square(np.full((50, 31, 3), 77, dtype=np.uint8), 8), np.full((8, 8, 3), 77))
