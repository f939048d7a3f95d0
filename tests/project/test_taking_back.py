"""What a file brought can be taken back, and nothing but that; what is no table of reads is refused."""

from pathlib import Path
from typing import Any

import pytest
from exchanged import CLASSES, begun, said, standing, with_round, write_arrays

from overread.errors import DataError
from overread.files import write_text
from overread.project.exports import export_labels
from overread.project.folder import open_project
from overread.project.imports import import_reads, reading_in, staging, take_back_reads
from overread.store import Kind, Store


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path) -> Path:
    return begun(tmp_path / "study", write_arrays(tmp_path / "images.npz"))


def table(folder: Path, *rows: str, head: str = "id,label") -> Path:
    file = folder.parent / "reads.csv"
    write_text(file, "\n".join([head, *rows]) + "\n")
    return file


def imported(folder: Path, file: Path, reader: str | None = "Eva", **options: bool) -> reading_in.Imported:
    with open_project(folder) as project:
        return import_reads(project, file, reader, **options)


def taken_back(folder: Path, file: Path, reader: str | None = "Eva", **options: bool) -> int:
    with open_project(folder) as project:
        return take_back_reads(project, file, reader, **options)


def found(folder: Path) -> set[tuple[Any, ...]]:
    """What stands: id, reader, kind, label."""
    with open_project(folder) as project:
        ids = {item.position: item.id for item in project.store.items()}
        return {(ids[item], *what) for item, *what, _, _ in standing(project)}


def labels(*numbers: int, label: str = "disc") -> list[str]:
    return [f"item {number},{label}" for number in numbers]


