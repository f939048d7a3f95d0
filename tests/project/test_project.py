"""A project from images to a cleaned table: the same labels as a simulation, from people's reads."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import CLASSES, tiny_config

from overread.data.dataset import load_dataset
from overread.errors import ConfigError, DataError, RunError
from overread.files import write_text
from overread.progress import Silent
from overread.project.begin import init_project
from overread.project.exports import export_labels
from overread.project.folder import open_project
from overread.project.imports import import_reads
from overread.project.queue_file import disputed_file, read_queue, table_file
from overread.project.status import describe
from overread.project.steps import learn_labels, select_items, update_model
from overread.refine import simulate
from overread.results import round_file
from overread.simulation import make_noisy_labels

METHODS = {
    "noise model": ("preset=default", "model.mode=frozen"),
    "published method": ("preset=paper",),
}
ROUNDS, BUDGET = 2, 5


def begun(tmp_path: Path, *settings: str) -> tuple[Path, dict[str, str], dict[str, Any]]:
    """A project with noisy labels, the truth by id, and the results of a simulation with the same seed and noise."""
    config = tiny_config(tmp_path, *settings, f"active.rounds={ROUNDS}", f"active.budget={BUDGET}", "active.audit=2")
    results = simulate(config)
    dataset = load_dataset(config.data, config.seed)
    train = dataset.positions("train")
    given = make_noisy_labels(dataset, train, config.noise, config.seed).given
    ids = dataset.ids[train].tolist()
    rows = [f"{name},{CLASSES[label]}" for name, label in zip(ids, given.tolist(), strict=True)]
    labels = tmp_path / "labels.csv"
    write_text(labels, "\n".join(["id,label", *rows]) + "\n")
    folder = tmp_path / "study"
    assert config.data.path is not None
    text = [line for line in settings if not line.startswith("out=")]
    own = [f"{section}.{key}={value}" for section, key, value in _keys(config)]
    init_project(folder, config.data.path, labels, [*own, *text, "active.audit=2"], None, Silent())
    truth = dict(zip(ids, (CLASSES[label] for label in dataset.reference[train].tolist()), strict=True))
    return folder, truth, results


def _keys(config: Any) -> list[tuple[str, str, object]]:
    kept = {
        "model": ["input_size"],
        "lnl": ["epochs", "warmup_epochs", "forget_ramp_epochs", "vog_window", "batch_size"],
    }
    kept["active"] = ["epochs"]
    return [(name, key, getattr(getattr(config, name), key)) for name, keys in kept.items() for key in keys]


def answer(folder: Path, number: int, truth: dict[str, str], wrong: int = 0) -> Path:
    """The table of a round, filled in; the first `wrong` rows with another class."""
    path = table_file(folder, number)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for i, row in enumerate(rows):
        row["label"] = truth[row["id"]] if i >= wrong else next(name for name in CLASSES if name != truth[row["id"]])
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def play(folder: Path, truth: dict[str, str]) -> None:
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
    for number in range(1, ROUNDS + 1):
        with open_project(folder, to_work=True) as project:
            select_items(project, BUDGET, Silent())
            import_reads(project, answer(folder, number, truth), "A")
        with open_project(folder, to_work=True) as project:
            update_model(project, Silent())


@pytest.mark.parametrize("method", METHODS)
def test_the_loop_ends_with_the_labels_of_a_simulation(method: str, tmp_path: Path) -> None:
    folder, truth, _ = begun(tmp_path, *METHODS[method])
    play(folder, truth)
    for number in range(ROUNDS + 1):
        mine = pq.read_table(round_file(folder, "scores", number))
        simulated = pq.read_table(round_file(tmp_path / "run", "scores", number)).drop(["reference"])
        assert mine.column_names == simulated.column_names
        for name in mine.column_names:
            np.testing.assert_array_equal(mine[name].to_numpy(), simulated[name].to_numpy(), f"{number} {name}")
    with open_project(folder) as project:
        assert export_labels(project, tmp_path / "out.csv", "csv") == len(truth)
        assert "Next: overread select" in describe(project)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    read = [row for row in rows if row["source"] == "read"]
    assert len(read) == ROUNDS * (BUDGET + 2)
    assert all(row["label"] == truth[row["id"]] for row in read)
    event = json.loads(read[0]["reads"])[0]
    assert (event["reader"], event["label"], event["kind"]) == ("A", read[0]["label"], "label")


@pytest.fixture(name="learnt")
def fixture_learnt(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A project after phase 1, and the truth by id."""
    folder, truth, _ = begun(tmp_path, *METHODS["noise model"])
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
    return folder, truth


