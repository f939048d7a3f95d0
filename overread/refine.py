"""The two phases as a state machine that can be stopped anywhere and goes on from what is on disk.

A round is written in this order: reads, weights, scores, and at last its entry in `results.json`.  That entry is the
only mark of completion: what is newer than it is made again, from the same named random streams, to the same bytes.

What chooses (phase 1, samplers, updates) sees a `Task`, which holds no reference label.  The truth is in two places:
the oracle, which counts, and the `Referee`, which only writes down scores.
"""

import resource
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.acquisition import Pool, sampler_needs, select
from overread.arrays.metrics import classification_metrics, label_accuracy, label_quality, selection_metrics
from overread.config import Config
from overread.data.dataset import Dataset, load_dataset
from overread.errors import RunError
from overread.files import write_json
from overread.learn.checkpoint import load_checkpoint, pack_module, save_checkpoint, unpack_module
from overread.learn.device import resolve_device, set_threads
from overread.learn.finetune import fine_tune
from overread.learn.infer import predict
from overread.learn.methods import get_method
from overread.learn.models import Network
from overread.learn.phase1 import Phase1, run_phase1
from overread.learn.task import Task, make_task
from overread.learn.training import Checkpointer
from overread.oracle import Oracle, SimulatedOracle, load_reads, save_reads
from overread.progress import Reporter, Silent
from overread.results import (
    NOISE,
    READS,
    RESULTS,
    read_results,
    round_file,
    write_gallery,
    write_results,
    write_scores,
)
from overread.rng import derived_seed, generator
from overread.run import code_id, open_run
from overread.simulation import NoisyLabels, make_noisy_labels

__all__ = ["simulate"]

GALLERY_SIZE = 24


class State(NamedTuple):
    """Where phase 2 stands after a round; arrays have one row per training item."""

    labels: IntArray
    """Current labels: given, or what a reader said."""
    bought: BoolArray
    presumed_clean: BoolArray


class Scores(NamedTuple):
    """What the network says of every training item after a round."""

    probs: FloatArray
    suggested: IntArray
    exported: IntArray


def simulate(config: Config, reporter: Reporter | None = None, phase1_folder: Path | None = None) -> dict[str, Any]:
    """The results of the run that `config` describes; goes on where an earlier call was stopped.

    phase1_folder: where runs that differ in phase 2 alone share the result of phase 1; none = in the run folder.
    Errors: an OverreadError that names what is wrong; nothing is written before data and configuration were checked.
    """
    reporter = reporter or Silent()
    threads = set_threads(config.threads)
    dataset = load_dataset(config.data, config.seed, reporter)
    train = dataset.positions("train")
    noisy = make_noisy_labels(dataset, train, config.noise, config.seed)
    with open_run(config) as run:
        results = _begin(run, config, dataset, noisy, threads)
        if results["complete"]:
            return results
        task = make_task(dataset, noisy.given, config, reporter)
        referee = Referee(dataset, noisy, config)
        oracle = SimulatedOracle(
            dataset.reference[train], len(dataset.class_names), config.active.oracle_error, config.seed
        )
        _run_rounds(run, config, task, referee, oracle, results, phase1_folder or run / "checkpoints", noisy, reporter)
        return results


def _run_rounds(
    run: Path,
    config: Config,
    task: Task,
    referee: "Referee",
    oracle: Oracle,
    results: dict[str, Any],
    phase1_folder: Path,
    noisy: NoisyLabels,
    reporter: Reporter,
) -> None:
    true_rate = noisy.rate if config.lnl.forget_rate == "true" else None
    network, phase1 = run_phase1(task, config, phase1_folder, true_rate, reporter)
    done = len(results["rounds"]) - 1
    state = State(task.given.copy(), np.zeros(len(task.given), dtype=bool), phase1.presumed_clean)
    if done < 0:
        referee.write_noise(run, phase1)
        results["noise"]["estimated_rate"] = phase1.estimated_rate
        results["lnl"]["forget_rate"] = phase1.forget_rate
    else:
        state = _restore(run, state, oracle, done, network, config)

    scores = _score(task, network, state) if done >= 0 else None
    for number in range(done + 1, config.active.rounds + 1):
        seconds = phase1.seconds
        if scores is not None:
            state, seconds = _one_round(run, config, task, network, state, scores, oracle, number, reporter)
        save_checkpoint(
            round_file(run, "checkpoints", number, ".safetensors"), pack_module("network", network), {"round": number}
        )
        started = time.monotonic()
        scores = _score(task, network, state)
        entry = referee.write_round(run, number, task, network, state, scores, phase1, oracle)
        entry["seconds"] = seconds + time.monotonic() - started
        results["rounds"].append(entry)
        results["oracle_reads"] = entry["oracle_reads"]
        results["wall_seconds"] = sum(r["seconds"] for r in results["rounds"])
        results["peak_rss_mb"] = max(results["peak_rss_mb"], _peak_rss_mb())
        if config.active.label_leak and number == 1:
            results["leak"] = referee.leak(task, oracle)
        if number == config.active.rounds:
            referee.write_gallery(run, task, state, scores)
            results["complete"] = True
        write_results(run, results)
        _checkpointer(run, config, number).clear()


