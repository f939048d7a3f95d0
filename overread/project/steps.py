"""The steps of a project: phase 1, a queue for readers, and an update from what they said.

A step writes its files first and its entry in `project.json` last, so that a step that was killed is made again, to the
same result, by the same command.
"""

import hashlib
import shutil
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from overread.arrays.rows import RowArray
from overread.data.dataset import Dataset
from overread.errors import ConfigError, RunError
from overread.estimates import round_estimates
from overread.files import atomic_path
from overread.header import choice_of, model_of
from overread.learn.checkpoint import load_checkpoint, save_checkpoint
from overread.learn.crew import begin
from overread.learn.device import set_threads
from overread.learn.learners import Learner, State, begin_learning, untouched
from overread.learn.phase1 import UNINFORMED
from overread.learn.processes import launched_processes, number_launched
from overread.learn.task import Task
from overread.learn.training import Checkpointer
from overread.mode import Settled, settle_for
from overread.oracle import Read
from overread.picks import audit, choose, next_reads
from overread.progress import Reporter
from overread.project.disputes import note_disputes
from overread.project.features import write_features
from overread.project.folder import Project, check_config, identity_of, load_items, save_state
from overread.project.order import check_learn, check_select, check_update, complete_round, nothing_left
from overread.project.queue_file import read_queue, write_queue
from overread.project.snapshot import NOTHING, Snapshot, load_snapshot, save_snapshot, take_snapshot
from overread.restoring import check_split
from overread.results import round_file, write_scores
from overread.rng import generator
from overread.run import code_id
from overread.score_columns import score_columns

__all__ = ["learn_labels", "select_items", "update_model"]


def learn_labels(project: Project, reporter: Reporter) -> dict[str, Any]:
    """The entry of phase 1, which learns from the given labels alone; RunError where that is done."""
    check_learn(project)
    check_config(project.config)
    work = _begin(project, reporter)
    learner, phase1 = work.learner, work.learner.phase1
    project.state.update(
        config_id=identity_of(project.config),
        device=work.device,
        model=model_of(learner.config),
        choice=choice_of(work.settled, learner.config, phase1.trial),
        notes=[] if phase1.informed else [UNINFORMED],
    )
    embeddings = _embeddings_of(learner.task)
    if embeddings is not None:
        write_features(project.folder, embeddings)
    return _finish(project, learner, untouched(learner.task, phase1), NOTHING, 0, phase1.seconds, {})


def select_items(
    project: Project,
    budget: int,
    reporter: Reporter,
    *,
    audited: int | None = None,
    readers: int = 1,
    at_most: int | None = None,
) -> dict[str, list[int]]:
    """The queue of a new round, `audited` and `chosen` positions in the order in which they are read.

    budget: items that the sampler chooses.  audited: items drawn at random beside them; None = `active.audit`.
    readers: reads for each item.  at_most: where it is more, an item on whose label they do not agree gets one more
    reader at a time, up to so many.  Items that somebody has read already are left out.
    Errors: RunError before phase 1, while another round is open, and where nothing is left to read.
    """
    number = check_select(project)
    work = _begin(project, reporter)
    learner, dataset = work.learner, work.dataset
    state = _restored(project, learner, number - 1)
    read = state.bought.copy()
    read[[each.item for each in project.store.current_reads()]] = True
    active = learner.config.active
    wanted = {"budget": budget, "audit": active.audit if audited is None else audited}
    config = learner.config.model_copy(update={"active": active.model_copy(update=wanted)})
    drawn = audit(State(state.labels, read, state.presumed_clean), config, number)
    taken = read.copy()
    taken[drawn] = True
    unread = State(state.labels, taken, state.presumed_clean)
    chosen = choose(learner.task, learner.network, unread, learner.scores(state), config, number)
    if not len(drawn) + len(chosen):
        raise nothing_left(project)
    queue = {"audited": drawn.tolist(), "chosen": chosen.tolist()}
    order = [*queue["audited"], *queue["chosen"]]
    sources = dataset.sources[dataset.positions("train")]
    rows = [(str(learner.task.ids[position]), str(sources[position])) for position in order]
    write_queue(project.folder, number, queue, rows)
    project.store.open_round(config.active.sampler, order, readers, at_most)
    return queue


