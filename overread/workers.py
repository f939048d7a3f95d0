"""Runs in parallel processes: one that fails or dies stops no other, and none outlives the bench.

A worker imports little before it begins, since every process pays for it.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from overread.config import Config
from overread.errors import OverreadError, RunError
from overread.files import write_text
from overread.grid import PlannedRun
from overread.progress import Reporter, Silent
from overread.results import read_results

__all__ = ["ERROR", "Runner", "data_digest", "is_complete", "run_all", "run_folder", "simulate_run"]

Runner = Callable[[Config, Path], object]
ERROR = "error.txt"
LIBRARY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
    workers: int,
    threads: int,
    done: int,
    phase1_folder: Path,
    reporter: Reporter,
    run: Runner,
) -> None:
    """Settle every run of `todo`: complete, or with the reason in `error.txt` of its folder.

    `workers` processes with `threads` threads each; `done` runs were complete before and count in the bar.
    KeyboardInterrupt ends the processes, whose runs can be resumed.
    """
    # Runs of one phase 1 go to one process, one after another: the first makes it, the others find it.
    jobs = [list(group) for _, group in groupby(todo, key=PlannedRun.phase1_key)]
    open_runs = {each.slug: each for each in todo}
    with reporter.task("runs", len(todo) + done, done) as advance, _environment(LIBRARY_THREADS, str(threads)):

        def tick() -> None:
            settled = [slug for slug, each in open_runs.items() if _is_settled(each)]
            for slug in settled:
                del open_runs[slug]
            advance(len(settled))

        broken = _run_jobs(jobs, workers, phase1_folder, run, tick)
        # A process that dies takes its neighbours with it, so each suspect gets a process to itself.
        for job in broken:
            while left := [each for each in job if not _is_settled(each)]:
                if _run_jobs([left], 1, phase1_folder, run, tick):
                    culprit = next(each for each in left if not _is_settled(each))
                    _record(culprit, "the process of this run was killed, perhaps because memory ran out")
        tick()


def _is_settled(run: PlannedRun) -> bool:
    return (run_folder(run) / ERROR).exists() or is_complete(run)


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
