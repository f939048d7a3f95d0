"""From the pixel data of a DICOM file to its stored values, with no more memory than they need.

Compressed frames may come from anybody.  Those of JPEG and JPEG 2000 go to Pillow, as other images do; the rest to
imagecodecs.  GDCM would decode all of them, but aborts the process where a frame is damaged.
"""

import io
import math
import struct
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from overread.data.dicom_header import BIG_ENDIAN, Header
from overread.data.raw import ItemError

__all__ = ["stored_values"]

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN)
JPEG, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
RLE = "1.2.840.10008.1.2.5"
# Transfer syntax -> the decoder of imagecodecs.
CODECS = {
    "1.2.840.10008.1.2.4.57": "jpegsof3",
    "1.2.840.10008.1.2.4.70": "jpegsof3",
    "1.2.840.10008.1.2.4.80": "jpegls",
    "1.2.840.10008.1.2.4.81": "jpegls",
}
UNDEFINED = 0xFFFFFFFF
# A compressed frame is hardly larger than its pixels; what is must not fill the memory.
SLACK = 16 << 20
CODE_STREAM = b"\xff\x4f\xff\x51"
END_OF_IMAGE = b"\xff\xd9"


def stored_values(stream: BinaryIO, header: Header) -> tuple[NDArray[Any], str]:
    """The pixels (H, W) or (H, W, 3) as integers of at most 16 bits, and their photometric interpretation, which for
    colour is RGB.

    ItemError: pixel data that is too short or of another size than the header has it, or an unknown transfer syntax.
    Errors of the decoders where it is damaged.
    """
    if header.syntax in NATIVE:
        return _native(stream, header)
    if header.syntax not in (JPEG, JPEG_EXTENDED, *JPEG_2000, RLE, *CODECS):
        raise ItemError(
            "its transfer syntax is none of those that are decoded here: uncompressed, JPEG, JPEG lossless, JPEG-LS, "
            "JPEG 2000, RLE"
        )
    frame = _frame(stream, header)
    if header.syntax == RLE:
        return _to_rgb(_signed(_run_lengths(frame, header), header), header)
    twelve_bits = header.syntax == JPEG_EXTENDED and header.stored > 8
    if header.syntax in CODECS or twelve_bits:
        return _to_rgb(_signed(_imagecodecs(frame, CODECS.get(header.syntax, "jpeg"), header), header), header)
    # DICOM holds bare code streams; among the boxes of a damaged file pydicom would look for one for ever.
    if header.syntax in JPEG_2000 and not frame.startswith(CODE_STREAM):
        raise ItemError("its compressed pixel data does not begin as JPEG 2000 does: it is damaged; save it anew")
    with PIL.Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
        _check_size(header, *image.size[::-1])
    return _pydicom(stream, header, "pillow")


def _native(stream: BinaryIO, header: Header) -> tuple[NDArray[Any], str]:
    samples = 2 if header.photometric == "YBR_FULL_422" else header.samples
    needed = math.ceil(header.rows * header.columns * samples * header.allocated / 8)
    # A length that is too small would make other elements of the file, such as names, into pixels.
    there = min(header.length, header.remaining)
    if header.length == UNDEFINED or there < needed:
        raise ItemError(f"its pixel data should have {needed} bytes and does not: it is cut off, or damaged")
    return _pydicom(stream, header, "")


def _pydicom(stream: BinaryIO, header: Header, plugin: str) -> tuple[NDArray[Any], str]:
    from pydicom.pixels import get_decoder

    stream.seek(header.position)
    pixels, properties = get_decoder(header.syntax).as_array(
        stream,
        index=0,
        decoding_plugin=plugin,
        rows=header.rows,
        columns=header.columns,
        number_of_frames=1,
        samples_per_pixel=header.samples,
        photometric_interpretation=header.photometric,
        planar_configuration=header.planar,
        pixel_representation=int(header.signed),
        bits_allocated=header.allocated,
        bits_stored=header.stored,
        pixel_keyword="PixelData",
        pixel_vr=header.vr,
    )
    return pixels, str(properties["photometric_interpretation"])


