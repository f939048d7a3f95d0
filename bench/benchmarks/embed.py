"""Embeddings of images under the frozen backbone of the product's defaults."""

from typing import Any

import numpy as np
import torch
from epochs import PREPROCESS, Images, make_images
from measure import Benchmark, Step, timed
from naive_torch import ImageItems, eval_transform, features_of
from torch import nn
from torch.utils.data import DataLoader

from overread.config import ModelConfig
from overread.learn.embed import embed
from overread.learn.sources import PixelSource
from overread.learn.weights import load_backbone
from overread.progress import Silent

ITEMS = {64: 1024, 128: 512, 224: 128}
BATCH = 64


def inputs(size: int, quick: bool) -> Images:
    return make_images(8 if quick else ITEMS.get(size, 128), size, BATCH, uncut=False)


def naive(data: Images) -> Step:
    items = ImageItems(data.pixels, data.given, eval_transform(data.side))
    loader = DataLoader(items, data.batch)
    backbone = _backbone()
    return timed(lambda: features_of(backbone, loader))


def value(data: Images) -> Step:
    model = ModelConfig(input_size=data.side)
    return timed(lambda: embed(data.pixels, model, None, "made up", torch.device("cpu"), Silent()))


def limit(data: Images) -> Step:
    source = PixelSource(data.pixels, data.side, PREPROCESS, augment=False, device=torch.device("cpu"))
    resident = source.eval_batch(np.arange(min(data.batch, source.n_items)))
    backbone = _backbone().to(memory_format=torch.channels_last).eval()
    passes = -(-source.n_items // data.batch)

    def work() -> None:
        with torch.inference_mode():
            for _ in range(passes):
                backbone(resident)

    return timed(work)


def _backbone() -> nn.Module:
    model = ModelConfig()
    return load_backbone(model.name, model.weights)[0]


def facts(data: Images) -> dict[str, Any]:
    return {"items": len(data.pixels), "batch": data.batch, "network": ModelConfig().name}


BENCHMARK = Benchmark(
    what="features of every image, the backbone loaded anew",
    unit="s per pass",
    sizes=(64, 128, 224),
    size_is="pixels a side",
    quick_size=32,
    inputs=inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="forward of the same network on a batch in memory, inference mode, channels last",
    facts=facts,
)
