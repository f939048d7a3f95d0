"""What both phases may know: inputs, ids and given labels.  No reference label is in it."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from overread.arrays import FloatArray, IntArray
from overread.config import Config, ModelConfig
from overread.data.cache import cache_folder
from overread.data.dataset import Dataset
from overread.errors import ModelError
from overread.learn.embed import embed
from overread.learn.models import Network, build_network, network_input_size
from overread.learn.processes import Processes
from overread.learn.sources import ALL, FeatureSource, PixelSource, Source
from overread.learn.weights import load_backbone
from overread.progress import Reporter

__all__ = ["Rows", "Task", "make_task"]


class Rows:
    """Some rows of a source, numbered anew from 0."""

    def __init__(self, source: Source, rows: IntArray) -> None:
        self._source = source
        self._rows = rows
        self.n_items = len(rows)
        fixed = source.fixed_features
        self.fixed_features = None if fixed is None else fixed[rows]

    def train_batch(self, positions: IntArray, rng: np.random.Generator, rows: slice = ALL) -> torch.Tensor:
        """Inputs of the `rows` of the batch `positions` as training sees them."""
        return self._source.train_batch(self._rows[positions], rng, rows)

    def eval_batch(self, positions: IntArray) -> torch.Tensor:
        """Inputs of `positions` under the evaluation transform."""
        return self._source.eval_batch(self._rows[positions])


class Task(NamedTuple):
    """The fixed inputs of a run."""

    train: Source
    test: Source
    ids: NDArray[np.str_]
    given: IntArray
    n_classes: int
    input_dim: int | None
    """Width of the embeddings in frozen mode; none in finetune mode."""
    model: ModelConfig
    processes: Processes
    noise_features: FloatArray
    """(N, D) embeddings of the training items that the noise estimate looks at."""
    data_digest: str

    def new_network(self, seed: int) -> Network:
        """A network with its initial weights, which depend on `seed` alone."""
        return build_network(self.model, self.n_classes, self.input_dim, seed).to(self.processes.device)


def make_task(dataset: Dataset, given: IntArray, config: Config, reporter: Reporter, processes: Processes) -> Task:
    """Inputs for both phases: embeddings in frozen mode, pixels in finetune mode."""
    device = processes.device
    model = config.model
    train, test = dataset.positions("train"), dataset.positions("test")
    # The noise estimate looks at a backbone that no given label has touched, in both modes.
    frozen = model if model.mode == "frozen" else ModelConfig(mode="frozen")
    cache = cache_folder(config.data.cache)
    embeddings = embed(dataset.images, frozen, cache, dataset.digest, device, reporter, processes)
    noise_features = np.asarray(embeddings[train])
    source: Source
    if model.mode == "frozen":
        source = FeatureSource(standardised(embeddings, train), device)
    else:
        side = network_input_size(model, max(dataset.images.shape[1:3]))
        _, preprocess = load_backbone(model.name, model.weights, input_size=side)
        source = PixelSource(dataset.images, side, preprocess, config.lnl.augment, device)
    task = Task(
        train=Rows(source, train),
        test=Rows(source, test),
        ids=dataset.ids[train],
        given=given,
        n_classes=len(dataset.class_names),
        input_dim=embeddings.shape[1] if model.mode == "frozen" else None,
        model=model,
        processes=processes,
        noise_features=noise_features,
        data_digest=dataset.digest,
    )
    _try_forward(task, config)
    return task


def _try_forward(task: Task, config: Config) -> None:
    """One pass of two items, so that a model that cannot take such inputs is found before anything is written."""
    network = task.new_network(config.seed).eval()
    inputs = task.train.eval_batch(np.arange(min(2, task.train.n_items)))
    try:
        with torch.inference_mode():
            network(inputs)
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, inputs.shape[2:])) or "embedding"
        raise ModelError(
            f"the model {task.model.name} cannot take {size} inputs ({str(error).splitlines()[0]}); "
            "set model.input_size or another model.name"
        ) from None


def standardised(embeddings: FloatArray, train: IntArray) -> NDArray[np.float32]:
    """Embeddings with mean 0 and deviation 1 over the training items; a constant dimension becomes 0."""
    rows = embeddings[train].astype(np.float64)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    return np.asarray((embeddings - mean) / scale, dtype=np.float32)
