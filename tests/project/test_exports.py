"""Images by class: whole, as they were, under names that cannot collide, and of DICOM nothing but pixels."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from exchanged import CLASSES, N_ITEMS, begun, said, with_round, write_arrays
from fake_projects import fake_project
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from overread.config import load_config
from overread.data.dataset import Dataset, load_dataset
from overread.errors import ConfigError, DataError, RunError
from overread.project.exports import export_labels
from overread.project.exports.names import class_folders, file_stem
from overread.project.folder import open_project

sys.path.append(str(Path(__file__).parents[1] / "data"))
from dicom_files import SECRETS, dicom, noise, save


def exported(folder: Path, out: Path, link: bool = False) -> list[dict[str, str]]:
    """The rows of the provenance of an export."""
    with open_project(folder) as project:
        count = export_labels(project, out, "folder", link=link)
        export_labels(project, out.with_suffix(".csv"), "csv")
    rows = table(out / "provenance.csv")
    assert len(rows) == count
    assert [{name: text for name, text in row.items() if name != "file"} for row in rows] == table(
        out.with_suffix(".csv")
    )
    files = sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file())
    assert files == sorted([*(row["file"] for row in rows), "provenance.csv"])
    return rows


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def loaded(path: Path, *settings: str) -> Dataset:
    config = load_config(settings=[f"data.path={path}", "data.min_class_items=1", *settings])
    return load_dataset(config.data, 0, needs_test=False)


@pytest.mark.parametrize("shape", ["colour", "grey"])
def test_images_in_an_array_become_files_with_the_same_pixels(shape: str, tmp_path: Path) -> None:
    images = write_arrays(tmp_path / "images.npz")
    if shape == "grey":
        arrays = dict(np.load(images))
        np.savez(images, **{**arrays, "images": arrays["images"][:, :, :, 0]})
    folder = begun(tmp_path / "study", images)
    with with_round(folder) as project:
        reader = project.store.add_reader("ada").id
        for item in range(5):
            project.store.record(said(item, reader, 1, round=1))
    rows = exported(folder, tmp_path / "out")
    assert {row["file"].split("/")[0] for row in rows if row["source"] == "read"} == {"a%2Fb & %3Cc%3E"}
    before, after = loaded(images), loaded(tmp_path / "out")
    assert after.pixel_digests.tolist() == before.pixel_digests.tolist()
    of_file = {row["file"]: row for row in rows}
    folders = class_folders(CLASSES)
    for name, label, origin in zip(after.ids, after.reference, before.ids, strict=True):
        assert of_file[name]["id"] == origin
        assert folders[of_file[name]["label"]] == after.class_names[label]
    with Image.open(tmp_path / "out" / rows[0]["file"]) as image:
        assert image.mode == ("RGB" if shape == "colour" else "L")


def write_files(root: Path) -> Path:
    """A folder for each class, with files that are called alike."""
    rng = np.random.default_rng(5)
    for number in range(12):
        file = root / ("benign", "malignant")[number % 2] / f"patient {number // 2}" / ("a.png", "A.JPG")[number % 2]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).save(file)
    return root


@pytest.mark.parametrize("link", [False, True])
def test_files_are_copied_or_linked_as_they_are(link: bool, tmp_path: Path) -> None:
    images = write_files(tmp_path / "images")
    folder = begun(tmp_path / "study", images, "data.image_size=8")
    rows = exported(folder, tmp_path / "out", link)
    assert len({row["file"].lower() for row in rows}) == 12
    for row in rows:
        source, copy = images / row["id"], tmp_path / "out" / row["file"]
        assert copy.read_bytes() == source.read_bytes()
        assert copy.samefile(source) == link
        assert not copy.is_symlink()
        assert copy.suffix == source.suffix.lower()


def test_of_dicom_nothing_but_pixels_leaves(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number in range(6):
        # With the suffix of another format, too: what a file is shows in its content.
        name = f"{number}{('.dcm', '', '.png')[number % 3]}"
        save(dicom(noise((6, 5), 12, seed=number), bits=12), images / "ab"[number % 2] / name)
    folder = begun(tmp_path / "study", images, "data.image_size=8")
    rows = exported(folder, tmp_path / "out")
    assert {Path(row["file"]).suffix for row in rows} == {".png"}
    for file in (tmp_path / "out").rglob("*.*"):
        assert not any(secret.encode() in file.read_bytes() for secret in SECRETS)
    before, after = (loaded(path, "data.image_size=8") for path in (images, tmp_path / "out"))
    assert after.pixel_digests.tolist() == before.pixel_digests.tolist()


def test_an_image_that_is_gone_leaves_nothing_half_written(tmp_path: Path) -> None:
    images = write_files(tmp_path / "images")
    folder = begun(tmp_path / "study", images, "data.image_size=8")
    gone = images / "malignant" / "patient 5" / "A.JPG"
    kept = gone.read_bytes()
    gone.unlink()
    before = sorted(tmp_path.iterdir())
    with open_project(folder) as project:
        with pytest.raises(DataError, match=r"'malignant/patient 5/A\.JPG'"):
            export_labels(project, tmp_path / "out", "folder")
        assert sorted(tmp_path.iterdir()) == before
        gone.write_bytes(kept)
        assert export_labels(project, tmp_path / "out", "folder") == 12


def test_places_and_forms_that_cannot_be_are_refused(tmp_path: Path) -> None:
    images = write_files(tmp_path / "images")
    folder = begun(tmp_path / "study", images, "data.image_size=8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "empty").mkdir()
    with open_project(folder) as project:
        for out, says in (
            (tmp_path / "full", "is there already"),
            (tmp_path / "full" / "x", "is there already"),
            (images / "new", "would become data"),
            (folder / "new", "lies in a project folder"),
        ):
            with pytest.raises(RunError, match=says):
                export_labels(project, out, "folder")
        assert export_labels(project, tmp_path / "empty", "folder") == 12
        with pytest.raises(RunError, match="is a folder: give a file"):
            export_labels(project, tmp_path / "full", "label-studio")
        with pytest.raises(ConfigError, match="no format 'zip' to export: known are csv, parquet, folder"):
            export_labels(project, tmp_path / "new", "zip")


def test_classes_that_cannot_be_folders_beside_each_other_are_refused(tmp_path: Path) -> None:
    folder = begun(tmp_path / "study", write_arrays(tmp_path / "images.npz", classes=("Mole", "mole")))
    with open_project(folder) as project, pytest.raises(RunError, match="'Mole' and 'mole' cannot name folders"):
        export_labels(project, tmp_path / "out", "folder")
    assert not (tmp_path / "out").exists()
    with pytest.raises(RunError, match="too long to name a folder"):
        class_folders(["x" * 256])
    with pytest.raises(RunError, match=r"'provenance\.csv' and 'Provenance\.csv'"):
        class_folders(["Provenance.csv"], ["provenance.csv"])


NAMES = st.text(st.characters(codec="utf-8") | st.sampled_from("./\\:%C ON"), min_size=1, max_size=60)


@given(NAMES, st.integers(0, 10**8))
def test_any_name_becomes_that_of_a_file(name: str, position: int) -> None:
    (made,) = class_folders([name]).values()
    stem = file_stem(position, name)
    for each in (made, f"{stem}.png"):
        assert Path(each).name == each
        assert not set(each) & set('/\\:*?"<>|\0\n')
        assert each[0] not in ". "
        assert each[-1] not in ". "
        assert each.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
        assert len(each.encode()) <= 255
    assert stem.startswith(f"{position:07d}-")


@given(st.lists(NAMES, min_size=2, max_size=6, unique_by=str.casefold))
def test_folders_of_several_classes_differ(names: list[str]) -> None:
    try:
        folders = class_folders(names)
    except RunError:
        return
    assert len({folder.casefold() for folder in folders.values()}) == len(names)


def test_odd_names_are_readable_all_the_same() -> None:
    assert class_folders(["NUL", "com1.x", "console"]) == {"NUL": "%4EUL", "com1.x": "%63om1.x", "console": "console"}
    assert len({file_stem(number, "same.png") for number in range(N_ITEMS)}) == N_ITEMS


@pytest.mark.slow
def test_the_command_sees_the_form_in_the_name_and_refuses_what_is_not_of_it(tmp_path: Path) -> None:
    folder = begun(tmp_path / "study", write_arrays(tmp_path / "images.npz"))

    def export(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "overread", "export", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    tasks = tmp_path / "tasks.json"
    done = export("--out", str(tasks), "--image-prefix", "")
    assert done.stdout.splitlines() == [
        f"{N_ITEMS} items: {tasks}",
        f"Labelling interface of the project in Label Studio: {tmp_path / 'tasks.config.xml'}",
    ], done.stderr
    assert {each["data"]["image"] for each in json.loads(tasks.read_text())} == {
        f"item%20{number}" for number in range(N_ITEMS)
    }
    assert "20 items" in export("--out", str(tmp_path / "out"), "--format", "folder", "--link").stdout
    for option, form in (("--link", "folder"), ("--image-prefix=x", "label-studio")):
        refused = export("--out", str(tmp_path / "out.csv"), option)
        assert refused.returncode == 2
        assert f"it is for --format {form}" in " ".join(refused.stderr.split())


def test_no_way_leads_over_the_files_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begun(tmp_path / "study", write_arrays(tmp_path / "images.npz"))
    other = begun(tmp_path / "other", tmp_path / "images.npz")
    (tmp_path / "link").symlink_to(folder)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-file").symlink_to(tmp_path / "images.npz")
    before = {file: file.read_bytes() for root in (folder, other) for file in root.rglob("*") if file.is_file()}
    monkeypatch.chdir(folder)
    with open_project(folder) as project:
        for out in (
            Path("project.db"),
            tmp_path / "link" / "project.json",
            other / "project.json",
            tmp_path / "pipe",
            tmp_path / "to-file",
        ):
            for form in ("csv", "label-studio"):
                with pytest.raises(RunError, match=r"project folder|no ordinary file|is a link"):
                    export_labels(project, out, form)
        for out in (Path(".."), tmp_path / "link"):
            with pytest.raises(RunError, match=r"is a link|is there already"):
                export_labels(project, out, "folder")
    assert all(file.read_bytes() == content for file, content in before.items())


def test_an_export_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    fake_project(tmp_path / "study", 50_000, 0)
    command = [sys.executable, "-m", "overread", "export", str(tmp_path / "study"), "--out", str(tmp_path / "out.csv")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while not any(tmp_path.glob(".out.csv.*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM
    assert [entry.name for entry in tmp_path.iterdir()] == ["study"]
