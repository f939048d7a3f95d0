"""Runs side by side, in processes of this machine or on a Ray cluster: one that fails or dies stops no other.

What there is to do and what is complete is decided once, in `run_all`; the two executors only settle jobs.  A worker
imports little before it begins, since every process pays for it.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from overread.cluster import LIBRARY_THREADS, cluster_session, comes_true, names_cluster, run_tasks
from overread.config import Cluster, Config
from overread.errors import OverreadError, RunError
from overread.files import write_text
from overread.grid import PlannedRun
from overread.locks import take_lock
from overread.progress import Reporter, Silent
from overread.results import read_results
from overread.run import LOCK

__all__ = [
    "ERROR",
    "Runner",
    "Workforce",
    "data_digest",
    "is_complete",
    "run_all",
    "run_folder",
    "simulate_run",
    "workforce",
]

Runner = Callable[[Config, Path], object]
Job = list[PlannedRun]
"""Runs that share phase 1: the first makes it, the others find it."""
Executor = Callable[[Sequence[Job], int, Path, Runner, Callable[[], None]], None]
"""Settles every run of the jobs: `jobs, threads, phase1_folder, run, tick`; calls `tick` now and then."""
ERROR = "error.txt"
WORKERS = 2
# How long a task waits for a run folder that a worker still holds which Ray gave up: Ray ends such workers, and a file
# server frees the locks of a lost machine, within a minute or two.
PATIENCE = 300.0


class Workforce(NamedTuple):
    """Who settles runs."""

    cores: int
    """CPUs of the machine or the cluster."""
    workers: int
    """Runs at a time."""
    threads: int
    """CPU threads of each run."""
    execute: Executor


@contextmanager
def workforce(workers: int | None, cluster: Cluster) -> Iterator[Workforce]:
    """A block with processes of this machine, or with Ray, for `workers` runs at a time.

    workers: none = 2, or as many as the cluster that $RAY_ADDRESS names has CPUs.  On this machine runs share the
    cores evenly, also under a Ray of its own; on another cluster each has one CPU.
    Errors: as in `overread.cluster.cluster_session`.
    """
    if cluster == "ray" and names_cluster():
        with cluster_session() as cpus:
            yield Workforce(cpus, workers or cpus, 1, partial(_on_ray, at_once=workers))
        return
    cores, workers = os.cpu_count() or 1, workers or WORKERS
    threads = max(1, cores // workers)
    if cluster == "ray":
        with cluster_session(workers):
            yield Workforce(cores, workers, threads, partial(_on_ray, at_once=workers))
    else:
        yield Workforce(cores, workers, threads, partial(_in_processes, workers=workers))


def simulate_run(config: Config, phase1_folder: Path) -> None:
    """Run or resume one simulation in this process."""
    from overread.refine import simulate  # torch: not before a process needs it

    simulate(config, Silent(), phase1_folder)


def run_folder(run: PlannedRun) -> Path:
    """The folder of a planned run."""
    assert run.config.out is not None
    return run.config.out


def is_complete(run: PlannedRun) -> bool:
    """Whether all rounds of the run are on disk."""
    try:
        return bool(read_results(run_folder(run))["complete"])
    except RunError:
        return False


def data_digest(run: PlannedRun) -> str | None:
    """The digest of the data that the run has used so far; None where it has no results yet."""
    try:
        return str(read_results(run_folder(run)).get("data_digest"))
    except RunError:
        return None


def run_all(
    todo: Sequence[PlannedRun],
    force: Workforce,
    done: int,
    phase1_folder: Path,
    reporter: Reporter,
    run: Runner,
) -> None:
    """Settle every run of `todo`: complete, or with the reason in `error.txt` of its folder.

    `done` runs were complete before and count in the bar.  KeyboardInterrupt ends the processes, whose runs can be
    resumed.
    """
    jobs = [list(group) for _, group in groupby(todo, key=PlannedRun.phase1_key)]
    open_runs = {each.slug: each for each in todo}
    with reporter.task("runs", len(todo) + done, done) as advance:

        def tick() -> None:
            settled = [slug for slug, each in open_runs.items() if _is_settled(each)]
            for slug in settled:
                del open_runs[slug]
            advance(len(settled))

        force.execute(jobs, force.threads, phase1_folder, run, tick)
        tick()


def _is_settled(run: PlannedRun) -> bool:
    return (run_folder(run) / ERROR).exists() or is_complete(run)


def _in_processes(
    jobs: Sequence[Job], threads: int, phase1_folder: Path, run: Runner, tick: Callable[[], None], workers: int
) -> None:
    """The executor for this machine: `workers` processes, each with a job at a time."""
    with _environment(LIBRARY_THREADS, str(threads)):
        broken = _run_jobs(jobs, workers, phase1_folder, run, tick)
        # A process that dies takes its neighbours with it, so each suspect gets a process to itself.
        for job in broken:
            while left := [each for each in job if not _is_settled(each)]:
                if _run_jobs([left], 1, phase1_folder, run, tick):
                    culprit = next(each for each in left if not _is_settled(each))
                    _record(culprit, "the process of this run was killed, perhaps because memory ran out")


def _on_ray(
    jobs: Sequence[Job],
    threads: int,
    phase1_folder: Path,
    run: Runner,
    tick: Callable[[], None],
    at_once: int | None,
) -> None:
    """The executor for a Ray cluster: a task for each run; a job's other runs begin when its phase 1 is there."""
    waiting = deque((job, job[0]) for job in jobs)

    def done(job: Job, is_made: Callable[[], bool]) -> None:
        first, *others = job
        try:
            there = is_made()
            # Another machine may see a file before this one does.
            if not comes_true(lambda: _is_settled(first)):
                there = False
                _record(
                    first, f"its task ended, but its files are not in {run_folder(first)}: do all machines share it?"
                )
        except Exception as error:
            # Of Ray itself; what a run raises is recorded where it runs.
            _record(first, str(error) or type(error).__name__, str(error))
            there = False
        # Where the first failed, phase 1 may be missing: the next one tries, and no two make it side by side.
        following = [[each] for each in others] if there else [others] if others else []
        waiting.extend((each, each[0]) for each in following)
        tick()

    def wants_gpu(planned: PlannedRun) -> bool:
        return planned.config.device == "cuda"

    run_tasks(settle_alone, (phase1_folder, run, PATIENCE), waiting, done, wants_gpu, at_once, threads)