def update_model(project: Project, reporter: Reporter, *, early: bool = False) -> dict[str, Any]:
    """The entry of the round that was read last: the model after it has learnt from all reads so far.

    Closes the round.  early: although reads are missing.  Where no round is being read, what was said since the last
    update is learnt as a round of its own, for which nobody was asked.  A round that brings no label from readers that
    the one before did not have changes no number: its files and its entry repeat those of the one before.
    Errors: RunError where nothing has changed, and where reads are missing.
    """
    number, folder = check_update(project, early), project.folder
    unasked = len(project.store.rounds()) != number
    reads = list(project.store.current_reads())
    rule, n_items = project.consensus, project.state["dataset"]["items"]
    snapshot = take_snapshot(reads, n_items, len(project.store.classes), rule)
    more = {"last_read": max((read.sequence for read in reads), default=0), "unasked": unasked, "consensus": rule}
    if unasked:
        write_queue(folder, number, {"audited": [], "chosen": []}, [])
    learnt = load_snapshot(round_file(folder, "snapshots", number - 1))
    if all(np.array_equal(getattr(learnt, name), getattr(snapshot, name)) for name in ("positions", "labels")):
        entry = _repeat(project, snapshot, number, more)
    else:
        entry = _learn(project, snapshot, number, more, reporter)
    note_disputes(project, snapshot.disputed.tolist())
    complete_round(project)
    return entry


def _learn(
    project: Project, snapshot: Snapshot, number: int, more: Mapping[str, Any], reporter: Reporter
) -> dict[str, Any]:
    """The entry of round `number`, which learns from all labels of the snapshot."""
    learner = _begin(project, reporter).learner
    before = _restored(project, learner, number - 1)
    state = _with_reads(learner, snapshot)._replace(presumed_clean=before.presumed_clean)
    # By the labels too: an update that was stopped goes on only while nobody has said anything else.
    said = hashlib.sha256(snapshot.positions.tobytes() + snapshot.labels.tobytes()).hexdigest()
    path = project.folder / "checkpoints" / "in-progress.safetensors"
    checkpointer = Checkpointer(path, project.config.checkpoint_seconds, f"round {number}, labels {said}")
    seconds = learner.update(state, number, checkpointer, reporter)
    state = state._replace(presumed_clean=learner.presumed_clean(state))
    entry = _finish(project, learner, state, snapshot, number, seconds, more)
    checkpointer.clear()
    return entry


