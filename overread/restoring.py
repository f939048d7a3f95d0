"""A completed round from the files of the run folder: its state, and those of its files that were lost.

Weights and reads are what training and readers made; everything else follows from them, to the same bytes.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from overread.errors import RunError, name_some
from overread.files import without_nan
from overread.learn.checkpoint import load_checkpoint
from overread.learn.learners import Learner, State, untouched
from overread.learn.phase1 import Phase1
from overread.learn.task import Task
from overread.oracle import Oracle, load_reads
from overread.progress import Reporter
from overread.referee import Referee
from overread.results import GALLERY, NOISE, READS, RESULTS, lost_files, read_column, round_file

__all__ = ["check_split", "find_lost_files", "make_lost_files", "restore"]


def restore(run: Path, task: Task, learner: Learner, oracle: Oracle, done: int) -> State:
    """The state after round `done`, from its weights and from the reads up to it."""
    tensors, _ = load_checkpoint(round_file(run, "checkpoints", done, ".safetensors"))
    oracle.reads = load_reads(run / READS, done) if done > 0 else []
    state = untouched(task, learner.phase1)
    for read in oracle.reads:
        state.labels[read.position] = read.label
        state.bought[read.position] |= read.purpose != "leak"
    learner.unpack(tensors, state)
    return state._replace(presumed_clean=learner.presumed_clean(state))


def find_lost_files(run: Path, results: Mapping[str, Any], reporter: Reporter) -> set[Path]:
    """Files of completed rounds that are to be made again; RunError for what took training or a reader to make."""
    lost = lost_files(run, results)
    dear = [path for path in lost if path == run / READS or path.parent == run / "checkpoints"]
    if dear:
        raise RunError(
            f"{_names(run, dear)} of the run in {run} is lost and cannot be made again from its other files; "
            "put it back or give another folder with --out"
        )
    if lost:
        reporter.note(f"making again what the run folder lost: {_names(run, lost)}")
    return set(lost)


def check_split(run: Path, lost: set[Path], phase1: Phase1) -> None:
    """RunError where phase 1, whose file was lost and which was trained again, ended in another split than before."""
    scores = round_file(run, "scores", 0)
    if scores not in lost and not np.array_equal(read_column(scores, "presumed_clean"), phase1.presumed_clean):
        raise RunError(
            f"phase 1 of the run in {run} was lost and ends in another split now, since other code or another machine "
            "made it; start again in another folder with --out"
        )


def make_lost_files(
    run: Path,
    lost: set[Path],
    task: Task,
    learner: Learner,
    referee: Referee,
    oracle: Oracle,
    results: Mapping[str, Any],
) -> None:
    """Make the files `lost` again from weights and reads.

    Errors: RunError where this code or this machine would write other numbers than those in `results`.
    """

    def check(recorded: Mapping[str, Any], again: dict[str, Any]) -> None:
        if any(recorded[key] != value for key, value in without_nan(again).items() if key in recorded):
            raise RunError(
                f"{_names(run, lost)} of the run in {run} is lost, and made again it would not agree with {RESULTS}, "
                "which other code or another machine wrote; put it back or give another folder with --out"
            )

    if run / NOISE in lost:
        check(results["noise"], {"estimated_rate": learner.phase1.estimated_rate})
        referee.write_noise(run, learner.phase1)
    for entry in results["rounds"]:
        number = entry["round"]
        train, test = round_file(run, "scores", number), round_file(run, "test", number)
        gallery = run / GALLERY if number == len(results["rounds"]) - 1 else None
        if not {train, test, gallery} & lost:
            continue
        state = restore(run, task, learner, oracle, number)
        scores, test_probs = learner.scores(state), learner.test_probs()
        check(entry, referee.entry(number, state, scores, test_probs, oracle))
        if train in lost:
            referee.write_train_scores(run, number, task, state, scores, learner.phase1)
        if test in lost:
            referee.write_test_scores(run, number, test_probs)
        if gallery in lost:
            referee.write_gallery(run, task, state, scores)


def _names(run: Path, files: Iterable[Path]) -> str:
    return name_some(sorted(path.relative_to(run).as_posix() for path in files))
