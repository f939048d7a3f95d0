"""Training state on disk: tensors in safetensors, facts as JSON in its header.  No pickle."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from overread.errors import RunError, name_some
from overread.files import atomic_path

__all__ = [
    "Tensors",
    "load_checkpoint",
    "optimizer_buffers",
    "pack_module",
    "pack_optimizer",
    "save_checkpoint",
    "unpack_module",
    "unpack_optimizer",
]

Tensors = dict[str, torch.Tensor]
META = "overread"


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor | NDArray[Any]], meta: dict[str, Any]) -> None:
    """Write `tensors` and `meta` (plain JSON types) to `path` atomically."""
    plain: Tensors = {}
    for key, value in tensors.items():
        tensor = (
            torch.from_numpy(np.require(value, requirements=("C", "W"))) if isinstance(value, np.ndarray) else value
        )
        plain[key] = tensor.detach().cpu().contiguous()
    with atomic_path(path) as temporary:
        # Made here, since safetensors would let nobody else read it: a cache may be shared.
        temporary.touch()
        mode = temporary.stat().st_mode & 0o777
        save_file(plain, temporary, metadata={META: json.dumps(meta)})
        temporary.chmod(mode)


def load_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors, on the CPU, and the facts that `save_checkpoint` wrote.

    Errors: RunError where the file is absent, damaged or of another kind.
    """
    if not path.is_file():
        raise RunError(f"the checkpoint {path} does not exist; start again in another folder")
    try:
        with safe_open(path, framework="pt") as content:
            meta = json.loads((content.metadata() or {})[META])
            return {key: content.get_tensor(key) for key in content.keys()}, meta  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(f"the checkpoint {path} is damaged or not one; start again in another folder") from error


def pack_module(prefix: str, module: nn.Module) -> Tensors:
    """Parameters and buffers of `module` as `prefix/name`."""
    return {f"{prefix}/{key}": value for key, value in module.state_dict().items()}


def unpack_module(prefix: str, module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Set parameters and buffers of `module` to what `pack_module` took.

    Errors: RunError naming tensors that are missing, unknown, or of another shape.
    """
    start = f"{prefix}/"
    found = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
    wanted = module.state_dict()
    wrong = sorted(found.keys() ^ wanted.keys())
    wrong += [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
    if wrong:
        raise RunError(f"the checkpoint belongs to another network than {prefix}: {name_some(wrong, 3)} differ")
    module.load_state_dict(found)


def pack_optimizer(prefix: str, optimizer: torch.optim.Optimizer) -> Tensors:
    """What the optimiser keeps of every parameter as `prefix/group/index/name`; of one never stepped, nothing.

    The learning rate is not in it: it is a function of the epoch.
    """
    return {
        f"{prefix}/{group}/{index}/{name}": value
        for group, index, parameter in _parameters(optimizer)
        for name, value in optimizer.state[parameter].items()
        if value is not None
    }


def unpack_optimizer(prefix: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Set what the optimiser keeps to what `pack_optimizer` took, absent ones included.

    Errors: RunError where a tensor has no parameter of its shape.
    """
    start = f"{prefix}/"
    left = {key for key in tensors if key.startswith(start)}
    optimizer.state.clear()
    for group, index, parameter in _parameters(optimizer):
        for name, like in _fresh_state(optimizer, parameter).items():
            key = f"{prefix}/{group}/{index}/{name}"
            if key not in tensors:
                continue
            left.discard(key)
            if tensors[key].shape != like.shape:
                raise RunError(f"the checkpoint belongs to another optimiser: {key!r} has another shape")
            # In the memory layout of the parameter, so that later steps add in the same order to the bit.
            optimizer.state[parameter][name] = like.copy_(tensors[key])
    if left:
        raise RunError(f"the checkpoint belongs to another optimiser: {name_some(sorted(left), 3)} have no parameter")


def optimizer_buffers(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """What is kept of every parameter, in order; of one that was never stepped, zeros, which change no step."""
    return [
        optimizer.state[parameter].setdefault(name, like)
        for _, _, parameter in _parameters(optimizer)
        for name, like in _fresh_state(optimizer, parameter).items()
    ]


def _fresh_state(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> Tensors:
    """What SGD with momentum or AdamW keeps of `parameter` before the first step."""
    zeros = partial(torch.zeros_like, parameter, requires_grad=False)
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer": zeros()}
    steps = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": steps, "exp_avg": zeros(), "exp_avg_sq": zeros()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[tuple[int, int, torch.Tensor]]:
    return [
        (group, index, parameter)
        for group, settings in enumerate(optimizer.param_groups)
        for index, parameter in enumerate(settings["params"])
    ]
