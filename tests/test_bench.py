"""Grids of simulations: plans, failures, interruptions, and numbers against scipy."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_runs import fake_results, fake_run, spoil, spoiling_run, troubled_run
from locks import lock_held_elsewhere
from scipy import stats

import overread.bench
import overread.data.cache
from overread.arrays.metrics import classification_metrics
from overread.arrays.statistics import reads_to_stay_above
from overread.bench import run_bench
from overread.comparison import write_tables
from overread.config import Config
from overread.errors import ConfigError, RunError
from overread.files import write_json
from overread.grid import plan_runs, read_grid
from overread.outcomes import run_scores
from overread.results import round_file, write_scores
from overread.rng import generator

ROOT = Path(__file__).parent.parent
GRIDS = sorted((ROOT / "grids").glob("*.yaml"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERREAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two easy classes, 10 x 10 pixels: 30 dark and 10 bright training images, 10 test images of each."""
    labels = np.repeat([0, 1, 0, 1], [30, 10, 10, 10])
    pixels = generator(0, "images").integers(0, 60, (len(labels), 10, 10, 3)) + 180 * labels[:, None, None, None]
    path = tmp_path / "tiny.npz"
    split = np.repeat(["train", "test"], [40, 20])
    names = np.array(["dark", "bright"])
    np.savez(path, images=pixels.astype(np.uint8), labels=labels, class_names=names, split=split)
    return path


def write_grid(tmp_path: Path, images: Path, **changes: Any) -> Path:
    values = {
        "title": "tiny",
        "seeds": [0, 1, 2],
        "reference": "a",
        "settings": {"active.rounds": 2, "active.budget": 4},
        "datasets": {"tiny": {"data.path": str(images)}},
        "noise": {"low": {"noise.rate": 0.2}},
        "arms": {"a": {"preset": "paper"}, "b": {"preset": "paper", "active.sampler": "margin"}},
        **changes,
    }
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}, sort_keys=False))
    return path


