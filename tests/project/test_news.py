"""What was said since the last update: who says so, what comes next, and an update without a round."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_project import METHODS, answer, begun, disputed, imported, selected, updated

from overread.errors import RunError
from overread.files import write_text
from overread.progress import Silent
from overread.project.disputes import disputed_items, note_disputes
from overread.project.folder import open_project
from overread.project.imports import import_reads, take_back_reads
from overread.project.news import News, news_of
from overread.project.next_step import next_step
from overread.project.order import check_select, check_update
from overread.project.queue_file import disputed_file, read_queue, table_file
from overread.project.snapshot import load_snapshot
from overread.project.status import describe
from overread.project.steps import learn_labels
from overread.results import round_file
from overread.store import Store


@pytest.fixture(name="learnt")
def fixture_learnt(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    folder, truth, _ = begun(tmp_path, *METHODS["noise model"])
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
    return folder, truth


def reads_of(folder: Path, labels: dict[str, str], name: str = "reads.csv") -> Path:
    file = folder.parent / name
    write_text(file, "id,label\n" + "".join(f"{item},{label}\n" for item, label in labels.items()))
    return file


def asked(folder: Path, what: Any, *arguments: Any, **options: Any) -> Any:
    with open_project(folder) as project:
        return what(project, *arguments, **options)


def labels_learnt(folder: Path, number: int) -> dict[int, int]:
    learnt = load_snapshot(round_file(folder, "snapshots", number))
    return dict(zip(learnt.positions.tolist(), learnt.labels.tolist(), strict=True))


def test_reads_between_rounds_are_learnt_by_an_update_of_their_own(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    assert asked(folder, news_of) == News(0, [], False)
    assert asked(folder, next_step).startswith(f"Next: overread select {folder} --budget 50, or overread export ")
    with pytest.raises(RunError, match=r"no round is being read, and no label .* Next: overread select .* --budget 50"):
        updated(folder)
    some = dict(list(truth.items())[:4])
    imported(folder, reads_of(folder, some))
    assert asked(folder, next_step).endswith(
        f"are new or changed since the last update. Next: overread update {folder}"
    )
    entry = updated(folder)
    assert (entry["round"], entry["items_read"], entry["unasked"]) == (1, 4, True)
    with pytest.raises(RunError, match="no label from readers has changed since the last update"):
        updated(folder)
    with open_project(folder) as project:
        assert [each.open for each in project.store.rounds()] == [False]
        assert not table_file(folder, 1).exists()
    # It learnt what a round would have.
    scores = pq.read_table(round_file(folder, "scores", 1)).to_pydict()
    assert sum(scores["bought"]) == 4
    # The next round goes on as after any other, and counts the labels once.
    queue = selected(folder)
    assert not set(queue) & set(labels_learnt(folder, 1))
    imported(folder, answer(folder, 2, truth))
    assert updated(folder)["items_read"] == 4 + len(queue)


def test_late_and_decided_and_taken_back_labels_are_news(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    _, rows = disputed(folder, truth)
    with open_project(folder) as project:
        import_reads(project, reads_of(folder, {row["id"]: truth[row["id"]] for row in rows}), "C", adjudicate=True)
    assert asked(folder, news_of).changed == 3
    entry = updated(folder)
    assert (entry["items_read"], entry["disputed"], entry["round"]) == (7, 0, 2)
    # The same label by one more reader is nothing to learn from.
    imported(folder, answer(folder, 1, truth), "D")
    assert asked(folder, news_of).changed == 0
    with pytest.raises(RunError, match="no label from readers has changed"):
        asked(folder, check_update, False)
    with open_project(folder) as project:
        assert sum(each.open for each in project.store.rounds()) == 0


@pytest.mark.parametrize("after", ["queue", "scores", "entry", "round"])
def test_an_update_of_its_own_that_is_killed_is_made_again_to_the_same_end(
    after: str, learnt: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, truth = learnt
    imported(folder, reads_of(folder, dict(list(truth.items())[:5])))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    target = {
        "queue": "overread.project.steps.load_snapshot",
        "scores": "overread.project.steps.save_state",
        "entry": "overread.store.Store.open_round",
        "round": "overread.store.Store.close_round",
    }[after]
    with monkeypatch.context() as patch:
        patch.setattr(target, killed)
        with pytest.raises(KeyboardInterrupt):
            updated(folder)
    written = round_file(folder, "scores", 1)
    before = written.read_bytes() if written.exists() else None
    if after in ("queue", "scores"):
        assert updated(folder)["items_read"] == 5
    else:
        # The round is complete; the next step only closes it.
        with pytest.raises(RunError, match="no label from readers has changed"):
            updated(folder)
    assert before in (None, written.read_bytes())
    with open_project(folder) as project:
        assert [each.open for each in project.store.rounds()] == [False]
        assert len(project.rounds) == 2
    selected(folder)
    with open_project(folder) as project:
        assert [each.open for each in project.store.rounds()] == [False, True]


def test_where_all_is_read_every_command_says_export(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    imported(folder, reads_of(folder, truth))
    with pytest.raises(RunError, match=r"nothing is left to read in .* Next: overread update"):
        asked(folder, check_select)
    updated(folder)
    export = rf"Every item is read\. Next: overread export {folder} --out cleaned\.csv"
    assert asked(folder, describe).endswith(export.replace("\\", ""))
    for check, arguments in ((check_select, ()), (check_update, (False,))):
        with pytest.raises(RunError, match=export):
            asked(folder, check, *arguments)
    # Whoever takes one back opens it again.
    one = reads_of(folder, dict([next(iter(truth.items()))]))
    assert asked(folder, take_back_reads, one, "A") == 1
    assert asked(folder, news_of) == News(1, [], False)
    assert updated(folder)["items_read"] == len(truth) - 1
    assert "Next: overread select" in asked(folder, next_step)


def test_the_next_step_of_a_round_names_what_is_left_to_do(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    selected(folder)
    assert f"0 of 7 items are read, 0 reads. Next: overread serve {folder}, or" in asked(folder, next_step)
    there = asked(folder, next_step, served=True)
    assert "serve" not in there
    assert there.endswith(f"then overread update {folder}")
    with pytest.raises(RunError, match=r"or end it as it is with `overread update .* --early`, before the next one"):
        asked(folder, check_select)
    imported(folder, answer(folder, 1, truth))
    assert asked(folder, next_step) == f"Round 1: 7 of 7 items are read, 7 reads. Next: overread update {folder}"


def test_a_round_without_a_new_label_changes_no_number(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    selected(folder)
    imported(folder, answer(folder, 1, truth))
    first = updated(folder)
    for number in (2, 3):
        selected(folder)
        entry = updated(folder, early=True)
        assert (entry["round"], entry["repeats"]) == (number, 1)
        assert {key: entry[key] for key in ("items_read", "estimates", "presumed_clean", "estimated_rate")} == {
            key: first[key] for key in ("items_read", "estimates", "presumed_clean", "estimated_rate")
        }
        assert round_file(folder, "scores", number).read_bytes() == round_file(folder, "scores", 1).read_bytes()
    text = asked(folder, describe)
    assert "Round 3 ended without a new label: its numbers are those of round 1." in text
    # What comes behind it goes on from the same model.
    queue = selected(folder)
    imported(folder, answer(folder, 4, truth))
    entry = updated(folder)
    assert "repeats" not in entry
    assert entry["items_read"] == 7 + len(queue)


def test_a_lost_model_is_named_where_its_round_is_repeated(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, _ = learnt
    selected(folder)
    round_file(folder, "checkpoints", 0, ".safetensors").unlink()
    with pytest.raises(RunError, match=r"checkpoints/round-000\.safetensors is lost: restore it"):
        updated(folder, early=True)


def test_a_project_of_an_earlier_version_has_its_news_too(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    selected(folder)
    imported(folder, answer(folder, 1, truth))
    updated(folder)
    path = folder / "project.json"
    state = json.loads(path.read_text())
    assert state["rounds"][-1].pop("last_read") == 7
    state["rounds"][-1].pop("unasked")
    write_text(path, json.dumps(state))
    assert asked(folder, news_of) == News(0, [], False)
    other = next(name for name in truth if name not in table_file(folder, 1).read_text())
    imported(folder, reads_of(folder, {other: truth[other]}))
    assert asked(folder, news_of) == News(1, [], False)


def test_news_cost_what_was_said_since_and_no_more(
    learnt: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, truth = learnt
    imported(folder, reads_of(folder, dict(list(truth.items())[:5])))
    updated(folder)

    def whole(*_: object) -> None:
        raise AssertionError("all reads were asked for")

    for name in ("current_reads", "all_reads", "items"):
        monkeypatch.setattr(Store, name, whole)
    assert asked(folder, news_of) == News(0, [], False)
    imported(folder, reads_of(folder, dict(list(truth.items())[5:6])))
    assert asked(folder, news_of).changed == 1


def test_disputes_between_updates_get_a_table_in_which_filled_rows_stay(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    names = list(truth)[:3]
    other = {name: next(each for each in ("disc", "stripe", "noise") if each != truth[name]) for name in names}
    imported(folder, reads_of(folder, {name: truth[name] for name in names}), "A")
    imported(folder, reads_of(folder, dict(list(other.items())[:2])), "B")
    assert "decide on the page" in asked(folder, describe)
    assert f"or in {disputed_file(folder, 0)}" not in asked(folder, describe)
    found = asked(folder, disputed_items)
    assert sorted(asked(folder, news_of).disputed) == sorted(found)
    asked(folder, note_disputes, found)
    rows = list(csv.DictReader(disputed_file(folder, 0).read_text().splitlines()))
    assert sorted(row["id"] for row in rows) == sorted(names[:2])
    assert f"or in {disputed_file(folder, 0)}, and `overread import" in asked(folder, describe)
    # One is filled in, and another dispute comes.
    write_text(disputed_file(folder, 0), f"id,image,label,comment\n{names[0]},,{truth[names[0]]},mine\n")
    imported(folder, reads_of(folder, other), "B")
    asked(folder, note_disputes, asked(folder, disputed_items))
    rows = list(csv.DictReader(disputed_file(folder, 0).read_text().splitlines()))
    assert {row["id"]: (row["label"], row["comment"]) for row in rows} == {
        names[0]: (truth[names[0]], "mine"),
        names[1]: ("", ""),
        names[2]: ("", ""),
    }
    # It says nothing where nothing is filled in, and decides the others.
    with open_project(folder) as project:
        brought = import_reads(project, disputed_file(folder, 0), "C", adjudicate=True)
    assert (brought.reads, brought.empty) == (1, 2)
    write_text(disputed_file(folder, 0), "what is this\nno table\n")
    asked(folder, note_disputes, asked(folder, disputed_items))
    assert disputed_file(folder, 0).read_text() == "what is this\nno table\n"


def test_the_queue_of_a_round_of_its_own_is_empty(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    imported(folder, reads_of(folder, dict(list(truth.items())[:2])))
    updated(folder)
    assert read_queue(folder, 1) == {"audited": [], "chosen": []}
    assert np.isfinite(pq.read_table(round_file(folder, "scores", 1))["label_quality"].to_numpy()).all()
