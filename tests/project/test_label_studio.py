"""Tasks for Label Studio, tried on its own SDK: it takes them, and what it makes of them comes back whole."""

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from absent import absent
from exchanged import CLASSES, begun, said, standing, with_round, write_arrays

from overread.errors import DataError
from overread.project.exports import config_file, export_labels
from overread.project.folder import Project, open_project
from overread.project.imports import import_reads
from overread.project.label_studio import labelling_config

CHECK = Path(__file__).with_name("label_studio_check.py")


def with_reads(tmp_path: Path) -> Path:
    """A project with reads of every kind."""
    folder = begun(tmp_path / "study", write_arrays(tmp_path / "images.npz"))
    with with_round(folder, 2) as project:
        store = project.store
        ada, ben, cleo = (store.add_reader(name).id for name in ("ada@example.org", 'Dr. "B" <b>', "Ädä"))
        for read in (
            said(0, ada, 0, round=1, seconds=2.5),
            said(0, ben, 1, round=1, comment="dark\nand small"),
            said(0, cleo, 1, "adjudication", comment="yes"),
            said(0, cleo, 2),
            said(1, ada, 1, round=1, shown={"given": True}),
            said(1, ada, 2, round=1, seconds=0.25),
            said(2, ben, None, "cannot-tell", round=1, comment='"?"'),
            said(3, ben, None, "skip", round=1),
            said(15, cleo, 0),
        ):
            store.record(read)
    return folder


def exported(folder: Path, out: Path) -> list[dict[str, Any]]:
    with open_project(folder) as project:
        count = export_labels(project, out, "label-studio")
    tasks: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))
    assert len(tasks) == count
    return tasks


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_task_says_what_was_said_what_is_suggested_and_what_was_replaced(tmp_path: Path) -> None:
    folder = with_reads(tmp_path)
    tasks = exported(folder, tmp_path / "tasks.json")
    with open_project(folder) as project:
        export_labels(project, tmp_path / "table.csv", "csv")
        ids = [item.id for item in project.store.items()]
    rows = table(tmp_path / "table.csv")
    assert [task["data"]["item"] for task in tasks] == ids == [row["id"] for row in rows]
    for task, row in zip(tasks, rows, strict=True):
        assert task["data"]["given"] == row["given"]
        assert task["data"]["image"] == "/data/local-files/?d=" + row["id"].replace(" ", "%20")
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "overread, round 0"
        assert prediction["result"][0]["value"] == {"choices": [row["suggested"]]}
        assert 1 / len(CLASSES) <= prediction["score"] <= 1  # the most probable class
        assert (task["meta"]["label"], task["meta"]["source"]) == (row["label"], row["source"])
        reads = json.loads(row["reads"])
        assert len(reads) == len(task["annotations"]) + len(task["meta"]["replaced"])
    first = tasks[0]["annotations"]
    assert [each.get("completed_by") for each in first] == [{"email": "ada@example.org"}, None, None, None]
    assert [each["lead_time"] for each in first] == [2.5, None, None, None]
    assert [each["ground_truth"] for each in first] == [False, False, True, False]
    (replaced,) = tasks[1]["meta"]["replaced"]
    assert (replaced["label"], replaced["shown"]) == (CLASSES[1], {"given": True})
    assert [read["kind"] for read in tasks[3]["meta"]["replaced"]] == ["skip"]
    assert not tasks[3]["annotations"]
    text = (tmp_path / "tasks.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "images.npz" not in text


def test_the_way_to_the_images_can_be_given(tmp_path: Path) -> None:
    folder = begun(tmp_path / "study", write_arrays(tmp_path / "images.npz", [f"ä/{i}?.png" for i in range(9)]))
    with open_project(folder) as project:
        export_labels(project, tmp_path / "tasks.json", "label-studio", images="https://example.org/x/")
    addresses = {task["data"]["image"] for task in json.loads((tmp_path / "tasks.json").read_text())}
    assert addresses == {f"https://example.org/x/%C3%A4/{i}%3F.png" for i in range(9)}


def test_the_configuration_has_the_classes_and_refuses_what_xml_cannot_hold() -> None:
    tree = ElementTree.fromstring(labelling_config(CLASSES))
    names = [choice.get("value") for choice in tree.findall("Choices[@name='label']/Choice")]
    assert names == [*CLASSES, "cannot tell"]
    with pytest.raises(DataError, match="no XML can hold"):
        labelling_config(["a\x01"])


def by_sdk(tasks: Path, out: Path) -> dict[str, Any]:
    """What Label Studio's SDK says of the tasks, in a Python of its own; what it exports lies in `out`."""
    python = os.environ.get("OVERREAD_LABEL_STUDIO_PYTHON")
    if not python:
        absent("label-studio-sdk has a Python of its own: `make test` sets OVERREAD_LABEL_STUDIO_PYTHON to it")
    command = [python, str(CHECK), str(tasks), str(config_file(tasks)), str(out)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def emptied(tmp_path: Path) -> Path:
    """A project with the same items and nothing said."""
    return begun(tmp_path / "empty", tmp_path / "images.npz")


def brought(project: Project, file: Path) -> tuple[int, int]:
    found = import_reads(project, file, None)
    return found.reads, found.known


@pytest.mark.slow
def test_label_studios_own_code_takes_the_tasks_and_gives_them_back(tmp_path: Path) -> None:
    folder = with_reads(tmp_path)
    out = tmp_path / "tasks.json"
    tasks = exported(folder, out)
    found = by_sdk(out, tmp_path / "converted")
    assert found["refused"] == []
    assert found["checked"] == {"tasks": len(tasks), "annotations": 7, "predictions": len(tasks)}
    assert found["classes"] == [*CLASSES, "cannot tell"]
    rows = table(tmp_path / "converted" / "result.csv")
    said_in_csv = sorted((row["item"], row["label"]) for row in rows if row["label"])
    said_here = [
        (task["data"]["item"], a["result"][0]["value"]["choices"][0]) for task in tasks for a in task["annotations"]
    ]
    assert said_in_csv == sorted(said_here)
    small = tmp_path / "converted" / "result.json"
    with open_project(folder) as project:
        before = standing(project)
        assert len(before) == 7
        assert brought(project, small) == (0, 7)
    with open_project(emptied(tmp_path)) as project:
        assert brought(project, small) == (7, 0)
        assert standing(project) == before
        assert brought(project, out) == (0, 7)
        with pytest.raises(DataError, match="is Label Studio's CSV, whose ids are its own"):
            import_reads(project, tmp_path / "converted" / "result.csv", None)


def test_what_we_export_comes_back_whole(tmp_path: Path) -> None:
    folder = with_reads(tmp_path)
    exported(folder, tmp_path / "tasks.json")
    with open_project(folder) as project:
        before = standing(project)
        assert brought(project, tmp_path / "tasks.json") == (0, 7)
    with open_project(emptied(tmp_path)) as project:
        assert brought(project, tmp_path / "tasks.json") == (7, 0)
        assert standing(project) == before
        assert brought(project, tmp_path / "tasks.json") == (0, 7)
