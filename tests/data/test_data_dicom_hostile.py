"""DICOM files that are damaged, or made to do damage: one sentence each, in bounded memory, and the process lives."""

import io
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
from dicom_files import SECRETS, dicom, noise, save, shipped
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from overread.data import dicom_frames
from overread.data.images import read_image
from overread.data.raw import ItemError

PIXELS = noise((24, 20), 8)
JPEG = io.BytesIO()
PIL.Image.fromarray(PIXELS).save(JPEG, "JPEG")
FRAMES = {
    JPEGBaseline8Bit: JPEG.getvalue(),
    JPEG2000Lossless: imagecodecs.jpeg2k_encode(PIXELS, codecformat="j2k", reversible=True, level=0),
    JPEGLSLossless: imagecodecs.jpegls_encode(PIXELS),
    JPEGLosslessSV1: imagecodecs.ljpeg_encode(PIXELS, bitspersample=8),
    RLELossless: get_frame(
        # 100 x 100 RGB, of which the first plane is taken.
        __import__("pydicom").dcmread(shipped("SC_rgb_rle.dcm")).PixelData,
        0,
        number_of_frames=1,
    ),
}


def refused(path: Path) -> str:
    """The one sentence with which a file is refused."""
    with pytest.raises(ItemError) as caught:
        read_image(path)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    assert not any(secret in text for secret in SECRETS)
    return text


def compressed(folder: Path, syntax: str, frame: bytes) -> Path:
    pixels = np.zeros((100, 100, 3), dtype=np.uint8) if syntax == RLELossless else PIXELS
    return save(dicom(pixels, photometric="RGB" if syntax == RLELossless else "MONOCHROME2"), folder, syntax, frame)


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    for syntax, frame in [("1.2.840.10008.1.2.1", None), (JPEGLosslessSV1, FRAMES[JPEGLosslessSV1])]:
        path = save(dicom(PIXELS), tmp_path / "a.dcm", syntax, frame)
        content, whole = path.read_bytes(), read_image(path)
        assert whole.shape == (24, 20, 3)
        for end in [*range(0, 400, 13), *range(400, len(content) - 20, 41), len(content) - 20]:
            path.write_bytes(content[:end])
            refused(path)


@pytest.mark.parametrize("rows", [65535, 20000])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", *FRAMES])
def test_a_header_that_promises_much(rows: int, syntax: str, tmp_path: Path) -> None:
    """Refused before memory is asked for: 8 GB for the pixels of the first."""
    dataset = dicom(PIXELS)
    dataset.Rows = dataset.Columns = rows
    path = save(dataset, tmp_path / "a.dcm", syntax, FRAMES.get(syntax))
    tracemalloc.start()
    text = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 178956970" in text
    assert peak < 20e6


@pytest.mark.parametrize("syntax", [syntax for syntax in FRAMES if syntax != RLELossless])
def test_a_frame_that_promises_more_than_the_header(syntax: str, tmp_path: Path) -> None:
    frame = bytearray(FRAMES[syntax])
    if syntax == JPEG2000Lossless:
        frame[8:16] = struct.pack(">LL", 60000, 60000)
    else:
        at = next(k for k in range(len(frame)) if frame[k] == 0xFF and frame[k + 1] in (0xC0, 0xC3, 0xF7))
        frame[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    text = refused(compressed(tmp_path / "a.dcm", syntax, bytes(frame)))
    assert "its compressed pixels are 60000 x 60000 and not the 20 x 24" in text or "cannot be decoded" in text


def test_a_frame_with_two_sizes(tmp_path: Path) -> None:
    """A decoder might take the second."""
    frame = bytearray(FRAMES[JPEGLosslessSV1])
    at = frame.index(b"\xff\xc3")
    length = 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    frame[at:at] = frame[at : at + length]
    assert "does not say its size" in refused(compressed(tmp_path / "a.dcm", JPEGLosslessSV1, bytes(frame)))


def test_run_lengths_that_unfold(tmp_path: Path) -> None:
    """Two bytes that stand for 128, a million times, in place of 10,000 pixels."""
    end = 64 + 2_000_000
    frame = struct.pack("<16L", 3, 64, end, end, *[0] * 12) + b"\x81\x05" * 1_000_000
    tracemalloc.start()
    refused(compressed(tmp_path / "a.dcm", RLELossless, frame))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_boxes_of_jpeg_2000_that_never_end(tmp_path: Path) -> None:
    frame = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64) + FRAMES[JPEG2000Lossless]
    assert "does not begin as JPEG 2000 does" in refused(compressed(tmp_path / "a.dcm", JPEG2000Lossless, frame))