def calls(out: Path) -> list[list[str]]:
    return [line.split() for line in (out / "calls.txt").read_text().splitlines()]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    if not stat.parent.parent.joinpath("self").exists():  # no /proc here: ask the system
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    # A zombie has ended; whoever adopts it has not looked yet.
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def no_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake runs need no embeddings."""
    monkeypatch.setattr(overread.bench, "_warm_up", lambda *_: None)


# --- plans


def test_later_sections_win_and_every_run_has_its_own_folder(tmp_path: Path, images: Path) -> None:
    arms = {"a": {"preset": "cross-entropy"}, "b": {"preset": "paper", "active.sampler": "coreset", "lnl.epochs": 3}}
    grid = write_grid(tmp_path, images, settings={"lnl.epochs": 9, "noise.rate": 0.1}, arms=arms, seeds=[4, 7])
    runs = plan_runs(read_grid(grid), tmp_path / "out")
    assert [(run.arm, run.seed) for run in runs] == [("a", 4), ("b", 4), ("a", 7), ("b", 7)]
    assert len({run.config.out for run in runs}) == 4
    assert [run.config.lnl.epochs for run in runs] == [9, 3, 9, 3]
    assert [run.config.active.sampler for run in runs] == ["random", "coreset"] * 2
    assert {run.config.noise.rate for run in runs} == {0.2}


def test_arms_that_share_phase_1_stand_together(tmp_path: Path, images: Path) -> None:
    arms = {
        "a": {"preset": "paper"},
        "plain": {"preset": "cross-entropy"},
        "b": {"preset": "paper", "active.sampler": "margin"},
        "other": {"preset": "paper", "lnl.mix_ratio": 0.0},
        "c": {"preset": "default", "lnl.method": "co-teaching-vog", "active.epochs": 3},
    }
    keys = [run.phase1_key() for run in plan_runs(read_grid(write_grid(tmp_path, images, arms=arms)), tmp_path)]
    changes = sum(a != b for a, b in pairwise(keys))
    assert len(set(keys)) == 9  # 3 seeds x 3 kinds of phase 1
    assert changes == 8


def test_exclusions_remove_exactly_what_they_name(tmp_path: Path, images: Path) -> None:
    grid = write_grid(tmp_path, images, exclude=[{"arm": "b", "seed": 1}, {"arm": "a", "seed": 0}])
    left = {(run.arm, run.seed) for run in plan_runs(read_grid(grid), tmp_path)}
    assert left == {("a", 1), ("a", 2), ("b", 0), ("b", 2)}


@pytest.mark.parametrize("quote", ["", "'"], ids=["number", "text"])
def test_names_that_look_like_numbers_are_names(quote: str, tmp_path: Path, images: Path) -> None:
    name = f"{quote}0.4{quote}"
    path = tmp_path / "grid.yaml"
    path.write_text(
        f"seeds: [0, 1]\nreference: {name}\ndatasets: {{7: {{data.path: {images}}}, b: {{data.path: {images}}}}}\n"
        f"noise: {{0.4: {{noise.rate: 0.4}}, '0.2': {{noise.rate: 0.2}}}}\narms: {{{name}: {{}}}}\n"
        f"exclude: [{{dataset: 7, noise: {name}}}, {{dataset: b, noise: 0.2, arm: 0.4, seed: '1'}}]\n"
    )
    left = [(run.dataset, run.noise, run.arm, run.seed) for run in plan_runs(read_grid(path), tmp_path / "out")]
    assert left == [
        ("7", "0.2", "0.4", 0),
        ("7", "0.2", "0.4", 1),
        ("b", "0.4", "0.4", 0),
        ("b", "0.4", "0.4", 1),
        ("b", "0.2", "0.4", 0),
    ]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown section": ({"seed": [1]}, "'seed' of the grid file .* is unknown: did you mean seeds"),
    "no data sets": ({"datasets": None}, "needs the section datasets"),
    "no arms": ({"arms": {}}, "needs the section arms"),
    "arm without settings": ({"arms": {"a": 3}}, "arms, a of the grid must hold settings"),
    "unknown reference": ({"reference": "aa"}, "reference 'aa' is none of the arms"),
    "unknown second reference": ({"reference": ["a", "c"]}, "reference 'c' is none of the arms"),
    "no reference": ({"reference": []}, "reference of the grid must name one arm, or a list of different ones"),
    "reference twice": ({"reference": ["a", "a"]}, "reference of the grid must name one arm, or a list"),
    "no seeds": ({"seeds": None}, "needs seeds, a list"),
    "seed as text": ({"seeds": ["one"]}, "seed 'one' .* is not a whole number"),
    "seed twice": ({"seeds": [1, 1]}, "seed 1 stands twice"),
    "negative seed": ({"seeds": [-1]}, "seed -1 .* is not a whole number"),
    "unknown key": (
        {"arms": {"a": {"lnl.epoch": 3}}},
        "arm 'a': the key 'lnl.epoch' is unknown: did you mean lnl.epochs",
    ),
    "nested section": ({"arms": {"a": {"lnl": {"epochs": 3}}}}, "arm 'a': lnl is a section"),
    "bad value": (
        {"arms": {"a": {"active.sampler": "entropi"}}},
        "arm 'a': active.sampler=entropi .*did you mean entropy",
    ),
    "bad rate": ({"noise": {"n": {"noise.rate": 1.5}}}, "noise 'n', arm 'a': noise.rate=1.5"),
    "seed in an arm": ({"arms": {"a": {"seed": 3}}}, "seed is set by the bench itself"),
    "no path": ({"datasets": {"d": {}}}, "data.path is missing"),
    "absent path": ({"datasets": {"d": {"data.path": "no/such.npz"}}}, "the data path no/such.npz does not exist"),
    "no variable": (
        {"datasets": {"d": {"data.path": "${NO_SUCH_1}/a"}}},
        "the environment variable NO_SUCH_1, which is not set",
    ),
    "budget twice": ({"budget_share": 0.1}, "budget_share and active.budget say the same thing twice"),
    "budget above all": ({"settings": {}, "budget_share": 1.5}, "budget_share=1.5 must be a share"),
    "unknown axis": ({"exclude": [{"arms": "a"}]}, "exclude of the grid names 'arms': did you mean arm"),
    "unknown exclusion": ({"exclude": [{"noise": "lo"}]}, "noise 'lo', which the grid does not have: did you mean low"),
    "unknown number": ({"exclude": [{"noise": 0.5}]}, "noise '0.5', which the grid does not have: known are low"),
    "truth as a seed": ({"exclude": [{"seed": True}]}, "seed 'True', which the grid does not have"),
    "hindsight of an arm": ({"hindsight": {"a": "b"}}, "makes the arm 'a', which is one of the arms: rename it"),
    "hindsight of nothing": ({"hindsight": {"c": "bb"}}, "takes the arm 'bb', .* does not have: did you mean b"),
    "shapeless hindsight": ({"hindsight": ["a"]}, "hindsight of the grid must name arms"),
    "shapeless exclusion": ({"exclude": {"arm": "a"}}, "exclude of the grid must be a list"),
    "nothing left": ({"exclude": [{"dataset": "tiny"}]}, "leave no run"),
    "folders clash": ({"arms": {"a": {}, "A!": {}}}, "would share the run folder tiny--low--a--seed0"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_grid_is_refused_before_anything_is_written(case: str, tmp_path: Path, images: Path) -> None:
    changes, message = BAD[case]
    grid = write_grid(tmp_path, images, **changes)
    with pytest.raises(ConfigError, match=message):
        run_bench(grid, tmp_path / "out", 1, run=fake_run)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot be read"), ("a: [1", "not valid YAML at line"), ("- a", "must hold keys")]
)
def test_a_file_that_is_no_grid_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_grid(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("noise.rate: 0.2", "noise.rate: 0.2\n    noise.rate: 0.3", r"the key 'noise.rate' twice, at line \d+ and at"),
        ("  b:", "  a:", r"the key 'a' twice, at line \d+ and at line \d+"),
        ("title: tiny", "title: tiny\nseeds: [3]", r"the key 'seeds' twice, at line 2 and at line 3"),
        ("noise.rate: 0.2", "noise.rate: 2024-01-01", r"a date for the key 'noise.rate' at line \d+"),
        ("noise.rate: 0.2", "noise.exempt: &e [*e]", r"for the key 'noise.exempt' at line \d+ that holds itself"),
        ("noise.rate: 0.2", "noise.exempt: !!set {dark}", r"a set for the key 'noise.exempt'"),
    ],
    ids=["setting twice", "arm twice", "section twice", "date", "endless", "set"],
)
def test_a_grid_in_which_a_value_would_be_lost_is_refused(
    old: str, new: str, message: str, tmp_path: Path, images: Path
) -> None:
    grid = write_grid(tmp_path, images)
    text = grid.read_text()
    assert text.count(old) == 1
    grid.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=rf"the grid file .*grid\.yaml has .*{message}"):
        run_bench(grid, tmp_path / "out", 1, run=fake_run)
    assert not (tmp_path / "out").exists()


def test_aliases_are_heard_in_a_grid(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        f"seeds: [0]\nreference: a\ndatasets: {{d: {{data.path: {images}}}}}\nnoise: {{n: {{noise.rate: &rate 0.2}}}}\n"
        "arms:\n  a: &a {lnl.epochs: 3, lnl.mix_ratio: *rate}\n  b: {<<: *a, lnl.epochs: 4}\n"
    )
    lnl = [run.config.lnl for run in plan_runs(read_grid(path), tmp_path / "out")]
    assert [(each.epochs, each.mix_ratio) for each in lnl] == [(3, 0.2), (4, 0.2)]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda path: path.stem)
def test_the_committed_grids_are_valid(grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"\$\{OVERREAD_DATA\}/(\S+)", grid.read_text()):
        (tmp_path / name).touch()
    monkeypatch.setenv("OVERREAD_DATA", str(tmp_path))
    runs = plan_runs(read_grid(grid), tmp_path / "out")
    expected = {
        "frozen": 2 * 4 * 9 * 5,
        "brixia": 9 * 5,
        "vog": 2 * 2 * 4 * 5,
        "vog-rest": 2 * 2 * 4 * 5,
        "vog-options": 2 * 4 * 5,
        "vog-finetune": 2 * 3 * 3,
        "finetune": 3 * 3,
        "finetune-full": 2 * 2 * 3 * 3,
        "fewer-reads": 13 * 9 * 5,
        "fewer-reads-people": 9 * 5,
        "fewer-reads-development": 10 * 12 * 3,
        "fewer-reads-finetune": 6 * 4 * 3,
        "fewer-reads-finetune-development": 6 * 4 * 1,
        "ablation-development": 10 * 13 * 3,
        "forecast": 14 * 2 * 10,
        "forecast-networks": 6 * 1 * 5,
        "forecast-trained": 4 * 3 * 3,
    }
    assert len(runs) == expected[grid.stem]


# --- running


@pytest.mark.usefixtures("no_warm_up")
def test_failures_are_recorded_and_stop_nothing_else(tmp_path: Path, images: Path) -> None:
    grid, out = write_grid(tmp_path, images), tmp_path / "out"
    with pytest.raises(
        RunError, match=r"3 of 6 runs failed \('tiny--low--b--seed0', .* 1 more; the first: the moon is"
    ):
        run_bench(grid, out, 2, run=troubled_run)
    errors = {path.parent.name[-5:]: path.read_text() for path in out.glob("runs/*/error.txt")}
    assert errors["seed0"] == "the moon is too bright\n"
    assert errors["seed1"].startswith("ZeroDivisionError: unexpected\nTraceback")
    assert errors["seed2"].startswith("the process of this run was killed")
    # An innocent neighbour of the process that died may have been begun twice; none is missing.
    assert {name for name, *_ in calls(out)} == {f"tiny--low--a--seed{seed}" for seed in range(3)}
    table = (out / "results.md").read_text()
    assert "| a | 3 |" in table
    assert "| b | 0 of 3 | – |" in table

    (out / "mended").touch()
    (out / "calls.txt").unlink()
    assert run_bench(grid, out, 1, run=troubled_run) == out / "results.md"
    assert sorted(name for name, *_ in calls(out)) == [f"tiny--low--b--seed{seed}" for seed in range(3)]
    assert not list(out.glob("runs/*/error.txt"))
    assert "| b | 3 |" in (out / "results.md").read_text()


@pytest.mark.usefixtures("no_warm_up")
def test_a_budget_share_is_turned_into_reads_and_threads_are_shared_out(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    out = tmp_path / "out"
    datasets = {"tiny": {"data.path": str(images)}, "half": {"data.path": str(images), "budget_share": 0.5}}
    settings = {"active.rounds": 3}
    grid = write_grid(tmp_path, images, settings=settings, datasets=datasets, budget_share=0.001, seeds=[0])
    run_bench(grid, out, 2, run=fake_run)
    configs = [yaml.safe_load(path.read_text()) for path in sorted(out.glob("runs/*/config.yaml"))]
    # 0.5 x 40 items / 3 rounds = 6.67 and 0.001 x 40 / 3 = 0.01, which is at least one read.
    assert [config["active"]["budget"] for config in configs] == [7, 7, 1, 1]
    assert {config["threads"] for config in configs} == {3}
    assert {threads for *_, threads in calls(out)} == {"3"}
    assert "OMP_NUM_THREADS" not in os.environ or os.environ["OMP_NUM_THREADS"] != "3"


@pytest.mark.usefixtures("no_warm_up")
def test_complete_runs_are_kept_and_never_pass_for_runs_with_other_settings(tmp_path: Path, images: Path) -> None:
    out = tmp_path / "out"
    run_bench(write_grid(tmp_path, images, seeds=[0]), out, 1, run=fake_run)
    threads = yaml.safe_load((out / "runs/tiny--low--a--seed0/config.yaml").read_text())["threads"]
    before = (out / "results.csv").read_bytes()
    # Other workers mean other threads for new runs; runs that are there stay as they are.
    run_bench(write_grid(tmp_path, images, seeds=[0]), out, threads + 1, run=fake_run)
    assert len(calls(out)) == 2
    assert (out / "results.csv").read_bytes() == before
    # What another process left behind while it was locked out does not make a failure of a complete run.
    (out / "runs/tiny--low--a--seed0/error.txt").write_text("another process is working in it")
    run_bench(write_grid(tmp_path, images, seeds=[0]), out, 1, run=fake_run)
    assert not (out / "runs/tiny--low--a--seed0/error.txt").exists()
    changed = write_grid(tmp_path, images, seeds=[0], noise={"low": {"noise.rate": 0.3}})
    with pytest.raises(
        RunError,
        match=r"a--seed0 holds a run with other settings \(noise.rate is 0.2 there and 0.3 here\): set 'noise.rate'",
    ):
        run_bench(changed, out, 1, run=fake_run)
    assert len(calls(out)) == 2


@pytest.mark.usefixtures("no_warm_up")
def test_runs_of_other_data_are_never_in_one_table(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, data = tmp_path / "out", {"mine": {"data.path": str(images)}}
    other = tmp_path / "other.npz"
    other.write_bytes(images.read_bytes())
    both = write_grid(tmp_path, images, seeds=[0, 1], datasets={**data, "other": {"data.path": str(other)}})
    table = run_bench(both, out, 1, run=fake_run)
    before = table.read_bytes()

    spoil(images)
    # A run that was stopped has used the old data too.
    stopped = out / "runs/mine--low--b--seed1/results.json"
    write_json(stopped, {**json.loads(stopped.read_text()), "complete": False})
    with pytest.raises(
        RunError,
        match=r"4 of 8 runs .* other data than the grid names now \('.*out/runs/mine--.*\): delete these .*--out",
    ) as refusal:
        run_bench(both, out, 1, run=fake_run)
    assert all(f"mine--low--{arm}--seed{seed}'" in str(refusal.value) for arm in "ab" for seed in (0, 1))
    assert "other--" not in str(refusal.value)
    assert (table.read_bytes(), len(calls(out))) == (before, 8)

    # Deleted as the sentence says, they are made again; and data that is as it was is not decoded once more.
    for folder in out.glob("runs/mine--*"):
        shutil.rmtree(folder)
    run_bench(both, out, 1, run=fake_run)
    assert len(calls(out)) == 12
    monkeypatch.setattr(overread.data.cache, "_decode", None)
    run_bench(both, out, 1, run=fake_run)
    assert len(calls(out)) == 12


@pytest.mark.usefixtures("no_warm_up")
def test_data_that_changes_while_a_bench_runs_is_noticed(tmp_path: Path, images: Path) -> None:
    grid, out = write_grid(tmp_path, images, seeds=[0]), tmp_path / "out"
    with pytest.raises(
        RunError, match=r"1 of 2 runs .* than the bench began with \('.*out/runs/tiny--low--b--seed0'\)"
    ):
        run_bench(grid, out, 1, run=spoiling_run)
    assert len(calls(out)) == 2
    assert not (out / "results.md").exists()


@pytest.mark.usefixtures("no_warm_up")
def test_two_benches_in_one_folder_keep_out_of_each_others_way(tmp_path: Path, images: Path) -> None:
    grid, out = write_grid(tmp_path, images, seeds=[0]), tmp_path / "out"
    out.mkdir()
    with (
        lock_held_elsewhere(out / "bench.lock"),
        pytest.raises(RunError, match=r"another process is working in .*out; wait for it or give another --out"),
    ):
        run_bench(grid, out, 1, run=fake_run)
    assert [path.name for path in out.iterdir()] == ["bench.lock"]
    run_bench(grid, out, 1, run=fake_run)
    run_bench(grid, out, 1, run=fake_run)
    assert len(calls(out)) == 2


@pytest.mark.usefixtures("no_warm_up")
def test_a_run_of_another_version_says_what_is_different_and_how_to_keep_it(tmp_path: Path, images: Path) -> None:
    grid, out = write_grid(tmp_path, images, seeds=[0]), tmp_path / "out"
    run_bench(grid, out, 1, run=fake_run)
    file = out / "runs/tiny--low--a--seed0/config.yaml"
    values = yaml.safe_load(file.read_text())
    values["lnl"] |= {"epochs": 77, "vog_source": "evaluation"}
    values["data"]["cache"] = "elsewhere"  # changes no result
    file.write_text(yaml.safe_dump(values))
    now = Config().lnl.epochs
    with pytest.raises(
        RunError,
        match=rf"a--seed0 holds .* \(lnl.epochs is 77 there and {now} here, lnl.vog_source is \"evaluation\" there and "
        r"\"training\" here\): set 'lnl.epochs', 'lnl.vog_source' in the grid as there to keep that run, else .*--out",
    ):
        run_bench(grid, out, 1, run=fake_run)
    # What the sentence says keeps the run.
    arms = {"a": {"preset": "paper", "lnl.epochs": 77, "lnl.vog_source": "evaluation"}}
    run_bench(write_grid(tmp_path, images, seeds=[0], arms=arms), out, 1, run=fake_run)
    assert len(calls(out)) == 2

    file.write_text(yaml.safe_dump({**values, "gone": 3}))
    with pytest.raises(
        RunError,
        match=r"config\.yaml cannot be used by this version \(the key 'gone' is unknown.*remove its folder.*--out",
    ):
        run_bench(grid, out, 1, run=fake_run)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_a_stopped_bench_leaves_no_process_and_goes_on(
    by: signal.Signals, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, out = write_grid(tmp_path, images), tmp_path / "out"
    script = tmp_path / "bench_script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            from pathlib import Path
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            import overread.bench
            from fake_runs import slow_run
            if __name__ == "__main__":
                overread.bench._warm_up = lambda *_: None
                try:
                    overread.bench.run_bench(Path({str(grid)!r}), Path({str(out)!r}), 2, run=slow_run)
                except KeyboardInterrupt:
                    sys.exit(130)
            """
        )
    )
    bench = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(out.glob("pids/*"))) < 2 and time.monotonic() < deadline and bench.poll() is None:
        time.sleep(0.05)
    workers = [int(path.name) for path in out.glob("pids/*")]
    assert len(workers) == 2
    bench.send_signal(by)
    _, complaint = bench.communicate(timeout=120)
    assert bench.returncode == (130 if by is signal.SIGINT else -9)
    assert b"Traceback" not in complaint
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))

    monkeypatch.setattr(overread.bench, "_warm_up", lambda *_: None)
    run_bench(grid, out, 1, run=fake_run)
    assert len(calls(out)) == 6


