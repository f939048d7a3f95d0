"""Training batches from images in memory: augmented and normalised."""

from typing import Any

import numpy as np
import torch
from epochs import PREPROCESS, Images, make_images
from measure import Benchmark, Step, timed
from naive_torch import ImageItems, train_transform
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.data import DataLoader

from overread.learn.sources import PixelSource

ITEMS = {32: 2048, 64: 1024, 224: 128}
BATCH = 128


def inputs(size: int, quick: bool) -> Images:
    return make_images(8 if quick else ITEMS.get(size, 128), size, BATCH, uncut=True)


def naive(data: Images) -> Step:
    items = ImageItems(data.pixels, data.given, train_transform(data.side))
    return timed(lambda: list(DataLoader(items, data.batch, shuffle=True)))


def value(data: Images) -> Step:
    source = PixelSource(data.pixels, data.side, PREPROCESS, augment=True, device=torch.device("cpu"))
    rng = np.random.default_rng(0)

    def work() -> None:
        order = rng.permutation(source.n_items)
        for start in range(0, len(order), data.batch):
            source.train_batch(order[start : start + data.batch], rng)

    return timed(work)


def limit(data: Images) -> Step:
    batch = torch.from_numpy(data.pixels[: data.batch]).permute(0, 3, 1, 2).float().contiguous()
    still = torch.eye(2, 3).expand(len(batch), 2, 3)
    grid = affine_grid(still, [len(batch), 3, data.side, data.side], align_corners=False)
    passes = -(-len(data.pixels) // len(batch))

    def work() -> None:
        for _ in range(passes):
            grid_sample(batch, grid, padding_mode="border", align_corners=False)

    return timed(work)


def facts(data: Images) -> dict[str, Any]:
    return {"items": len(data.pixels), "batch": data.batch}


BENCHMARK = Benchmark(
    what="crop, flip, rotation, blur, colour and normalisation of every image once",
    unit="s per pass",
    sizes=(32, 64, 224),
    size_is="pixels a side",
    quick_size=16,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="one bilinear resampling of floats in memory, the same for every image",
    facts=facts,
)
