"""The two phases as a state machine that can be stopped anywhere and goes on from what is on disk.

A round is written in this order: reads, weights, scores, and at last its entry in `results.json`.  That entry is the
only mark of completion: what is newer than it is made again, from the same named random streams, to the same bytes.
Files of a completed round that were lost are made again too, where weights and reads are there.

What chooses (phase 1, samplers, updates) sees a `Task`, which holds no reference label.  The truth is in two places:
the oracle, which counts, and the `Referee`, which only writes down scores.
"""

import resource
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from overread.arrays import FloatArray, IntArray
from overread.arrays.acquisition import Pool, sampler_needs, select
from overread.arrays.rows import RowArray
from overread.cluster import cluster_session
from overread.config import Config
from overread.data.dataset import Dataset, load_dataset
from overread.errors import ConfigError, RunError, name_some
from overread.estimates import round_estimates
from overread.files import without_nan
from overread.learn.checkpoint import load_checkpoint, save_checkpoint
from overread.learn.crew import begin, dismiss, follow, is_wanted, score
from overread.learn.device import resolve_device, set_threads
from overread.learn.learners import Learner, Scores, State, begin_learning, untouched
from overread.learn.methods import get_method
from overread.learn.models import Network
from overread.learn.phase1 import Phase1
from overread.learn.processes import Processes, launched_processes, number_launched
from overread.learn.task import Task
from overread.learn.training import Checkpointer
from overread.oracle import Oracle, SimulatedOracle, load_reads, save_reads
from overread.progress import Reporter, Silent
from overread.referee import Referee, open_pool
from overread.results import (
    GALLERY,
    NOISE,
    READS,
    RESULTS,
    lost_files,
    read_column,
    read_results,
    round_file,
    write_results,
)
from overread.rng import derived_seed, generator
from overread.run import code_id, open_run
from overread.simulation import NoisyLabels, make_noisy_labels
from overread.stopping import parse_rule, reason_to_stop

__all__ = ["simulate"]

# What `next_100_reads` in the results counts.
NEXT_READS = 100


def simulate(config: Config, reporter: Reporter | None = None, phase1_folder: Path | None = None) -> dict[str, Any]:
    """The results of the run that `config` describes; goes on where an earlier call was stopped.

    phase1_folder: where runs that differ in phase 2 alone share the result of phase 1; none = in the run folder.
    Of several processes (see `overread.learn.processes`) only the first one returns results; the others return {}.
    Errors: an OverreadError that names what is wrong; nothing is written before data and configuration were checked.
    """
    reporter = reporter or Silent()
    if config.cluster == "ray" and number_launched() > 1:
        raise ConfigError("cluster=ray and a launcher of several processes share the same work: leave one of them out")
    processes = launched_processes(config.device, config.precision == "bfloat16")
    # After the launch, which may set the number of threads too.
    threads = set_threads(config.threads)
    if not processes.is_first:
        return _assist(config, processes)
    try:
        # Now, so that a cluster that cannot be had is known before hours of training.
        with cluster_session() if config.cluster == "ray" else nullcontext():
            return _direct(config, processes, threads, reporter, phase1_folder)
    finally:
        dismiss(processes)


def _direct(
    config: Config, processes: Processes, threads: int, reporter: Reporter, phase1_folder: Path | None
) -> dict[str, Any]:
    """The run as its first process sees it."""
    dataset = load_dataset(config.data, config.seed, reporter)
    train = dataset.positions("train")
    noisy = make_noisy_labels(dataset, train, config.noise, config.seed)
    with open_run(config) as run:
        results = _begin(run, config, dataset, noisy, threads, reporter)
        lost = _lost_files(run, results, reporter)
        if results["complete"] and not lost:
            reporter.note(f"the run in {run} is complete already")
            return results
        task = begin(config, dataset, noisy.given, processes, reporter)
        referee = Referee(dataset, noisy, config)
        oracle = SimulatedOracle(
            dataset.reference[train], len(dataset.class_names), config.active.oracle_error, config.seed
        )
        phase1_folder = phase1_folder or run / "checkpoints"
        _run_rounds(run, config, task, referee, oracle, results, lost, phase1_folder, noisy, reporter)
        return results


