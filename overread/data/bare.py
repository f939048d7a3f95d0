"""Image files without all that is not pixels: names, dates and places that cameras and programs write into them."""

import io
import re
import struct
import zlib
from pathlib import Path

import PIL.ExifTags
import PIL.Image

from overread.data.images import read_deep

__all__ = ["bare_bytes", "write_bare"]

PNG = b"\x89PNG\r\n\x1a\n"
# Pixels, and how their numbers are meant.
PNG_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP"}
)
# Bytes of their data; of what has more the rest is something else.
MOST = {
    b"IHDR": 13,
    b"gAMA": 4,
    b"cHRM": 32,
    b"sRGB": 1,
    b"cICP": 4,
    b"IEND": 0,
    b"sBIT": 4,
    b"tRNS": 256,
    b"PLTE": 768,
}
LARGEST_PROFILE = 16 << 20

JPEG = b"\xff\xd8"
# Frames, tables, scans, and their ends; but for C8, which no decoder knows.
JPEG_KEPT = frozenset({*range(0xC0, 0xC8), *range(0xC9, 0xD0), 0xDA, 0xDB, 0xDD})
START_OF_SCAN, END_OF_IMAGE, EXIF = 0xDA, 0xD9, 0xE1
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# Within a scan FF00 is a byte and FFD0 to FFD7 are marks for who lost the thread; all else ends it.
AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Bytes of their segments, before what may follow in them.
JFIF, ADOBE, ICC = 12, 12, 14

UPRIGHT = 1
# The width of the window over all levels that 8 bits have.
EIGHT_BITS = 256


def write_bare(path: Path, stem: Path) -> Path:
    """Write the image file at `path` without its metadata; the new file, which is `stem` with a suffix.

    JPEG and PNG keep their pixels as they are encoded, colour profiles, and the orientation that viewers apply.  All
    else, and what is too odd to be taken apart, becomes PNG with the pixels of `read_deep`, with 16 bits where it has
    them.  Errors: OSError; ItemError as of `read_deep`.
    """
    content = bare_bytes(path.read_bytes())
    if content is not None:
        file = stem.with_name(f"{stem.name}{path.suffix.lower()}")
        file.write_bytes(content)
        return file
    image = read_deep(path)
    file = stem.with_name(f"{stem.name}.png")
    shown = image.rgb() if image.grey is None else image.shades() if image.width <= EIGHT_BITS else image.grey
    PIL.Image.fromarray(shown).save(file)
    return file


def bare_bytes(content: bytes) -> bytes | None:
    """The JPEG or PNG without its metadata; None for any other format, and for one that is not well-formed."""
    kind = next((each for each in (JPEG, PNG) if content.startswith(each)), None)
    if kind is None:
        return None
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            orientation = image.getexif().get(PIL.ExifTags.Base.Orientation, UPRIGHT)
        return (_bare_jpeg if kind == JPEG else _bare_png)(content, _exif(orientation))
    # Parsers of damaged files raise nearly anything; what it is then, who decodes it says.
    except Exception:
        return None


def _exif(orientation: object) -> bytes:
    """An EXIF block that holds the orientation alone; empty where the image is upright."""
    if orientation not in range(UPRIGHT + 1, 9):
        return b""
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    return exif.tobytes()


def _bare_png(content: bytes, exif: bytes) -> bytes:
    """ValueError or struct.error where it is not well-formed."""
    parts, position, kind = [PNG], len(PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, position)
        chunk = content[position : position + 12 + length]
        if len(chunk) < 12 + length:
            raise ValueError("cut off")
        if length > MOST.get(kind, length):
            raise ValueError("too long for what it holds")
        if kind == b"IDAT" and exif:
            parts.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
            exif = b""
        if kind == b"iCCP":
            chunk = _profile(chunk[8:-4])
        if kind in PNG_KEPT:
            parts.append(chunk)
        position += 12 + length
    return b"".join(parts)


def _profile(data: bytes) -> bytes:
    """The chunk of a colour profile, whose name is free text; nothing where it is none."""
    packed = data.partition(b"\0")[2][1:]
    profile = zlib.decompressobj().decompress(packed, LARGEST_PROFILE)
    return _chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile)) if _is_profile(profile) else b""


def _is_profile(profile: bytes) -> bool:
    return profile[36:40] == b"acsp"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bare_jpeg(content: bytes, exif: bytes) -> bytes:
    """ValueError or struct.error where it is not well-formed."""
    parts, position = [JPEG], len(JPEG)
    if exif:
        parts.append(_segment(EXIF, exif))
    while True:
        if content[position] != 0xFF:
            raise ValueError("no marker")
        while content[position] == 0xFF:
            position += 1
        marker = content[position]
        position += 1
        if marker == END_OF_IMAGE:
            return b"".join([*parts, b"\xff\xd9"])
        if marker in ALONE:
            continue
        (length,) = struct.unpack_from(">H", content, position)
        data = content[position + 2 : position + length]
        if len(data) != length - 2:
            raise ValueError("cut off")
        position += length
        kept = _kept(marker, data)
        if kept is not None:
            parts.append(_segment(marker, kept))
        if marker == START_OF_SCAN:
            end = AFTER_SCAN.search(content, position)
            if end is None:
                raise ValueError("no end")
            parts.append(content[position : end.start()])
            position = end.start()


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _kept(marker: int, data: bytes) -> bytes | None:
    """What stays of the content of a segment; None where nothing does."""
    if marker in JPEG_KEPT:
        return data
    if marker == 0xE0 and data.startswith(b"JFIF\0"):
        # A thumbnail may show what was cut off the image.
        return data[:JFIF] + b"\0\0"
    if marker == 0xEE and data.startswith(b"Adobe"):
        return data[:ADOBE]
    is_profile = marker == 0xE2 and data.startswith(b"ICC_PROFILE\0") and len(data) > ICC
    # Of a profile in several segments the first one says that it is one.
    return data if is_profile and (data[ICC - 2] != 1 or _is_profile(data[ICC:])) else None
