"""Both phases on more embeddings than memory should hold: time and memory at a hundredth, a tenth and all of the items.

Every size runs in a process of its own, on the first rows of one file in a temporary folder.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from growth import AT_ONCE, growth, held_by_this_process_mb, in_own_process, peak_of_this_process_mb, write_clusters
from measure import Benchmark, Seconds, Step, scaled, timed
from naive import k_centre_greedy
from numpy.typing import NDArray

from overread.arrays import IntArray
from overread.learn.row_files import RowFile

WIDTH = 512
CLASSES = 8
NOISE = 0.4
BATCH = 256
PICKS = 500
EPOCHS = 4
UPDATE_EPOCHS = 2
STEPS = (100, 10, 1)


class Inputs(NamedTuple):
    """One file of rows; of its temporary folder this is the owner."""

    folder: "tempfile.TemporaryDirectory[str]"
    size: int
    picks: int
    outcomes: dict[int, dict[str, Any]]
    """Size -> what the last run of it printed."""

    @property
    def file(self) -> Path:
        return Path(self.folder.name) / "features.rows"

    @property
    def sizes(self) -> list[int]:
        return [max(60, self.size // step) for step in STEPS]


def inputs(size: int, quick: bool) -> Inputs:
    """Clusters whose sizes have a long tail."""
    data = Inputs(tempfile.TemporaryDirectory(prefix="overread-scale-"), size, 20 if quick else PICKS, {})
    write_clusters(data.file, size, WIDTH, CLASSES, 2, truth)
    return data


def truth(start: int, count: int) -> IntArray:
    """Classes of the items from `start` on: a long tail, the rarest a fiftieth of the most frequent."""
    weight = 50.0 ** -np.linspace(0, 1, CLASSES)
    places = np.random.default_rng([2, start]).random(count)
    return np.searchsorted(np.cumsum(weight / weight.sum())[:-1], places)


def value(data: Inputs) -> Step:
    def step() -> Seconds:
        for size in data.sizes:
            data.outcomes[size] = in_own_process(__file__, data.file, size, data.picks)
        last = data.outcomes[data.sizes[-1]]
        return Seconds(last["seconds"]["all"], last["cpu_seconds"])

    return step


def naive(data: Inputs) -> Step:
    """The published way at the smallest of the sizes; its time is multiplied, since more would not fit."""
    import torch
    from naive_torch import Classifier, FeatureItems, coteaching_epoch, gradients_of_pass
    from torch import nn
    from torch.utils.data import DataLoader

    from overread.arrays.noise import flip_labels, symmetric_matrix

    size = data.sizes[0]
    features = RowFile(data.file, (size, WIDTH))[:]
    given = flip_labels(labels(size), symmetric_matrix(CLASSES, NOISE), np.random.default_rng(3))
    loader = DataLoader(FeatureItems(features, given), BATCH, shuffle=True)
    networks = [Classifier(nn.Identity(), WIDTH, CLASSES, 0.2) for _ in range(2)]
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9) for network in networks]

    def work() -> None:
        for _ in range(EPOCHS):
            coteaching_epoch(networks, optimizers, loader, NOISE)
            for network in networks:
                gradients_of_pass(network, loader)
        k_centre_greedy(features, list(range(data.picks)), data.picks)
        for _ in range(UPDATE_EPOCHS):
            coteaching_epoch(networks[:1], optimizers[:1], loader, 0.0)

    return scaled(timed(work), data.size / size)


def limit(data: Inputs) -> Step:
    rows = RowFile(data.file, (data.size, WIDTH))
    weight, error = np.zeros((WIDTH, CLASSES), np.float32), np.zeros((CLASSES, AT_ONCE), np.float32)

    def work() -> None:
        # Networks in a pass over the items: two in an epoch of phase 1, one in an update and in the scoring after.
        for networks in [2] * EPOCHS + [1] * (UPDATE_EPOCHS + 1):
            for start in range(0, data.size, AT_ONCE):
                block = rows[start : start + AT_ONCE]
                for _ in range(networks):
                    block @ weight
                    error[:, : len(block)] @ block

    return timed(work)


def labels(size: int) -> IntArray:
    """Reference labels of the first `size` items."""
    return np.concatenate([truth(start, min(AT_ONCE, size - start)) for start in range(0, size, AT_ONCE)])


def facts(data: Inputs) -> dict[str, Any]:
    return {
        "width": WIDTH,
        "classes": CLASSES,
        "batch": BATCH,
        "epochs": EPOCHS,
        "update_epochs": UPDATE_EPOCHS,
        "picks": data.picks,
        "naive_is": f"at {data.sizes[0]} items, times {data.size / data.sizes[0]:g}",
        **growth(data.sizes, data.outcomes),
    }


def run_once(file: Path, size: int, picks: int) -> dict[str, Any]:
    """Both phases on the first `size` rows of `file`: seconds by step, and the peak of this process in MiB."""
    from overread.arrays.acquisition import Pool, select
    from overread.arrays.estimation import items_to_estimate
    from overread.arrays.metrics import classification_metrics
    from overread.arrays.noise import flip_labels, symmetric_matrix
    from overread.config import load_config
    from overread.learn.checkpoint import pack_module, save_checkpoint
    from overread.learn.crew import fine_tune, score
    from overread.learn.embeddings import EmbeddingRows, scaling_of, standardised
    from overread.learn.phase1 import run_phase1
    from overread.learn.processes import Processes
    from overread.learn.sources import FeatureSource
    from overread.learn.task import Task
    from overread.learn.training import Checkpointer
    from overread.progress import Silent
    from overread.results import write_scores

    epochs = f"preset=paper lnl.epochs={EPOCHS} lnl.warmup_epochs=2 lnl.vog_window=2 lnl.forget_ramp_epochs=1"
    config = load_config(settings=[*epochs.split(), f"lnl.batch_size={BATCH}", f"active.epochs={UPDATE_EPOCHS}"])
    seconds: dict[str, float] = {}

    def clocked(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - started
        return result

    cpu, start_mb = time.process_time(), held_by_this_process_mb()
    rows, processes = RowFile(file, (size, WIDTH)), Processes()
    reference = labels(size)
    given = flip_labels(reference, symmetric_matrix(CLASSES, NOISE), np.random.default_rng(3))
    everything, noise_items = np.arange(size), items_to_estimate(size, np.random.default_rng(4))
    scaling = clocked("mean and deviation", lambda: scaling_of(rows, everything))
    train = FeatureSource(standardised(rows, everything, scaling), processes.device)
    task = Task(
        train=train,
        test=train,
        ids=np.array([f"item-{number:09}" for number in range(size)]),
        given=given,
        n_classes=CLASSES,
        input_dim=WIDTH,
        model=config.model,
        processes=processes,
        noise_items=noise_items,
        noise_features=EmbeddingRows(rows, noise_items),
        data_digest=f"scale {size}",
    )
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        folder = Path(name)
        network, phase1, _ = clocked("phase 1", lambda: run_phase1(task, config, folder, None, Silent()))
        probs = clocked("scores", lambda: score(task, network, "train").probs)
        is_open = ~phase1.presumed_clean

        def picks_of(sampler: str, open_items: NDArray[np.bool_]) -> IntArray:
            pool = Pool(probs=probs, draws=None, features=train.fixed_features, given=given, open=open_items)
            return select(sampler, pool, picks, np.random.default_rng(0))

        chosen = clocked("entropy", lambda: picks_of("entropy", is_open))
        clocked("coreset beside presumed clean", lambda: picks_of("coreset", is_open))
        clocked(f"coreset beside {picks}", lambda: picks_of("coreset", everything >= picks))
        current = given.copy()
        current[chosen] = reference[chosen]
        trained_on = np.union1d(np.flatnonzero(~is_open), chosen)
        nowhere = Checkpointer(None, 0.0, "")
        clocked(
            "update",
            lambda: fine_tune(
                task, config, [network], current, [trained_on], config.active.epochs, 1, nowhere, Silent()
            ),
        )
        clocked("checkpoint", lambda: save_checkpoint(folder / "1.safetensors", pack_module("network", network), {}))
        probs = clocked("scores again", lambda: score(task, network, "train").probs)
        columns = {"id": task.ids, "given": given, "reference": reference, "loss": phase1.loss, "vog": phase1.vog}
        clocked("score table", lambda: write_scores(folder / "1.parquet", columns, probs))
        names = [str(number) for number in range(CLASSES)]
        clocked("metrics", lambda: classification_metrics(reference, probs, names))
    seconds["all"] = sum(seconds.values())
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "start_mb": start_mb,
        "peak_mb": peak_of_this_process_mb(),
    }


BENCHMARK = Benchmark(
    what="phase 1, both kinds of selection and one update of linear heads, 512 features in a file",
    unit="s",
    sizes=(1_000_000,),
    size_is="items",
    quick_size=6000,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="the matrix products of all passes, rows read in order",
    facts=facts,
    warm_up=False,
)

if __name__ == "__main__":
    print(json.dumps(run_once(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
