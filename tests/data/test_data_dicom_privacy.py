"""What stands in a DICOM file beside its pixels is never seen again, in whatever a run writes or prints."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from data_builders import write_table
from dicom_files import MARKER, SECRETS, dicom, noise, save
from pydicom.uid import JPEGLosslessSV1

from overread.cli import main
from overread.config import DataConfig
from overread.data import load_dataset
from overread.data.deep import deep_pixels
from overread.errors import DataError

CLASSES = ("dark", "light")


def write_set(folder: Path, broken: bool = False) -> Path:
    """Two class folders of DICOM files whose names are numbers, some of them damaged in ways that pydicom reports."""
    for number in range(48):
        pixels = noise((16, 16), 12, seed=number) // (1 + number % 2)
        dataset = dicom(pixels, 12)
        path = folder / CLASSES[number % 2] / f"1.2.{number}"
        save(dataset, path)
    for number, damage in enumerate(DAMAGES if broken else ()):
        dataset = dicom(noise((16, 16), 12, seed=99), 12)
        content = save(dataset, folder / "dark" / f"broken-{number}").read_bytes()
        (folder / "dark" / f"broken-{number}").write_bytes(damage(content))
    if broken:
        save(dicom(noise((16, 16), 8)), folder / "dark" / "broken-frame", JPEGLosslessSV1, MARKER.encode() * 9)
    return folder


def character_set(content: bytes) -> bytes:
    """A character set that there is not: pydicom warns of it by its name."""
    return element(content, b"\x08\x00\x05\x00CS", MARKER.encode() + b" ")


def element(content: bytes, head: bytes, value: bytes) -> bytes:
    start = content.index(b"\x08\x00\x16\x00UI")
    return content[:start] + head + len(value).to_bytes(2, "little") + value + content[start:]


def colours(content: bytes) -> bytes:
    return content.replace(b"MONOCHROME2 ", MARKER.encode() + b" ")


def syntax(content: bytes) -> bytes:
    return content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.4958372615.78\0\0\0")


def rows(content: bytes) -> bytes:
    return content.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00LO")


def cut(content: bytes) -> bytes:
    return content[: content.index(MARKER.encode(), 600) + 4]


def numbers(content: bytes) -> bytes:
    window = b"\x28\x00\x50\x10DS" + (12).to_bytes(2, "little") + MARKER.encode() + b" "
    start = content.index(b"\xe0\x7f\x10\x00")
    return content[:start] + window + window.replace(b"\x50\x10", b"\x51\x10") + content[start:]


DAMAGES = (character_set, colours, syntax, rows, cut, numbers)


def assert_silent(text: str | bytes) -> None:
    for secret in SECRETS:
        found = text.find(secret) if isinstance(text, str) else text.find(secret.encode())
        assert found < 0, text[max(0, found - 200) : found + 200]


def assert_nothing_written(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert_silent(str(path))
        assert_silent(path.read_bytes())


def test_the_marker_is_in_the_files(tmp_path: Path) -> None:
    """Else the other tests could not fail."""
    write_set(tmp_path, broken=True)
    for path in tmp_path.rglob("*"):
        assert (
            path.is_dir()
            or sum(path.read_bytes().count(secret.encode()) for secret in SECRETS) > 10
            or "broken" in path.name
        )


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_set_holds_pixels_only(
    on_error: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """With everything logged that a library may log; a character set that there is not does no harm to pixels."""
    keys = DataConfig(path=write_set(tmp_path / "set", True), cache=tmp_path / "cache", on_error=on_error)
    with caplog.at_level(logging.DEBUG):
        if on_error == "stop":
            with pytest.raises(DataError, match=r"cannot be used: .dark/broken-1.: its photometric") as caught:
                load_dataset(keys, seed=0)
            assert_silent(str(caught.value))
        else:
            loaded = load_dataset(keys, seed=0)
            assert len(loaded.skipped) == len(DAMAGES)
            for text in (*loaded.ids, *loaded.sources, *(part for pair in loaded.skipped for part in pair)):
                assert_silent(str(text))
            assert_nothing_written(tmp_path / "cache")
    assert_silent(caplog.text)
    assert_silent("".join(capfd.readouterr()))


def test_a_page_sees_pixels_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = DataConfig(path=write_set(tmp_path / "set", True), cache=tmp_path / "cache")
    names = ["dark/1.2.0", *(f"dark/broken-{number}" for number in range(len(DAMAGES))), "dark/broken-frame"]
    with caplog.at_level(logging.DEBUG), deep_pixels(keys) as pixels:
        for name in names:
            try:
                assert_silent(repr(vars(pixels(name))))
            except DataError as error:
                assert_silent(str(error))
    assert_silent(caplog.text)


@pytest.mark.slow
def test_a_run_writes_and_prints_pixels_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: a table of files, both phases, all that lies in the run folder and in the cache."""
    monkeypatch.setenv("OVERREAD_CACHE", str(tmp_path / "cache"))
    folder = write_set(tmp_path / "set", broken=True)
    table = [[path.relative_to(folder).as_posix(), path.parent.name] for path in sorted(folder.glob("*/*"))]
    write_table(tmp_path / "set.csv", ["path", "label"], table)
    settings = {
        "preset": "cross-entropy",
        "data.path": tmp_path / "set.csv",
        "data.image_root": folder,
        "data.on_error": "skip",
        "out": tmp_path / "run",
        "noise.rate": 0.2,
        "model.input_size": 32,
        "lnl.epochs": 1,
        "lnl.batch_size": 16,
        "active.rounds": 1,
        "active.budget": 2,
        "active.epochs": 1,
        "threads": 1,
    }
    arguments = ["simulate", *(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))]
    monkeypatch.setattr(sys, "argv", ["overread", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = "".join(capfd.readouterr())
    assert ended.value.code in (0, None), printed
    assert_silent(printed)
    assert_nothing_written(tmp_path / "run")
    assert_nothing_written(tmp_path / "cache")


def test_errors_of_decoders_are_not_chained(tmp_path: Path) -> None:
    """A traceback, which a server logs, shows neither them nor the values that they quote."""
    import traceback

    keys = DataConfig(path=write_set(tmp_path / "set", True), cache=tmp_path / "cache")
    with deep_pixels(keys) as pixels, pytest.raises(DataError) as caught:
        pixels("dark/broken-5")
    assert_silent("".join(traceback.format_exception(caught.value)))


def test_a_data_set_has_no_room_for_texts(tmp_path: Path) -> None:
    loaded = load_dataset(DataConfig(path=write_set(tmp_path / "set"), cache=tmp_path / "cache"), seed=0)
    assert loaded.images.shape == (48, 16, 16, 3)
    assert sorted(loaded.ids.tolist()) == sorted(f"{CLASSES[k % 2]}/1.2.{k}" for k in range(48))
    assert np.ptp(loaded.images) == 255
