"""Embeddings of a frozen backbone, computed once per data set and kept on disk."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from overread.arrays import IntArray
from overread.cluster import comes_true, map_chunks
from overread.config import Cluster, ModelConfig
from overread.errors import RunError
from overread.files import atomic_path
from overread.learn.infer import evaluating
from overread.learn.models import network_input_size, output_width
from overread.learn.processes import Processes
from overread.learn.sources import PixelSource
from overread.learn.weights import load_backbone, weights_identity
from overread.progress import Advance, Reporter
from overread.rng import derived_seed

__all__ = ["embed", "embedding_key"]

Features = NDArray[np.float32]

BATCH = 64
# Items in a file of the half-finished cache: the most that an interruption can cost.
CHUNK = 1024


def embed(
    images: NDArray[np.uint8],
    model: ModelConfig,
    cache_folder: Path | None,
    data_digest: str,
    device: torch.device,
    reporter: Reporter,
    processes: Processes | None = None,
    cluster: Cluster = "none",
    rows: IntArray | None = None,
) -> Features:
    """Pooled features (N, D) float32 of `images` under the frozen backbone, not standardised.

    images: (N, H, W, 3) uint8, each shown whole at `network_input_size`.  rows: (M,) positions of those that are
    wanted, in the order of the result (M, D); none = all.  data_digest: stands for the pixels and their order in the
    key of the cache.  cache_folder: the result is a read-only memory map of a file there; None =
    an array, and nothing is kept.  An interrupted computation goes on behind its last finished chunk, and several
    processes may embed into one folder at a time; `processes` share the work.  cluster: on Ray each chunk is a task
    with as many threads as this process, which writes into `cache_folder`; one chunk, or no folder, is work for this
    process.
    Random backbones (weights none) are always the same one.

    Errors: ModelError where the backbone cannot be had; RunError where the cache cannot be kept; as in
    `overread.cluster.map_chunks`.
    """
    side = network_input_size(model, max(images.shape[1:3]))
    wanted = np.arange(len(images)) if rows is None else rows
    n = len(wanted)
    if cache_folder is None:
        with reporter.task("embedding", n) as advance:
            return _FrozenBackbone(images, wanted, model, side, device).features(0, n, advance)
    if rows is not None:
        data_digest += hashlib.sha256(rows.tobytes()).hexdigest()
    file = cache_folder / f"embeddings-{embedding_key(model, data_digest, n, side)}.npy"
    kept = _open(file)
    processes = processes or Processes(device)
    if processes.from_first(kept is not None):
        return _finished(file)
    backbone = _FrozenBackbone(images, wanted, model, side, device)
    parts = {start: file.with_suffix(f".part-{start}.npy") for start in range(0, max(n, 1), CHUNK)}
    mine = list(parts)[processes.rank :: processes.count]
    todo = [_Chunk(start, min(start + CHUNK, n), parts[start]) for start in mine if _open(parts[start]) is None]
    behind = n - sum(each.end - each.start for each in todo)
    with reporter.task("embedding", n, done=behind) as advance:
        if cluster == "ray" and len(todo) > 1:

            def done(each: _Chunk) -> None:
                advance(each.end - each.start)

            map_chunks(_embed_chunk, backbone, todo, done, device.type == "cuda", torch.get_num_threads())
            comes_true(lambda: _open(file) is not None or all(each.part.exists() for each in todo))
        else:
            for each in todo:
                _embed_chunk(backbone, each, advance)
    processes.wait()
    if processes.is_first:
        chunks = [chunk for part in parts.values() if (chunk := _open(part)) is not None]
        # A chunk is missing where another run was first: it put the whole together and removed the parts.
        if len(chunks) == len(parts):
            _save_together(file, chunks)
        if _open(file) is not None:
            for part in parts.values():
                part.unlink(missing_ok=True)
    processes.wait()
    return _finished(file)


def _finished(file: Path) -> Features:
    finished = _open(file)
    if finished is None:
        raise RunError(
            f"the embeddings {file} are not there though they were made: is the folder being emptied, or is it not the "
            "same on all machines? OVERREAD_CACHE names one that they share"
        )
    return finished


def embedding_key(model: ModelConfig, data_digest: str, n_items: int, side: int) -> str:
    """A short digest of everything that the embeddings depend on."""
    facts = [data_digest, n_items, model.name, weights_identity(model.name, model.weights), side]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


class _FrozenBackbone:
    """A backbone in evaluation mode beside the images that it looks at, those at `wanted`."""

    def __init__(
        self, images: NDArray[np.uint8], wanted: IntArray, model: ModelConfig, side: int, device: torch.device
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derived_seed(0, "random-backbone"))
            network, preprocess = load_backbone(model.name, model.weights, input_size=side)
        self.width = output_width(network)
        self.network: nn.Module = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.wanted = wanted
        self.source = PixelSource(images, side, preprocess, augment=False, device=device)

    def features(self, start: int, end: int, advance: Advance) -> Features:
        """Features (end - start, D) of the wanted images from `start` up to `end`."""
        result = np.empty((end - start, self.width), dtype=np.float32)
        with evaluating(self.network), torch.inference_mode():
            for first in range(start, end, BATCH):
                batch = slice(first, min(first + BATCH, end))
                features = self.network(self.source.eval_batch(self.wanted[batch])).cpu().numpy()
                result[batch.start - start : batch.stop - start] = features
                advance(len(features))
        return result


class _Chunk(NamedTuple):
    """Wanted images from `start` up to `end`, whose features belong into the file `part`."""

    start: int
    end: int
    part: Path


def _embed_chunk(backbone: _FrozenBackbone, chunk: _Chunk, advance: Advance = lambda _: None) -> None:
    _save(chunk.part, backbone.features(chunk.start, chunk.end, advance))


def _open(file: Path) -> Features | None:
    """A read-only map of `file`; None where it is absent or damaged."""
    try:
        values: Features = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return values


def _save_together(file: Path, chunks: list[Features]) -> None:
    """One file of the rows of all `chunks`, which are never in memory together."""
    shape = (sum(map(len, chunks)), chunks[0].shape[1])
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        while chunks:
            # Taken from the list, so that its map is closed: pages of a map count as memory.
            stream.write(np.ascontiguousarray(chunks.pop(0), "<f4").data)


def _save(file: Path, values: Features) -> None:
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)
