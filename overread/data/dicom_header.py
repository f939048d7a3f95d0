"""What a DICOM file says of its pixels: numbers and known code words."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from overread.data.deep_image import LIMIT
from overread.data.raw import ItemError

__all__ = ["Header", "number", "read_header"]

PIXEL_DATA, FLOAT_PIXELS = 0x7FE00010, (0x7FE00008, 0x7FE00009)
# All that is kept while a file is read: the descriptions of its pixels, and the tables that they go through.
TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
)
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
SAMPLES = {**dict.fromkeys((*GREY, "PALETTE COLOR"), 1), **dict.fromkeys(COLOUR, 3)}
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
EXPLICIT_VRS = ("OB", "OW", "OF", "OD")


@dataclass(frozen=True)
class Header:
    """What is needed to decode and to show the pixels."""

    dataset: Any
    """The elements `TAGS` as pydicom has them."""
    syntax: str
    """The transfer syntax: not to be shown, since anything may stand there."""
    photometric: str
    """A key of `SAMPLES`."""
    rows: int
    columns: int
    allocated: int
    stored: int
    signed: bool
    planar: int
    vr: str
    position: int
    """Where the value of the pixel data begins in the file."""
    length: int
    """Of that value in bytes, as the file has it; 0xFFFFFFFF where it is compressed."""
    remaining: int
    """Bytes from there to the end of the file."""

    @property
    def samples(self) -> int:
        """Per pixel: 1 or 3."""
        return SAMPLES[self.photometric]


def read_header(path: Path, stream: BinaryIO) -> Header:
    """The header of the file at `path`, which is open as `stream` at its beginning; no pixel is read.

    ItemError: several frames, no pixels or other ones than `Header` can describe.  Where it is
    damaged, what pydicom raises.
    """
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_file_meta_info, read_partial

    syntax = str(read_file_meta_info(path).get("TransferSyntaxUID", "")).strip()
    if not syntax:
        raise ItemError("it does not say how its pixels are stored (transfer syntax): save it anew")
    if syntax == DEFLATED:
        # pydicom would unpack all of it at once, however large it becomes.
        raise ItemError("it is deflated as a whole, which is not read: save it with another transfer syntax")
    dataset = read_partial(
        stream,
        stop_when=lambda tag, vr, length: tag == PIXEL_DATA or tag in FLOAT_PIXELS,
        specific_tags=[tag_for_keyword(keyword) for keyword in TAGS],
    )
    tag, vr, length = _pixel_element(stream, syntax)
    if tag in FLOAT_PIXELS:
        raise ItemError("it has floating-point pixels, whose range is not known; save it with 8 to 16 bits")
    if tag != PIXEL_DATA:
        raise ItemError("it is DICOM without pixels, such as a report or a directory, and no image")
    frames = number(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        raise ItemError(f"it holds {int(frames)} frames, not one image")
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if photometric not in SAMPLES:
        raise ItemError(f"its photometric interpretation is none of {', '.join(SAMPLES)}: save it as one of them")
    position = stream.tell()
    header = Header(
        dataset=dataset,
        syntax=syntax,
        photometric=photometric,
        rows=_count(dataset, "Rows"),
        columns=_count(dataset, "Columns"),
        allocated=_count(dataset, "BitsAllocated"),
        stored=_count(dataset, "BitsStored"),
        signed=bool(number(dataset, "PixelRepresentation")),
        planar=int(number(dataset, "PlanarConfiguration") or 0),
        vr=vr,
        position=position,
        length=length,
        remaining=stream.seek(0, os.SEEK_END) - position,
    )
    _check(header)
    return header


def number(dataset: Any, keyword: str) -> float | None:
    """The value of an element, or the first of several; None where there is none."""
    value = dataset.get(keyword)
    if value is not None and not isinstance(value, str | int | float | bytes):
        value = value[0] if len(value) else None
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    return None if value is None or value == "" else float(value)


def _count(dataset: Any, keyword: str) -> int:
    value = number(dataset, keyword)
    if value is None or value < 1:
        raise ItemError(f"it does not say its {keyword}: it is damaged, or no image")
    return int(value)


def _pixel_element(stream: BinaryIO, syntax: str) -> tuple[int, str, int]:
    """Tag, value representation and length of the element at which `stream` stands, which then stands at its value."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    start = stream.read(8)
    if len(start) < 8:
        return 0, "", 0
    group, element, length = struct.unpack(f"{order}HHL", start)
    # As pydicom does: whether it is there counts, and not whether the transfer syntax has one.
    vr = start[4:6].decode("latin-1")
    if vr not in EXPLICIT_VRS:
        return group << 16 | element, "OW", length
    (length,) = struct.unpack(f"{order}L", stream.read(4))
    return group << 16 | element, vr, length


def _check(header: Header) -> None:
    if header.rows * header.columns > LIMIT:
        size = f"{header.columns} x {header.rows} pixels"
        raise ItemError(f"it has {size}, more than {LIMIT}; save it smaller")
    if header.samples != (number(header.dataset, "SamplesPerPixel") or 1):
        raise ItemError(f"its samples per pixel are not the {header.samples} of {header.photometric}: it is damaged")
    if header.allocated not in (1, 8, 16) or not header.stored <= header.allocated:
        bits = f"{header.stored} bits in {header.allocated}"
        raise ItemError(f"its pixels have {bits}; save it with 1 to 16 bits, in 8 or 16")
    if (number(header.dataset, "HighBit") or header.stored - 1) != header.stored - 1:
        raise ItemError("its pixels do not lie in the lowest bits, as DICOM has them since 1998; save it anew")
    if header.samples == 3 and (header.signed or header.stored < 8):
        raise ItemError("its colours are signed or have less than 8 bits; save it with 8 bits")