def test_a_frame_that_is_larger_than_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compressed(tmp_path / "a.dcm", JPEGLosslessSV1, FRAMES[JPEGLosslessSV1] + bytes(50_000))
    assert read_image(path).shape == (24, 20, 3)
    monkeypatch.setattr(dicom_frames, "SLACK", 40_000)
    assert "is larger than its pixels" in refused(path)


@pytest.mark.parametrize("syntax", FRAMES)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_frames_that_are_garbage(tmp_path_factory: pytest.TempPathFactory, syntax: str, data: st.DataObject) -> None:
    """Bytes exchanged, cut out, or all of them random: pixels of the right size, or one sentence."""
    frame = bytearray(FRAMES[syntax])
    kind = data.draw(st.sampled_from(["bytes", "cut", "random"]))
    if kind == "random":
        frame = bytearray(data.draw(st.binary(min_size=2, max_size=300)))
    elif kind == "cut":
        frame = frame[: data.draw(st.integers(2, len(frame)))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    path = compressed(tmp_path_factory.mktemp("garbage") / "a.dcm", syntax, bytes(frame))
    try:
        assert read_image(path).shape in ((24, 20, 3), (100, 100, 3))
    except ItemError:
        refused(path)


def pixels_gone(dataset: Dataset) -> None:
    del dataset.PixelData


def floating(dataset: Dataset) -> None:
    del dataset.PixelData
    dataset.FloatPixelData = b"\0" * (4 * PIXELS.size)


def no_rows(dataset: Dataset) -> None:
    del dataset.Rows


def several_frames(dataset: Dataset) -> None:
    dataset.NumberOfFrames = 7


def strange_colours(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "ZQXMARKERJV"


def high_bits(dataset: Dataset) -> None:
    dataset.BitsStored, dataset.HighBit = 4, 7


def flat_slope(dataset: Dataset) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = 0, 5


def too_few_samples(dataset: Dataset) -> None:
    dataset.SamplesPerPixel = 3


def short(dataset: Dataset) -> None:
    """Behind the pixels stands what names the patient; it must not become pixels."""
    dataset.PixelData = PIXELS.tobytes()[:100]
    dataset.add_new((0x7FE1, 0x0010), "LO", "ZQXMARKERJV")
    dataset.add_new((0x7FE1, 0x1001), "OB", b"ZQXMARKERJV " * 100)


DAMAGES: dict[Callable[[Dataset], None], str] = {
    pixels_gone: "DICOM without pixels",
    floating: "floating-point pixels",
    no_rows: "does not say its Rows",
    several_frames: "it holds 7 frames, not one image",
    strange_colours: "photometric interpretation is none of MONOCHROME1",
    high_bits: "do not lie in the lowest bits",
    flat_slope: "rescale slope is 0",
    too_few_samples: "samples per pixel are not the 1 of MONOCHROME2",
    short: "should have 480 bytes and does not",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_elements_that_are_wrong(damage: Callable[[Dataset], None], tmp_path: Path) -> None:
    dataset = dicom(PIXELS)
    damage(dataset)
    assert DAMAGES[damage] in refused(save(dataset, tmp_path / "a.dcm"))


def test_a_directory_record() -> None:
    for path in sorted(shipped("CT_small.dcm").parent.glob("dicomdirtests/DICOMDIR*")):
        assert "such as a report or a directory, and no image" in refused(path)


def test_an_unknown_transfer_syntax_is_not_repeated(tmp_path: Path) -> None:
    path = save(dicom(PIXELS), tmp_path / "a.dcm", RLELossless, b"\0\0")
    path.write_bytes(
        path.read_bytes().replace(b"1.2.840.10008.1.2.5\0", b"1.2.3.4958372615.77\0"[:20].ljust(20, b"\0"))
    )
    assert "transfer syntax is none of those that are decoded here" in refused(path)


def test_sequences_without_end(tmp_path: Path) -> None:
    """Deeper than any program can follow."""
    path = save(dicom(PIXELS), tmp_path / "a.dcm")
    content = path.read_bytes()
    start = content.index(b"\x10\x00\x10\x00PN")
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    path.write_bytes(content[:start] + nested + content[start:])
    refused(path)


def test_a_large_private_element_is_not_read_into_memory(tmp_path: Path) -> None:
    dataset = dicom(PIXELS)
    dataset.add_new((0x0013, 0x0010), "LO", "ZQXMARKERJV")
    dataset.add_new((0x0013, 0x1001), "OB", bytes(40_000_000))
    inner = Dataset()
    inner.PatientID = "ZQXMARKERJV"
    dataset.ReferencedStudySequence = Sequence([inner])
    path = save(dataset, tmp_path / "a.dcm")
    del dataset
    tracemalloc.start()
    pixels = read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels.shape == (24, 20, 3)
    assert peak < 20e6
