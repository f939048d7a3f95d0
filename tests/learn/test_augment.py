"""The batched augmentation against torchvision, image by image, and its randomness."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from overread.learn.augment import (
    WINDOW,
    Parameters,
    augment,
    blur,
    central_window,
    draw_parameters,
    jitter,
    resize,
    warp,
)

NOTHING = np.zeros(3)


def pictures(n: int = 3, height: int = 32, width: int = 32) -> torch.Tensor:
    """Smooth random pictures, on which two ways of interpolating agree."""
    rng = np.random.default_rng(4)
    coarse = torch.from_numpy(rng.random((n, 3, 5, 5), dtype=np.float32))
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)


def centre() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.zeros((3, 2))


def test_identity_parameters_give_back_the_input() -> None:
    images = pictures()
    kept = warp(images, centre(), NOTHING, NOTHING, 32, window=1.0)
    torch.testing.assert_close(kept, images, atol=2e-6, rtol=0)
    assert torch.equal(blur(images, NOTHING), images)
    assert torch.equal(jitter(images, np.ones((3, 3))), images)


def test_flip_mirrors_only_its_samples() -> None:
    images = pictures()
    flipped = warp(images, centre(), np.array([1.0, 0.0, 1.0]), NOTHING, 32, window=1.0)
    expected = images.clone()
    expected[[0, 2]] = images[[0, 2]].flip(-1)
    torch.testing.assert_close(flipped, expected, atol=2e-6, rtol=0)


def test_rotation_turns_as_torchvision_does() -> None:
    images, angles = pictures(), np.array([10.0, -7.0, 3.0])
    turned = warp(images, centre(), NOTHING, angles, 32, window=1.0)
    inside = slice(6, 26)
    for image, result, angle in zip(images, turned, angles, strict=True):
        expected = reference.rotate(image, float(angle), interpolation=InterpolationMode.BILINEAR)
        difference = (result - expected)[:, inside, inside].abs().max()
        assert difference < 1e-4 < (result - image)[:, inside, inside].abs().max()


def test_rotation_keeps_right_angles_in_oblong_images() -> None:
    wide = pictures(height=24, width=48)
    # Shown at a square side, an oblong image is squashed; turning must happen before that, in its own pixels.
    turned = warp(wide, centre(), NOTHING, np.full(3, 8.0), 24, window=0.5)
    for image, result in zip(wide, turned, strict=True):
        whole = reference.rotate(image, 8.0, interpolation=InterpolationMode.BILINEAR)
        expected = reference.resize(whole[:, 6:18, 12:36], [24, 24], antialias=False)
        assert (result - expected)[:, 2:-2, 2:-2].abs().max() < 0.03


@pytest.mark.parametrize("corner", [-1, 1])
def test_extreme_crops_end_at_the_edge_of_the_image(corner: int) -> None:
    images = pictures(height=32, width=32)
    side = 28
    offset = np.full((3, 2), corner * (1 - WINDOW))
    cropped = warp(images, offset, NOTHING, NOTHING, side)
    expected = images[:, :, 4:, 4:] if corner > 0 else images[:, :, :28, :28]
    torch.testing.assert_close(cropped, expected, atol=2e-6, rtol=0)


def test_central_window_is_resize_256_and_crop_224_in_small() -> None:
    images = pictures(height=32, width=32)
    torch.testing.assert_close(central_window(images, 28), reference.center_crop(images, [28, 28]), atol=2e-6, rtol=0)


def test_blur_is_torchvisions_with_a_width_per_sample() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((3, 3, 20, 28), dtype=np.float32))
    sigma = np.array([0.5, 0.0, 2.0])
    blurred = blur(images, sigma)
    assert torch.equal(blurred[1], images[1])
    for row in (0, 2):
        expected = reference.gaussian_blur(images[row], kernel_size=[13, 13], sigma=[float(sigma[row])] * 2)
        torch.testing.assert_close(blurred[row], expected, atol=1e-5, rtol=0)


def test_blur_wider_than_the_image_stays_an_average() -> None:
    images = pictures(2, 4, 4)
    blurred = blur(images, np.full(2, 50.0))
    assert torch.isfinite(blurred).all()
    assert blurred.std(dim=(2, 3)).max() < images.std(dim=(2, 3)).min() / 2


def test_colour_is_torchvisions_with_factors_per_sample() -> None:
    images = pictures()
    colour = np.array([[1.1, 0.9, 1.05], [1.0, 1.0, 1.0], [0.7, 1.6, 0.2]])
    changed = jitter(images, colour)
    assert torch.equal(changed[1], images[1])
    for image, result, (brightness, contrast, saturation) in zip(images, changed, colour, strict=True):
        expected = reference.adjust_brightness(image, brightness)
        expected = reference.adjust_saturation(reference.adjust_contrast(expected, contrast), saturation)
        torch.testing.assert_close(result, expected, atol=1e-3, rtol=0)


def test_resize_smooths_before_it_shrinks() -> None:
    board = torch.from_numpy(np.indices((32, 32)).sum(axis=0) % 2).float().expand(1, 3, 32, 32)
    assert (resize(board, 8, 8) - 0.5).abs().max() < 0.05
    assert resize(board, 32, 32) is board


def test_same_generator_same_result_and_every_sample_its_own() -> None:
    images = pictures(1).expand(16, 3, 32, 32).contiguous()
    first, again, other = (
        augment(images, draw_parameters(16, 32, np.random.default_rng(seed)), 32) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    distance = torch.cdist(first.flatten(1), first.flatten(1)) + torch.eye(16)
    assert distance.min() > 1e-3


def test_parameters_have_their_ranges_and_shares() -> None:
    drawn = draw_parameters(4000, 224, np.random.default_rng(3))
    for values, low, high in (
        (drawn.offset, -(1 - WINDOW), 1 - WINDOW),
        (drawn.angle, -10, 10),
        (drawn.sigma[drawn.sigma > 0], 0.1, 2.0),
        (drawn.colour[(drawn.colour != 1).any(axis=1)], 0.9, 1.1),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    for share in (drawn.flip.mean(), (drawn.sigma > 0).mean(), (drawn.colour != 1).any(axis=1).mean()):
        assert share == pytest.approx(0.5, abs=0.04)


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(4, 24),
    width=st.integers(4, 24),
    side=st.integers(4, 24),
    seed=st.integers(0, 1000),
    factor=st.floats(0, 3),
    sigma=st.floats(0, 10),
)
def test_results_are_finite_and_bounded(
    height: int, width: int, side: int, seed: int, factor: float, sigma: float
) -> None:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.random((2, 3, height, width), dtype=np.float32).round())
    drawn = draw_parameters(2, side, rng)
    colour = np.full((2, 3), factor)
    wild = Parameters(drawn.offset, drawn.flip, drawn.angle * 18, np.full(2, sigma), colour, drawn.window)
    for parameters in (drawn, wild):
        result = augment(images, parameters, side)
        assert result.shape == (2, 3, side, side)
        assert result.dtype == torch.float32
        assert bool(((result >= 0) & (result <= 1)).all())