def _assist(config: Config, processes: Processes) -> dict[str, Any]:
    """The run as the other processes see it: inputs and given labels, no run folder, no results."""
    if is_wanted(processes):
        dataset = load_dataset(config.data, config.seed, Silent())
        noisy = make_noisy_labels(dataset, dataset.positions("train"), config.noise, config.seed)
        follow(begin(config, dataset, noisy.given, processes, Silent()), config)
    return {}


def _run_rounds(
    run: Path,
    config: Config,
    task: Task,
    referee: Referee,
    oracle: Oracle,
    results: dict[str, Any],
    lost: set[Path],
    phase1_folder: Path,
    noisy: NoisyLabels,
    reporter: Reporter,
) -> None:
    true_rate = noisy.rate if config.lnl.forget_rate == "true" else None
    learner = begin_learning(task, config, phase1_folder, true_rate, reporter)
    phase1 = learner.phase1
    done = len(results["rounds"]) - 1
    if done < 0:
        referee.write_noise(run, phase1)
        results["noise"]["estimated_rate"] = phase1.estimated_rate
        results["lnl"]["forget_rate"] = phase1.forget_rate
        state, scores = untouched(task, phase1), None
    else:
        _check_split(run, lost, phase1)
        _make_lost_files(run, lost, task, learner, referee, oracle, results)
        state = _restore(run, task, learner, oracle, done)
        scores = learner.scores(state)
    rule = None if config.active.until is None else parse_rule(config.active.until)
    for number in range(done + 1, config.active.rounds + 1):
        seconds = phase1.seconds
        if scores is not None:
            state, seconds = _one_round(run, config, task, learner, state, scores, oracle, number, reporter)
        save_checkpoint(round_file(run, "checkpoints", number, ".safetensors"), learner.pack(), {"round": number})
        started = time.monotonic()
        scores = learner.scores(state)
        test_probs = learner.test_probs()
        referee.write_train_scores(run, number, task, state, scores, phase1)
        referee.write_test_scores(run, number, test_probs)
        entry = referee.entry(number, state, scores, test_probs, oracle)
        entry["estimates"] = round_estimates(
            run,
            number,
            oracle.reads,
            phase1.estimated_matrix,
            scores,
            _next_reads(task, state, scores, config, number),
            generator(config.seed, "estimates", number),
        )
        entry["seconds"] = seconds + time.monotonic() - started
        results["rounds"].append(entry)
        results["oracle_reads"] = entry["oracle_reads"]
        results["wall_seconds"] = sum(r["seconds"] for r in results["rounds"])
        results["peak_rss_mb"] = max(results["peak_rss_mb"], _peak_rss_mb())
        if config.active.label_leak and number == 1:
            results["leak"] = referee.leak(task, oracle)
        reason = reason_to_stop(rule, entry["estimates"], entry["bought"]) if rule else None
        if reason is not None:
            results["stopped"] = {"rule": config.active.until, "round": number, "reason": reason}
        if reason is not None or number == config.active.rounds:
            referee.write_gallery(run, task, state, scores)
            results["complete"] = True
        write_results(run, results)
        _checkpointer(run, config, number).clear()
        if results["complete"]:
            return


def _one_round(
    run: Path,
    config: Config,
    task: Task,
    learner: Learner,
    state: State,
    scores: Scores,
    oracle: Oracle,
    number: int,
    reporter: Reporter,
) -> tuple[State, float]:
    """Select, read, update: the state after round `number`, and the seconds it took.

    The audit is drawn before the sampler chooses, from all that is unread, so that it stands for all of it.
    """
    started = time.monotonic()
    labels, bought = state.labels.copy(), state.bought.copy()
    if config.active.label_leak and number == 1:
        leaked = np.flatnonzero(state.presumed_clean)
        labels[leaked] = oracle.answer(leaked, number, "leak")
    audited = _audit(state, config, number)
    labels[audited] = oracle.answer(audited, number, "audit")
    bought[audited] = True
    chosen = choose(task, learner.network, State(labels, bought, state.presumed_clean), scores, config, number)
    labels[chosen] = oracle.answer(chosen, number, "bought")
    bought[chosen] = True
    save_reads(run / READS, oracle.reads, task.ids)
    state = State(labels, bought, state.presumed_clean)
    seconds = time.monotonic() - started
    if len(chosen) or len(audited):
        seconds += learner.update(state, number, _checkpointer(run, config, number), reporter)
        state = state._replace(presumed_clean=learner.presumed_clean(state))
    return state, seconds


