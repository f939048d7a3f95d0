"""What both phases may know: inputs, ids and given labels.  No reference label is in it."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from overread.arrays import IntArray
from overread.arrays.estimation import items_to_estimate
from overread.arrays.rows import RowArray
from overread.config import Cluster, Config, ModelConfig
from overread.data.cache import cache_folder
from overread.data.dataset import Dataset
from overread.learn.embed import embed
from overread.learn.embeddings import EmbeddingRows, Scaling, SideBySide, scaling_of, standardised
from overread.learn.methods import get_method
from overread.learn.models import Network, build_network, check_takes, network_input_size
from overread.learn.processes import Processes
from overread.learn.row_files import RowFile
from overread.learn.self_supervised import with_own_weights
from overread.learn.sources import ALL, FeatureSource, PixelSource, Source
from overread.learn.weights import load_backbone
from overread.progress import Reporter
from overread.rng import generator

__all__ = ["Embeddings", "Rows", "Task", "make_task"]


class Rows:
    """Some images of a source, numbered anew from 0."""

    fixed_features: RowArray | None = None

    def __init__(self, source: PixelSource, rows: IntArray) -> None:
        self._source = source
        self._rows = rows
        self.n_items = len(rows)

    def train_batch(self, positions: IntArray, rng: np.random.Generator, rows: slice = ALL) -> torch.Tensor:
        """Inputs of the `rows` of the batch `positions` as training sees them."""
        return self._source.train_batch(self._rows[positions], rng, rows)

    def eval_batch(self, positions: IntArray) -> torch.Tensor:
        """Inputs of `positions` under the evaluation transform."""
        return self._source.eval_batch(self._rows[positions])


class Embeddings(NamedTuple):
    """Embeddings as the backbone made them, and how those of training items are scaled for a head."""

    train: RowArray
    test: RowArray
    scaling: Scaling


class Task(NamedTuple):
    """The fixed inputs of a run."""

    train: Source
    test: Source
    ids: NDArray[np.str_]
    given: IntArray
    n_classes: int
    input_dim: int | None
    """Width of the embeddings in frozen mode; none in the other modes."""
    model: ModelConfig
    """As it was asked for; where its weights are `self`, with the file that holds them."""
    processes: Processes
    noise_items: IntArray
    """(M,) positions of the training items that the noise estimate looks at."""
    noise_features: RowArray
    """(M, D) their embeddings."""
    data_digest: str
    embeddings: Embeddings | None = None
    """Beside a network on pixels those of a frozen backbone, for methods that model noise; else none."""
    cluster: Cluster = "none"
    """Who scores large sets of pixels."""

    def new_network(self, seed: int) -> Network:
        """A network with its initial weights, which depend on `seed` alone."""
        return build_network(self.model, self.n_classes, self.input_dim, seed).to(self.processes.device)

    def on_embeddings(self, model: ModelConfig) -> "Task":
        """The same items as the frozen `model` sees them that made the embeddings beside the network."""
        assert self.embeddings is not None
        train, test = (
            FeatureSource(standardised(rows, np.arange(len(rows)), self.embeddings.scaling), self.processes.device)
            for rows in (self.embeddings.train, self.embeddings.test)
        )
        return self._replace(train=train, test=test, input_dim=self.embeddings.train.shape[1], model=model)


def make_task(dataset: Dataset, given: IntArray, config: Config, reporter: Reporter, processes: Processes) -> Task:
    """Inputs for both phases: embeddings in frozen mode, else pixels."""
    device = processes.device
    model = with_own_weights(dataset, config, reporter, processes)
    train, test = dataset.positions("train"), dataset.positions("test")

    def embedded(frozen: ModelConfig, rows: IntArray | None) -> RowArray:
        cache = cache_folder(config.data.cache)
        found = embed(dataset.images, frozen, cache, dataset.digest, device, reporter, processes, config.cluster, rows)
        return RowFile.of_map(found) if isinstance(found, np.memmap) else found

    # The same ones at every seed, and whatever the labels are: they are embedded once.
    noise_items = items_to_estimate(len(train), generator(0, "noise items", dataset.digest))
    frozen = model.mode == "frozen"
    kept: Embeddings | None = None
    if frozen or get_method(config.lnl.method).models_noise:
        # The noise model looks at a backbone that no given label has touched, in finetune mode too.
        packaged = ModelConfig(mode="frozen")
        # Weights that have seen no label may look beside a network that learns from labels, too.
        own = frozen or config.model.weights == "self"
        embeddings = embedded(model.model_copy(update={"mode": "frozen"}) if own else packaged, None)
        if model.beside == "packaged" or (own and not frozen):
            embeddings = SideBySide([embeddings, embedded(packaged, None)], train)
        scaling = scaling_of(embeddings, train)
        kept = Embeddings(EmbeddingRows(embeddings, train), EmbeddingRows(embeddings, test), scaling)
        noise_features: RowArray = EmbeddingRows(embeddings, train[noise_items])
    else:
        # So does the noise estimate.
        noise_features = embedded(ModelConfig(mode="frozen"), train[noise_items])
    sources: list[Source]
    if frozen:
        sources = [FeatureSource(standardised(embeddings, rows, scaling), device) for rows in (train, test)]
    else:
        side = network_input_size(model, max(dataset.images.shape[1:3]))
        _, preprocess = load_backbone(model.name, model.weights, input_size=side)
        pixels = PixelSource(dataset.images, side, preprocess, config.lnl.augment, device)
        sources = [Rows(pixels, rows) for rows in (train, test)]
    task = Task(
        train=sources[0],
        test=sources[1],
        ids=dataset.ids[train],
        given=given,
        n_classes=len(dataset.class_names),
        input_dim=noise_features.shape[1] if model.mode == "frozen" else None,
        model=model,
        processes=processes,
        noise_items=noise_items,
        noise_features=noise_features,
        data_digest=dataset.digest,
        embeddings=kept,
        cluster=config.cluster,
    )
    # Before anything is written.
    few = task.train.eval_batch(np.arange(min(2, task.train.n_items)))
    check_takes(task.new_network(config.seed), few, model.name)
    return task
