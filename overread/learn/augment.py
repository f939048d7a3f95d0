"""Augmentation of a whole batch at once, with other random parameters for every sample.

Follows the published recipe (Khanal et al. 2024: resize 256, random crop 224, horizontal flip, rotation by at most 10
degrees, Gaussian blur and light colour jitter with probability 1/2 each) at any image size.  Crop, flip and rotation
are one affine map and one resampling, so nothing is blurred twice.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad

from overread.arrays import FloatArray

__all__ = [
    "WINDOW",
    "Parameters",
    "augment",
    "blur",
    "central_window",
    "draw_parameters",
    "draw_view",
    "jitter",
    "resize",
    "warp",
]

# Side of the crop over the side of the image: 224 of 256.
WINDOW = 224 / 256
MAX_ANGLE = 10.0
# Blur at 224 pixels, in pixels; it scales with the image, but never below what is just visible.
SIGMA_224 = 2.0
LEAST_SIGMA = 0.6
# A narrower kernel is a single pixel; its square would overflow.
LEAST_WIDTH = 0.01
JITTER = 0.1
# Views for self-supervised learning: the least share of the area, and the shares of views with other colours, in grey
# and blurred (Chen et al., ICML 2020: 0.08, 0.8, 0.2 and 0.5; small images bear less).
VIEW_AREA = 0.3
VIEW_JITTER = 0.4
VIEW_JITTERED = 0.8
VIEW_GREY = 0.2
VIEW_BLURRED = 0.3


class Parameters(NamedTuple):
    """One row per sample: everything that is random about its augmentation."""

    offset: FloatArray
    """(B, 2) centre of the crop, x and y, in units of half the image: 0 = the middle."""
    flip: FloatArray
    """(B,) 1 = mirrored left to right."""
    angle: FloatArray
    """(B,) degrees, counter-clockwise."""
    sigma: FloatArray
    """(B,) of the blur, in pixels of the result; 0 = none."""
    colour: FloatArray
    """(B, 3) factors of brightness, contrast and saturation; 1 = as it is."""
    window: FloatArray
    """(B,) side of the crop over the side of the image; 1 = all of it."""

    def rows(self, rows: slice) -> "Parameters":
        """The parameters of some of the samples."""
        return Parameters(*(column[rows] for column in self))


def draw_parameters(n: int, side: int, rng: np.random.Generator) -> Parameters:
    """Independent parameters for `n` samples whose result has `side` pixels.

    Crop centres are uniform over all crops inside the image; the angle is uniform in +-10 degrees; blur and colour
    jitter happen with probability 1/2 each, the colour factors are uniform in 0.9-1.1.
    """
    return Parameters(
        offset=rng.uniform(-(1 - WINDOW), 1 - WINDOW, (n, 2)),
        flip=(rng.random(n) < 0.5).astype(np.float64),
        angle=rng.uniform(-MAX_ANGLE, MAX_ANGLE, n),
        sigma=np.where(rng.random(n) < 0.5, rng.uniform(0.1, _widest_blur(side), n), 0.0),
        colour=np.where(rng.random((n, 1)) < 0.5, rng.uniform(1 - JITTER, 1 + JITTER, (n, 3)), 1.0),
        window=np.full(n, WINDOW),
    )


def draw_view(n: int, side: int, rng: np.random.Generator) -> Parameters:
    """Independent parameters of one strong view of each of `n` images; two of them are what SimCLR compares.

    Crops of 30-100 % of the area, uniform over all such crops inside the image; turns by quarters, which with the flip
    make all eight positions of a square, and by +-10 degrees; colour factors in 0.6-1.4; some views grey, some blurred.
    """
    window = np.sqrt(rng.uniform(VIEW_AREA, 1.0, n))
    colour = np.where(rng.random((n, 1)) < VIEW_JITTERED, rng.uniform(1 - VIEW_JITTER, 1 + VIEW_JITTER, (n, 3)), 1.0)
    colour[rng.random(n) < VIEW_GREY, 2] = 0.0
    return Parameters(
        offset=rng.uniform(-1, 1, (n, 2)) * (1 - window)[:, None],
        flip=(rng.random(n) < 0.5).astype(np.float64),
        angle=90.0 * rng.integers(0, 4, n) + rng.uniform(-MAX_ANGLE, MAX_ANGLE, n),
        sigma=np.where(rng.random(n) < VIEW_BLURRED, rng.uniform(0.1, _widest_blur(side), n), 0.0),
        colour=colour,
        window=window,
    )


def _widest_blur(side: int) -> float:
    return max(SIGMA_224 * side / 224, LEAST_SIGMA)


def augment(images: torch.Tensor, parameters: Parameters, side: int) -> torch.Tensor:
    """Augmented images (B, 3, side, side), float32 in [0, 1].

    images: (B, 3, H, W) float32 in [0, 1], at least about side / WINDOW pixels or they are enlarged.
    """
    result = warp(images, parameters.offset, parameters.flip, parameters.angle, side, parameters.window)
    return jitter(blur(result, parameters.sigma), parameters.colour)


def central_window(images: torch.Tensor, side: int) -> torch.Tensor:
    """The middle of each image as training sees it: cut to WINDOW of its side, shown at `side` pixels."""
    n = len(images)
    return warp(images, np.zeros((n, 2)), np.zeros(n), np.zeros(n), side)


def warp(
    images: torch.Tensor,
    offset: FloatArray,
    flip: FloatArray,
    angle: FloatArray,
    side: int,
    window: FloatArray | float = WINDOW,
) -> torch.Tensor:
    """Crop, flip and rotate by one bilinear resampling; (B, 3, side, side).  Edge pixels go on outside the image.

    window: side of the crop over the side of the image, (B,) or one for all; 1 = all of it.
    """
    turn = np.deg2rad(angle)
    mirror = 1.0 - 2.0 * flip
    height, width = images.shape[-2:]
    # Maps a position in the result to one in the image, each in [-1, 1]; turned in pixels, not in these units.
    theta = np.empty((len(images), 2, 3), dtype=np.float32)
    theta[:, 0, 0] = window * np.cos(turn) * mirror
    theta[:, 0, 1] = -window * np.sin(turn) * mirror * height / width
    theta[:, 1, 0] = window * np.sin(turn) * width / height
    theta[:, 1, 1] = window * np.cos(turn)
    theta[:, :, 2] = offset
    grid = affine_grid(torch.from_numpy(theta).to(images.device), [len(images), 3, side, side], align_corners=False)
    # Rounding may leave [0, 1] by an ulp.
    return grid_sample(images, grid, padding_mode="border", align_corners=False).clamp_(0.0, 1.0)


def resize(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Images (B, 3, height, width), bilinear, smoothed first where they shrink; unchanged where the size is right."""
    if images.shape[-2:] == (height, width):
        return images
    return interpolate(images, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


def jitter(images: torch.Tensor, colour: FloatArray) -> torch.Tensor:
    """Brightness, then contrast, then saturation, each kept in [0, 1]; colour: (B, 3) factors."""
    rows = np.flatnonzero((colour != 1.0).any(axis=1))
    if len(rows) == 0:
        return images
    where = torch.from_numpy(rows).to(images.device)
    factors = torch.from_numpy(colour[rows].astype(np.float32)).to(images.device)
    brightness, contrast, saturation = (factors[:, i].view(-1, 1, 1, 1) for i in range(3))
    some = (images[where] * brightness).clamp_(0.0, 1.0)
    mean = _grey(some).mean(dim=(2, 3), keepdim=True)
    some = torch.lerp(mean, some, contrast).clamp_(0.0, 1.0)
    some = torch.lerp(_grey(some), some, saturation).clamp_(0.0, 1.0)
    return images.index_copy(0, where, some)


def _grey(images: torch.Tensor) -> torch.Tensor:
    """Luma of ITU-R BT.601, (B, 1, H, W)."""
    return 0.299 * images[:, 0:1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:3]


def blur(images: torch.Tensor, sigma: FloatArray) -> torch.Tensor:
    """Gaussian blur with a width per sample, edges mirrored; sigma: (B,) pixels, 0 = left alone."""
    rows = np.flatnonzero(sigma > 0)
    if len(rows) == 0:
        return images
    # Three widths hold all but 0.3 % of the weight; a mirrored edge cannot be longer than the image.  It is the radius
    # of the widest blur there is, not of the widest here, so that a sample does not depend on its neighbours.
    side = min(images.shape[-2:])
    radius = min(math.ceil(3 * max(_widest_blur(side), float(sigma[rows].max()))), side - 1)
    widths = np.maximum(sigma[rows, None], LEAST_WIDTH)
    kernels = np.exp(-0.5 * (np.arange(-radius, radius + 1) / widths) ** 2)
    kernels /= kernels.sum(axis=1, keepdims=True)
    where = torch.from_numpy(rows).to(images.device)
    some = images[where]
    # Every channel of every sample is a group with a kernel of its own; two thin kernels make the square one.
    planes = some.shape[0] * some.shape[1]
    weight = torch.from_numpy(np.repeat(kernels.astype(np.float32), some.shape[1], axis=0)).to(images.device)
    flat = pad(some, (radius, radius, radius, radius), mode="reflect").flatten(0, 1)[None]
    flat = conv2d(conv2d(flat, weight[:, None, :, None], groups=planes), weight[:, None, None, :], groups=planes)
    return images.index_copy(0, where, flat.reshape(some.shape).clamp_(0.0, 1.0))
