"""Phase 1 and eight rounds of the method `noise-model`: time and memory at a quarter, at all and at thrice the items.

Every size runs in a process of its own, on the first rows of one file in a temporary folder.
"""

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from growth import growth, held_by_this_process_mb, in_own_process, peak_of_this_process_mb, write_clusters
from measure import Benchmark, Seconds, Step, scaled, timed

from overread.arrays import IntArray
from overread.arrays.channel import FIRST_ITERATIONS, FOLDS, LATER_ITERATIONS
from overread.arrays.noise import flip_labels, symmetric_matrix
from overread.arrays.noise_model import ASSUMPTIONS, RESTART_ROUNDS, UPDATE_ROUNDS
from overread.learn.row_files import RowFile

WIDTH = 1280
CLASSES = 7
NOISE = 0.4
ROUNDS = 8
# One item in so many is bought in a round.
BUDGET_SHARE = 40
# How far classes lie apart, in deviations of one feature: the model errs in some of the items.
DISTANCE = 0.2
FACTORS = (0.25, 1, 3)


class Inputs(NamedTuple):
    """One file of rows; of its temporary folder this is the owner."""

    folder: "tempfile.TemporaryDirectory[str]"
    size: int
    outcomes: dict[int, dict[str, Any]]
    """Size -> what the last run of it printed."""

    @property
    def file(self) -> Path:
        return Path(self.folder.name) / "features.rows"

    @property
    def sizes(self) -> list[int]:
        return [int(self.size * factor) for factor in FACTORS]


def inputs(size: int, quick: bool) -> Inputs:
    """Clusters of equal size."""
    data = Inputs(tempfile.TemporaryDirectory(prefix="overread-noise-model-"), size, {})
    write_clusters(data.file, with_test(data.sizes[-1]), WIDTH, CLASSES, DISTANCE, in_turn)
    return data


def in_turn(start: int, count: int) -> IntArray:
    return np.arange(start, start + count) % CLASSES


def with_test(size: int) -> int:
    """Rows of a run on `size` items: a fourth as many for the test lie behind them."""
    return size + size // 4


def given_labels(reference: IntArray) -> IntArray:
    return flip_labels(reference, symmetric_matrix(CLASSES, NOISE), np.random.default_rng(3))


def value(data: Inputs) -> Step:
    def step() -> Seconds:
        for size in data.sizes:
            data.outcomes[size] = in_own_process(__file__, data.file, size)
        outcome = data.outcomes[data.size]
        return Seconds(outcome["seconds"]["all"], outcome["cpu_seconds"])

    return step


