"""From the stored values of a DICOM image to what is shown: modality, window, colours (PS3.3 C.7.6.3, C.11)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from overread.arrays.windows import GREYS, sigmoid_shades, window_over
from overread.data.deep_image import DeepImage, colour_image
from overread.data.dicom_header import Header, number
from overread.data.raw import ItemError

__all__ = ["colour_of", "grey_of"]


def colour_of(stored: NDArray[Any], photometric: str, header: Header) -> DeepImage:
    """The upper 8 bits of colour pixels; indices of a palette are looked up.  ItemError: colours that are not RGB."""
    bits = header.stored
    if photometric == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        stored = apply_color_lut(stored, header.dataset)
        bits = 8 * stored.dtype.itemsize
    elif photometric != "RGB":
        raise ItemError(f"it has {photometric} in a way that is not read: save it as RGB")
    return colour_image((stored[:, :, :3] >> (bits - 8)).astype(np.uint8))


def grey_of(stored: NDArray[Any], header: Header) -> DeepImage:
    """`stored` (H, W) with its modality and window; `grey` keeps all levels, whatever their sign."""
    least = -GREYS // 2 if header.signed else 0
    # The upper half of the signed numbers comes after the lower one.
    grey: NDArray[np.uint16] = stored.astype(np.int16 if header.signed else np.uint16).view(np.uint16)
    if header.signed:
        grey = grey ^ np.uint16(GREYS // 2)
    occurring = _without_padding(grey, least, header)
    lowest, highest = int(occurring.min()), int(occurring.max())
    dataset, (slope, intercept) = header.dataset, _rescale(header)
    if dataset.get("ModalityLUTSequence"):
        from pydicom.pixels import apply_modality_lut

        table = apply_modality_lut(np.arange(least, least + GREYS), dataset).astype(np.uint16)
        grey, slope, intercept = table[grey], 1.0, 0.0
        lowest, highest = int(table[occurring].min()), int(table[occurring].max())
    elif slope < 0:
        grey = np.uint16(GREYS - 1) - grey
        lowest, highest = GREYS - 1 - highest, GREYS - 1 - lowest
        slope, intercept = -slope, intercept + slope * (GREYS - 1 + least)
    else:
        intercept += slope * least
    centre, width, curve = _window(dataset, slope, intercept) or (*window_over(lowest, highest), None)
    return DeepImage(
        grey=grey,
        lowest=lowest,
        highest=highest,
        centre=centre,
        width=width,
        invert=header.photometric == "MONOCHROME1",
        slope=slope,
        intercept=intercept,
        curve=curve,
    )


def _rescale(header: Header) -> tuple[float, float]:
    slope, intercept = number(header.dataset, "RescaleSlope"), number(header.dataset, "RescaleIntercept")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0 or not np.isfinite([slope, intercept, slope * GREYS]).all():
        raise ItemError("its rescale slope is 0, or not a number: save it anew")
    return slope, intercept


def _without_padding(grey: NDArray[np.uint16], least: int, header: Header) -> NDArray[np.uint16]:
    """The values of `grey` that stand for something; all of them where none would be left."""
    value = number(header.dataset, "PixelPaddingValue")
    if value is None:
        return grey
    limit = number(header.dataset, "PixelPaddingRangeLimit")
    # Files have the bits of a negative number as a positive one, or the other way round.
    first, last = sorted((int(v) - least) % GREYS for v in (value, value if limit is None else limit))
    kept = grey[(grey < first) | (grey > last)]
    return kept if kept.size else grey


def _window(dataset: Any, slope: float, intercept: float) -> tuple[float, float, NDArray[np.uint8] | None] | None:
    """Centre and width in units of `grey`, and the curve where it is no straight line; None where the file has none."""
    values = slope * np.arange(GREYS) + intercept
    if dataset.get("VOILUTSequence"):
        from pydicom.pixels import apply_voi

        entries, first, bits = (int(v) for v in dataset.VOILUTSequence[0].LUTDescriptor)
        found = apply_voi(np.clip(np.rint(values), -(1 << 31), 1 << 31).astype(np.int64), dataset)
        start, steps = float(first), float((entries or GREYS) - 1)
        shades = np.clip(found / float((1 << bits) - 1), 0.0, 1.0) * 255.0
    else:
        centre, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
        function = str(dataset.get("VOILUTFunction") or "LINEAR").strip()
        least = 0.0 if function in ("LINEAR_EXACT", "SIGMOID") else 1.0
        if centre is None or width is None or not np.isfinite([centre, width]).all() or width < least or width == 0:
            return None
        start, steps = centre - width / 2, width - least
        shades = sigmoid_shades(values, centre, width) if function == "SIGMOID" else None
    # A straight line from `start` on, in steps of the file's units, is one in units of `grey`.
    width = steps / slope + 1
    return (start - intercept) / slope + width / 2, width, None if shades is None else np.rint(shades).astype(np.uint8)
