"""Every kind of image file becomes RGB uint8 by a documented rule."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
