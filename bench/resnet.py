"""What `coteaching` and `vog` share: two ResNet-18 on images, in the naive way and by the product."""

from typing import Any

import torch
from epochs import N_CLASSES, PREPROCESS, Images, make_images, naive_epoch, steady_epoch
from measure import Step
from naive_torch import Classifier, ImageItems, train_transform
from torch.utils.data import DataLoader

from overread.config import ModelConfig
from overread.learn.models import Network, build_network
from overread.learn.sources import PixelSource
from overread.learn.weights import load_backbone

# size -> items of an epoch, batch: whole batches, and as many as a round of a few seconds can take.
ITEMS = {32: (1024, 256), 64: (512, 128), 224: (64, 32)}
MODEL = ModelConfig(name="resnet18", mode="finetune", weights="none")

__all__ = ["facts", "inputs", "naive", "networks", "product", "source"]


def inputs(size: int, quick: bool) -> Images:
    n, batch = (4, 4) if quick else ITEMS.get(size, (64, 32))
    return make_images(n, size, batch, uncut=True)


def facts(data: Images) -> dict[str, Any]:
    return {"items": len(data.pixels), "batch": data.batch, "network": MODEL.name}


def networks() -> list[Network]:
    return [build_network(MODEL, N_CLASSES, input_dim=None, seed=seed) for seed in range(2)]


def source(data: Images) -> PixelSource:
    return PixelSource(data.pixels, data.side, PREPROCESS, augment=True, device=torch.device("cpu"))


def product(data: Images, method: str) -> Step:
    return steady_epoch(method, networks(), source(data), data.given, data.batch)


def naive(data: Images, with_vog: bool) -> Step:
    classifiers = [Classifier(load_backbone(MODEL.name, "none")[0], 512, N_CLASSES, MODEL.dropout) for _ in range(2)]
    items = ImageItems(data.pixels, data.given, train_transform(data.side))
    return naive_epoch(classifiers, DataLoader(items, data.batch, shuffle=True), with_vog)
