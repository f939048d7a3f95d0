"""Reads from Label Studio's JSON and from long tables: what counts, what is refused, and what is left behind."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from exchanged import CLASSES, N_ITEMS, begun, standing, with_round, write_arrays

from overread.data.formats.tables import read_table, stream_table
from overread.errors import DataError, StoreFull
from overread.files import write_text
from overread.project.folder import open_project
from overread.project.imports import Imported, import_reads, staging
from overread.store import Store

ONE, TWO, THREE = "item 1", "item 2", "item 3"


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path) -> Path:
    return begun(tmp_path / "study", write_arrays(tmp_path / "images.npz"))


def label(name: object, field: str = "label") -> dict[str, Any]:
    names = name if isinstance(name, list) else [name]
    return {"from_name": field, "to_name": "image", "type": "choices", "value": {"choices": names}}


def text(words: object, field: str = "comment") -> dict[str, Any]:
    return {"from_name": field, "to_name": "image", "type": "textarea", "value": {"text": words}}


def task(item: object, *annotations: Any, key: str = "item") -> dict[str, Any]:
    return {"id": 7, "data": {"image": "x.png", key: item}, "annotations": list(annotations), "predictions": []}


def by(who: object, *results: Any, **more: Any) -> dict[str, Any]:
    return {"id": 1, "completed_by": who, "result": list(results), "was_cancelled": False, **more}


def written(folder: Path, tasks: object, name: str = "tasks.json") -> Path:
    file = folder.parent / name
    content = tasks if isinstance(tasks, str | bytes) else json.dumps(tasks)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def imported(folder: Path, file: Path, reader: str | None = None, **options: bool) -> Imported:
    """How many reads came, were known, and said nothing."""
    with open_project(folder) as project:
        return Imported(*import_reads(project, file, reader, **options)[:3])


def found(folder: Path) -> set[tuple[Any, ...]]:
    """What stands, items by their ids and labels by their names."""
    with open_project(folder) as project:
        ids = {item.position: item.id for item in project.store.items()}
        return {
            (ids[item], who, kind, None if which is None else CLASSES[which], *more)
            for item, who, kind, which, *more in standing(project)
        }


def test_everything_that_label_studio_says_of_a_read_arrives(folder: Path) -> None:
    tasks = [
        task(
            ONE,
            by(3, label("disc"), text(["too dark", "and small"]), lead_time=4.25),
            by({"id": 5, "email": "ada@example.org", "first_name": "Ada"}, label("a/b & <c>")),
            by({"first_name": "Ben", "last_name": "Bo"}, label("cannot tell"), comments=[{"text": "why?"}]),
            by(9, label("disc"), was_cancelled=True),
            by(10),
        ),
        task(TWO, by(3, label("Größe"), label("above all others", "decides")), key="id"),
        task(THREE, by(3, label("disc", "sort"), text(["Dr.  C "], "reader"))),
        {"id": 9, "data": {"image": "y.png", "item": "item 9"}},
    ]
    file = written(folder, tasks)
    assert imported(folder, file) == Imported(5, 0, 2)
    assert found(folder) == {
        (ONE, "annotator 3", "label", "disc", "too dark\nand small", 4.25),
        (ONE, "ada@example.org", "label", "a/b & <c>", "", None),
        (ONE, "Ben Bo", "cannot-tell", None, "why?", None),
        (TWO, "annotator 3", "adjudication", "Größe", "", None),
        (THREE, "Dr. C", "label", "disc", "", None),
    }
    assert imported(folder, file) == Imported(0, 5, 2)
    tasks[0]["annotations"][0]["result"][0] = label("Größe")
    assert imported(folder, written(folder, tasks)) == Imported(1, 4, 2)
    with open_project(folder) as project:
        (item,) = project.store.positions_of([ONE]).values()
        first, *_, last = project.store.history(item)
        assert last.supersedes == first.sequence
        assert last.shown == {"imported": True}


def test_a_line_of_json_min_is_an_annotation(folder: Path) -> None:
    rows = [
        {"item": ONE, "id": 2, "label": "disc", "annotator": 3, "annotation_id": 8, "lead_time": 1, "comment": "dark"},
        {"item": ONE, "id": 2, "choice": "Größe", "annotator": "ada@example.org", "annotation_id": 9},
        {"item": TWO, "id": 1, "label": "disc", "annotator": None, "reader": "Dr. C", "decides": "above all others"},
        {"item": THREE, "id": 3, "annotator": None, "annotation_id": None, "lead_time": None},
    ]
    assert imported(folder, written(folder, rows)) == Imported(3, 0, 1)
    assert found(folder) == {
        (ONE, "annotator 3", "label", "disc", "dark", 1.0),
        (ONE, "ada@example.org", "label", "Größe", "", None),
        (TWO, "Dr. C", "adjudication", "disc", "", None),
    }


def test_the_number_of_a_task_is_never_taken_for_an_id(tmp_path: Path) -> None:
    images = write_arrays(tmp_path / "images.npz", [str(number) for number in range(N_ITEMS)])
    folder = begun(tmp_path / "study", images)
    row = {"id": 2, "label": "disc", "annotator": 3, "annotation_id": 8}
    with pytest.raises(DataError, match=r"has no 'item', and its id is Label Studio's own"):
        imported(folder, written(folder, [row]))
    assert imported(folder, written(folder, [{**row, "item": 4}])).reads == 1
    assert {read[0] for read in found(folder)} == {"4"}


@pytest.mark.parametrize("start", ["", "\ufeff", " \n\t"])
def test_one_task_or_lines_of_tasks_under_any_name(start: str, folder: Path) -> None:
    one, two = task(ONE, by(1, label("disc"))), task(TWO, by(1, label("disc")))
    assert imported(folder, written(folder, start + json.dumps(one), "export")).reads == 1
    both = start + json.dumps(one) + "\n" + json.dumps(two) + "\n"
    assert imported(folder, written(folder, both, "tasks.jsonl")) == Imported(1, 1, 0)
    assert imported(folder, written(folder, start + json.dumps([one, two], indent=1), "list.txt")) == Imported(0, 2, 0)


GOOD = task(ONE, by("A", label("disc")))
REFUSED: dict[str, tuple[object, str]] = {
    "unknown item": ([GOOD, task("nowhere", by(1, label("disc")))], "names 'nowhere', which the project does not have"),
    "unknown class": ([GOOD, task(TWO, by(1, label("disk")))], "the label 'disk': known are disc, a/b"),
    "several classes": ([GOOD, task(TWO, by(1, label(["disc", "Größe"])))], "task 2 of .* chooses several classes"),
    "two controls": ([GOOD, task(TWO, by(1, label("disc", "x"), label("disc", "y")))], "has the choices x, y: call"),
    "one control twice": ([GOOD, task(TWO, by(1, label("disc"), label("disc")))], "'label' more than once: leave"),
    "twice": (
        [GOOD, task(TWO, by(1, label("disc")), by(1, label("disc")))],
        "two labels by 'annotator 1' for 'item 2'",
    ),
    "two decisions": (
        [GOOD, task(TWO, *(by(each, label("disc"), label("above all others", "decides")) for each in (1, 2)))],
        "two decisions for 'item 2'",
    ),
    "decides nothing": (
        [GOOD, task(TWO, by(1, label("cannot tell"), label("above all others", "decides")))],
        "who decides names a class, and 'item 2' has 'cannot tell'",
    ),
    "nobody": ([GOOD, task(TWO, by(None, label("disc")))], "task 2 of .* does not say who read"),
    "no item": ([GOOD, task(None, by(1, label("disc")))], "the data of task 2 of .* do not name the image"),
    "only named": ([GOOD, task(TWO, 17)], "an annotation of task 2 .* is only named"),
    "no data": ([GOOD, {"annotations": []}], "task 2 of .* has no data"),
    "another control": ([GOOD, {"item": TWO, "sort": "disc", "annotation_id": 3}], "neither 'label' nor 'choice'"),
    "seconds": ([GOOD, task(TWO, by(1, label("disc"), lead_time=-1))], "the lead_time of task 2 of .* is -1"),
    "no task": ([GOOD, 5], "task 2 of .* is no task"),
    "cut off": (json.dumps([GOOD, GOOD])[:-20], "cannot be read as JSON"),
    "no JSON": ("id,label\n", "cannot be read as JSON"),
    "comment": ([GOOD, task(TWO, by(1, label("disc"), text(["a\0b"])))], "the comment in task 2 .* cannot be stored"),
    "name": ([GOOD, task(TWO, by("a\0b", label("disc")))], "the name of a reader holds characters"),
    "long name": ([GOOD, task(TWO, by("x" * 201, label("disc")))], r"has 201 characters.*\(task 2 of"),
    "hidden": (
        [GOOD, task(TWO, by("a\u202eb", label("disc")))],
        "the name of a reader holds characters that cannot be",
    ),
    "person": ([GOOD, task(TWO, by({"email": ["x"]}, label("disc")))], "task 2 of .* does not say who read"),
    "id": ([GOOD, task("a\0b", by(1, label("disc")))], "the id in task 2 of .* cannot be stored"),
}


@pytest.mark.parametrize("at_once", [1, 1000])
@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_used_adds_nothing(
    case: str, at_once: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "AT_ONCE", at_once)
    tasks, says = REFUSED[case]
    with pytest.raises(DataError, match=says):
        imported(folder, written(folder, tasks))
    with open_project(folder) as project:
        assert not list(project.store.all_reads())
        assert not project.store.readers()


def test_a_store_that_is_full_keeps_no_reader_without_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreFull("there is no room left")

    file = written(folder, [GOOD])
    with monkeypatch.context() as patch:
        patch.setattr("overread.store.reads.record", full)
        with pytest.raises(StoreFull):
            imported(folder, file)
    with open_project(folder) as project:
        assert not project.store.readers()
    assert imported(folder, file).reads == 1


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_batches_make_no_difference(at_once: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "AT_ONCE", at_once)
    with with_round(folder):
        pass
    lines = [f"item {i},{CLASSES[(i + k) % 3]},{who},{k}" for k, who in enumerate(("A", "B", "C")) for i in range(10)]
    file = written(folder, "id,label,reader,comment\n" + "\n".join(lines) + "\n,,,\n", "table.csv")
    assert imported(folder, file) == Imported(30, 0, 1)
    assert imported(folder, file) == Imported(0, 30, 1)
    assert {each[:5] for each in found(folder)} == {
        (f"item {i}", who, "label", CLASSES[(i + k) % 3], str(k)) for k, who in enumerate("ABC") for i in range(10)
    }
    with open_project(folder) as project:
        for read in project.store.all_reads():
            assert read.round == (1 if read.item < 10 else None)
        assert project.store.progress(1).answered == sum(
            3 for item in project.store.items() if item.position < 10 and int(item.id.split()[1]) < 10
        )


def test_who_decides_takes_the_place_of_who_decided_before(folder: Path) -> None:
    for who, name in (("A", "disc"), ("B", "Größe")):
        assert imported(folder, written(folder, [task(ONE, by(who, label(name)))]), adjudicate=True).reads == 1
    assert found(folder) == {(ONE, "B", "adjudication", "Größe", "", None)}


def test_a_table_is_streamed_as_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    write_text(file, '\ufeffid ;label\n\n a ;"x\ny"\nb; z\n')
    rows = list(stream_table(file, ["id"]))
    assert rows == [{"id": "a", "label": "x\ny"}, {"id": "b", "label": "z"}]
    assert read_table(file).columns == {key: [row[key] for row in rows] for key in rows[0]}
    write_text(file, "id,label\na,b\nc,d,e\n")
    stream = stream_table(file, ["id"])
    assert next(stream) == {"id": "a", "label": "b"}
    with pytest.raises(DataError, match=r"row 2 of .* has 3 fields where the header has 2; mend the table"):
        next(stream)
    with pytest.raises(DataError, match="has no column 'reads'"):
        next(stream_table(file, ["reads"]))
    write_text(file, 'id,label\na,b\nc,"d\n')
    with pytest.raises(DataError, match="begins in line 3 never ends"):
        list(stream_table(file, ["id"]))


def test_the_memory_of_an_import_does_not_grow_with_the_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(*_: object) -> None:
        raise AssertionError("the whole project was asked for")

    for name in ("items", "current_reads", "all_reads", "reads_since"):
        monkeypatch.setattr(Store, name, whole)
    assert imported(folder, written(folder, [GOOD])).reads == 1


def test_what_was_taken_back_on_the_page_can_be_imported_again(folder: Path) -> None:
    with open_project(folder) as project:
        project.store.open_round("random", range(N_ITEMS))
    file = written(folder, f"id,label\n{ONE},{CLASSES[1]}\n", "reads.csv")
    assert imported(folder, file, "A").reads == 1
    with open_project(folder) as project:
        reader = project.store.readers()[0]
        assert project.store.undo(reader.id, str(uuid4()), 60) is not None
        assert list(project.store.current_reads()) == []
    assert imported(folder, file, "A") == Imported(1, 0, 0)
    assert imported(folder, file, "A") == Imported(0, 1, 0)
    with open_project(folder) as project:
        assert [read.label for read in project.store.current_reads()] == [1]


def test_one_person_is_one_reader_however_the_name_is_written(folder: Path) -> None:
    for number, name in enumerate(("M\u00fcller", "Mu\u0308ller  ")):
        file = written(folder, f"id,label\n{(ONE, TWO)[number]},{CLASSES[1]}\n", f"{number}.csv")
        imported(folder, file, name)
    with open_project(folder) as project:
        assert [reader.name for reader in project.store.readers()] == ["M\u00fcller"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("[" * 100_000, "nested", id="lists"),
        pytest.param('[{"a":' * 100_000, "nested", id="maps"),
        pytest.param(json.dumps([task(ONE, {**by(1), "result": 5})]), "no list of results", id="results"),
        pytest.param(b"\xff\xfe" + json.dumps([GOOD]).encode("utf-16-le"), "UTF-16: save it as UTF-8", id="utf-16"),
    ],
)
def test_hostile_json_is_one_sentence_and_little_memory(folder: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        imported(folder, written(folder, content), "A")
    with open_project(folder) as project:
        assert project.store.readers() == []


def test_comments_that_are_none_are_none(folder: Path) -> None:
    assert imported(folder, written(folder, [task(ONE, {**by(1, label(CLASSES[0])), "comments": 7})])).reads == 1
