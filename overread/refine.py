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
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from overread.arrays.noise_model import check_reader_error
from overread.cluster import cluster_session
from overread.config import Config
from overread.data.dataset import load_dataset
from overread.errors import ConfigError
from overread.estimates import round_estimates
from overread.header import begin_results, choice_of, evaluated_weights, model_of
from overread.learn.checkpoint import save_checkpoint
from overread.learn.crew import begin, dismiss, follow, is_wanted
from overread.learn.device import set_threads
from overread.learn.learners import Learner, Scores, State, begin_learning, untouched
from overread.learn.phase1 import UNINFORMED
from overread.learn.processes import Processes, launched_processes, number_launched
from overread.learn.task import Task
from overread.learn.training import Checkpointer
from overread.mode import Settled, settle_for
from overread.oracle import Oracle, SimulatedOracle, save_reads
from overread.picks import audit, choose, next_reads
from overread.progress import Reporter, Silent
from overread.referee import Referee
from overread.restoring import check_split, find_lost_files, make_lost_files, restore
from overread.results import READS, round_file, write_results
from overread.rng import generator
from overread.run import open_run
from overread.simulation import NoisyLabels, make_noisy_labels
from overread.stopping import parse_rule, reason_to_stop

__all__ = ["simulate"]


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
    if isinstance(config.lnl.reader_error, float):
        check_reader_error(config.lnl.reader_error, len(dataset.class_names))
    with open_run(config) as run:
        results = begin_results(run, config, dataset, noisy, threads, reporter)
        # Of the device that the run began on: on another one it goes on as it began.
        settled = settle_for(config, dataset, results["device"].partition(":")[0], processes.count)
        lost = find_lost_files(run, results, reporter)
        if results["complete"] and not lost:
            reporter.note(f"the run in {run} is complete already")
            return results
        started = time.monotonic()
        task = begin(settled.config, dataset, noisy.given, processes, reporter)
        results["preparing_seconds"] = results.get("preparing_seconds", 0.0) + time.monotonic() - started
        referee = Referee(dataset, noisy, config)
        oracle = SimulatedOracle(
            dataset.reference[train], len(dataset.class_names), config.active.oracle_error, config.seed
        )
        phase1_folder = phase1_folder or run / "checkpoints"
        _run_rounds(run, settled, task, referee, oracle, results, lost, phase1_folder, noisy, reporter)
        return results


def _assist(config: Config, processes: Processes) -> dict[str, Any]:
    """The run as the other processes see it: inputs and given labels, no run folder, no results."""
    if is_wanted(processes):
        dataset = load_dataset(config.data, config.seed, Silent())
        noisy = make_noisy_labels(dataset, dataset.positions("train"), config.noise, config.seed)
        config = settle_for(config, dataset, processes.device.type, processes.count).config
        follow(begin(config, dataset, noisy.given, processes, Silent()), config)
    return {}


def _run_rounds(
    run: Path,
    settled: Settled,
    task: Task,
    referee: Referee,
    oracle: Oracle,
    results: dict[str, Any],
    lost: set[Path],
    phase1_folder: Path,
    noisy: NoisyLabels,
    reporter: Reporter,
) -> None:
    true_rate = noisy.rate if settled.config.lnl.forget_rate == "true" else None
    learner = begin_learning(task, settled.config, phase1_folder, true_rate, reporter)
    task, config, phase1 = learner.task, learner.config, learner.phase1
    done = len(results["rounds"]) - 1
    if done < 0:
        referee.write_noise(run, phase1)
        results["noise"]["estimated_rate"] = phase1.estimated_rate
        results["lnl"]["forget_rate"] = phase1.forget_rate
        results["model"] = model_of(config)
        results["evaluated_weights"] = evaluated_weights(config)
        results["choice"] = choice_of(settled, config, phase1.trial)
        if not phase1.informed:
            results["notes"].append(UNINFORMED)
        state, scores = untouched(task, phase1), None
    else:
        check_split(run, lost, phase1)
        make_lost_files(run, lost, task, learner, referee, oracle, results)
        state = restore(run, task, learner, oracle, done)
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
            scores,
            next_reads(task, state, scores, config, number),
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
    audited = audit(state, config, number)
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


def _checkpointer(run: Path, config: Config, number: int) -> Checkpointer:
    """What keeps the state of the update of round `number`."""
    return Checkpointer(run / "checkpoints" / "in-progress.safetensors", config.checkpoint_seconds, f"round {number}")


def _peak_rss_mb() -> float:
    """Peak resident memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
