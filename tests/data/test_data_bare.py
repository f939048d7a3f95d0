"""Copies of image files without their metadata: the same pixels, and no word of what else was in the file."""

import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.PngImagePlugin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.data.bare import bare_bytes, write_bare
from overread.data.images import read_deep
from overread.data.raw import ItemError

SECRET = b"Doe^Jane 1961"
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
GREY = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
PROFILE = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int | None) -> bytes:
    block = PIL.Image.Exif()
    block[0x010E] = block[0x013B] = SECRET.decode()
    block[0x8769] = {0x9003: "1961:01:02 03:04:05", 0x927C: SECRET}
    if orientation is not None:
        block[0x0112] = orientation
    return block.tobytes()


def texts() -> PIL.PngImagePlugin.PngInfo:
    found = PIL.PngImagePlugin.PngInfo()
    found.add_text("Patient", SECRET.decode())
    found.add_text("Comment", SECRET.decode(), zip=True)
    found.add_itxt("Title", SECRET.decode())
    found.add(b"prVt", SECRET)
    return found


def jpeg(**options: Any) -> bytes:
    stream = io.BytesIO()
    common = {"quality": 90, "comment": SECRET, "icc_profile": PROFILE, "xmp": b"<x>" + SECRET + b"</x>"}
    PIL.Image.fromarray(RGB).convert(options.pop("mode", "RGB")).save(stream, "JPEG", **common, **options)
    return stream.getvalue()


