"""A labelled image set as the rest of the project sees it: arrays in canonical order."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overread import rng
from overread.arrays import IntArray
from overread.arrays.splits import long_tail, stratified_group_split, subsample
from overread.config import DataConfig
from overread.data import manifest
from overread.data.cache import DecodedImages, cache_folder, decoded_images, subset_images
from overread.data.formats import listed_items
from overread.data.raw import RawItems
from overread.errors import ConfigError
from overread.progress import Reporter, Silent

__all__ = ["Dataset", "count_training_items", "load_dataset"]


@dataclass(frozen=True)
class Dataset:
    """N labelled images in canonical order: by the digest of their pixels, ties by id."""

    name: str
    class_names: tuple[str, ...]
    ids: NDArray[np.str_]
    """(N,) unique."""
    sources: NDArray[np.str_]
    """(N,) a path, or file.npz[17]."""
    reference: IntArray
    """(N,) 0..C-1."""
    columns: dict[str, IntArray]
    """Further label columns (N,), -1 = absent; those that say nothing but the reference are left out."""
    groups: NDArray[np.str_] | None
    """(N,); an item without a group has one of its own."""
    split: NDArray[np.str_]
    """(N,) train, val or test."""
    images: NDArray[np.uint8]
    """(N, H, W, 3), a read-only memory map."""
    pixel_digests: NDArray[np.str_]
    """(N,) hexadecimal, of the pixels of every item."""
    digest: str
    """Names the data in every output: of pixels, labels, ids, splits and classes."""
    skipped: tuple[tuple[str, str], ...]
    """(item, reason) of what was left out; empty unless data.on_error=skip."""

    def positions(self, split: str) -> IntArray:
        """Positions (n,) of the items of a split, ascending; empty for a split that there is not."""
        return np.flatnonzero(self.split == split).astype(np.int64)


def load_dataset(
    config: DataConfig, seed: int, progress: Reporter | None = None, *, needs_test: bool = True
) -> Dataset:
    """The images and labels that `config` names, checked, split, made long-tailed and cut down as it says.

    needs_test: where the data brings no test split, one is drawn.  Without, all of its items are for training then.

    Equal pixels, labels, groups and splits give equal arrays, ids and sources aside, whatever the format and the
    names of the files.  `seed` matters only where a split, a long tail or a cut is drawn.
    ConfigError and DataError: one sentence that names the key, the file or the items.
    """
    progress = progress or Silent()
    stop = config.on_error == "stop"
    items = listed_items(config)
    problems = manifest.item_problems(items)
    if stop:
        manifest.refuse(items, problems)
    wanted = np.array([i for i in range(len(items.ids)) if i not in problems], dtype=np.int64)
    folder = cache_folder(config.cache)
    decoded = decoded_images(items, wanted, config.image_size, folder, stop, progress)
    problems = dict(sorted({**problems, **decoded.unreadable}.items()))
    if stop or len(problems) == len(items.ids):
        manifest.refuse(items, problems)
    order = decoded.positions
    reference = items.labels[order]
    groups = _groups(items, order)
    split = _split(items, order, reference, groups, config, seed, needs_test)
    if groups is not None:
        manifest.check_groups(groups, split)
    _note_shared_pixels(decoded, split, items, progress)
    rows = _kept(reference, split, config, seed)
    ids = np.array(items.ids, dtype=np.str_)[order[rows]]
    manifest.check_classes(reference[rows], split[rows], items.class_names, ids, config.min_class_items, needs_test)
    return Dataset(
        name=items.name,
        class_names=items.class_names,
        ids=ids,
        sources=np.array(items.sources, dtype=np.str_)[order[rows]],
        reference=reference[rows],
        columns={name: column[order[rows]] for name, column in _informative(items, order).items()},
        groups=None if groups is None else groups[rows],
        split=split[rows],
        images=subset_images(decoded, rows, folder),
        pixel_digests=decoded.digests[rows],
        digest=_digest(decoded.digests[rows], reference[rows], ids, split[rows], items.class_names),
        skipped=tuple((manifest.item_name(items, i), why) for i, why in problems.items()),
    )


def count_training_items(config: DataConfig, seed: int) -> int:
    """How many training items `load_dataset` finds where every image can be read; none is opened.

    Where items without a split are drawn in groups, the draw, and so the count, may be another by a group.
    Errors: as of `load_dataset`, but for images.
    """
    items = listed_items(config)
    problems = manifest.item_problems(items)
    if config.on_error == "stop" or len(problems) == len(items.ids):
        manifest.refuse(items, problems)
    order = np.array([i for i in range(len(items.ids)) if i not in problems], dtype=np.int64)
    reference = items.labels[order]
    split = _split(items, order, reference, _groups(items, order), config, seed, needs_test=True)
    return int((split[_kept(reference, split, config, seed)] == "train").sum())


def _groups(items: RawItems, order: IntArray) -> NDArray[np.str_] | None:
    if items.groups is None or not any(items.groups):
        return None
    return np.array([items.groups[i] or f"item {items.ids[i]}" for i in order.tolist()], dtype=np.str_)


def _split(
    items: RawItems,
    order: IntArray,
    reference: IntArray,
    groups: NDArray[np.str_] | None,
    config: DataConfig,
    seed: int,
    needs_test: bool,
) -> NDArray[np.str_]:
    """The split of every item: the one that the data brings, else a drawn one, or none where no test is needed."""
    words = ["train"] * len(order)
    if items.split is not None:
        words = [manifest.SPLIT_WORDS[items.split[i].strip().lower()] for i in order.tolist()]
        manifest.check_split_names(words, needs_test)
    if set(words) != {"train"} or not needs_test:
        return np.array(words, dtype=np.str_)
    train = 1.0 - config.val_fraction - config.test_fraction
    if train <= 1e-9:
        raise ConfigError(
            f"data.val_fraction={config.val_fraction} and data.test_fraction={config.test_fraction} leave nothing "
            "for training"
        )
    fractions = {"train": train, "val": config.val_fraction, "test": config.test_fraction}
    positive = {name: share for name, share in fractions.items() if share > 0}
    return stratified_group_split(reference, groups, positive, rng.generator(seed, "data", "split"))


def _kept(reference: IntArray, split: NDArray[np.str_], config: DataConfig, seed: int) -> IntArray:
    """Rows that stay: all but the training items that the long tail and the cut drop."""
    train = np.flatnonzero(split == "train")
    kept = train
    if config.imbalance_factor is not None:
        stream = rng.generator(seed, "data", "long-tail")
        kept = kept[long_tail(reference[kept], config.imbalance_factor, stream)]
    if config.max_train is not None:
        classes = len(np.unique(reference[kept]))
        if config.max_train < classes:
            raise ConfigError(f"data.max_train={config.max_train} cannot hold an item of each of {classes} classes")
        kept = kept[subsample(reference[kept], config.max_train, rng.generator(seed, "data", "max-train"))]
    return np.setdiff1d(np.arange(len(split), dtype=np.int64), np.setdiff1d(train, kept))


def _informative(items: RawItems, order: IntArray) -> dict[str, IntArray]:
    """The label columns that differ from the reference somewhere: a column that repeats it is the expert's."""
    reference = items.labels[order]
    return {
        name: column
        for name, column in items.columns.items()
        if bool(((column[order] >= 0) & (column[order] != reference)).any())
    }


def _note_shared_pixels(decoded: DecodedImages, split: NDArray[np.str_], items: RawItems, progress: Reporter) -> None:
    """Say so where equal images stand in two splits; equal ones are neighbours in canonical order."""
    shared = np.flatnonzero((decoded.digests[1:] == decoded.digests[:-1]) & (split[1:] != split[:-1]))
    if len(shared):
        one, other = (items.ids[i] for i in decoded.positions[shared[0] : shared[0] + 2])
        progress.note(f"equal images stand in two splits: {len(shared)} pairs, such as {one} and {other}")


def _digest(
    pixels: NDArray[np.str_],
    reference: IntArray,
    ids: NDArray[np.str_],
    split: NDArray[np.str_],
    class_names: Sequence[str],
) -> str:
    content = [list(class_names), pixels.tolist(), reference.tolist(), ids.tolist(), split.tolist()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