def settle_alone(shared: tuple[Path, Runner, float], planned: PlannedRun) -> bool:
    """Settle a run in a Ray task; whether it is complete.  The task may be one that Ray repeats without need."""
    phase1_folder, run, patience = shared

    def run_alone(config: Config, phase1_folder: Path) -> None:
        _wait_until_free(run_folder(planned) / LOCK, patience)
        if not is_complete(planned):
            run(config, phase1_folder)

    _work([planned], phase1_folder, run_alone)
    return is_complete(planned)


def _wait_until_free(lock: Path, patience: float) -> None:
    """Return when no process holds `lock`; RunError where one still does after `patience` seconds."""
    deadline = time.monotonic() + patience
    while lock.exists():
        try:
            with take_lock(lock):
                return
        except RunError:
            if time.monotonic() > deadline:
                raise
            time.sleep(min(1.0, patience))


def _run_jobs(
    jobs: Sequence[list[PlannedRun]], workers: int, phase1_folder: Path, run: Runner, tick: Callable[[], None]
) -> list[list[PlannedRun]]:
    """Work through the jobs in `workers` processes; the jobs that were under way when a process died."""
    waiting, broken = deque(jobs), list[list[PlannedRun]]()
    while waiting:
        flying: dict[Future[None], list[PlannedRun]] = {}
        before = set(multiprocessing.active_children())
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
            try:
                while waiting or flying:
                    while waiting and len(flying) < workers:
                        flying[pool.submit(_work, waiting[0], phase1_folder, run)] = waiting[0]
                        waiting.popleft()
                    finished, _ = wait(flying, timeout=1.0, return_when=FIRST_COMPLETED)
                    tick()
                    for future in finished:
                        future.result()
                        del flying[future]
            except BrokenProcessPool:
                broken += flying.values()
            except BaseException:
                for process in set(multiprocessing.active_children()) - before:
                    process.terminate()
                raise
    return broken


def _work(runs: Sequence[PlannedRun], phase1_folder: Path, run: Runner) -> None:
    for each in runs:
        try:
            run(each.config, phase1_folder)
        except OverreadError as error:
            _record(each, str(error))
        except Exception as error:
            _record(each, f"{type(error).__name__}: {error}", traceback.format_exc())


def _record(run: PlannedRun, reason: str, details: str = "") -> None:
    write_text(run_folder(run) / ERROR, f"{' '.join(reason.split())}\n{details}")


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even where it was killed: an orphan would hold its run folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _environment(names: Sequence[str], value: str) -> Iterator[None]:
    """Environment variables for the processes that are started inside the block."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, value))
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                del os.environ[name]
            else:
                os.environ[name] = old