def png(image: PIL.Image.Image | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = PIL.Image.fromarray(RGB) if image is None else image
    image.save(stream, "PNG", pnginfo=texts(), icc_profile=PROFILE, **options)
    return stream.getvalue()


FILES: dict[str, Callable[[int | None], bytes]] = {
    "jpeg": lambda turned: jpeg(exif=exif(turned)),
    "progressive": lambda turned: jpeg(exif=exif(turned), progressive=True, optimize=True),
    "restarts": lambda turned: jpeg(exif=exif(turned), restart_marker_blocks=2, subsampling=0),
    "grey jpeg": lambda turned: jpeg(mode="L", exif=exif(turned)),
    "cmyk": lambda turned: jpeg(mode="CMYK", exif=exif(turned)),
    "png": lambda turned: png(exif=exif(turned)),
    "palette": lambda turned: png(PIL.Image.fromarray(RGB).quantize(9), exif=exif(turned), transparency=3),
    "16 bits": lambda turned: png(PIL.Image.fromarray(GREY), exif=exif(turned)),
    "transparent": lambda turned: png(PIL.Image.fromarray(np.dstack([RGB, RGB[..., :1]])), exif=exif(turned)),
    "bits": lambda turned: png(PIL.Image.fromarray(RGB).convert("1"), exif=exif(turned)),
}


def pixels(path: Path) -> list[Any]:
    image = read_deep(path)
    return [image.rgb().tolist(), None if image.grey is None else image.grey.tolist()]


@pytest.mark.parametrize("turned", [None, *range(1, 9)])
@pytest.mark.parametrize("kind", FILES)
def test_a_copy_has_the_pixels_alone(kind: str, turned: int | None, tmp_path: Path) -> None:
    content = FILES[kind](turned) + SECRET
    assert SECRET in content
    source = tmp_path / "A.JPeg"
    source.write_bytes(content)
    copy = write_bare(source, tmp_path / "copy.1")
    assert copy.name == "copy.1.jpeg"
    assert SECRET not in copy.read_bytes()
    assert pixels(copy) == pixels(source)
    with PIL.Image.open(source) as before, PIL.Image.open(copy) as after:
        # As it was encoded, and not anew.
        assert np.array_equal(np.asarray(before), np.asarray(after))
        assert (before.format, before.mode, before.size) == (after.format, after.mode, after.size)
        assert after.info["icc_profile"] == PROFILE
        assert dict(after.getexif()) == ({} if turned in (None, 1) else {0x0112: turned})
        assert {"comment", "xmp", "Patient", "Title"}.isdisjoint(after.info)


def test_what_makes_a_copy_is_the_same_again() -> None:
    for make in FILES.values():
        once = bare_bytes(make(6))
        assert once is not None
        assert bare_bytes(once) == once


def test_a_preview_and_a_thumbnail_are_left_out(tmp_path: Path) -> None:
    stream = io.BytesIO()
    images = [PIL.Image.fromarray(part) for part in (RGB, RGB[:8, :8])]
    images[0].save(stream, "MPO", save_all=True, append_images=images[1:])
    preview = tmp_path / "preview.jpg"
    preview.write_bytes(stream.getvalue())
    plain = jpeg()
    start = plain.index(b"JFIF\0")
    thumbnail = tmp_path / "thumbnail.jpg"
    header = (28).to_bytes(2, "big") + plain[start : start + 12] + b"\2\2" + bytes(12)
    thumbnail.write_bytes(plain[: start - 2] + header + plain[start + 14 :])
    for source in (preview, thumbnail):
        copy = write_bare(source, tmp_path / "copy")
        assert pixels(copy) == pixels(source)
        with PIL.Image.open(copy) as image:
            assert image.format == "JPEG"
            assert getattr(image, "n_frames", 1) == 1
    assert b"JFIF\0\1\1" in copy.read_bytes()
    assert bytes(12) not in copy.read_bytes()[:60]


@pytest.mark.parametrize("turned", [1, 6])
@pytest.mark.parametrize(
    ("suffix", "deep"),
    [(".tif", False), (".tif", True), (".webp", False), (".bmp", False), (".gif", False), (".pgm", True)],
)
def test_other_formats_become_png_with_what_is_read(suffix: str, deep: bool, turned: int, tmp_path: Path) -> None:
    possible: dict[str, dict[str, Any]] = {
        ".tif": {"exif": exif(turned), "description": SECRET.decode()},
        ".webp": {"exif": exif(turned), "lossless": True},
        ".gif": {"comment": SECRET},
    }
    source = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(GREY if deep else RGB).save(source, **possible.get(suffix, {}))
    if suffix == ".pgm":
        source.write_bytes(source.read_bytes().replace(b"P5\n", b"P5\n# " + SECRET + b"\n", 1))
    copy = write_bare(source, tmp_path / "copy")
    assert copy.name == "copy.png"
    assert SECRET not in copy.read_bytes()
    assert pixels(copy) == pixels(source)
    if deep:
        upright = np.rot90(GREY, -1) if suffix == ".tif" and turned == 6 else GREY
        assert np.array_equal(np.asarray(PIL.Image.open(copy)), upright)


@given(st.sampled_from(sorted(FILES)), st.randoms(use_true_random=False), st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_damaged_files_are_copied_to_the_same_pixels_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, dice: random.Random, n_changes: int
) -> None:
    content = bytearray(FILES[kind](3))
    for _ in range(n_changes):
        # Most of it where the structure is.
        place = dice.randrange(len(content) if dice.random() < 0.3 else 700)
        content[place % len(content)] = dice.choice([0, 0xFF, 0xD9, dice.randrange(256)])
    if dice.random() < 0.2:
        del content[dice.randrange(len(content)) :]
    folder = tmp_path_factory.mktemp("damaged")
    source = folder / "a.jpg"
    source.write_bytes(content)
    try:
        expected = pixels(source)
    except ItemError:
        return
    copy = write_bare(source, folder / "copy")
    assert pixels(copy) == expected
    assert SECRET not in copy.read_bytes()


def test_what_is_no_profile_and_what_is_too_long_is_left_out(tmp_path: Path) -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(RGB).save(stream, "JPEG", icc_profile=SECRET * 9)
    assert SECRET not in (bare_bytes(stream.getvalue()) or SECRET)
    stream = io.BytesIO()
    PIL.Image.fromarray(RGB).save(stream, "PNG", icc_profile=SECRET * 9)
    bare = bare_bytes(stream.getvalue())
    assert bare is not None
    assert b"iCCP" not in bare
    gamma = PIL.PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", bytes(4) + SECRET)
    source = tmp_path / "a.png"
    PIL.Image.fromarray(RGB).save(source, pnginfo=gamma)
    copy = write_bare(source, tmp_path / "copy")
    assert SECRET not in copy.read_bytes()
    assert pixels(copy) == pixels(source)


def test_a_scan_full_of_fill_bytes_takes_no_time() -> None:
    content = jpeg()
    long = content[:-2] + b"\xff" * 2_000_000 + b"\0" + content[-2:]
    started = time.monotonic()
    assert bare_bytes(long) is not None
    # Forward again and again from every byte it would take hours.
    assert time.monotonic() - started < 10
