"""Windows against those of pydicom, which follow the same tables of the standard."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_windowing

from overread.arrays import windows
from overread.arrays.windows import sigmoid_shades, window_over, windowed
from overread.errors import DataError

ALL = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def by_pydicom(centre: float, width: float, function: str) -> NDArray[np.float64]:
    """All 16-bit values through a window, as 0..255, not rounded."""
    dataset = Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsStored, dataset.PixelRepresentation = 16, 0
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = centre, width, function
    return np.asarray(apply_windowing(ALL, dataset), dtype=np.float64) / 257


def test_doctests() -> None:
    assert doctest.testmod(windows).failed == 0


@given(centre=st.integers(-2000, 68000), width=st.integers(1, 70000), halves=st.booleans())
@settings(deadline=None, max_examples=60)
def test_linear_is_that_of_pydicom(centre: int, width: int, halves: bool) -> None:
    where = centre + 0.5 * halves
    expected = by_pydicom(where, width, "LINEAR")
    np.testing.assert_allclose(windowed(ALL, where, width, invert=False), expected, atol=0.5 + 1e-6)
    np.testing.assert_allclose(windowed(ALL, where, width, invert=True), 255 - expected, atol=0.5 + 1e-6)


@given(centre=st.integers(-2000, 68000), width=st.integers(1, 70000))
@settings(deadline=None, max_examples=30)
def test_sigmoid_is_that_of_pydicom(centre: int, width: int) -> None:
    with np.errstate(over="ignore"):
        expected = by_pydicom(centre, width, "SIGMOID")
    np.testing.assert_allclose(sigmoid_shades(ALL.astype(np.float64), centre, width), expected, atol=1e-6)


@given(lowest=st.integers(0, 65535), more=st.integers(0, 65535))
def test_a_window_over_a_range_shows_all_of_it(lowest: int, more: int) -> None:
    highest = min(lowest + more, 65535)
    shades = windowed(ALL.ravel(), *window_over(lowest, highest), invert=False)
    assert shades[lowest] == 0
    assert highest == lowest or shades[highest] == 255
    assert (np.diff(shades.astype(int)) >= 0).all()


@pytest.mark.parametrize(("centre", "width"), [(0.0, 0.0), (0.0, -5.0), (float("nan"), 9.0), (0.0, float("inf"))])
def test_windows_that_show_nothing(centre: float, width: float) -> None:
    with pytest.raises(DataError, match="shows nothing: give a wider one"):
        windowed(ALL, centre, width, invert=False)
    with pytest.raises(DataError, match="shows nothing"):
        sigmoid_shades(ALL.astype(np.float64), centre, width)
