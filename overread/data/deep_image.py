"""One image with all the grey levels that its file holds, and how it is shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overread.arrays.windows import window_over, windowed

__all__ = ["LIMIT", "DeepImage", "colour_image", "grey_image"]

LIMIT = 178_956_970
"""Pixels of one image at most: what Pillow, too, takes for an attack."""


@dataclass(frozen=True)
class DeepImage:
    """The full-resolution pixels of one image: either `grey` or `colour`."""

    colour: NDArray[np.uint8] | None = None
    """(H, W, 3), RGB."""
    grey: NDArray[np.uint16] | None = None
    """(H, W); how black and white they are is for the window to say."""
    lowest: int = 0
    highest: int = 255
    """The range of the `grey` values that occur, padding left out; all fields below are about `grey`, too."""
    centre: float = 128.0
    width: float = 256.0
    """The window that the data set is made with, for `windowed`: the file's own; else that of 8 or 16 bits as a whole
    or, for DICOM, which does not say what is white, of `lowest` to `highest`."""
    invert: bool = False
    """Whether large values are dark."""
    slope: float = 1.0
    intercept: float = 0.0
    """`slope * grey + intercept` is the value in the units of the file, such as Hounsfield units; slope: above 0."""
    curve: NDArray[np.uint8] | None = None
    """(65536,) where the file has its own curve from `grey` to shades, before `invert`; the window resembles it."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        pixels = self.colour if self.grey is None else self.grey
        assert pixels is not None
        return pixels.shape[0], pixels.shape[1]

    def rgb(self) -> NDArray[np.uint8]:
        """(H, W, 3), as the data set stores it: colour as it is, grey through its curve or window."""
        if self.grey is None:
            assert self.colour is not None
            return self.colour
        return np.repeat(self.shades()[:, :, None], 3, axis=2)

    def shades(self) -> NDArray[np.uint8]:
        """(H, W), one channel of `rgb` of an image that is grey."""
        assert self.grey is not None
        if self.curve is None:
            return windowed(self.grey, self.centre, self.width, self.invert)
        shades = self.curve[self.grey]
        return 255 - shades if self.invert else shades


def colour_image(pixels: NDArray[np.uint8]) -> DeepImage:
    """An image of `pixels` (H, W, 3), RGB."""
    return DeepImage(colour=pixels)


def grey_image(grey: NDArray[np.uint8] | NDArray[np.uint16]) -> DeepImage:
    """An image of `grey` (H, W) whose 0 is black and whose largest possible value, 255 or 65535, is white."""
    centre, width = window_over(0, int(np.iinfo(grey.dtype).max))
    return DeepImage(
        grey=grey.astype(np.uint16, copy=False),
        lowest=int(grey.min()),
        highest=int(grey.max()),
        centre=centre,
        width=width,
    )
