"""Tiles of a colon, immunohistochemistry, from a picture that comes with scikit-image: no known restrictions."""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage.color import rgb2hed
from skimage.data import immunohistochemistry

__all__ = ["CLASSES", "write_tiles"]

CLASSES = ("gland", "lumen", "stroma")
SIDE, STEP, MIDDLE = 96, 20, 24
# Of the brown stain above which tissue is a gland; of 255 above which there is none.
STAINED, BRIGHT = 0.055, 222


def write_tiles(folder: Path) -> dict[str, str]:
    """Name of a tile -> what is in its middle; the names say nothing."""
    folder.mkdir()
    picture = immunohistochemistry()
    stain, light = rgb2hed(picture)[..., 2], picture.mean(axis=2)
    starts = range(0, picture.shape[0] - SIDE + 1, STEP)
    found = {}
    for number, (y, x) in enumerate((y, x) for y in starts for x in starts):
        name = f"tile-{number:03d}.png"
        Image.fromarray(picture[y : y + SIDE, x : x + SIDE]).save(folder / name)
        middle = (
            slice(y + (SIDE - MIDDLE) // 2, y + (SIDE + MIDDLE) // 2),
            slice(x + (SIDE - MIDDLE) // 2, x + (SIDE + MIDDLE) // 2),
        )
        if np.mean(light[middle] > BRIGHT) > 0.4:
            found[name] = "lumen"
        else:
            found[name] = "gland" if np.mean(stain[middle]) > STAINED else "stroma"
    return found
