"""From an image file to its pixels and to RGB uint8, and from any size to a square."""

import stat
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from overread.data.deep_image import LIMIT, DeepImage, colour_image, grey_image
from overread.data.dicom import MARK, MARK_OFFSET, read_dicom
from overread.data.raw import ItemError
from overread.data.texts import shown

__all__ = ["IMAGE_SUFFIXES", "check_file", "is_dicom", "read_deep", "read_image", "to_deep", "to_square"]

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
IMAGE_SUFFIXES = DICOM_SUFFIXES | {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".ppm", ".pgm"}
# What Pillow would have another program draw.
DRAWINGS = frozenset({"EPS", "WMF"})
WHITE_IS_ZERO, PHOTOMETRIC = 0, 262


def read_image(path: Path) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of an image file, RGB, as the data set stores them; the rules are those of `read_deep`.

    8-bit grey is repeated three times; 16-bit grey is scaled by the fixed 65535 -> 255, so that brightness stays
    comparable between images; DICOM goes through its own window.
    """
    return read_deep(path).rgb()


def read_deep(path: Path) -> DeepImage:
    """All that an image file holds of its pixels: grey with up to 16 bits, or RGB.

    A palette is looked up; transparent pixels are laid over black; an EXIF rotation is applied, as viewers do.  What
    is DICOM is seen from the content, whatever the file is called; its rules are those of `read_dicom`.
    ItemError: absent, truncated or corrupt files, several frames, floating-point pixels, 16-bit pixels whose 0 is
    white, drawings, more pixels than Pillow takes for harmless.  MissingExtraError: DICOM without the extra for it.
    """
    if is_dicom(path):
        return read_dicom(path)
    try:
        # A stream: from a path Pillow 13 maps TIFF into memory before it is turned, with rows of another length.
        with path.open("rb") as stream, PIL.Image.open(stream) as image:
            # Camera JPEGs (MPO) may carry a preview as a second frame; a stack of slices is another matter.
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise ItemError(f"it holds {getattr(image, 'n_frames', 1)} frames, not one image")
            if image.format in DRAWINGS:
                raise ItemError(f"it is a drawing ({image.format}) and not pixels; save it as PNG")
            # Pillow turns 8-bit pixels round, but not these.
            if image.mode.startswith("I") and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
                raise ItemError("it has 16-bit pixels whose 0 is white; save it with 0 as black")
            image.load()
            return to_deep(PIL.ImageOps.exif_transpose(image))
    except ItemError:
        raise
    except PIL.UnidentifiedImageError:
        if path.suffix.lower() in DICOM_SUFFIXES:
            raise ItemError(
                f"the file {shown(path)} has no mark of DICOM at byte {MARK_OFFSET}: save it anew"
            ) from None
        raise ItemError(f"the file {shown(path)} is not an image, or it is damaged") from None
    except PIL.Image.DecompressionBombError:
        raise ItemError(f"the file {shown(path)} has more than {LIMIT} pixels; save it smaller") from None
    # Decoders of damaged files raise nearly anything: OSError, SyntaxError, ValueError, struct.error, EOFError ...
    except Exception as error:
        raise ItemError(f"the file {shown(path)} cannot be decoded ({shown(_reason(error))})") from None


def is_dicom(path: Path) -> bool:
    """Whether the file at `path` says that it is DICOM; ItemError unless there is a file that can be read."""
    check_file(path)
    try:
        with path.open("rb") as stream:
            return stream.read(MARK_OFFSET + len(MARK))[MARK_OFFSET:] == MARK
    except OSError as error:
        raise ItemError(f"the file {shown(path)} cannot be read ({_reason(error)})") from None


def check_file(path: Path) -> None:
    """ItemError unless there is a file at `path`: to open a named pipe, for one, would wait for ever."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ItemError(f"the file {shown(path)} does not exist") from None
    # A path with a NUL is a ValueError.
    except (OSError, ValueError) as error:
        raise ItemError(f"the file {shown(path)} cannot be read ({_reason(error)})") from None
    if not stat.S_ISREG(mode):
        raise ItemError(f"{shown(path)} is {'a folder' if stat.S_ISDIR(mode) else 'a device or a pipe'}, not a file")


def _reason(error: Exception) -> str:
    """What went wrong, without the path that the system adds to its own errors."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def to_deep(image: PIL.Image.Image) -> DeepImage:
    """The pixels of a decoded image of any mode; the rules are those of `read_deep`."""
    if image.mode == "F":
        raise ItemError("it has floating-point pixels, whose range is not known; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ItemError("it has 32-bit pixels outside 0..65535; save it with 8 or 16 bits")
        if "transparency" in image.info:
            grey[grey == image.info["transparency"]] = 0
        return grey_image(grey.astype(np.uint16))
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA")).astype(np.uint32)
        return colour_image(((rgba[:, :, :3] * rgba[:, :, 3:] + 127) // 255).astype(np.uint8))
    if image.mode in ("1", "L"):
        return grey_image(np.asarray(image.convert("L")))
    return colour_image(np.array(image.convert("RGB")))


def to_square(pixels: NDArray[np.uint8], side: int | None) -> NDArray[np.uint8]:
    """`pixels` (H, W, 3) resized to (side, side, 3) by antialiased bilinear interpolation.

    The aspect is not kept, so that nothing is cut off and nothing is made up at the border.  Pixels that have this
    size already, and any where `side` is None, are returned as they are.
    """
    if side is None or pixels.shape == (side, side, 3):
        return pixels
    resized = PIL.Image.fromarray(pixels).resize((side, side), PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized)