def _one_round(
    run: Path,
    config: Config,
    task: Task,
    network: Network,
    state: State,
    scores: Scores,
    oracle: Oracle,
    number: int,
    reporter: Reporter,
) -> tuple[State, float]:
    """Select, read, update: the state after round `number`, and the seconds it took."""
    started = time.monotonic()
    labels, bought = state.labels.copy(), state.bought.copy()
    if config.active.label_leak and number == 1:
        leaked = np.flatnonzero(state.presumed_clean)
        labels[leaked] = oracle.answer(leaked, number, "leak")
    chosen = choose(task, network, state, scores, config, number)
    labels[chosen] = oracle.answer(chosen, number, "bought")
    bought[chosen] = True
    save_reads(run / READS, oracle.reads, task.ids)
    state = State(labels, bought, state.presumed_clean)
    seconds = time.monotonic() - started
    if len(chosen):
        checkpointer = _checkpointer(run, config, number)
        if config.active.start == "scratch":
            network.load_state_dict(task.new_network(derived_seed(config.seed, "scratch", number)).state_dict())
        trained_on = bought if config.active.train_on == "bought" else bought | state.presumed_clean
        fine_tune(
            network,
            task.train,
            labels,
            np.flatnonzero(trained_on),
            config.active.epochs,
            config.lnl,
            config.seed,
            number,
            checkpointer,
            reporter,
        )
        seconds += checkpointer.spent()
    return state, seconds


def choose(task: Task, network: Network, state: State, scores: Scores, config: Config, number: int) -> IntArray:
    """Positions that round `number` buys: at most the budget, fewer where the pool runs empty."""
    needs = sampler_needs(config.active.sampler)
    draws, features = None, None
    if needs & {"draws", "features"}:
        # Probabilities are there from the end of the last round; these cost a pass of their own.
        more = predict(
            network,
            task.train,
            np.arange(len(task.given)),
            draws=config.active.draws if "draws" in needs else 0,
            seed=derived_seed(config.seed, "draws", number),
            want_features="features" in needs,
        )
        draws, features = more.draws, more.features if "features" in needs else None
    pool = Pool(probs=scores.probs, draws=draws, features=features, given=task.given, open=open_pool(state, config))
    return select(config.active.sampler, pool, config.active.budget, generator(config.seed, "sampler", number))


def open_pool(state: State, config: Config) -> BoolArray:
    """Which items can be bought: those presumed noisy, or all where the method does not split; never twice."""
    splits = get_method(config.lnl.method).splits
    return ~state.bought & ~state.presumed_clean if splits else ~state.bought


def _score(task: Task, network: Network, state: State) -> Scores:
    probs = predict(network, task.train, np.arange(len(task.given)), want_features=False).probs
    suggested = probs.argmax(axis=1)
    exported = np.where(state.bought | state.presumed_clean, state.labels, suggested)
    return Scores(probs, suggested, exported)


def _restore(run: Path, state: State, oracle: Oracle, done: int, network: Network, config: Config) -> State:
    """The state after round `done`, from its weights and from the reads up to it."""
    tensors, _ = load_checkpoint(round_file(run, "checkpoints", done, ".safetensors"))
    unpack_module("network", network, tensors)
    oracle.reads = load_reads(run / READS, done) if done > 0 else []
    for read in oracle.reads:
        state.labels[read.position] = read.label
        state.bought[read.position] |= read.purpose == "bought"
    return state


def _begin(run: Path, config: Config, dataset: Dataset, noisy: NoisyLabels, threads: int) -> dict[str, Any]:
    """The results so far of this run folder, or those of a run that is about to begin."""
    if (run / RESULTS).exists():
        results = read_results(run)
        if results.get("data_digest") != dataset.digest:
            raise RunError(f"the data of the run in {run} has changed since it began; start again in another folder")
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
        "notes": _notes(config),
        "evaluated_weights": "first network, last epoch of each step",
        "config_id": config.identity(),
        "data_digest": dataset.digest,
        "code": code_id(),
        "threads": threads,
        "device": str(resolve_device(config.device)),
        "wall_seconds": 0.0,
        "peak_rss_mb": 0.0,
        "rounds": [],
    }