def selected(folder: Path, readers: int = 1) -> list[int]:
    with open_project(folder, to_work=True) as project:
        queue = select_items(project, BUDGET, Silent(), readers=readers)
    return [*queue["audited"], *queue["chosen"]]


def imported(folder: Path, file: Path, reader: str | None = "A") -> tuple[int, int]:
    with open_project(folder) as project:
        found = import_reads(project, file, reader)
        return found.reads, found.empty


def updated(folder: Path, early: bool = False) -> dict[str, Any]:
    with open_project(folder, to_work=True) as project:
        return update_model(project, Silent(), early=early)


def test_what_readers_do_not_agree_on_teaches_nothing_and_is_not_asked_again(
    learnt: tuple[Path, dict[str, str]],
) -> None:
    folder, truth = learnt
    queue = selected(folder, readers=2)
    assert imported(folder, answer(folder, 1, truth), "A") == (len(queue), 0)
    assert imported(folder, answer(folder, 1, truth, wrong=3), "B") == (len(queue), 0)
    entry = updated(folder)
    assert (entry["items_read"], entry["disputed"]) == (len(queue) - 3, 3)
    scores = pq.read_table(round_file(folder, "scores", 1)).to_pydict()
    assert [position for position, read in enumerate(scores["bought"]) if read] == sorted(queue[3:])
    text = _status(folder)
    assert "3 items are disputed" in text
    assert "Krippendorff's alpha" in text
    rows = exported(folder)
    assert [row["source"] for row in rows].count("disputed") == 3
    assert all(row["label"] == row["suggested"] for row in rows if row["source"] == "disputed")
    assert not set(selected(folder)) & set(queue)


