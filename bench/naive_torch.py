"""The published way of training and embedding, written anew as plainly as a researcher would.

One image at a time through PIL, a `DataLoader` in the same process, networks in torch's default memory layout, and for
VOG one more pass in training mode per network and epoch.  Not to be made faster.
"""

import tempfile
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from naive import relabel, vog_of_history
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from overread.arrays import FloatArray, IntArray

__all__ = [
    "Classifier",
    "FeatureItems",
    "ImageItems",
    "Plan",
    "Study",
    "coteaching_epoch",
    "eval_transform",
    "features_of",
    "gradients_of_pass",
    "new_optimizer",
    "probabilities_of",
    "simulate",
    "train_transform",
]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MIX_RATIO = 0.2

Item = tuple[torch.Tensor, int, int]
Loader = DataLoader[Item]


def train_transform(side: int) -> Any:
    """The published augmentation, at `side` pixels instead of 224."""
    radius = max(2.0 * side / 224, 0.6)
    kernel = 2 * int(3 * radius) + 1
    return transforms.Compose(
        [
            transforms.Resize(round(side * 256 / 224)),
            transforms.RandomCrop(side),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.RandomApply([transforms.GaussianBlur(kernel, (0.1, radius))], p=0.5),
            transforms.RandomApply([transforms.ColorJitter(0.1, 0.1, 0.1)], p=0.5),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def eval_transform(side: int) -> Any:
    """The whole image at `side` pixels."""
    return transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


class ImageItems(Dataset[Item], Sized):
    """Images (N, H, W, 3) uint8 in memory; an item is (tensor, label, index)."""

    def __init__(self, images: NDArray[np.uint8], labels: IntArray, transform: Any) -> None:
        self.images = images
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index]), index


class FeatureItems(Dataset[Item], Sized):
    """Embeddings (N, D) in memory; an item is (row, label, index)."""

    def __init__(self, features: NDArray[np.float32], labels: IntArray) -> None:
        self.features = features
        self.labels = labels

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Item:
        return torch.from_numpy(self.features[index]), int(self.labels[index]), index


class Classifier(nn.Module):
    """A backbone, dropout and a last layer; puts out logits and the features that enter the last layer."""

    def __init__(self, backbone: nn.Module, n_features: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(n_features, n_classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, C) and features (B, D)."""
        features = self.dropout(self.backbone(x))
        return self.fc(features), features


def coteaching_epoch(
    networks: list[Classifier],
    optimizers: list[torch.optim.SGD],
    loader: Loader,
    forget_rate: float,
    vogs: list[FloatArray] | None = None,
) -> list[int]:
    """The picks of the first network in an epoch in which each of two learns what the other one picks.

    vogs: (N,) for each network.  One network learns what it picks itself.
    """
    believed = []
    for network in networks:
        network.train()
    for images, labels, indices in loader:
        outputs = [network(images)[0] for network in networks]
        picks = []
        for number, logits in enumerate(outputs):
            loss = cross_entropy(logits, labels, reduction="none").detach().numpy()
            vog = vogs[number][indices.numpy()] if vogs is not None else None
            picks.append(picked(loss, vog, forget_rate))
        believed += indices[picks[0]].tolist()
        for logits, optimizer, of_peer in zip(outputs, optimizers, reversed(picks), strict=True):
            optimizer.zero_grad()
            cross_entropy(logits[of_peer], labels[of_peer]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return believed


def picked(loss: FloatArray, vog: FloatArray | None, forget_rate: float) -> list[int]:
    """Positions of the smallest losses, and of some of the smallest VOG among the rest."""
    keep = int((1 - forget_rate) * len(loss))
    by_loss = np.argsort(loss).tolist()
    if vog is None:
        return list(by_loss[:keep])
    chosen = list(by_loss[: int((1 - MIX_RATIO) * keep)])
    rest = [index for index in np.argsort(vog).tolist() if index not in chosen]
    return chosen + rest[: int(MIX_RATIO * keep)]


def gradients_of_pass(network: Classifier, loader: Loader) -> FloatArray:
    """Per-sample gradients (N, D+1) of the row of the given label of the last layer, by a pass in training mode."""
    assert isinstance(loader.dataset, Sized)
    gradients = np.zeros((len(loader.dataset), network.fc.in_features + 1))
    network.train()
    for images, labels, indices in loader:
        logits, features = network(images)
        logits.retain_grad()
        # Backward through the whole network, for the gradient at its end alone.
        cross_entropy(logits, labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
        network.zero_grad()
        for row, index in enumerate(indices):
            error = logits.grad[row, labels[row]].item()
            gradients[index, 0] = error
            gradients[index, 1:] = error * features[row].detach().numpy()
    return gradients


def features_of(backbone: nn.Module, loader: Loader) -> FloatArray:
    """Pooled features (N, D) of all items, in evaluation mode and without gradients."""
    backbone.eval()
    rows = []
    with torch.no_grad():
        for images, _, _ in loader:
            rows.append(backbone(images).numpy())
    return np.concatenate(rows)


def probabilities_of(network: Classifier, loader: Loader) -> FloatArray:
    """Class probabilities (N, C) of all items, in evaluation mode and without gradients."""
    network.eval()
    rows = []
    with torch.no_grad():
        for images, _, _ in loader:
            rows.append(network(images)[0].softmax(dim=1).numpy())
    return np.concatenate(rows)


def new_optimizer(network: nn.Module) -> torch.optim.SGD:
    """SGD with the published settings."""
    return torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)


class Study(NamedTuple):
    """Two networks and three views of the data."""

    networks: list[Classifier]
    training: Callable[[IntArray, list[int]], Loader]
    """(labels of all items, positions) -> these items, shuffled and augmented, with their position among them."""
    pool: Loader
    """All training items in order, under the evaluation transform."""
    test: Loader


class Plan(NamedTuple):
    """How long everything takes."""

    epochs: int
    warmup_epochs: int
    window: int
    forget_rate: float
    rounds: int
    budget: int
    update_epochs: int


def simulate(study: Study, given: IntArray, reference: IntArray, plan: Plan) -> IntArray:
    """The labels after both phases, the second one by entropy; every round is scored on the test set."""
    networks = study.networks
    optimizers = [new_optimizer(network) for network in networks]
    loader = study.training(given, list(range(len(given))))
    histories: list[list[FloatArray]] = [[] for _ in networks]
    vogs: list[FloatArray] = []
    believed: list[int] = []
    for epoch in range(plan.epochs):
        use_vog = epoch >= plan.warmup_epochs
        believed = coteaching_epoch(networks, optimizers, loader, plan.forget_rate, vogs if use_vog else None)
        vogs = []
        for number, network in enumerate(networks):
            histories[number] = [*histories[number], gradients_of_pass(network, loader)][-plan.window :]
            with tempfile.TemporaryDirectory() as folder:
                vogs.append(vog_of_history(histories[number], Path(folder)))

    labels, bought = given, list[int]()
    network = networks[0]
    probabilities_of(network, study.test)
    for _ in range(plan.rounds):
        probs = probabilities_of(network, study.pool)
        entropy = -(probs * np.log(probs + 1e-12)).sum(axis=1)
        pool = [i for i in np.argsort(-entropy).tolist() if i not in believed and i not in bought]
        bought = bought + pool[: plan.budget]
        labels = relabel(given, bought, reference[bought])
        optimizer = new_optimizer(network)
        loader = study.training(labels, believed + bought)
        for _ in range(plan.update_epochs):
            coteaching_epoch([network], [optimizer], loader, 0.0)
        probabilities_of(network, study.test)
    return labels