def _repeat(project: Project, snapshot: Snapshot, number: int, more: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of round `number`, which has nothing to learn: that of the round before, and copies of its files."""
    folder, before = project.folder, project.rounds[-1]
    for kind, suffix in (("checkpoints", ".safetensors"), ("scores", ".parquet")):
        source = round_file(folder, kind, number - 1, suffix)
        if not source.is_file():
            raise RunError(f"{source} is lost: restore it from a copy")
        with atomic_path(round_file(folder, kind, number, suffix)) as path:
            shutil.copyfile(source, path)
    save_snapshot(round_file(folder, "snapshots", number), snapshot)
    own = {"round": number, "repeats": before.get("repeats", number - 1), "seconds": 0.0}
    entry = {**before, **own, "disputed": len(snapshot.disputed), "unclear": len(snapshot.unclear), **more}
    return _complete(project, entry)


class _Work(NamedTuple):
    """What every step begins with."""

    dataset: Dataset
    learner: Learner
    """At the end of phase 1."""
    settled: Settled
    device: str
    """The type of the device on which the project began: on another one it goes on as it began."""


def _begin(project: Project, reporter: Reporter) -> _Work:
    config = project.config
    if number_launched() > 1:
        raise ConfigError("a project learns in one process: start it without torchrun or accelerate launch")
    processes = launched_processes(config.device, config.precision == "bfloat16")
    set_threads(config.threads)
    dataset, given = load_items(project, reporter)
    device = project.state.get("device", processes.device.type)
    settled = settle_for(config, dataset, device)
    task = begin(settled.config, dataset, given, processes, reporter)
    learner = begin_learning(task, settled.config, project.folder / "checkpoints", None, reporter)
    if project.rounds:
        check_split(project.folder, set(), learner.phase1)
    return _Work(dataset, learner, settled, device)


def _embeddings_of(task: Task) -> RowArray | None:
    """Of every item, in the order of positions; None where there are only those of some."""
    if task.embeddings is not None:
        return task.embeddings.train
    return task.noise_features if len(task.noise_items) == task.train.n_items else None


def _with_reads(learner: Learner, snapshot: Snapshot) -> State:
    state = untouched(learner.task, learner.phase1)
    state.labels[snapshot.positions] = snapshot.labels
    state.bought[snapshot.positions] = True
    return state


def _restored(project: Project, learner: Learner, number: int) -> State:
    """The state after round `number`; `learner` becomes what it was then."""
    tensors, _ = load_checkpoint(round_file(project.folder, "checkpoints", number, ".safetensors"))
    path = round_file(project.folder, "snapshots", number)
    snapshot = load_snapshot(path)
    if len(snapshot.positions) != project.rounds[number]["items_read"]:
        raise RunError(f"{path} is not that of round {number}: restore all files of {project.folder} from one copy")
    state = _with_reads(learner, snapshot)
    learner.unpack(tensors, state)
    return state._replace(presumed_clean=learner.presumed_clean(state))


def _finish(
    project: Project,
    learner: Learner,
    state: State,
    snapshot: Snapshot,
    number: int,
    seconds: float,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the files of a round and its entry, with `more` in it, which it returns."""
    started, folder, config = time.monotonic(), project.folder, learner.config
    save_checkpoint(round_file(folder, "checkpoints", number, ".safetensors"), learner.pack(), {"round": number})
    save_snapshot(round_file(folder, "snapshots", number), snapshot)
    scores = learner.scores(state)
    columns = score_columns(learner.task, state, scores, learner.phase1)
    write_scores(round_file(folder, "scores", number), columns, scores.probs)
    estimates = round_estimates(
        folder,
        number,
        _as_reads(project, snapshot),
        scores,
        next_reads(learner.task, state, scores, config, number),
        generator(config.seed, "estimates", number),
    )
    entry = {
        "round": number,
        "items_read": len(snapshot.positions),
        "disputed": len(snapshot.disputed),
        "unclear": len(snapshot.unclear),
        "presumed_clean": int(state.presumed_clean.sum()),
        "estimated_rate": scores.noise_rate,
        "estimates": estimates,
        "code": code_id(),
        "seconds": seconds + time.monotonic() - started,
        **more,
    }
    return _complete(project, entry)


def _complete(project: Project, entry: dict[str, Any]) -> dict[str, Any]:
    """Add the entry of a round whose files are all written."""
    project.rounds.append(entry)
    save_state(project.folder, project.state)
    return entry


def _as_reads(project: Project, snapshot: Snapshot) -> list[Read]:
    """One read for each item with a label, as the estimates want them."""
    audited = {
        (number, position)
        for number in range(1, len(project.store.rounds()) + 1)
        for position in read_queue(project.folder, number)["audited"]
    }
    return [
        Read(position, label, number, "audit" if (number, position) in audited else "bought")
        for position, label, number in zip(
            snapshot.positions.tolist(), snapshot.labels.tolist(), snapshot.rounds.tolist(), strict=True
        )
    ]