@pytest.mark.parametrize("suffix", [".csv", "folder"])
def test_our_own_table_is_no_table_of_reads(suffix: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / f"cleaned{suffix}"
    with open_project(folder) as project:
        export_labels(project, out, suffix.lstrip("."))
    file = out if out.is_file() else out / "provenance.csv"
    with pytest.raises(DataError, match=r"is a table that `overread export` wrote.*--out tasks\.json"):
        imported(folder, file)
    assert found(folder) == set()
    # Earlier versions took it.
    head, *rows = file.read_text().splitlines()
    plain = table(folder, *rows, head=head.replace("source", "origin"))
    brought = imported(folder, plain)
    assert (brought.reads, brought.by_round) == (20, {None: 20})
    assert taken_back(folder, file) == 20
    assert found(folder) == set()


def test_tasks_of_ours_hold_real_reads(folder: Path, tmp_path: Path) -> None:
    imported(folder, table(folder, *labels(1, 2)))
    before = found(folder)
    with open_project(folder) as project:
        export_labels(project, tmp_path / "tasks.json", "label-studio")
    assert imported(folder, tmp_path / "tasks.json", None)[:2] == (0, 2)
    assert taken_back(folder, tmp_path / "tasks.json", None) == 2
    assert imported(folder, tmp_path / "tasks.json", None).reads == 2
    assert found(folder) == before


def test_an_import_says_which_rounds_asked_and_who_is_new(folder: Path) -> None:
    with with_round(folder) as project:
        order = [project.store.item(position).id for position in range(20)]
    asked, unasked = order[:3], order[15:]
    file = table(folder, *(f"{name},disc" for name in (*asked, *unasked)))
    brought = imported(folder, file)
    assert (brought.reads, brought.by_round, brought.new_readers) == (8, {1: 3, None: 5}, ("Eva",))
    again = imported(folder, file)
    assert (again.reads, again.by_round, again.new_readers) == (0, {}, ())


@pytest.mark.parametrize("at_once", [1, 3, 1000])
@pytest.mark.parametrize("closed", [False, True])
def test_all_that_a_file_brought_is_taken_back_and_counted_once(
    closed: bool, at_once: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "AT_ONCE", at_once)
    with with_round(folder) as project:
        order = [project.store.item(position).id for position in range(20)]
    good = table(folder, f"{order[4]},disc", f"{order[14]},disc")
    imported(folder, good, "Ada")
    before = found(folder)
    wrong = folder.parent / "wrong.csv"
    write_text(wrong, "id,label\n" + "".join(f"{name},Größe\n" for name in order[2:18]))
    assert imported(folder, wrong).reads == 16
    with open_project(folder) as project:
        assert project.store.progress(1).finished == 8
        if closed:
            project.store.close_round(1)
        events = list(project.store.all_reads())
    assert taken_back(folder, wrong, "Ada") == 0
    assert taken_back(folder, wrong) == 16
    assert found(folder) == before
    assert taken_back(folder, wrong) == 0
    with open_project(folder) as project:
        after = list(project.store.all_reads())
        # Nothing is deleted or changed.
        assert [event for event in after if event.kind != "undo"] == events
        assert len(after) == len(events) + 16
        assert project.store.progress(1).finished == 1
        if not closed:
            eva = next(each.id for each in project.store.readers() if each.name == "Eva")
            assert project.store.next_item(1, eva, 60) is not None
    assert imported(folder, wrong).reads == 16


def test_what_was_said_on_the_page_stays_and_comes_back_where_it_was_replaced(folder: Path) -> None:
    with with_round(folder) as project:
        eva = project.store.add_reader("Eva").id
        ids = [project.store.item(position).id for position in range(4)]
        for item in range(4):
            what: tuple[int | None, Kind] = (None, "cannot-tell") if item == 3 else (0, "label")
            project.store.record(said(item, eva, *what, round=1, comment=f"page {item}", shown={"given": 1}))
    before = found(folder)
    # The first one says the same, so that it adds nothing; the others correct.
    file = table(folder, f"{ids[0]},disc", *(f"{name},Größe" for name in ids[1:]))
    assert imported(folder, file)[:2] == (3, 1)
    # With a comment the file brings its reads a second time.
    write_text(file, file.read_text().replace("label\n", "label,comment\n").replace("Größe\n", "Größe,sure\n"))
    write_text(file, file.read_text().replace("disc\n", "disc,\n"))
    assert imported(folder, file)[:2] == (3, 1)
    assert taken_back(folder, file) == 3
    assert found(folder) == before
    assert taken_back(folder, file) == 0
    with open_project(folder) as project:
        assert project.store.progress(1).finished == 4
        kept = sorted(project.store.current_reads(), key=lambda read: read.item)
        firsts = [project.store.history(position)[0].sequence for position in range(4)]
        shown = [{"given": 1} | ({"repeats": first} if i else {}) for i, first in enumerate(firsts)]
        assert [(read.comment, read.shown) for read in kept] == [(f"page {i}", shown[i]) for i in range(4)]


@pytest.mark.parametrize("decides", [False, True])
def test_several_files_are_taken_back_to_what_was_said_on_the_page(folder: Path, decides: bool) -> None:
    with with_round(folder) as project:
        ada = project.store.add_reader("Ada").id
        name = project.store.item(0).id
        project.store.record(said(0, ada, 0, "adjudication" if decides else "label", round=1))
    before = found(folder)
    files = [folder.parent / f"{number}.csv" for number in range(2)]
    for file, label in zip(files, CLASSES[1:], strict=True):
        write_text(file, f"id,label\n{name},{label}\n")
        assert imported(folder, file, "Ada", adjudicate=decides).reads == 1
    for file in (files[1], files[0]):
        assert taken_back(folder, file, "Ada", adjudicate=decides) == 1
    assert found(folder) == before
    # And once more, over what was said again.
    for file in files:
        assert imported(folder, file, "Ada", adjudicate=decides).reads == 1
    for file in (files[1], files[0]):
        assert taken_back(folder, file, "Ada", adjudicate=decides) == 1
    assert found(folder) == before


def test_a_decision_is_taken_back_and_the_one_before_stands_again(folder: Path) -> None:
    with with_round(folder) as project:
        ada = project.store.add_reader("Ada").id
        names = [project.store.item(position).id for position in range(2)]
        project.store.record(said(0, ada, 1, "adjudication", round=1))
        project.store.record(said(0, ada, 2, round=1))
    before = found(folder)
    file = table(folder, *(f"{name},disc" for name in names))
    assert imported(folder, file, "Ada", adjudicate=True).reads == 2
    assert taken_back(folder, file, "Ada") == 0  # as reads they were never imported
    assert taken_back(folder, file, "Ada", adjudicate=True) == 2
    assert found(folder) == before
    with open_project(folder) as project:
        # What Ada read counts for the round as before.
        assert project.store.progress(1).finished == 1


def test_another_label_and_what_was_corrected_since_are_not_of_the_file(folder: Path) -> None:
    imported(folder, table(folder, *labels(1, 2, 3)))
    with open_project(folder) as project:
        eva = project.store.readers()[0].id
        (item,) = project.store.positions_of(["item 1"]).values()
        project.store.record(said(item, eva, 2))
    file = table(folder, *labels(1, 2), "item 3,Größe", "item 4,disc")
    assert taken_back(folder, file) == 1
    assert found(folder) == {("item 1", "Eva", "label", 2), ("item 3", "Eva", "label", 0)}


def test_taking_back_needs_no_more_memory_for_a_larger_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(*_: object) -> None:
        raise AssertionError("the whole project was asked for")

    file = table(folder, *labels(1))
    imported(folder, file)
    for name in ("items", "current_reads", "all_reads", "reads_since"):
        monkeypatch.setattr(Store, name, whole)
    assert taken_back(folder, file) == 1


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Dr Ada", "Dr. Ada"),
        ("dr.ada", "Dr. Ada"),
        ("Dr. Müler", "Dr. Müller"),
        ("Dr Muller", "Dr. Müller"),
        ("annotators 1", "annotator 1"),
        ("Dr. B", None),
        ("annotator 2", None),
        ("b@example.org", None),
        ("Dr. Ida", None),
    ],
)
def test_a_name_with_a_typing_error_is_no_new_reader(name: str, near: str | None, folder: Path) -> None:
    known = ("Dr. Ada", "Dr. Müller", "annotator 1", "a@example.org", "Dr. A")
    with open_project(folder) as project:
        for each in known:
            project.store.add_reader(each)
    file = table(folder, *labels(1))
    if near is None:
        assert imported(folder, file, name).new_readers == (name,)
        return
    with pytest.raises(DataError, match=f"who is new: did you mean '{near}'.*overread reader .* --no-password"):
        imported(folder, file, name)
    with open_project(folder) as project:
        assert list(project.store.all_reads()) == []
        project.store.add_reader(name)
    assert imported(folder, file, name).reads == 1


def test_one_file_does_not_write_a_name_in_two_ways(folder: Path) -> None:
    rows = ["item 1,disc,Dr. Ada", "item 2,disc,Dr Ada"]
    with pytest.raises(DataError, match=r"row 2 of .* names the reader 'Dr Ada', who is new: did you mean 'Dr\. Ada'"):
        imported(folder, table(folder, *rows, head="id,label,reader"), None)
    # Two new ones whose names are only alike may be two.
    rows = ["item 1,disc,Marie", "item 2,disc,Maria"]
    assert imported(folder, table(folder, *rows, head="id,label,reader"), None).new_readers == ("Maria", "Marie")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nofile.csv", "does not exist"),
        (".", "is a folder"),
        ("out.parquet", "is Parquet: save its rows as CSV"),
        ("images.npz", "is a workbook or an archive: save its rows as CSV"),
    ],
)
def test_what_is_no_table_is_named(name: str, says: str, folder: Path) -> None:
    with open_project(folder) as project:
        export_labels(project, folder.parent / "out.parquet", "parquet")
    for act in (imported, taken_back):
        with pytest.raises(DataError, match=says):
            act(folder, folder.parent / name)
