"""Batches by position."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as reference

import overread.learn.sources
from overread.errors import DataError
from overread.learn.sources import FeatureSource, PixelSource
from overread.learn.weights import Preprocess

CPU = torch.device("cpu")
HALF = Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CHANNELS = Preprocess((0.1, 0.2, 0.3), (0.5, 0.25, 2.0))


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)


def test_without_augmentation_both_batches_are_the_normalised_pixels(images: NDArray[np.uint8]) -> None:
    source = PixelSource(images, None, CHANNELS, augment=False, device=CPU)
    positions = np.array([5, 0, 5])
    expected = (images[positions] / 255 - np.array(CHANNELS.mean)) / np.array(CHANNELS.std)
    rng = np.random.default_rng(1)
    for batch in (source.eval_batch(positions), source.train_batch(positions, rng)):
        assert batch.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(batch.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


def test_training_batches_depend_on_the_generator_alone(images: NDArray[np.uint8]) -> None:
    source = PixelSource(images, None, HALF, augment=True, device=CPU)
    positions = np.arange(7)
    torch.manual_seed(1)
    first = source.train_batch(positions, np.random.default_rng(3))
    torch.manual_seed(2)
    assert torch.equal(first, source.train_batch(positions, np.random.default_rng(3)))
    assert not torch.equal(first, source.train_batch(positions, np.random.default_rng(4)))
    assert torch.equal(source.eval_batch(positions), source.eval_batch(positions))


@pytest.mark.parametrize("side", [16, 13])
def test_a_batch_in_parts_is_the_batch_at_once(
    images: NDArray[np.uint8], side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, positions = PixelSource(images, side, HALF, augment=True, device=CPU), np.array([5, 0, 6, 1, 5])
    for rows in (slice(None), slice(1, 4)):
        monkeypatch.undo()
        whole = source.train_batch(positions, np.random.default_rng(3), rows)
        monkeypatch.setattr(overread.learn.sources, "NUMBERS_AT_ONCE", 2 * 16 * 16 * 3)
        parts = source.train_batch(positions, np.random.default_rng(3), rows)
        assert parts.shape == whole.shape
        assert parts.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def test_a_memory_map_gives_the_batches_of_the_array(images: NDArray[np.uint8], tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    positions = np.array([6, 2, 3])
    for augment in (False, True):
        plain, lazy = (PixelSource(data, 24, HALF, augment, CPU) for data in (images, mapped))
        assert torch.equal(plain.eval_batch(positions), lazy.eval_batch(positions))
        batches = [source.train_batch(positions, np.random.default_rng(0)) for source in (plain, lazy)]
        assert torch.equal(*batches)
    np.testing.assert_array_equal(mapped, images)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize(("height", "width", "side"), [(16, 16, 8), (16, 16, 40), (12, 20, 16)])
def test_batches_have_the_input_size(height: int, width: int, side: int, augment: bool) -> None:
    source = PixelSource(np.full((2, height, width, 3), 128, dtype=np.uint8), side, HALF, augment, CPU)
    positions = np.array([1, 0])
    assert source.eval_batch(positions).shape == (2, 3, side, side)
    assert source.train_batch(positions, np.random.default_rng(0)).shape == (2, 3, side, side)
    np.testing.assert_allclose(source.eval_batch(positions).numpy(), 1 / 255, atol=1e-6)


def test_things_have_the_same_size_in_training_and_evaluation() -> None:
    images = np.zeros((200, 64, 64, 3), dtype=np.uint8)
    images[:, 24:40, 24:40] = 255
    source = PixelSource(images, None, Preprocess((0.0,) * 3, (1.0,) * 3), augment=True, device=CPU)
    positions = np.arange(200)
    seen = source.train_batch(positions, np.random.default_rng(0)).mean(dim=(1, 2, 3))
    assert float(seen.mean()) == pytest.approx(float(source.eval_batch(positions[:1]).mean()), rel=0.03)


def test_evaluation_is_the_published_resize_and_centre_crop() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    source = PixelSource(images, 28, Preprocess((0.0,) * 3, (1.0,) * 3), augment=True, device=CPU)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    expected = reference.center_crop(reference.resize(pixels, [32, 32], antialias=True), [28, 28])
    torch.testing.assert_close(source.eval_batch(np.arange(2)).contiguous(), expected, atol=1e-5, rtol=0)


def test_features_are_handed_out_as_they_are() -> None:
    features = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    source = FeatureSource(features, CPU)
    positions, rng = np.array([4, 4, 1]), np.random.default_rng(0)
    assert torch.equal(source.train_batch(positions, rng), source.eval_batch(positions))
    np.testing.assert_array_equal(source.eval_batch(positions).numpy(), features[positions])
    assert source.fixed_features is features
    assert source.n_items == 5


def test_arrays_of_another_kind_are_refused(images: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match=r"\(7, 16, 16\) uint8"):
        PixelSource(images[..., 0], None, HALF, False, CPU)
    with pytest.raises(DataError, match="float64"):
        FeatureSource(np.zeros((2, 2)), CPU)
