"""DICOM files: their pixels, and nothing else that stands in them.

What a file says beside its pixels may name a patient.  So no text of it is ever read but a few code words, which are
compared with known ones; messages hold numbers and words of this package only, and what pydicom would log or warn of,
which quotes the file, is never written.
"""

import importlib
import logging
import re
import warnings
from pathlib import Path

from overread.data.deep_image import DeepImage
from overread.data.dicom_frames import stored_values
from overread.data.dicom_header import read_header
from overread.data.dicom_values import colour_of, grey_of
from overread.data.raw import ItemError
from overread.data.texts import shown
from overread.errors import MissingExtraError

__all__ = ["MARK", "MARK_OFFSET", "read_dicom"]

MARK, MARK_OFFSET = b"DICM", 128
QUIET = re.compile(r"pydicom\.")


def read_dicom(path: Path) -> DeepImage:
    """The pixels of a DICOM file with one frame, 1 to 16 bits; nothing else of the file is in them or in a message.

    Grey goes through the modality LUT or rescale slope and intercept, and is shown by the VOI LUT, or else the first
    window, LINEAR, LINEAR_EXACT or SIGMOID, or else from the smallest to the largest value that is no padding; that of
    MONOCHROME1 is inverted.  RGB, YBR and PALETTE COLOR become RGB with the upper 8 bits.  A window that shows nothing,
    such as one of the width 0, counts as none.
    ItemError: several frames, no pixels, floating-point pixels, more than 16 bits, too many pixels, a transfer syntax
    that is not decoded here, a file that is cut off or damaged.  MissingExtraError: packages of the extra are absent.
    Source: DICOM PS3.3 C.7.6.3, C.11.1 and C.11.2; PS3.5 A.
    """
    _load(path)
    try:
        with path.open("rb") as stream:
            header = read_header(path, stream)
            stored, photometric = stored_values(stream, header)
        if photometric.startswith("MONOCHROME"):
            return grey_of(stored, header)
        return colour_of(stored, photometric, header)
    except (ItemError, MissingExtraError):
        raise
    # Damaged files raise nearly anything, with texts that quote the file: none of them may be repeated.
    except Exception:
        raise ItemError(
            f"the file {shown(path)} cannot be decoded as DICOM: it is damaged, or not as it says"
        ) from None


def _load(path: Path) -> None:
    """Import what decodes, and keep it from writing what it reads into logs and warnings."""
    for package in ("pydicom", "imagecodecs"):
        try:
            importlib.import_module(package)
        except ImportError:
            raise MissingExtraError(package, "dicom", f"reading {shown(path)}") from None
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    # For good, and not around every read: filters belong to the process, and threads would undo each other's.
    if ("ignore", None, Warning, QUIET, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=QUIET.pattern)