@pytest.mark.slow
def test_a_real_bench_equals_the_same_simulations_alone(tmp_path: Path, images: Path) -> None:
    from overread.refine import simulate

    settings = {"lnl.epochs": 2, "active.epochs": 1, "active.rounds": 2, "active.budget": 3}
    grid, out = write_grid(tmp_path, images, settings=settings, seeds=[0]), tmp_path / "out"
    table = run_bench(grid, out, 1)
    # In the table, in the pairs, and in the means over all conditions.
    assert table.read_text().count("| b |") == 3
    assert (out / "curves-tiny.png").stat().st_size > 1000
    assert len(list((out / "phase1").glob("phase1-*.safetensors"))) == 1  # the arms differ in phase 2 alone
    for run in plan_runs(read_grid(grid), out):
        alone = run.config.model_copy(update={"out": tmp_path / run.slug, "threads": os.cpu_count() or 1})
        expected, found = simulate(alone), json.loads((out / "runs" / run.slug / "results.json").read_text())
        for a, b in zip(expected["rounds"], found["rounds"], strict=True):
            assert a["bought"] == b["bought"]
            assert a["test"]["macro_f1"] == b["test"]["macro_f1"]
            assert a["label_accuracy"] == b["label_accuracy"]


# --- tables


def write_runs(out: Path, grid: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Fake results of the whole grid, without a process; by arm and seed."""
    asked = read_grid(grid)
    runs = plan_runs(asked, out)
    overread.bench._write_plan(out, asked, runs, "overread bench", 2, 1)
    results = {(run.arm, run.seed): fake_results(run.config) for run in runs}
    for run in runs:
        write_json(out / "runs" / run.slug / "results.json", results[run.arm, run.seed])
    return results


def test_tables_agree_with_scipy(tmp_path: Path, images: Path) -> None:
    arms = {name: {"active.sampler": name} for name in ("random", "margin", "bald")}
    grid = write_grid(tmp_path, images, arms=arms, reference="margin", seeds=[0, 1, 2, 3])
    results = write_runs(tmp_path / "out", grid)
    text = write_tables(tmp_path / "out").read_text()

    def area(run: dict[str, Any]) -> float:
        return float(np.trapezoid([r["test"]["macro_f1"] for r in run["rounds"]], [0, 4, 8]) / 8)

    areas = {arm: np.array([area(results[arm, seed]) for seed in range(4)]) for arm in arms}
    for arm, values in areas.items():
        half = stats.t.ppf(0.975, 3) * stats.sem(values)
        row = next(line for line in text.splitlines() if line.startswith(f"| {arm} | 4 | 8 |"))
        assert row.split(" | ")[7] == f"{values.mean():.3f} ± {half:.3f}"
        # 5 % of 40 items are 2 reads, half way to the first round; 10 % are that round.
        rounds = [[entry["test"]["macro_f1"] for entry in results[arm, seed]["rounds"]] for seed in range(4)]
        assert row.split(" | ")[4].startswith(f"{np.mean([(a + b) / 2 for a, b, _ in rounds]):.3f} ± ")
        assert row.split(" | ")[5].startswith(f"{np.mean([b for _, b, _ in rounds]):.3f} ± ")
    assert "20 % read" not in text  # all reads together are as many: the last round
    p = {arm: stats.ttest_rel(areas[arm], areas["margin"]).pvalue for arm in ("random", "bald")}
    low, high = sorted(p, key=lambda arm: p[arm])
    adjusted = {low: min(1, 2 * p[low]), high: max(min(1, 2 * p[low]), p[high])}
    found = list(csv.DictReader((tmp_path / "out/differences.csv").read_text().splitlines()))
    for arm, value in adjusted.items():
        difference = areas[arm] - areas["margin"]
        interval = stats.t.interval(0.95, 3, difference.mean(), stats.sem(difference))
        row = [line for line in text.splitlines() if line.startswith(f"| {arm} | 4 |")][-1]
        star = " \\*" if value < 0.05 else ""
        assert f"| {difference.mean():+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]{star} |" in row
        line = next(line for line in found if line["arm"] == arm and line["score"] == "area")
        numbers = [float(line[key]) for key in ("difference", "low", "high", "corrected_p")]
        assert numbers == pytest.approx([difference.mean(), *interval, value])

    # The rarest class by training counts is the second one; its presumed-clean recall is null in every run.
    rare = [results["bald", seed]["rounds"][-1]["test"]["per_class"][1] for seed in range(4)]
    cells = [line for line in text.splitlines() if line.startswith("| bald | 4 | 8 |")][1].split(" | ")
    assert cells[3].startswith(f"{np.mean([row['recall'] for row in rare]):.3f} ± ")
    assert cells[4].startswith(f"{np.mean([row['f1'] for row in rare]):.3f} ± ")
    assert "presumed clean, no read" not in text
    errors = [abs(results["bald", seed]["rounds"][0]["estimated_rate"] - 0.2) for seed in range(4)]
    assert cells[5].startswith(f"{np.mean(errors):.3f} ± ")
    assert "rarest class bright (10 training items)" in text

    lines = list(csv.DictReader((tmp_path / "out/results.csv").read_text().splitlines()))
    found = [line for line in lines if line["metric"] == "test.recall[bright]" and line["arm"] == "bald"]
    assert len(found) == 4 * 3
    for line in found:
        entry = results["bald", int(line["seed"])]["rounds"][int(line["round"])]
        assert float(line["value"]) == entry["test"]["per_class"][1]["recall"]
        assert int(line["bought"]) == entry["bought"]
    assert {line["value"] for line in lines if line["metric"] == "selection.precision"} == {""}


def test_several_references_have_a_table_each(tmp_path: Path, images: Path) -> None:
    grid = write_grid(tmp_path, images, reference=["b", "a, adjusted"], hindsight={"a, adjusted": "a"})
    results = write_runs(tmp_path / "out", grid)
    for seed in range(3):
        for entry in results["a", seed]["rounds"]:
            file = round_file(tmp_path / f"out/runs/tiny--low--a--seed{seed}", "test", entry["round"])
            columns = {"id": np.array(["u", "v", "w"]), "reference": np.array([0, 1, 1])}
            write_scores(file, columns, np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    text = write_tables(tmp_path / "out").read_text()
    assert text.count("| arm − b |") == text.count("| arm − a, adjusted |") == 1
    found = list(csv.DictReader((tmp_path / "out/differences.csv").read_text().splitlines()))
    pairs = {(line["arm"], line["reference"]) for line in found}
    assert pairs == {("a", "b"), ("a, adjusted", "b"), ("a", "a, adjusted"), ("b", "a, adjusted")}
    area = {(line["arm"], line["reference"]): float(line["difference"]) for line in found if line["score"] == "area"}
    assert area["b", "a, adjusted"] == pytest.approx(-area["a, adjusted", "b"])


def test_one_seed_has_no_interval_and_an_arm_without_pairs_no_comparison(tmp_path: Path, images: Path) -> None:
    out = tmp_path / "out"
    write_runs(out, write_grid(tmp_path, images, seeds=[0]))
    assert "±" not in write_tables(out).read_text().split("## tiny")[1]
    (out / "runs/tiny--low--a--seed0/results.json").unlink()
    text = write_tables(out).read_text()
    assert "| a | 0 of 1 |" in text
    assert "arm − a" not in text
    (out / "runs/tiny--low--b--seed0/results.json").unlink()
    assert "No complete run." in write_tables(out).read_text()
    assert not list(out.glob("*.png"))


def test_a_curve_goes_on_flat_where_the_pool_ran_empty() -> None:
    def entry(bought: int, score: float | None) -> dict[str, Any]:
        test = {"macro_f1": score, "balanced_accuracy": None, "per_class": [{"recall": None, "f1": None}]}
        return {"bought": bought, "test": test, "selection": None, "label_accuracy": 0.5}

    results: dict[str, Any] = {
        "rounds": [entry(0, 0.0), entry(10, 1.0), entry(10, 1.0)],
        "dataset": {"train_counts": [3], "n_train": 100},
        "noise": {"rate": 0.3, "estimated_rate": 0.1},
        "leak": {"revealed": 12, "changed": 4},
    }
    scores = run_scores(results, planned_reads=20)
    assert scores["area"] == 0.75
    assert (scores["macro_f1_at_5"], scores["macro_f1_at_10"]) == (0.5, 1.0)
    assert np.isnan(scores["macro_f1_at_20"])
    assert scores["rate_error_at_5"] == pytest.approx(0.2)
    assert scores["rate_error"] == pytest.approx(0.2)  # an earlier version wrote no estimate in every round
    assert (scores["reads"], scores["free"]) == (10, 12)
    assert np.isnan(scores["rare_recall"])
    assert np.isnan(scores["rare_kept"])
    for entry_of_round, estimate in zip(results["rounds"], (0.1, 0.4, 0.4), strict=True):
        entry_of_round["estimated_rate"] = estimate
    assert run_scores(results, planned_reads=20)["rate_error_at_5"] == pytest.approx(0.15)  # half way of 0.2 and 0.1
    results["rounds"][1] = entry(10, None)
    assert np.isnan(run_scores(results, planned_reads=20)["area"])


def test_an_arm_with_hindsight_is_the_best_adjustment_of_another_arms_runs(tmp_path: Path, images: Path) -> None:
    out = tmp_path / "out"
    grid = write_grid(tmp_path, images, seeds=[0, 1], hindsight={"a, adjusted": "a"})
    results = write_runs(out, grid)
    prior, names, rng = np.array([0.75, 0.25]), ["dark", "bright"], generator(0, "test scores")
    best: dict[int, list[float]] = {0: [], 1: []}
    for seed, number in [(seed, number) for seed in (0, 1) for number in range(3)]:
        reference = rng.integers(0, 2, 20)
        probs = rng.dirichlet([4, 1], 20)
        columns = {"id": np.arange(20).astype(str), "reference": reference}
        write_scores(round_file(out / f"runs/tiny--low--a--seed{seed}", "test", number), columns, probs)
        tried = [
            classification_metrics(reference, (odds := probs / prior ** (step / 10)) / odds.sum(axis=1)[:, None], names)
            for step in range(16)
        ]
        best[seed].append(max(scores["macro_f1"] for scores in tried))
    text = write_tables(out).read_text()
    assert "2 of 2 runs complete" not in text
    assert "4 of 4 runs complete, 0.0 hours" in text  # no run of its own
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| a, adjusted | 2 |")]
    assert len(rows) == 3  # scores, rare classes, differences
    assert rows[0][6].startswith(f"{np.mean([scores[-1] for scores in best.values()]):.3f}")
    labels = np.mean([results["a", seed]["rounds"][-1]["label_accuracy"] for seed in (0, 1)])
    assert rows[0][9].startswith(f"{labels:.3f}")  # what is exported is that of the other arm
    lines = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    found = [
        float(line["value"])
        for line in lines
        if line["arm"] == "a, adjusted" and line["seed"] == "1" and line["metric"] == "test.macro_f1"
    ]
    assert found == pytest.approx(best[1])
    strengths = {float(line["value"]) for line in lines if line["metric"] == "test.adjustment"}
    assert strengths <= {step / 10 for step in range(16)}
    assert "upper bound" in text

    round_file(out / "runs/tiny--low--a--seed1", "test", 2).unlink()
    with pytest.raises(RunError, match=r"round-002.parquet, .* is lost: `overread simulate .* makes it again"):
        write_tables(out)


def test_means_over_conditions_count_every_condition_once_and_pair_by_seed(tmp_path: Path, images: Path) -> None:
    out = tmp_path / "out"
    noise = {"low": {"noise.rate": 0.1}, "high": {"noise.rate": 0.3}}
    grid = read_grid(write_grid(tmp_path, images, noise=noise, seeds=[0, 1, 2], exclude=[{"noise": "low", "seed": 2}]))
    runs = plan_runs(grid, out)
    overread.bench._write_plan(out, grid, runs, "overread bench", 2, 1)
    last: dict[tuple[str, str, int], float] = {}
    curves: dict[tuple[str, str, int], list[float]] = {}
    for run in runs:
        results = fake_results(run.config)
        write_json(out / "runs" / run.slug / "results.json", results)
        curves[run.arm, run.noise, run.seed] = [entry["test"]["macro_f1"] for entry in results["rounds"]]
        last[run.arm, run.noise, run.seed] = curves[run.arm, run.noise, run.seed][-1]
    text = write_tables(out).read_text().split("## tiny")[0]
    row = next(line.split(" | ") for line in text.splitlines() if line.startswith("| b | 2 |"))
    low = np.mean([last["b", "low", seed] for seed in (0, 1)])
    high = np.mean([last["b", "high", seed] for seed in (0, 1, 2)])
    assert row[5] == f"{(low + high) / 2:.3f}"

    # Seed 2 is in one condition alone, and stays out of the pairs.
    found = list(csv.DictReader((out / "differences.csv").read_text().splitlines()))
    line = next(line for line in found if line["noise"] == "" and line["score"] == "macro_f1")
    pairs = [np.mean([last["b", n, seed] - last["a", n, seed] for n in noise]) for seed in (0, 1)]
    interval = stats.ttest_1samp(pairs, 0).confidence_interval(0.95)
    assert (line["conditions"], line["pairs"]) == ("2", "2")
    assert [float(line[key]) for key in ("difference", "low", "high")] == pytest.approx([np.mean(pairs), *interval])
    mean = np.mean([[curves["b", n, seed] for seed in (0, 1)] for n in noise], axis=(0, 1))
    target = float(np.mean([[last["a", n, seed] for seed in (0, 1)] for n in noise]))
    needed = next(line for line in found if line["noise"] == "" and line["score"] == "reads_needed")["difference"]
    assert float(needed) == pytest.approx(reads_to_stay_above(np.array([0.0, 0.5, 1.0]), mean, target))
    assert (out / "overall.png").stat().st_size > 1000


def test_names_cannot_break_the_table(tmp_path: Path, images: Path) -> None:
    arms: dict[str, dict[str, Any]] = {"a": {}, "b | $x$": {"lnl.epochs": 3}}
    write_runs(tmp_path / "out", write_grid(tmp_path, images, arms=arms))
    text = write_tables(tmp_path / "out").read_text()
    tables = [block.splitlines() for block in text.split("### ")[1].split("\n\n") if block.startswith("| ")]
    assert len(tables) == 3
    for table in tables:
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table}) == 1
        assert sum("b \\| $x$" in line for line in table) == 1


def test_a_folder_without_a_bench_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no bench"):
        write_tables(tmp_path)
