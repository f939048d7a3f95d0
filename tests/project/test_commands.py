"""The commands of a project as its owner meets them: what they say, and what they refuse."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from exchanged import begun, with_round, write_arrays
from PIL import Image

from overread.cli import main
from overread.errors import RunError
from overread.files import write_text
from overread.project.begin import class_notes
from overread.project.folder import check_images, open_project, save_state
from overread.project.queue_file import disputed_file, write_disputed


class Outcome(NamedTuple):
    code: object
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture(name="call")
def fixture_call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run the command line in this process, in the folder `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    # A wide terminal: notes are not broken into lines.
    monkeypatch.setenv("COLUMNS", "1000")

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["overread", *arguments])
            patch.setattr("overread.cli_project.signal.signal", lambda *_: None)
            with pytest.raises(SystemExit) as end:
                main()
        captured = capsys.readouterr()
        return Outcome(end.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture(name="study")
def fixture_study(tmp_path: Path) -> Path:
    return begun(tmp_path / "study", write_arrays(tmp_path / "images.npz"))


def write_scans(folder: Path, labels: list[str], root: str = "scans") -> None:
    """A flat folder of images, and `labels.csv` with a label for each of them."""
    rng = np.random.default_rng(1)
    (folder / root).mkdir()
    for number in range(len(labels)):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / root / f"{number}.png")
    rows = [f"{number}.png,{label}" for number, label in enumerate(labels)]
    write_text(folder / "labels.csv", "\n".join(["path,label", *rows]) + "\n")


def refused(outcome: Outcome) -> str:
    assert (outcome.code, outcome.out) == (2, ""), outcome
    assert outcome.err.count("\n") == 1
    return outcome.err


SCANS = ["--images", "scans", "--labels", "labels.csv"]
BEGIN: dict[str, tuple[list[str], str]] = {
    "no images": (["study", "--images", "scan"], "--images scan does not exist"),
    "no table": (["study", "--images", "scans", "--labels", "label.csv"], "--labels label.csv does not exist"),
    "a folder as table": (["study", "--images", "scans", "--labels", "scans"], "--labels scans is no file"),
    "flat folder": (
        ["study", "--images", "scans"],
        "labels with --labels FILE, a table with the columns path and label",
    ),
    "here": ([".", *SCANS], ". holds other files and no project; give a new or an empty folder as DIR"),
    "a file": (["labels.csv", *SCANS], "labels.csv is a file; give a folder as DIR"),
    "in the data": (["sets/study", "--images", "sets"], "the project folder sets/study lies in the data folder"),
}


@pytest.mark.parametrize("case", BEGIN)
def test_a_beginning_that_cannot_be_names_the_option(case: str, call: Call, tmp_path: Path) -> None:
    write_scans(tmp_path, ["a", "b"] * 3)
    (tmp_path / "sets" / "a").mkdir(parents=True)
    arguments, says = BEGIN[case]
    err = refused(call("init", *arguments))
    assert says in err
    assert "--out" not in err
    assert "data.path" not in err
    assert not (tmp_path / "study").exists()


def test_a_class_that_one_image_has_is_named_with_what_may_be_meant(call: Call, tmp_path: Path) -> None:
    write_scans(tmp_path, ["stroma", "tumour"] * 5 + ["strome"])
    err = refused(call("init", "study", *SCANS))
    assert "'strome (1)'. 'strome' is the label of '10.png', did you mean 'stroma'?" in err
    assert "imbalance_factor" not in err
    done = call("init", "study", *SCANS, "--set", "data.min_class_items=1")
    assert done.out.splitlines()[0] == "11 images, classes stroma (5), strome (1), tumour (5)"
    assert "1 image with the label 'strome' ('10.png'), and 5 with 'stroma': did you mean 'stroma'?" in done.err


@pytest.mark.parametrize(
    ("counts", "noted"),
    [
        ({"stroma": 90, "strome": 3}, ["strome"]),
        ({"stroma": 90, "strome": 40}, []),
        ({"stroma": 3, "strome": 3}, []),
        ({"Stroma": 80, "stroma": 90}, ["Stroma"]),
        ({"basal cell": 5, "basalcell": 5}, ["basal cell"]),
        ({"ER+": 2, "ER-": 90}, []),
        ({"grade 1": 2, "grade 2": 90}, []),
        ({"B cells": 2, "T cells": 90}, []),
    ],
)
def test_only_names_that_may_be_meant_to_be_one_are_noted(counts: dict[str, int], noted: list[str]) -> None:
    names, numbers = list(counts), list(counts.values())
    given = [k for k, number in enumerate(numbers) for _ in range(number)]
    notes = class_notes(names, numbers, [f"image {i}" for i in range(len(given))], given)
    assert [note.split("'")[1] for note in notes] == noted


def test_a_project_with_nearly_that_name_is_proposed(call: Call, study: Path) -> None:
    for command in (["learn"], ["status"], ["select", "--budget", "5"], ["update"]):
        assert "stdy holds no project: did you mean study?" in refused(call(command[0], "stdy", *command[1:]))
    said = "holds no project: begin one with `overread init other --images PATH`"
    assert said in refused(call("status", "other"))
    assert study.is_dir()


OUT: dict[str, tuple[list[str], str]] = {
    "spreadsheet": (["tasks.xlsx"], "the name of tasks.xlsx says no format that is known: end it in .csv, .parquet"),
    "folder": (["newdir/"], "or --format folder for a new folder"),
    "no place": (["/proc/x.csv"], "/proc/x.csv cannot be written"),
    "below a file": (["images.npz/x.csv"], "images.npz/x.csv cannot be written"),
}


@pytest.mark.parametrize("case", OUT)
def test_an_export_that_cannot_be_says_where_to(case: str, call: Call, study: Path) -> None:
    (out,), says = OUT[case]
    before = sorted(study.parent.iterdir())
    assert says in refused(call("export", "study", "--out", out))
    assert sorted(study.parent.iterdir()) == before


def test_what_an_import_brought_is_said_and_can_be_taken_back_as_it_says(call: Call, study: Path) -> None:
    with with_round(study) as project:
        asked = [project.store.item(position).id for position in range(10)]
        other = project.store.item(15).id
    write_text(study.parent / "one.csv", f"id,label\n{asked[0]},disc\n")
    assert call("import", "study", "one.csv", "--reader", "Eva").out.splitlines()[:2] == [
        "1 read of round 1",
        "new reader: Eva",
    ]
    write_text(study.parent / "more.csv", f"id,label\n{asked[0]},disc\n{asked[1]},disc\n{other},disc\n{asked[2]},\n")
    with open_project(study) as project:
        project.store.close_round(1)
    said = call("import", "study", "more.csv", "--reader", "Eva").out.splitlines()
    assert said[:4] == [
        "2 reads, 1 was there already, 1 says nothing",
        "1 read of items that no round asked for, learnt at the next update",
        "1 read of round 1, learnt at the next update",
        "If these were no reads, take them back: overread import study more.csv --reader Eva --take-back",
    ]
    way = said[3].partition("overread ")[2].split()
    assert call(*way).out.splitlines()[0] == "3 reads taken back"
    assert call(*way).out.splitlines()[0] == "0 reads taken back"
    assert "nofile.csv does not exist" in refused(call("import", "study", "nofile.csv"))
    near = refused(call("import", "study", "one.csv", "--reader", "Eva."))
    added = near.partition("Add a new reader first: `overread ")[2].rstrip("`\n").split()
    assert call(*added).code == 0
    assert call("import", "study", "one.csv", "--reader", "Eva.").code == 0


def test_a_dispute_of_imported_reads_stands_in_a_table_at_once(call: Call, study: Path) -> None:
    with open_project(study) as project:
        name = project.store.item(3).id
    for who, label in (("Ada", "disc"), ("Ben", "Größe")):
        write_text(study.parent / f"{who}.csv", f"id,label\n{name},{label}\n")
        assert call("import", "study", f"{who}.csv", "--reader", who).code == 0
    table = disputed_file(Path("study"), 0)
    assert name in (study / "queue" / table.name).read_text()
    shutil.rmtree(study / "queue")
    with open_project(study) as project:
        nothing = {"estimate": None, "low": None, "high": None}
        project.rounds[-1]["estimates"] = dict.fromkeys(("wrong_labels_left", "label_accuracy", "macro_f1"), nothing)
        save_state(study, project.state)
    out = call("status", "study").out
    page = "decide on the page, `overread serve study`"
    assert f"1 item is disputed, no label has more voices than any other: {page}, or in " in out
    assert "Ada: 1 read\n" in out
    write_text(study / "queue" / table.name, f"id,label\n{name},disc\n")
    decide = out.partition("`overread import ")[2].partition("`")[0].replace("NAME", "Ada").split()
    assert call("import", *decide).out.startswith("1 read of items that no round asked for")
    assert "disputed" not in call("status", "study").out


def test_images_that_moved_are_named_with_the_keys_to_mend(call: Call, tmp_path: Path) -> None:
    write_scans(tmp_path, ["a", "b"] * 4)
    assert call("init", "study", *SCANS).code == 0
    with open_project(tmp_path / "study") as project:
        check_images(project.folder, project.config.data)
        (tmp_path / "scans").rename(tmp_path / "moved")
        with pytest.raises(RunError, match=r"no longer at .*scans \(data\.image_root\).*below data: image_root$"):
            check_images(project.folder, project.config.data)
        (tmp_path / "labels.csv").unlink()
        with pytest.raises(RunError, match=r"below data: path, image_root$"):
            check_images(project.folder, project.config.data)


@pytest.mark.parametrize(
    "arguments", [["learn", "study"], ["select", "study", "--budget", "5"], ["update", "study"], ["update", "nothing"]]
)
def test_an_error_about_the_order_is_there_before_what_learns(arguments: list[str], study: Path) -> None:
    code = (
        "import sys\nfrom overread.cli import main\n"
        f"sys.argv = {['overread', *arguments]!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2, end\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=study.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("overread: ")


def test_a_database_with_reads_is_no_leftover(call: Call, study: Path) -> None:
    with open_project(study) as project:
        project.store.add_reader("Ada")
    (study / "project.json").unlink()
    before = (study / "project.db").read_bytes()
    again = ("init", str(study), "--images", str(study.parent / "images.npz"), "--set", "data.min_class_items=1")
    for arguments in (("status", str(study)), again):
        assert "restore" in refused(call(*arguments))
    assert (study / "project.db").read_bytes() == before


def test_columns_that_somebody_added_to_the_table_of_disputes_stay(study: Path) -> None:
    write_disputed(study, 0, [("item 0", "")])
    write_text(disputed_file(study, 0), "id,image,label,comment,reader\nitem 0,,disc,,Chief\n")
    write_disputed(study, 0, [("item 0", ""), ("item 1", "x.png")])
    assert disputed_file(study, 0).read_text().splitlines() == [
        "id,image,label,comment,reader",
        "item 0,,disc,,Chief",
        "item 1,x.png,,,",
    ]
