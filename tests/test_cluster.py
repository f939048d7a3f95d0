"""Ray on this machine: the same results as without it, whoever is killed, and nothing done twice."""

import copy
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from fake_runs import fake_run, troubled_run
from locks import lock_held_elsewhere
from tiny import tiny_config, tiny_settings

import overread.bench
import overread.cluster
import overread.learn.embed
import overread.learn.infer
import overread.workers
from overread.bench import run_bench
from overread.cli import Machines, main
from overread.cluster import cluster_session, comes_true, map_chunks, run_tasks
from overread.config import Cluster, Config, ModelConfig
from overread.errors import ConfigError, MissingExtraError, RunError
from overread.grid import PlannedRun, plan_runs, read_grid
from overread.learn.embed import embed
from overread.learn.infer import predict
from overread.learn.models import build_network
from overread.learn.sources import PixelSource
from overread.learn.training import Checkpointer
from overread.learn.weights import load_backbone
from overread.progress import Silent
from overread.refine import simulate
from overread.workers import ERROR, is_complete, run_folder, settle_alone, simulate_run

CPU = torch.device("cpu")
BACKBONE = ModelConfig(name="mobilenetv3_small_050", weights="none", input_size=32)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # Workers import this module, as those of a user import the package.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        # Processes are killed here: not those of somebody's cluster.
        patch.delenv("RAY_ADDRESS", raising=False)
        with cluster_session(2):
            yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as a task has: bits depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake runs need no embeddings."""
    monkeypatch.setattr(overread.bench, "_warm_up", lambda *_: None)


@pytest.fixture
def images(tmp_path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Images as the cache has them: a memory map."""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), dtype=np.uint8))
    mapped: np.ndarray[Any, np.dtype[np.uint8]] = np.load(tmp_path / "images.npy", mmap_mode="r")
    return mapped