def _notes(config: Config) -> list[str]:
    """What a reader of the results should know of an unusual configuration."""
    lnl = config.lnl
    if get_method(lnl.method).uses_vog and lnl.epochs <= lnl.warmup_epochs:
        return [f"VOG was never used: lnl.epochs={lnl.epochs} ends within lnl.warmup_epochs={lnl.warmup_epochs}"]
    return []


class Referee:
    """Holds the truth and writes down scores; gives nothing back to what chooses."""

    def __init__(self, dataset: Dataset, noisy: NoisyLabels, config: Config) -> None:
        self._dataset = dataset
        self._train = dataset.positions("train")
        self._reference = dataset.reference[self._train]
        self._test = dataset.positions("test")
        self._noisy = noisy
        self._config = config

    def write_noise(self, run: Path, phase1: Phase1) -> None:
        """Write the injected and the estimated noise matrix."""
        write_json(
            run / NOISE,
            {
                "class_names": list(self._dataset.class_names),
                "injected": self._noisy.matrix.tolist(),
                "true_rate": self._noisy.rate,
                "estimated": phase1.estimated_matrix.tolist(),
                "estimated_rate": phase1.estimated_rate,
            },
        )

    def write_round(
        self,
        run: Path,
        number: int,
        task: Task,
        network: Network,
        state: State,
        scores: Scores,
        phase1: Phase1,
        oracle: Oracle,
    ) -> dict[str, Any]:
        """Write the scores of one round and return its entry for `results.json`."""
        names = self._dataset.class_names
        test_probs = predict(network, task.test, np.arange(len(self._test)), want_features=False).probs
        write_scores(
            round_file(run, "scores", number),
            {
                "id": task.ids,
                "given": task.given,
                "reference": self._reference,
                "exported": scores.exported,
                "suggested": scores.suggested,
                "presumed_clean": state.presumed_clean,
                "bought": state.bought,
                "loss": phase1.loss,
                "vog": phase1.vog,
                "label_quality": label_quality(scores.probs, task.given),
            },
            scores.probs,
        )
        write_scores(
            round_file(run, "test", number),
            {"id": self._dataset.ids[self._test], "reference": self._dataset.reference[self._test]},
            test_probs,
        )
        trusted = state.presumed_clean | state.bought
        return {
            "round": number,
            "oracle_reads": len(oracle.reads),
            "bought": sum(read.purpose == "bought" for read in oracle.reads),
            "leaked": sum(read.purpose == "leak" for read in oracle.reads),
            "pool": int(open_pool(state, self._config).sum()),
            "test": classification_metrics(self._dataset.reference[self._test], test_probs, names),
            "selection": selection_metrics(trusted, state.labels == self._reference, self._reference, names),
            "label_accuracy": label_accuracy(scores.exported, self._reference),
        }

    def leak(self, task: Task, oracle: Oracle) -> dict[str, int]:
        """How many truths the label leak revealed, and how many labels it changed."""
        leaks = [read for read in oracle.reads if read.purpose == "leak"]
        return {"revealed": len(leaks), "changed": sum(read.label != int(task.given[read.position]) for read in leaks)}

    def write_gallery(self, run: Path, task: Task, state: State, scores: Scores) -> None:
        """Write the unread items whose given label is least likely, for the report."""
        quality = label_quality(scores.probs, task.given)
        unread = np.flatnonzero(~state.bought)
        worst = unread[np.argsort(quality[unread], kind="stable")[:GALLERY_SIZE]]
        write_gallery(
            run,
            ids=task.ids[worst],
            images=np.stack([self._dataset.images[position] for position in self._train[worst]])
            if len(worst)
            else np.zeros((0, *self._dataset.images.shape[1:]), dtype=np.uint8),
            given=task.given[worst],
            suggested=scores.suggested[worst],
            reference=self._reference[worst],
            label_quality=quality[worst],
        )


def _checkpointer(run: Path, config: Config, number: int) -> Checkpointer:
    """What keeps the state of the update of round `number`."""
    return Checkpointer(run / "checkpoints" / "in-progress.safetensors", config.checkpoint_seconds, f"round {number}")


def _peak_rss_mb() -> float:
    """Peak resident memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
