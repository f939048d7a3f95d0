"""Grey values on a screen of 256 shades: the window functions of DICOM PS3.3 C.11.2.1."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from overread.arrays import FloatArray
from overread.errors import DataError

__all__ = ["GREYS", "sigmoid_shades", "window_over", "windowed"]

GREYS = 65536
"""How many values an image with 16 bits can have."""


def windowed(grey: NDArray[np.uint16], centre: float, width: float, invert: bool) -> NDArray[np.uint8]:
    """`grey`, of any shape, as 0 (black) to 255 (white): below the window 0, above it 255, linear between.

    centre, width: in units of `grey`; the window begins at `centre - width / 2` and ends at `centre + width / 2 - 1`,
    as LINEAR of DICOM PS3.3 C.11.2.1.2.1 has it.  A width of 1 is a threshold.  invert: 255 minus that, for pixels
    whose 0 is white.  Rounded to the nearest, ties to the even one.
    DataError: a width below 1, or numbers that are not finite.

    >>> windowed(np.array([0, 257, 65535], dtype=np.uint16), 32768.0, 65536.0, invert=False).tolist()
    [0, 1, 255]
    """
    shades = _table(float(centre), float(width))[grey]
    return 255 - shades if invert else shades


def window_over(lowest: float, highest: float) -> tuple[float, float]:
    """The centre and width with which `windowed` shows `lowest` as 0 and `highest` as 255.

    >>> window_over(0, 65535)
    (32768.0, 65536.0)
    """
    return (lowest + highest + 1) / 2, highest - lowest + 1.0


def sigmoid_shades(values: FloatArray, centre: float, width: float) -> FloatArray:
    """0 to 255, not rounded, for `values` of any shape, by SIGMOID of DICOM PS3.3 C.11.2.1.3.1.

    centre: what becomes 127.5.  width: above 0, else DataError; the slope there is that of a window so wide.

    >>> sigmoid_shades(np.array([40.0]), 40.0, 100.0).tolist()
    [127.5]
    """
    _check(centre, width, np.finfo(np.float64).tiny)
    # Beyond 700 the exponential would overflow, and the result is 0 or 255 long before.
    shades: FloatArray = 255.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0)))
    return shades


def _check(centre: float, width: float, least: float) -> None:
    if not (np.isfinite(centre) and np.isfinite(width) and width >= least):
        raise DataError(f"a window with the centre {centre:g} and the width {width:g} shows nothing: give a wider one")


# Most images of a set share a window: that of the whole range of their type.
@lru_cache(maxsize=64)
def _table(centre: float, width: float) -> NDArray[np.uint8]:
    """The shade (65536,) of every grey value."""
    _check(centre, width, 1.0)
    above = np.arange(GREYS, dtype=np.float64) - (centre - width / 2)
    share = np.clip(above / (width - 1), 0.0, 1.0) if width > 1 else above > 0
    shades = np.rint(share * 255.0).astype(np.uint8)
    shades.flags.writeable = False
    return shades
