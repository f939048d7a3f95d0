"""Several readers of unequal skill: by which rule they agree, how many are asked, and what is said of them."""

import csv
import sys
from collections import Counter
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_project import METHODS, begun
from tiny import CLASSES

from overread.arrays.agreed import RULES
from overread.cli import main
from overread.cli_project import Consensus
from overread.progress import Silent
from overread.project.exports import export_labels, rows
from overread.project.folder import Project, open_project
from overread.project.news import news_of
from overread.project.steps import learn_labels, select_items, update_model
from overread.results import round_file
from overread.store import Read


def said(folder: Path, item: int, label: int, who: str) -> None:
    with open_project(folder) as project:
        ids = {reader.name: reader.id for reader in project.store.readers()}
        reader = ids.get(who) or project.store.add_reader(who).id
        project.store.record(Read(str(uuid4()), item, reader, "label", label))


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["overread", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert not end.value.code, err
    return out


@pytest.fixture(name="judged")
def fixture_judged(tmp_path: Path) -> tuple[Path, list[int]]:
    """A project in which three readers labelled 80 items; one is nearly always right, and two often guess."""
    folder, truth, _ = begun(tmp_path, *METHODS["noise model"])
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
        true = [CLASSES.index(truth[item.id]) for item in project.store.items()]
        rng = np.random.default_rng(0)
        people = {who: project.store.add_reader(who).id for who in ("Ada", "Ben", "Cem")}
        for item in range(80):
            for who, skill in (("Ada", 0.97), ("Ben", 0.5), ("Cem", 0.5)):
                right = rng.random() < skill
                label = true[item] if right else int(true[item] + rng.integers(1, 3)) % 3
                project.store.record(Read(str(uuid4()), item, people[who], "label", label))
    return folder, true


def test_a_rule_that_finds_out_who_errs_is_learnt_exported_and_kept(
    judged: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, true = judged
    with open_project(folder, to_work=True) as project:
        update_model(project, Silent())
        assert project.consensus == "majority"
        assert export_labels(project, tmp_path / "by-majority.csv", "csv") == len(true)
    command(monkeypatch, capsys, "update", str(folder), "--consensus", "dawid-skene")
    with open_project(folder) as project:
        assert project.consensus == "dawid-skene"
        assert [entry.get("consensus") for entry in project.rounds] == [None, "majority", "dawid-skene"]
        assert news_of(project).changed == 0
        export_labels(project, tmp_path / "by-skill.csv", "csv")
    labels, right = {}, {}
    for name in ("by-majority", "by-skill"):
        rows = list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))[:80]
        labels[name] = [CLASSES.index(row["label"]) for row in rows if row["source"] == "read"]
        assert {row["source"] for row in rows} <= {"read", "disputed"}
        right[name] = sum(row["label"] == CLASSES[label] for row, label in zip(rows, true, strict=False))
    # Where all three differ one is believed, who is mostly right; the plain rule leaves such items open.
    assert len(labels["by-skill"]) > len(labels["by-majority"])
    assert right["by-skill"] > right["by-majority"]
    learnt = pq.read_table(round_file(folder, "snapshots", 2)).to_pydict()
    assert learnt["label"] == labels["by-skill"]
    said(folder, 81, 0, "Ada")
    with open_project(folder) as project:
        assert news_of(project).changed >= 1
    command(monkeypatch, capsys, "update", str(folder))
    with open_project(folder) as project:
        assert project.rounds[-1]["consensus"] == "dawid-skene"


def test_the_terminal_compares_readers(
    judged: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = judged
    plain = command(monkeypatch, capsys, "status", str(folder))
    assert "kappa" not in plain
    lines = command(monkeypatch, capsys, "status", str(folder), "--readers").splitlines()
    assert [line.split(":")[0] for line in lines if "kappa:" in line] == [
        "Ada and Ben, Cohen's kappa",
        "Ada and Cem, Cohen's kappa",
        "Ben and Cem, Cohen's kappa",
        "All of them, Fleiss' kappa",
    ]
    assert "Ada said (columns), where the majority of the others says (rows):" in lines


def test_where_readers_tie_one_more_is_asked_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, truth, _ = begun(tmp_path, *METHODS["noise model"])
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
        select_items(project, 3, Silent(), audited=0, readers=2, at_most=3)
        store = project.store
        people = [store.add_reader(name).id for name in "abcd"]
        asked: Counter[int] = Counter()
        for number, person in enumerate(people):
            while (lease := store.next_item(1, person, 60)) is not None:
                # The second one contradicts the first one of one item.
                first = min(project.store.items(), key=lambda item: item.position != lease.item)
                label = CLASSES.index(truth[first.id])
                ties = asked.total() >= 3 and number == 1 and lease.item == min(asked)
                asked[lease.item] += 1
                store.record(Read(str(uuid4()), lease.item, person, "label", (label + ties) % 3, 1))
        assert sorted(asked.values()) == [2, 2, 3]
        assert store.progress(1).finished == 3
    monkeypatch.setattr(
        sys, "argv", ["overread", "select", str(folder), "--budget", "2", "--readers", "3", "--at-most", "2"]
    )
    with pytest.raises(SystemExit):
        main()
    assert "--at-most: it is less than --readers 3" in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_updated_keeps_its_rule_and_what_makes_no_difference_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = begun(tmp_path, *METHODS["noise model"])
    arguments = ["update", str(folder), "--consensus", "dawid-skene"]
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
        select_items(project, 3, Silent())
    monkeypatch.setattr(sys, "argv", ["overread", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    with open_project(folder, to_work=True) as project:
        assert project.consensus == "majority"
        update_model(project, Silent(), early=True)
    out = command(monkeypatch, capsys, *arguments)
    assert out.startswith("Readers agree by dawid-skene from now on; no label changes by it.\nNext: overread select ")
    with open_project(folder) as project:
        assert project.consensus == "dawid-skene"
        assert len(project.rounds) == 2


def test_the_names_of_the_rules_are_one_list() -> None:
    assert tuple(each.value for each in Consensus) == RULES


def test_a_read_that_comes_while_a_file_is_written_is_not_half_in_it(
    judged: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = judged
    with open_project(folder, to_work=True) as project:
        project.state["consensus"] = "dawid-skene"
        update_model(project, Silent())
        plain = rows._agreed_labels

        def later(project: Project) -> object:
            said(folder, 90, 1, "Ada")
            store = project.store
            assert store.undo(1, str(uuid4()), 60) is None
            said(folder, 0, 2, "Ben")
            return plain(project)

        monkeypatch.setattr(rows, "_agreed_labels", later)
        found = [item for batch in rows.labelled_items(project) for item in batch]
    assert found[90].reads == []
    assert found[90].row["source"] in ("given", "model")
    assert found[0].row["source"] in ("read", "disputed")