def _frame(stream: BinaryIO, header: Header) -> bytes:
    from pydicom.encaps import get_frame

    pixels = header.rows * header.columns * header.samples
    if header.remaining > 4 * pixels + SLACK:
        raise ItemError("its compressed pixel data is larger than its pixels: it is damaged")
    stream.seek(header.position)
    return bytes(get_frame(stream, 0, number_of_frames=1))


def _imagecodecs(frame: bytes, codec: str, header: Header) -> NDArray[Any]:
    import imagecodecs

    _check_size(header, *_jpeg_size(frame))
    # CharLS takes seconds to find that a frame has no end.
    if END_OF_IMAGE not in frame:
        raise ItemError("its compressed pixel data has no end: it is cut off")
    pixels: NDArray[Any] = getattr(imagecodecs, f"{codec}_decode")(frame)
    return pixels


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    """Height and width as a frame of JPEG or JPEG-LS has them; ItemError where it has not one of each."""
    sizes: list[tuple[int, int]] = []
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF and frame[at + 1] != 0xDA:
        marker, length = struct.unpack(">xBH", frame[at : at + 4])
        # The starts of a frame, but for DHT, JPG and DAC, which lie between them; and that of JPEG-LS.
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            height, width = struct.unpack(">xHH", frame[at + 4 : at + 9])
            sizes.append((height, width))
        # Fill bytes may stand before a marker.
        at += 1 if marker == 0xFF else 2 + length
    if len(sizes) != 1:
        raise ItemError("its compressed pixel data is damaged: it does not say its size")
    return sizes[0]


def _check_size(header: Header, height: int, width: int) -> None:
    if (height, width) != (header.rows, header.columns):
        raise ItemError(
            f"its compressed pixels are {width} x {height} and not the {header.columns} x {header.rows} that it says"
        )


def _run_lengths(frame: bytes, header: Header) -> NDArray[Any]:
    """The pixels of an RLE frame: a plane for each byte of a sample, the upper byte first (PS3.5 G)."""
    import imagecodecs

    count, width = header.rows * header.columns, header.allocated // 8
    starts = struct.unpack("<16L", frame[:64])
    planes = header.samples * width
    if starts[0] != planes:
        raise ItemError("its compressed pixel data has not as many planes as its pixels: it is damaged")
    bounds = [*starts[1 : planes + 1], len(frame)]
    pixels = np.zeros((header.samples, count), dtype=np.uint16)
    for k in range(planes):
        # A plane may be filled up to an even length.
        plane = imagecodecs.packbits_decode(frame[bounds[k] : bounds[k + 1]], out=count + 64)
        if len(plane) < count:
            raise ItemError("its compressed pixel data ends too early: it is cut off, or damaged")
        pixels[k // width] = pixels[k // width] << 8 | np.frombuffer(plane, dtype=np.uint8, count=count)
    shaped = pixels.reshape(header.samples, header.rows, header.columns)
    return np.moveaxis(shaped, 0, 2) if header.samples == 3 else shaped[0]


def _signed(pixels: NDArray[Any], header: Header) -> NDArray[Any]:
    """`pixels` without what lies above the bits that are stored, with the sign that the highest of them is."""
    shape = (header.rows, header.columns, 3) if header.samples == 3 else (header.rows, header.columns)
    if pixels.shape != shape or pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise ItemError("its compressed pixels are not as many, or not of the kind, that it says: it is damaged")
    kept = pixels.astype(np.uint16) & np.uint16((1 << header.stored) - 1)
    if not header.signed:
        return kept
    free = 16 - header.stored
    return (kept << free).view(np.int16) >> free


def _to_rgb(pixels: NDArray[Any], header: Header) -> tuple[NDArray[Any], str]:
    if header.samples == 1:
        return pixels, header.photometric
    if header.photometric == "RGB":
        return pixels, "RGB"
    from pydicom.pixels import convert_color_space

    if header.stored != 8 or not header.photometric.startswith("YBR_FULL"):
        raise ItemError(
            f"it has {header.photometric} with {header.stored} bits in a way that is not read: save it as RGB"
        )
    return convert_color_space(pixels.astype(np.uint8), "YBR_FULL", "RGB"), "RGB"