def _audit(state: State, config: Config, number: int) -> IntArray:
    """Positions that the audit of round `number` reads: drawn from all unread items, whatever is thought of them."""
    unread = np.flatnonzero(~state.bought)
    if not config.active.audit:
        return unread[:0]
    return generator(config.seed, "audit", number).permutation(unread)[: config.active.audit]


def _next_reads(task: Task, state: State, scores: Scores, config: Config, number: int) -> IntArray:
    """Positions of the reads after round `number` whose gain is estimated.

    Where a sampler needs a pass of its own over the data, they are drawn from its pool instead.
    """
    name = config.active.sampler if sampler_needs(config.active.sampler) <= {"probs", "posterior"} else "random"
    pool = Pool(scores.probs, None, None, task.given, open_pool(state, config), scores.posterior)
    return select(name, pool, NEXT_READS, generator(config.seed, "sampler", number + 1))


def choose(task: Task, network: Network, state: State, scores: Scores, config: Config, number: int) -> IntArray:
    """Positions that round `number` buys: at most the budget, fewer where the pool runs empty."""
    needs = sampler_needs(config.active.sampler)
    draws: FloatArray | None = None
    features: RowArray | None = None
    if "features" in needs and network.reads_inputs_directly:
        # They are the inputs of a linear head: no pass, and no copy.
        features = task.train.fixed_features
        needs -= {"features"}
    if needs & {"draws", "features"}:
        # Probabilities are there from the end of the last round; these cost a pass of their own.
        more = score(
            task,
            network,
            "train",
            draws=config.active.draws if "draws" in needs else 0,
            seed=derived_seed(config.seed, "draws", number),
            want_features="features" in needs,
        )
        draws, features = more.draws, more.features if "features" in needs else features
    pool = Pool(
        probs=scores.probs,
        draws=draws,
        features=features,
        given=task.given,
        open=open_pool(state, config),
        posterior=scores.posterior if "posterior" in needs else None,
    )
    return select(config.active.sampler, pool, config.active.budget, generator(config.seed, "sampler", number))


def _restore(run: Path, task: Task, learner: Learner, oracle: Oracle, done: int) -> State:
    """The state after round `done`, from its weights and from the reads up to it."""
    tensors, _ = load_checkpoint(round_file(run, "checkpoints", done, ".safetensors"))
    oracle.reads = load_reads(run / READS, done) if done > 0 else []
    state = untouched(task, learner.phase1)
    for read in oracle.reads:
        state.labels[read.position] = read.label
        state.bought[read.position] |= read.purpose != "leak"
    learner.unpack(tensors, state)
    return state._replace(presumed_clean=learner.presumed_clean(state))


def _lost_files(run: Path, results: Mapping[str, Any], reporter: Reporter) -> set[Path]:
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


def _names(run: Path, files: Iterable[Path]) -> str:
    return name_some(sorted(path.relative_to(run).as_posix() for path in files))


def _check_split(run: Path, lost: set[Path], phase1: Phase1) -> None:
    """RunError where phase 1, whose file was lost and which was trained again, ended in another split than before."""
    scores = round_file(run, "scores", 0)
    if scores not in lost and not np.array_equal(read_column(scores, "presumed_clean"), phase1.presumed_clean):
        raise RunError(
            f"phase 1 of the run in {run} was lost and ends in another split now, since other code or another machine "
            "made it; start again in another folder with --out"
        )