def test_readers_who_fill_in_the_same_both_count(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    queue = selected(folder, readers=2)
    table = answer(folder, 1, truth)
    assert imported(folder, table, "A") == imported(folder, table, "B") == (len(queue), 0)
    assert updated(folder)["items_read"] == len(queue)
    assert "Krippendorff's alpha: 1.00" in _status(folder)


def disputed(folder: Path, truth: dict[str, str]) -> tuple[Path, list[dict[str, str]]]:
    """The table of disputes, and its rows, after a round whose two readers do not agree on three items."""
    selected(folder, readers=2)
    imported(folder, answer(folder, 1, truth), "A")
    imported(folder, answer(folder, 1, truth, wrong=3), "B")
    updated(folder)
    table = disputed_file(folder, 1)
    return table, list(csv.DictReader(table.read_text().splitlines()))


def test_one_who_decides_ends_a_dispute(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    table, rows = disputed(folder, truth)
    assert len(rows) == 3
    assert list(rows[0]) == ["id", "image", "label", "comment"]
    write_text(table, "id,label\n" + "".join(f"{row['id']},{truth[row['id']]}\n" for row in rows))
    with open_project(folder) as project:
        assert import_reads(project, table, "C", adjudicate=True).reads == 3
    assert "disputed" not in _status(folder)
    for who in ("A", "C"):  # each decides anew, and the last one counts
        with open_project(folder) as project:
            assert import_reads(project, table, who, adjudicate=True).reads == 3
    found = {row["id"]: row for row in exported(folder)}
    assert all(found[row["id"]]["source"] == "adjudicated" for row in rows)
    assert all(found[row["id"]]["label"] == truth[row["id"]] for row in rows)
    before = len(queue_of(folder, 1))
    selected(folder)
    imported(folder, answer(folder, 2, truth))
    assert updated(folder)["items_read"] == before + len(queue_of(folder, 2))
    assert truth[rows[0]["id"]] in table.read_text()  # what was filled in stays
    assert not disputed_file(folder, 2).exists()


def queue_of(folder: Path, number: int) -> list[int]:
    return [position for positions in read_queue(folder, number).values() for position in positions]


def exported(folder: Path) -> list[dict[str, Any]]:
    out = folder.parent / "out.parquet"
    with open_project(folder) as project:
        export_labels(project, out, "parquet")
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return rows


def test_the_same_table_again_adds_nothing_and_a_later_one_corrects(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    queue = selected(folder)
    wrong = answer(folder, 1, truth, wrong=2)
    first_table = folder.parent / "first.csv"
    first_table.write_bytes(wrong.read_bytes())
    assert imported(folder, wrong) == (len(queue), 0)
    assert imported(folder, wrong) == (0, 0)
    with open_project(folder) as project:
        assert len(list(project.store.all_reads())) == len(queue)
    assert imported(folder, answer(folder, 1, truth)) == (2, 0)  # the others are as they were
    updated(folder)
    selected(folder)
    assert imported(folder, answer(folder, 1, truth)) == (0, 0)  # nor in a later round
    rows = [row for row in exported(folder) if row["source"] == "read"]
    assert len(rows) == len(queue)
    assert all(row["label"] == truth[row["id"]] and row["round"] == 1 for row in rows)
    first, second = next(events for row in rows if len(events := json.loads(row["reads"])) == 2)
    assert second["replaces"] == first["read"]
    assert imported(folder, first_table) == (2, 0)  # whoever puts an older table back corrects again
    imported(folder, answer(folder, 2, truth))
    updated(folder)
    scores = pq.read_table(round_file(folder, "snapshots", 2)).to_pydict()
    number_of = dict(zip(scores["position"], scores["round"], strict=True))
    assert all(number_of[position] == 1 for position in queue)


def test_a_reader_may_say_nothing_or_that_he_cannot_tell(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    queue = selected(folder)
    path = answer(folder, 1, truth)
    lines = path.read_text().splitlines()
    lines[1] = lines[1].split(",")[0] + ",,cannot tell,too dark"
    lines[2] = lines[2].split(",")[0] + ",,,"
    path.write_text("\n".join(lines) + "\n")
    assert imported(folder, path) == (len(queue) - 1, 1)
    with pytest.raises(RunError, match=r"1 of the 7 items of round 1 has not all reads .* --early"):
        updated(folder)
    entry = updated(folder, early=True)
    assert (entry["items_read"], entry["unclear"]) == (len(queue) - 2, 1)
    again = selected(folder)
    assert queue[0] not in again  # nobody can tell
    assert set(again) - set(queue) != set()


TABLES = {
    "unknown item": ("id,label\nnowhere,disc\n", "names 'nowhere', which the project does not have"),
    "unknown class": ("id,label\n{id},disk\n", "the label 'disk': known are disc, stripe, noise, and 'cannot tell'"),
    "twice": ("id,label,reader\n{id},disc,A\n{id},noise,A\n", "has two labels by 'A' for"),
    "no reader": ("id,label\n{id},disc\n", "does not say who read"),
    "no label column": ("id,class\n{id},disc\n", "has no column 'label'"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_cannot_be_used_adds_nothing(case: str, learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    text, says = TABLES[case]
    file = folder.parent / "bad.csv"
    good = f"{next(iter(truth))},disc" if case.startswith("unknown") else ""
    write_text(file, text.format(id=list(truth)[1]) + (good and good + "\n"))
    with pytest.raises(DataError, match=says):
        imported(folder, file, None)
    with open_project(folder) as project:
        assert not list(project.store.all_reads())
        assert not project.store.readers()


def test_steps_out_of_order_say_what_comes_first(tmp_path: Path) -> None:
    folder, truth, _ = begun(tmp_path, *METHODS["noise model"])
    with pytest.raises(RunError, match=r"phase 1 comes first: `overread learn"):
        selected(folder)
    with open_project(folder) as project, pytest.raises(RunError, match="phase 1 comes first"):
        export_labels(project, tmp_path / "out.csv", "csv")
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
    with pytest.raises(RunError, match="no round is being read"):
        updated(folder)
    selected(folder)
    with pytest.raises(RunError, match="round 1 is being read: finish it with `overread update"):
        selected(folder)
    with pytest.raises(RunError, match="7 of the 7 items of round 1 have not all reads"):
        updated(folder)
    with open_project(folder, to_work=True) as project, pytest.raises(RunError, match=r"phase 1 of .* is done"):
        learn_labels(project, Silent())
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("batch_size: 32", "batch_size: 16"))
    imported(folder, answer(folder, 1, truth))
    with pytest.raises(RunError, match=r"config\.yaml of .* has changed since phase 1"):
        updated(folder)


def test_a_project_begins_once_and_with_what_it_can_use(tmp_path: Path) -> None:
    folder, truth, _ = begun(tmp_path, *METHODS["noise model"])
    images = tmp_path / "tiny.npz"
    with pytest.raises(RunError, match="is a project already"):
        init_project(folder, images, None, [], None, Silent())
    for settings in (["preset=paper-as-published"], ["preset=paper", "lnl.forget_rate=true"]):
        with pytest.raises(ConfigError, match="a project has no reference labels"):
            init_project(tmp_path / "new", images, None, settings, None, Silent())
    with pytest.raises(ConfigError, match=r"data\.max_train leaves items out"):
        init_project(tmp_path / "new", images, None, ["data.max_train=20"], None, Silent())
    with pytest.raises(ConfigError, match="leave the password out of --db"):
        init_project(tmp_path / "new", images, None, [], "postgresql+psycopg://me:secret@localhost/x", Silent())
    name = next(iter(truth))
    for url in (
        "postgresql+psycopg://me@localhost/x?password=secret",
        "other.db",
        "sqlite:///x.db",
        "postgresql://h:port/x",
    ):
        with pytest.raises(ConfigError, match="leave the password out" if "secret" in url else "--db takes postgresql"):
            init_project(tmp_path / "new", images, None, [], url, Silent())
    for setting in ("noise.rate=0.2", "active.until=gain<0.1", "cluster=ray"):
        with pytest.raises(ConfigError, match="mean nothing in a project"):
            init_project(tmp_path / "new", images, None, [setting], None, Silent())
    for text, says in (
        (f"id,label\n{name},disc\n", "has no label for"),
        (f"id,label\n{name},disc\n{name},disc\n", "more than once"),
        (f"id,label\n{name},disk\n", f"1 labels of .* cannot be used: '{name}'"),
        (f"id,label\n{name},disc,1\n", "mend the table"),
        (f"id,label\n{name},disc\nelsewhere,disc\n", "names 'elsewhere', of which there is no image"),
    ):
        write_text(tmp_path / "short.csv", text)
        with pytest.raises(DataError, match=says):
            init_project(tmp_path / "new", images, tmp_path / "short.csv", [], None, Silent())
    assert not (tmp_path / "new").exists()


def test_images_that_change_are_noticed(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, _ = learnt
    images = folder.parent / "tiny.npz"
    arrays = dict(np.load(images))
    arrays["images"][0] ^= 255
    np.savez(images, **arrays)
    with pytest.raises(RunError, match="has changed since it began"):
        selected(folder)


@pytest.mark.parametrize("after", ["scores", "state"])
def test_an_update_that_is_killed_is_made_again_to_the_same_end(
    after: str, learnt: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, truth = learnt
    selected(folder)
    imported(folder, answer(folder, 1, truth))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    target = "overread.project.steps.save_state" if after == "scores" else "overread.store.Store.close_round"
    with monkeypatch.context() as patch:
        patch.setattr(target, killed)
        with pytest.raises(KeyboardInterrupt):
            updated(folder)
    before = round_file(folder, "scores", 1).read_bytes()
    if after == "scores":
        updated(folder)
    else:
        assert "Next: overread select" in _status(folder)
    assert round_file(folder, "scores", 1).read_bytes() == before
    selected(folder)
    with open_project(folder) as project:
        assert [each.open for each in project.store.rounds()] == [False, True]


def _status(folder: Path) -> str:
    with open_project(folder) as project:
        return describe(project)


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "overread", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_commands_lead_through_a_project(tmp_path: Path) -> None:
    folder, truth, _ = begun(tmp_path, *METHODS["noise model"])
    study = str(folder)
    assert "right labels" in run_command("learn", study).stdout
    done = run_command("select", study, "--budget", "4")
    assert done.returncode == 0, done.stderr
    assert str(table_file(folder, 1)) in done.stdout
    assert "6 reads" in run_command("import", study, str(answer(folder, 1, truth)), "--reader", "A").stdout
    assert "Next: overread select" in run_command("update", study).stdout
    assert "A: 6 reads" in run_command("status", study).stdout
    assert f"{len(truth)} items" in run_command("export", study, "--out", str(tmp_path / "out.parquet")).stdout
    assert pq.read_table(tmp_path / "out.parquet").num_rows == len(truth)
    refused = run_command("learn", study)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("overread: phase 1 of ")


def test_a_round_that_nobody_can_read_ends_with_nothing_learnt(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, _ = learnt
    queue = selected(folder)
    path = table_file(folder, 1)
    lines = path.read_text().splitlines()
    write_text(path, "\n".join([lines[0], *(f"{line[:-2]},cannot tell," for line in lines[1:])]) + "\n")
    assert imported(folder, path) == (len(queue), 0)
    entry = updated(folder)
    assert (entry["items_read"], entry["unclear"]) == (0, len(queue))
    again = selected(folder)
    assert not set(again) & set(queue)
    assert updated(folder, early=True)["items_read"] == 0  # a queue that was a mistake
    with open_project(folder, to_work=True) as project:
        offered = select_items(project, 1000, Silent())
    everything = range(len(pq.read_table(round_file(folder, "scores", 0))))
    assert sorted([*offered["audited"], *offered["chosen"]]) == sorted(set(everything) - set(queue))


def test_what_the_project_is_made_of_is_not_overwritten(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, _ = learnt
    for out, says in (
        (folder.parent / "labels.csv", "holds the images or labels of the project"),
        (folder.parent / "tiny.npz", "holds the images or labels of the project"),
        (folder / "config.yaml", "lies in a project folder"),
    ):
        before = out.read_bytes()
        with open_project(folder) as project, pytest.raises(RunError, match=says):
            export_labels(project, out, "csv")
        assert out.read_bytes() == before


def test_a_project_that_began_meanwhile_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learnt: tuple[Path, dict[str, str]]
) -> None:
    folder, _ = learnt
    images, new = folder.parent / "tiny.npz", tmp_path / "new"

    def slow(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        init_project(new, images, None, [], None, Silent())
        with open_project(new) as project:
            project.store.add_reader("A")
        return load_dataset(*arguments, **options)

    monkeypatch.setattr("overread.project.begin.load_dataset", slow)
    with pytest.raises(RunError, match="has become a project meanwhile"):
        init_project(new, images, None, [], None, Silent())
    with open_project(new) as project:
        assert [reader.name for reader in project.store.readers()] == ["A"]


def test_an_update_that_was_stopped_begins_anew_where_more_was_said(tmp_path: Path) -> None:
    folder, truth, _ = begun(tmp_path, *METHODS["published method"], "checkpoint_seconds=0", "active.epochs=4")
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
    selected(folder)
    imported(folder, answer(folder, 1, truth, wrong=3))
    twin = tmp_path / "twin"
    shutil.copytree(folder, twin)

    class Stopping(Silent):
        @contextmanager
        def task(self, description: str, total: int, done: int = 0) -> Iterator[Any]:
            def advance(*_: object) -> None:
                if (folder / "checkpoints" / "in-progress.safetensors").exists():
                    raise KeyboardInterrupt

            yield advance

    with open_project(folder, to_work=True) as project, pytest.raises(KeyboardInterrupt):
        update_model(project, Stopping())
    assert (folder / "checkpoints" / "in-progress.safetensors").exists()
    for each in (folder, twin):
        imported(each, answer(each, 1, truth))
        updated(each)
    mine, other = (round_file(each, "scores", 1).read_bytes() for each in (folder, twin))
    assert mine == other


def test_more_reads_of_some_items_do_not_stand_for_others(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    selected(folder)
    lines = answer(folder, 1, truth).read_text().splitlines()
    half = folder.parent / "half.csv"
    write_text(half, "\n".join(lines[:5]) + "\n")
    for who in ("A", "B"):
        assert imported(folder, half, who) == (4, 0)
    with pytest.raises(RunError, match="3 of the 7 items"):
        updated(folder)


def test_a_comment_that_came_later_is_kept_and_a_name_has_no_spaces_around(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, truth = learnt
    selected(folder)
    table = answer(folder, 1, truth)
    assert imported(folder, table, "Dr.  A ") == (7, 0)
    lines = table.read_text().splitlines()
    lines[1] += "at the margin"
    write_text(table, "\n".join(lines) + "\n")
    assert imported(folder, table, "Dr. A") == (1, 0)
    assert imported(folder, table, "Dr. A") == (0, 0)
    assert sum("at the margin" in row["reads"] for row in exported(folder)) == 1
    with open_project(folder) as project:
        assert [reader.name for reader in project.store.readers()] == ["Dr. A"]


def test_images_may_move_and_damaged_files_are_named(learnt: tuple[Path, dict[str, str]]) -> None:
    folder, _ = learnt
    images = folder.parent / "tiny.npz"
    moved = images.rename(images.with_name("moved.npz"))
    with pytest.raises(RunError, match="the images of the project are no longer at"):
        selected(folder)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("tiny.npz", "moved.npz"))
    assert selected(folder)
    scores = round_file(folder, "scores", 0)
    pq.write_table(pq.read_table(scores).slice(0, 50), scores)
    with pytest.raises(RunError, match="hold 50 items, not all"):
        exported(folder)
    scores.write_bytes(scores.read_bytes()[:100])
    with pytest.raises(RunError, match="the scores of a round, cannot be read"):
        exported(folder)
    assert moved.exists()
    state = json.loads((folder / "project.json").read_text())
    for broken in ({**state, "dataset": {}}, {**state, "rounds": 5}, {"schema": 1}):
        (folder / "project.json").write_text(json.dumps(broken))
        with pytest.raises(RunError, match="lacks parts that this version needs"):
            _status(folder)


@pytest.mark.slow
def test_a_folder_with_a_table_of_labels_tells_what_it_leaves_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = tmp_path / "scans of today"
    images.mkdir()
    lines = ["path,label"]
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(images / f"{i}.png")
        lines += [f"{i}.png,{'ab'[i % 2]}"] if i < 20 else []
    write_text(tmp_path / "labels.csv", "\n".join(lines) + "\n")
    study, table = str(tmp_path / "a study"), str(tmp_path / "labels.csv")
    done = run_command("init", study, "--images", str(images), "--labels", table)
    assert done.stdout.splitlines() == [
        f"4 images have no row in {table} and are left out",
        "20 images, classes a (10), b (10)",
        f"Next: overread learn '{study}'",
    ], done.stderr
    refused = run_command("init", study + "2", "--images", str(images), "--set", "data.path=elsewhere")
    assert "'data.path' is said by --images" in " ".join(refused.stderr.split())