def naive(data: Inputs) -> Step:
    """A plain softmax regression on labels, one fit for each fold: the probabilities of one round, of all of them."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = RowFile(data.file, (data.size, WIDTH))[:]
    given = given_labels(np.arange(data.size) % CLASSES)

    def work() -> None:
        with warnings.catch_warnings():
            # It stops after its usual 100 iterations, as the product does after its own.
            warnings.simplefilter("ignore", ConvergenceWarning)
            plain = make_pipeline(StandardScaler(), LogisticRegression())
            cross_val_predict(plain, features, given, cv=FOLDS, method="predict_proba")

    return scaled(timed(work), ROUNDS + 1)


def limit(data: Inputs) -> Step:
    from overread.arrays.channel import DIMENSIONS

    rows = np.zeros((data.size, DIMENSIONS + 1), np.float32)
    weight = np.zeros(((FOLDS + 1) * CLASSES, DIMENSIONS + 1), np.float32)

    def work() -> None:
        for _ in range(steps()):
            (weight @ rows.T) @ rows

    return timed(work)


def steps() -> int:
    """Steps of L-BFGS on all items, all folds at once; the search of phase 1 looks at 4,000 items and is left out."""
    on = UPDATE_ROUNDS * LATER_ITERATIONS
    again = FIRST_ITERATIONS + (RESTART_ROUNDS - 1) * LATER_ITERATIONS
    reconsidered = len([number for number in range(1, ROUNDS + 1) if number & (number - 1) == 0])
    # Two more penalties for each assumption, and a new start for those that are not symmetric.
    more = 2 * len(ASSUMPTIONS) * on + (len(ASSUMPTIONS) - 1) * again
    return (ROUNDS + 1) * len(ASSUMPTIONS) * on + reconsidered * more


def facts(data: Inputs) -> dict[str, Any]:
    return {
        "width": WIDTH,
        "classes": CLASSES,
        "noise": f"symmetric {NOISE}",
        "rounds_of_reads": ROUNDS,
        "budget": data.size // BUDGET_SHARE,
        "steps": steps(),
        "naive_is": f"one round of {FOLDS} plain fits of scikit-learn on all {WIDTH} features, times {ROUNDS + 1}; "
        "it knows no noise",
        **growth(data.sizes, data.outcomes),
    }


def run_once(file: Path, size: int) -> dict[str, Any]:
    """Phase 1 and all rounds on the first `size` rows of `file`: seconds by step, and the peak of this process, MiB."""
    from overread.arrays.metrics import classification_metrics
    from overread.config import load_config
    from overread.estimates import round_estimates
    from overread.learn.checkpoint import save_checkpoint
    from overread.learn.embeddings import EmbeddingRows, scaling_of, standardised
    from overread.learn.learners import Scores, State, begin_learning, untouched
    from overread.learn.processes import Processes
    from overread.learn.sources import FeatureSource
    from overread.learn.task import Embeddings, Task
    from overread.learn.training import Checkpointer
    from overread.oracle import SimulatedOracle
    from overread.picks import choose, next_reads
    from overread.progress import Silent
    from overread.rng import generator

    budget = f"active.budget={max(1, size // BUDGET_SHARE)}"
    config = load_config(settings=["lnl.method=noise-model", "model.mode=frozen", "active.sampler=macro-f1", budget])
    seconds: dict[str, float] = {}

    def clocked(name: str, work: Callable[..., Any], *arguments: object) -> Any:
        started = time.perf_counter()
        result = work(*arguments)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
        return result

    cpu, start_mb = time.process_time(), held_by_this_process_mb()
    rows, processes = RowFile(file, (with_test(size), WIDTH)), Processes()
    reference, names = np.arange(with_test(size)) % CLASSES, [str(number) for number in range(CLASSES)]
    train, test = np.arange(size), np.arange(size, with_test(size))
    scaling = clocked("mean and deviation", scaling_of, rows, train)
    sources = [FeatureSource(standardised(rows, part, scaling), processes.device) for part in (train, test)]
    task = Task(
        train=sources[0],
        test=sources[1],
        ids=np.array([f"item-{number:09}" for number in range(size)]),
        given=given_labels(reference[:size]),
        n_classes=CLASSES,
        input_dim=WIDTH,
        model=config.model,
        processes=processes,
        noise_items=train[:0],
        noise_features=EmbeddingRows(rows, train[:0]),
        data_digest=f"noise-model {size}",
        embeddings=Embeddings(EmbeddingRows(rows, train), EmbeddingRows(rows, test), scaling),
    )
    oracle = SimulatedOracle(reference[:size], CLASSES, config.active.oracle_error, config.seed)
    nowhere = Checkpointer(None, 0.0, "")
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        folder = Path(name)
        learner = clocked("phase 1", begin_learning, task, config, folder, None, Silent())
        state = untouched(task, learner.phase1)
        scores: Scores = clocked("scores", learner.scores, state)

        def bought(number: int) -> State:
            chosen = choose(task, learner.network, state, scores, config, number)
            labels, is_bought = state.labels.copy(), state.bought.copy()
            labels[chosen], is_bought[chosen] = oracle.answer(chosen, number, "bought"), True
            return State(labels, is_bought, state.presumed_clean)

        def estimated(number: int) -> None:
            asked, rng = next_reads(task, state, scores, config, number), generator(config.seed, "estimates", number)
            round_estimates(folder, number, oracle.reads, scores, asked, rng)

        def tested() -> None:
            classification_metrics(reference[size:], learner.test_probs(), names)

        def kept() -> None:
            save_checkpoint(folder / "round.safetensors", learner.pack(), {})

        for number in range(1, ROUNDS + 1):
            state = clocked("picks", bought, number)
            clocked("updates", learner.update, state, number, nowhere, Silent())
            state = state._replace(presumed_clean=learner.presumed_clean(state))
            scores = clocked("scores", learner.scores, state)
            clocked("metrics", tested)
            clocked("estimates", estimated, number)
            clocked("checkpoints", kept)
    seconds["all"] = sum(seconds.values())
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "start_mb": start_mb,
        "peak_mb": peak_of_this_process_mb(),
    }


BENCHMARK = Benchmark(
    what="phase 1 and 8 rounds of the noise model and sampler macro-f1, 2.5 % bought a round, 1280 features in a file",
    unit="s per run",
    sizes=(20_000,),
    size_is="items",
    quick_size=400,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="the matrix products of all steps of L-BFGS on all items",
    facts=facts,
    warm_up=False,
)

if __name__ == "__main__":
    print(json.dumps(run_once(Path(sys.argv[1]), int(sys.argv[2]))))