def _make_lost_files(
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
        state = _restore(run, task, learner, oracle, number)
        scores, test_probs = learner.scores(state), learner.test_probs()
        check(entry, referee.entry(number, state, scores, test_probs, oracle))
        if train in lost:
            referee.write_train_scores(run, number, task, state, scores, learner.phase1)
        if test in lost:
            referee.write_test_scores(run, number, test_probs)
        if gallery in lost:
            referee.write_gallery(run, task, state, scores)


def _begin(
    run: Path, config: Config, dataset: Dataset, noisy: NoisyLabels, threads: int, reporter: Reporter
) -> dict[str, Any]:
    """The results so far of this run folder, or those of a run that is about to begin."""
    if (run / RESULTS).exists():
        results = read_results(run)
        if results.get("data_digest") != dataset.digest:
            raise RunError(f"the data of the run in {run} has changed since it began; start again in another folder")
        if not results["complete"]:
            _note_code(results, reporter)
        return results
    train = dataset.positions("train")
    counts = np.bincount(dataset.reference[train], minlength=len(dataset.class_names))
    return {
        "schema": 1,
        "preset": config.preset,
        "dataset": {
            "name": dataset.name,
            "classes": list(dataset.class_names),
            "n_train": len(train),
            "n_test": len(dataset.positions("test")),
            "imbalance": float(counts.max() / max(1, counts.min())),
            "train_counts": counts.tolist(),
            "skipped": [list(entry) for entry in dataset.skipped],
        },
        "seed": config.seed,
        "noise": {
            "kind": config.noise.kind,
            "rate": noisy.rate,
            "column": noisy.column,
            "estimated_rate": None,
            "warnings": list(noisy.warnings),
        },
        "lnl": {
            "method": config.lnl.method,
            "epochs": config.lnl.epochs,
            "mix_ratio": config.lnl.mix_ratio,
            "forget_rate_source": "number" if isinstance(config.lnl.forget_rate, float) else config.lnl.forget_rate,
            "forget_rate": None,
        },
        "model": {"name": config.model.name, "mode": config.model.mode, "weights": config.model.weights},
        "sampler": config.active.sampler,
        "complete": False,
        "oracle_reads": 0,
        "label_leak": config.active.label_leak,
        "leak": None,
        "stopped": None,
        "choice": _choice(config),
        "notes": _notes(config),
        "evaluated_weights": "first network, last epoch of each step",
        "config_id": config.identity(),
        "data_digest": dataset.digest,
        "code": code_id(),
        "code_changes": [],
        "threads": threads,
        "device": str(resolve_device(config.device)),
        "wall_seconds": 0.0,
        "peak_rss_mb": 0.0,
        "rounds": [],
    }


def _note_code(results: dict[str, Any], reporter: Reporter) -> None:
    """Record and say that other code goes on than the one that came so far."""
    changes = results.setdefault("code_changes", [])
    before = changes[-1]["code"] if changes else results.get("code")
    if before != code_id():
        changes.append({"round": len(results["rounds"]), "code": code_id()})
        reporter.note(f"the code has changed since this run began; {RESULTS} will name both")


def _choice(config: Config) -> str | None:
    """What the preset `default` took, and why; None for the others, which say it by their name."""
    if config.preset != "default":
        return None
    if get_method(config.lnl.method).models_noise:
        return (
            "The noise model, because the embeddings are frozen: no label is left out, and reads tell how far the "
            "given ones are to be believed."
        )
    return (
        f"The method {config.lnl.method}, because it was asked for or because the noise model cannot be fitted here: "
        "that needs frozen embeddings, a linear head and no label leak."
    )


def _notes(config: Config) -> list[str]:
    """What a reader of the results should know of an unusual configuration."""
    lnl = config.lnl
    if get_method(lnl.method).uses_vog and lnl.epochs <= lnl.warmup_epochs:
        return [f"VOG was never used: lnl.epochs={lnl.epochs} ends within lnl.warmup_epochs={lnl.warmup_epochs}"]
    return []


def _checkpointer(run: Path, config: Config, number: int) -> Checkpointer:
    """What keeps the state of the update of round `number`."""
    return Checkpointer(run / "checkpoints" / "in-progress.safetensors", config.checkpoint_seconds, f"round {number}")


def _peak_rss_mb() -> float:
    """Peak resident memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
