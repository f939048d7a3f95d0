"""Sources hand out batches by position: pixels or stored embeddings.  Training sees nothing else of the data."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from overread.arrays import IntArray
from overread.arrays.rows import RowArray
from overread.errors import DataError
from overread.learn.augment import WINDOW, Parameters, augment, central_window, draw_parameters, resize
from overread.learn.weights import Preprocess

__all__ = ["FeatureSource", "PixelSource", "Source", "to_unit"]

ALL = slice(None)
# Images of so many numbers together are augmented at a time on a CPU, whose cache holds them.
NUMBERS_AT_ONCE = 1_600_000


class Source(Protocol):
    """What a training loop needs of the data."""

    n_items: int

    @property
    def fixed_features(self) -> RowArray | None:
        """(N, D) float32 where a batch is the same rows at every epoch; None where it is augmented."""

    def train_batch(self, positions: IntArray, rng: np.random.Generator, rows: slice = ALL) -> torch.Tensor:
        """Inputs of the batch `positions`, in this order, as training sees them; all randomness comes from `rng`.

        rows: the part of the batch that is wanted; what is random about it does not depend on that.
        """

    def eval_batch(self, positions: IntArray) -> torch.Tensor:
        """Inputs of `positions`, in this order, under the evaluation transform."""


class FeatureSource:
    """Stored embeddings, (N, D) float32, in memory or not; training and evaluation see the same rows."""

    def __init__(self, features: RowArray, device: torch.device) -> None:
        if len(features.shape) != 2 or features.dtype != np.float32:
            raise DataError(f"embeddings must be (N, D) float32, not {features.shape} {features.dtype}")
        self.n_items = len(features)
        self.fixed_features: RowArray | None = features
        self.features = features
        self.device = device

    def train_batch(self, positions: IntArray, rng: np.random.Generator, rows: slice = ALL) -> torch.Tensor:
        """Embeddings (B, D) of the `rows` of the batch `positions`; `rng` is not drawn from."""
        return self.eval_batch(positions[rows])

    def eval_batch(self, positions: IntArray) -> torch.Tensor:
        """Rows (B, D) of `positions`."""
        return torch.from_numpy(np.asarray(self.features[positions])).to(self.device)


class PixelSource:
    """Images, (N, H, W, 3) uint8, an array or a memory map; batches (B, 3, S, S), normalised, channels last.

    input_size: S; None = the size of the images.  With `augment`, training sees random crops of 7/8 of the side and
    evaluation the central one, so that things have the same size in both (published: resize 256, crop 224).  Without,
    both see the whole image.  Large images are shrunk with smoothing before they are cut.  draw: what is random about
    the augmentation of n samples of S pixels.
    """

    fixed_features: NDArray[np.float32] | None = None

    def __init__(
        self,
        images: NDArray[np.uint8],
        input_size: int | None,
        preprocess: Preprocess,
        augment: bool,
        device: torch.device,
        draw: Callable[[int, int, np.random.Generator], Parameters] = draw_parameters,
    ) -> None:
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise DataError(f"images must be (N, H, W, 3) uint8, not {images.shape} {images.dtype}")
        self.n_items = len(images)
        self.images = images
        self.side = max(images.shape[1:3]) if input_size is None else input_size
        self.augment = augment
        self.device = device
        self._draw = draw
        self._mean = torch.tensor(preprocess.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocess.std, device=device).view(1, 3, 1, 1)

    def train_batch(self, positions: IntArray, rng: np.random.Generator, rows: slice = ALL) -> torch.Tensor:
        """Inputs (B, 3, S, S) of the `rows` of a batch, augmented where the source augments; else as in evaluation."""
        if not self.augment:
            return self.eval_batch(positions[rows])
        parameters = self._draw(len(positions), self.side, rng).rows(rows)
        wanted = positions[rows]
        at_once = len(wanted)
        if self.device.type == "cpu":
            height, width = self.images.shape[1:3]
            at_once = max(1, NUMBERS_AT_ONCE // (3 * max(height * width, self.side**2)))
        if len(wanted) <= at_once:
            return self._augmented(wanted, parameters)
        result = torch.empty((len(wanted), 3, self.side, self.side), memory_format=torch.channels_last)
        for start in range(0, len(wanted), at_once):
            part = slice(start, start + at_once)
            result[part] = self._augmented(wanted[part], parameters.rows(part))
        return result

    def eval_batch(self, positions: IntArray) -> torch.Tensor:
        """Inputs (B, 3, S, S) of `positions`: the central crop, or the whole image where nothing is augmented."""
        if self.augment:
            return self._normalise(central_window(self._uncut(positions), self.side))
        return self._normalise(resize(self._read(positions), self.side, self.side))

    def _augmented(self, positions: IntArray, parameters: Parameters) -> torch.Tensor:
        return self._normalise(augment(self._uncut(positions), parameters, self.side))

    def _read(self, positions: IntArray) -> torch.Tensor:
        return to_unit(self.images[positions], self.device)

    def _uncut(self, positions: IntArray) -> torch.Tensor:
        """Whole images, not larger than a crop needs; smaller ones are enlarged by the crop's own resampling."""
        images = self._read(positions)
        height, width = (min(size, round(self.side / WINDOW)) for size in images.shape[-2:])
        return resize(images, height, width)

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        return ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)


def to_unit(images: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Images (B, H, W, 3) uint8 as (B, 3, H, W) float32 in [0, 1] on `device`."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).contiguous().float().div_(255)
