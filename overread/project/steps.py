"""The steps of a project: phase 1, a queue for readers, and an update from what they said.

A step writes its files first and its entry in `project.json` last, so that a step that was killed is made again, to the
same result, by the same command.
"""

import hashlib
import time
from typing import Any, NamedTuple

from overread.arrays.rows import RowArray
from overread.data.dataset import Dataset
from overread.errors import ConfigError, RunError
from overread.estimates import round_estimates
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
from overread.project.features import write_features
from overread.project.folder import Project, check_config, identity_of, load_items, save_state
from overread.project.queue_file import read_queue, write_disputed, write_queue
from overread.project.snapshot import NOTHING, Snapshot, load_snapshot, save_snapshot, take_snapshot
from overread.restoring import check_split
from overread.results import round_file, write_scores
from overread.rng import generator
from overread.run import code_id
from overread.score_columns import score_columns

__all__ = ["learn_labels", "select_items", "update_model"]


def learn_labels(project: Project, reporter: Reporter) -> dict[str, Any]:
    """The entry of phase 1, which learns from the given labels alone; RunError where that is done."""
    if project.rounds:
        raise RunError(f"phase 1 of {project.folder} is done: go on with `overread select {project.folder}`")
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
    return _finish(project, learner, untouched(learner.task, phase1), NOTHING, 0, phase1.seconds)


def select_items(
    project: Project, budget: int, reporter: Reporter, *, audited: int | None = None, readers: int = 1
) -> dict[str, list[int]]:
    """The queue of a new round, `audited` and `chosen` positions in the order in which they are read.

    budget: items that the sampler chooses.  audited: items drawn at random beside them; None = `active.audit`.
    readers: reads for each item.  Items that somebody has read already are left out.
    Errors: RunError before phase 1, while another round is open, and where nothing is left to read.
    """
    number = _next_round(project)
    if len(project.store.rounds()) == number:
        raise RunError(
            f"round {number} is being read: finish it with `overread update {project.folder}` before the next one"
        )
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
        raise RunError(f"nothing is left to read in {project.folder}: export it with `overread export`")
    queue = {"audited": drawn.tolist(), "chosen": chosen.tolist()}
    order = [*queue["audited"], *queue["chosen"]]
    sources = dataset.sources[dataset.positions("train")]
    rows = [(str(learner.task.ids[position]), str(sources[position])) for position in order]
    write_queue(project.folder, number, queue, rows)
    project.store.open_round(config.active.sampler, order, readers)
    return queue


def update_model(project: Project, reporter: Reporter, *, early: bool = False) -> dict[str, Any]:
    """The entry of the round that was read last: the model after it has learnt from all reads so far.

    Closes the round.  early: although reads are missing; without a single one it is closed with nothing learnt.
    Errors: RunError where no round was selected, and where reads are missing.
    """
    number = _next_round(project)
    if len(project.store.rounds()) != number:
        raise RunError(
            f"no round is being read: choose items with `overread select {project.folder} --budget N`; what was "
            "imported meanwhile is learnt with them"
        )
    done = project.store.progress(number)
    if done.finished < done.items and not early:
        raise RunError(
            f"{done.items - done.finished} of the {done.items} items of round {number} have not all reads that were "
            f"asked for: have them read with `overread serve {project.folder}`, or go on without them with "
            f"`overread update {project.folder} --early`"
        )
    learner = _begin(project, reporter).learner
    before = _restored(project, learner, number - 1)
    snapshot = take_snapshot(project.store.current_reads(), learner.task.train.n_items, learner.task.n_classes)
    state = _with_reads(learner, snapshot)._replace(presumed_clean=before.presumed_clean)
    # By the labels too: an update that was stopped goes on only while nobody has said anything else.
    said = hashlib.sha256(snapshot.positions.tobytes() + snapshot.labels.tobytes()).hexdigest()
    path = project.folder / "checkpoints" / "in-progress.safetensors"
    checkpointer = Checkpointer(path, project.config.checkpoint_seconds, f"round {number}, labels {said}")
    seconds = learner.update(state, number, checkpointer, reporter)
    state = state._replace(presumed_clean=learner.presumed_clean(state))
    write_disputed(project.folder, number, snapshot.disputed.tolist())
    entry = _finish(project, learner, state, snapshot, number, seconds)
    checkpointer.clear()
    project.store.close_round(number)
    return entry


def _next_round(project: Project) -> int:
    """The number of the round that comes next, or is being read; RunError before phase 1, or after a change."""
    if not project.rounds:
        raise RunError(f"phase 1 comes first: `overread learn {project.folder}`")
    if project.state["config_id"] != identity_of(project.config):
        raise RunError(
            f"config.yaml of {project.folder} has changed since phase 1: put it back, or begin another project"
        )
    stored, done = project.store.rounds(), len(project.rounds) - 1
    if len(stored) not in (done, done + 1):
        raise RunError(
            f"the database of {project.folder} has {len(stored)} rounds and its files {done}: they are not of the same "
            "time, restore both"
        )
    if len(stored) == done and done and stored[-1].open:
        # An update that was killed behind its last file.
        project.store.close_round(done)
    return done + 1


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
    project: Project, learner: Learner, state: State, snapshot: Snapshot, number: int, seconds: float
) -> dict[str, Any]:
    """Write the files of a round and its entry, which it returns."""
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
    }
    project.rounds.append(entry)
    save_state(folder, project.state)
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