def write_grid(tmp_path: Path, seeds: list[int]) -> Path:
    settings = dict(text.split("=", 1) for text in tiny_settings(tmp_path))
    settings["data.cache"] = str(tmp_path / "cache")
    path, _, _ = (settings.pop(key) for key in ("data.path", "out", "threads"))
    grid = {
        "seeds": seeds,
        "reference": "a",
        "settings": {**{key: yaml.safe_load(text) for key, text in settings.items()}, "checkpoint_seconds": 0},
        "datasets": {"tiny": {"data.path": path}},
        "noise": {"low": {"noise.rate": 0.2}},
        "arms": {"a": {"preset": "paper"}, "b": {"preset": "paper", "active.sampler": "margin"}},
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    return tmp_path / "grid.yaml"


def planned(tmp_path: Path, out: Path) -> PlannedRun:
    return plan_runs(read_grid(write_grid(tmp_path, [0])), out)[0]


def once(marker: Path) -> bool:
    """Whether nobody has asked for this marker yet."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def ps(pid: int, what: str) -> str:
    listing = subprocess.run(["ps", "-o", f"{what}=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listing.stdout.strip()


def alive(pid: int) -> bool:
    return ps(pid, "stat")[:1] not in ("", "Z")


def wait_for(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.1)


# --- what tasks of Ray do; in this module, which they import


def shot_run(config: Config, phase1_folder: Path) -> None:
    """A simulation whose process is killed once in phase 1 and once in phase 2 of seed 1; logs every epoch."""
    assert config.out
    name, out = config.out.name, config.out.parent.parent
    save = Checkpointer.save_if_due

    def save_and_die(self: Checkpointer, epoch: int, *state: Any) -> None:
        save(self, epoch, *state)
        with (out / "epochs.txt").open("a") as stream:
            # Phase 1 is shared by the arms of a seed; a round belongs to one run.
            stream.write(f"{name if self.name.startswith('round') else config.seed} {self.name} {epoch}\n")
        in_phase_1, in_phase_2 = not self.name.startswith("round") and epoch == 3, self.name == "round 2" and epoch == 1
        if config.seed == 1 and ((in_phase_1 and once(out / "shot-1")) or (in_phase_2 and once(out / "shot-2"))):
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpointer.save_if_due = save_and_die  # type: ignore[method-assign, assignment]
    try:
        simulate_run(config, phase1_folder)
    finally:
        Checkpointer.save_if_due = save  # type: ignore[method-assign]


def add_or_die(shared: tuple[Path, int], number: int) -> int:
    folder, base = shared
    if number == 1 and once(folder / "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    if number < 0:
        raise ZeroDivisionError("below zero")
    return base + number


def always_die(shared: None, number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- tasks


@pytest.mark.usefixtures("ray_here")
def test_chunks_come_back_in_order_though_a_process_died(tmp_path: Path) -> None:
    seen: list[int] = []
    assert map_chunks(add_or_die, (tmp_path, 10), [0, 1, 2, 3], seen.append) == [10, 11, 12, 13]
    assert (tmp_path / "died").exists()
    assert sorted(seen) == [0, 1, 2, 3]
    with pytest.raises(ZeroDivisionError, match="below zero"):
        map_chunks(add_or_die, (tmp_path, 10), [0, -1])


@pytest.mark.usefixtures("ray_here")
def test_a_task_that_always_dies_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overread.cluster, "RETRIES", 1)
    with pytest.raises(RunError, match=r"a task on the cluster was killed 2 times, perhaps because memory ran out"):
        map_chunks(always_die, None, [0])


@pytest.mark.usefixtures("ray_here")
def test_what_no_machine_has_is_said_and_not_waited_for() -> None:
    with pytest.raises(RunError, match=r"no GPU, which the device cuda needs"):
        run_tasks(add_or_die, None, deque([(0, 0)]), print, lambda _: True)  # type: ignore[misc]


# --- embeddings and scores


@pytest.mark.usefixtures("ray_here", "one_thread")
def test_embeddings_are_those_of_one_process_and_kept_chunks_stay(
    images: np.ndarray[Any, np.dtype[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overread.learn.embed, "CHUNK", 128)
    here, there = tmp_path / "here", tmp_path / "there"
    alone = embed(images, BACKBONE, here, "digest", CPU, Silent())
    np.testing.assert_array_equal(embed(images, BACKBONE, there, "digest", CPU, Silent(), cluster="ray"), alone)
    assert [path.name for path in there.iterdir()] == [path.name for path in here.iterdir()]

    (kept,) = there.iterdir()
    kept.unlink()
    np.save(kept.with_suffix(".part-128.npy"), np.full((128, alone.shape[1]), 7, np.float32))
    again = embed(images, BACKBONE, there, "digest", CPU, Silent(), cluster="ray")
    assert np.all(again[128:256] == 7)
    np.testing.assert_array_equal(np.delete(again, np.s_[128:256], axis=0), np.delete(alone, np.s_[128:256], axis=0))


@pytest.mark.usefixtures("ray_here", "one_thread")
def test_scores_are_those_of_one_process(
    images: np.ndarray[Any, np.dtype[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overread.learn.infer, "TASK_BATCHES", 2)
    tasks: list[object] = []

    def counted(*arguments: Any, **more: Any) -> Any:
        tasks.extend(arguments[2])
        return map_chunks(*arguments, **more)

    monkeypatch.setattr(overread.learn.infer, "map_chunks", counted)
    model = BACKBONE.model_copy(update={"mode": "finetune", "dropout": 0.3})
    network = build_network(model, 4, None, seed=0).train()
    _, preprocess = load_backbone(model.name, model.weights)
    source = PixelSource(images, 32, preprocess, augment=True, device=CPU)
    positions = np.arange(299, -1, -1)
    alone = predict(network, source, positions, batch_size=32, draws=3)
    shared = predict(network, source, positions, batch_size=32, draws=3, cluster="ray")
    assert len(tasks) == 5
    for one, other in zip(alone, shared, strict=True):
        assert one is not None
        np.testing.assert_array_equal(one, other)
    assert network.training


def test_a_map_that_is_not_on_this_machine_is_named(tmp_path: Path) -> None:
    gone = (tmp_path / "gone.npy", np.dtype(np.uint8), (3, 4), 128)
    with pytest.raises(RunError, match=r"cannot open .*gone\.npy .*OVERREAD_CACHE"):
        overread.cluster._unpacked(gone)


def test_an_absent_package_is_still_named_when_the_error_comes_from_a_task() -> None:
    error = MissingExtraError("h5py", "hdf5", "HDF5 data")
    same = copy.copy(error)
    assert (type(same), str(same)) == (MissingExtraError, str(error))


def test_a_map_travels_as_the_name_of_its_file_and_a_part_of_one_as_numbers(
    images: np.ndarray[Any, np.dtype[np.uint8]], tmp_path: Path
) -> None:
    packed, unpacked = overread.cluster._packed, overread.cluster._unpacked
    assert isinstance(packed(images)[0], Path)
    np.save(tmp_path / "turned.npy", np.asfortranarray(images[..., 0]))
    turned = np.load(tmp_path / "turned.npy", mmap_mode="r")
    for array in (images, images[5:9], images[::2], turned):
        np.testing.assert_array_equal(unpacked(packed(array)), array)


@pytest.mark.usefixtures("ray_here", "one_thread")
@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_a_run_on_ray_equals_one_without(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overread.learn.embed, "CHUNK", 64)
    monkeypatch.setattr(overread.learn.infer, "TASK_BATCHES", 1)
    monkeypatch.setattr(overread.learn.infer, "predict", partial(predict, batch_size=16))
    tasks: dict[str, int] = {}
    for module in (overread.learn.embed, overread.learn.infer):

        def counted(*arguments: Any, _name: str = module.__name__, **more: Any) -> Any:
            tasks[_name] = tasks.get(_name, 0) + len(arguments[2])
            return map_chunks(*arguments, **more)

        monkeypatch.setattr(module, "map_chunks", counted)
    model = [f"model.mode={mode}", "model.name=mobilenetv3_small_050", "model.weights=none", "data.max_train=300"]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    simulate(tiny_config(tmp_path, *model, f"out={alone}", f"data.cache={alone}-cache"))
    assert not tasks
    simulate(tiny_config(tmp_path, *model, f"out={shared}", f"data.cache={shared}-cache", "cluster=ray"))
    assert tasks["overread.learn.embed"] >= 2
    assert ("overread.learn.infer" in tasks) == (mode == "finetune")
    assert scores(shared) == scores(alone)


# --- grids


def scores(run: Path) -> dict[str, Any]:
    """What a run says, without its times, its memory and the digest of code that may be edited meanwhile."""
    results = json.loads((run / "results.json").read_text())
    for key in ("preparing_seconds", "wall_seconds", "peak_rss_mb", "code", "code_changes"):
        del results[key]
    for entry in results["rounds"]:
        del entry["seconds"]
    files = [*sorted(run.glob("*/round-*.parquet")), run / "reads.parquet"]
    return {"results": results, **{str(path.relative_to(run)): pq.read_table(path).to_pylist() for path in files}}


def simulate_here(grid: Path, out: Path) -> list[str]:
    """Names of the runs of a grid, made in this process, each with one thread as on a cluster."""
    runs = plan_runs(read_grid(grid), out)
    for run in runs:
        simulate_run(run.config.model_copy(update={"threads": 1}), out / "phase1")
    return [run.slug for run in runs]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here", "one_thread")
def test_a_grid_on_ray_equals_the_grid_here_though_workers_are_killed(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    simulate_here(write_grid(tmp_path, [0]), there)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in there.glob("runs/*/results.json")}
    assert len(before) == 2

    run_bench(write_grid(tmp_path, [0, 1]), there, run=shot_run, cluster="ray")
    assert (there / "shot-1").exists()
    assert (there / "shot-2").exists()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    epochs = (there / "epochs.txt").read_text().splitlines()
    # Six epochs of phase 1, and three in each of two rounds of two arms: none lost, none twice.
    assert len(epochs) == 6 + 2 * 2 * 3
    assert set(Counter(epochs).values()) == {1}

    names = simulate_here(write_grid(tmp_path, [1]), here)
    assert len(names) == 2
    for name in names:
        assert scores(there / "runs" / name) == scores(here / "runs" / name)
    # Nothing is left to do.
    run_bench(write_grid(tmp_path, [0, 1]), there, cluster="ray", run=always_failing)


def always_failing(config: Config, phase1_folder: Path) -> None:
    raise AssertionError("a complete run is made again")


@pytest.mark.usefixtures("ray_here", "no_warm_up")
def test_failures_are_recorded_as_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overread.cluster, "RETRIES", 1)
    grid, out = write_grid(tmp_path, [0, 1, 2]), tmp_path / "out"
    with pytest.raises(RunError, match=r"3 of 6 runs failed"):
        run_bench(grid, out, run=troubled_run, cluster="ray")
    errors = {path.parent.name[-5:]: path.read_text() for path in out.glob("runs/*/error.txt")}
    assert errors["seed0"] == "the moon is too bright\n"
    assert errors["seed1"].startswith("ZeroDivisionError: unexpected\nTraceback")
    assert errors["seed2"].startswith("the process of a task on the cluster was killed 2 times")
    assert "| a | 3 |" in (out / "results.md").read_text()

    (out / "mended").touch()
    (out / "calls.txt").unlink()
    run_bench(grid, out, run=troubled_run, cluster="ray")
    calls = [line.split() for line in (out / "calls.txt").read_text().splitlines()]
    assert sorted(name for name, *_ in calls) == [f"tiny--low--b--seed{seed}" for seed in range(3)]
    assert {threads for *_, threads in calls} == {"1"}


def test_a_folder_in_which_a_worker_still_lives_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = planned(tmp_path, tmp_path / "out")
    lock = run_folder(run) / "run.lock"
    lock.parent.mkdir(parents=True)
    with lock_held_elsewhere(lock):
        assert not settle_alone((tmp_path, fake_run, 0.2), run)
        assert "another process is working in" in (run_folder(run) / ERROR).read_text()
        assert not (run_folder(run) / "results.json").exists()
        (run_folder(run) / ERROR).unlink()
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        waiting = threading.Thread(target=settle_alone, args=((tmp_path, fake_run, 60.0), run))
        waiting.start()
        time.sleep(0.5)
        assert not is_complete(run)
    waiting.join()
    assert is_complete(run)
    # As when Ray repeats a task whose answer was lost.
    assert settle_alone((tmp_path, always_failing, 0.0), run)
    assert not (run_folder(run) / ERROR).exists()


@pytest.mark.usefixtures("ray_here", "no_warm_up")
def test_runs_whose_files_are_elsewhere_are_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where --out is not shared: the task sees a complete run, and this machine sees none.
    monkeypatch.setattr(overread.workers, "comes_true", lambda condition: comes_true(condition, seconds=0.1))
    monkeypatch.setattr(overread.workers, "settle_alone", settle_nowhere)
    with pytest.raises(RunError, match=r"2 of 2 runs failed .*do all machines share it\?"):
        run_bench(write_grid(tmp_path, [0]), tmp_path / "out", run=fake_run, cluster="ray")


def settle_nowhere(shared: object, planned: PlannedRun) -> bool:
    return True


def test_a_certain_gpu_cannot_be_had_on_a_cluster(tmp_path: Path) -> None:
    grid = write_grid(tmp_path, [0])
    grid.write_text(grid.read_text().replace("settings:\n", "settings:\n  device: cuda:1\n"))
    with pytest.raises(ConfigError, match=r"device=cuda:1: on a cluster .* say device=cuda"):
        run_bench(grid, tmp_path / "out", run=fake_run, cluster="ray")


def test_the_command_line_knows_the_choices_of_the_configuration() -> None:
    assert [choice.value for choice in Machines] == list(get_args(Cluster))


# --- the command


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    return ["bench", str(write_grid(tmp_path, [0])), "--out", str(tmp_path / "out"), "--cluster", "ray"]


def test_without_ray_the_line_that_installs_it_is_said(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(sys, "argv", ["overread", *command])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.strip() == (
        'overread: work on a cluster needs the package ray: pip install "overread[cluster]"'
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nonsense", "127.0.0.1:99999999999999999999"])
def test_a_cluster_that_is_not_there_is_said_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Before Ray itself is asked, which would try for minutes.
    absent = SimpleNamespace(is_initialized=lambda: False, exceptions=SimpleNamespace(RayError=RuntimeError))
    monkeypatch.setattr(overread.cluster, "_ray", lambda: absent)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(RunError, match=rf"the Ray cluster at RAY_ADDRESS={address} cannot be used \("),
        cluster_session(),
    ):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_a_stopped_bench_leaves_no_process_of_its_own_ray(
    by: signal.Signals, command: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "bench_script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            import overread.bench, overread.cli
            from fake_runs import slow_run
            overread.bench._warm_up = lambda *_: None
            overread.bench.run_bench.__defaults__ = (None, None, slow_run, "none")
            sys.argv = ["overread", *{command!r}]
            overread.cli.main()
            """
        )
    )
    out = tmp_path / "out"
    with (tmp_path / "complaint").open("w+b") as complaint:
        bench = subprocess.Popen(
            [sys.executable, str(script)],
            stderr=complaint,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "RAY_ADDRESS": ""},
        )
        wait_for(lambda: any(out.glob("pids/*")) or bench.poll() is not None)
        workers = [int(path.name) for path in out.glob("pids/*")]
        family = [each for worker in workers for each in (worker, int(ps(worker, "ppid")))]
        bench.send_signal(by)
        code = bench.wait(timeout=60)
        complaint.seek(0)
        said = complaint.read().decode()
    assert workers, said
    assert code == (130 if by is signal.SIGINT else -9)
    assert "Traceback" not in said
    wait_for(lambda: not any(map(alive, family)))
    assert not any(map(alive, family))
