"""Checkpoints: to the bit, atomic, and no pickle."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from overread.errors import RunError
from overread.learn.checkpoint import (
    load_checkpoint,
    pack_module,
    pack_optimizer,
    save_checkpoint,
    unpack_module,
    unpack_optimizer,
)


def parts(name: str = "sgd") -> tuple[nn.Module, torch.optim.Optimizer]:
    """A convolution with batch norm in channels-last layout, and its optimiser."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    module = module.to(memory_format=torch.channels_last)
    if name == "adamw":
        return module, torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=1e-2, fused=True)
    return module, torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        module(torch.randn(6, 3, 8, 8, generator=generator)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_interrupted_training_ends_with_the_same_bits(tmp_path: Path, name: str) -> None:
    whole, whole_sgd = parts(name)
    start = {key: value.clone() for key, value in whole.state_dict().items()}
    train(whole, whole_sgd, range(6))

    first, first_sgd = parts(name)
    first.load_state_dict(start)
    train(first, first_sgd, range(3))
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, pack_module("net", first) | pack_optimizer("sgd", first_sgd), {"epoch": 2})

    second, second_sgd = parts(name)
    train(second, second_sgd, range(10, 12))
    tensors, meta = load_checkpoint(path)
    unpack_module("net", second, tensors)
    unpack_optimizer("sgd", second_sgd, tensors)
    assert meta == {"epoch": 2}
    train(second, second_sgd, range(3, 6))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_arrays_and_facts_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {
        "float": np.array([np.nan, -0.0, np.inf, 5e-324]),
        "bits": np.array([True, False]),
        "strided": np.arange(12, dtype=np.int64).reshape(3, 4)[:, ::2],
        "empty": np.empty((0, 3), dtype=np.float32),
        "one": np.array(7, dtype=np.uint8),
        "read-only": np.broadcast_to(np.float32(2), (2, 2)),
    }
    facts = {"step": "round 3", "spent": 1.5, "list": [1, None, "ü"]}
    save_checkpoint(tmp_path / "deep" / "a.safetensors", arrays, facts)
    tensors, meta = load_checkpoint(tmp_path / "deep" / "a.safetensors")
    assert meta == facts
    assert tensors.keys() == arrays.keys()
    for key, value in arrays.items():
        back = tensors[key].numpy()
        assert back.dtype == value.dtype
        assert back.shape == value.shape
        assert back.tobytes() == value.tobytes()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


def test_a_step_that_fails_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.ones(2)}, {"epoch": 1})
    with pytest.raises(TypeError):
        save_checkpoint(path, {"x": torch.zeros(2)}, {"epoch": object()})
    assert load_checkpoint(path)[1] == {"epoch": 1}


@pytest.mark.parametrize("damage", ["half", "empty", "pickle", "foreign"])
def test_files_that_are_no_checkpoint_are_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.safetensors"
    save_checkpoint(path, {"x": torch.ones(100)}, {})
    content = path.read_bytes()
    if damage == "foreign":
        header = b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
        path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    else:
        path.write_bytes({"half": content[: len(content) // 2], "empty": b"", "pickle": pickle.dumps([1])}[damage])
    with pytest.raises(RunError, match=r"bad\.safetensors"):
        load_checkpoint(path)


def test_an_absent_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none.*does not exist"):
        load_checkpoint(tmp_path / "none")


def test_another_network_or_optimiser_is_refused() -> None:
    small, large = nn.Linear(2, 3), nn.Linear(2, 4)
    with pytest.raises(RunError, match="net: 'bias', 'weight'"):
        unpack_module("net", large, {})
    with pytest.raises(RunError, match="'weight'"):
        unpack_module("net", large, pack_module("net", small))
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9) for module in (small, large)]
    small(torch.ones(1, 2)).sum().backward()
    optimizers[0].step()
    packed = pack_optimizer("sgd", optimizers[0])
    assert len(packed) == 2
    with pytest.raises(RunError, match="another shape"):
        unpack_optimizer("sgd", optimizers[1], packed)
    with pytest.raises(RunError, match="no parameter"):
        unpack_optimizer("sgd", optimizers[0], {**packed, "sgd/0/2/momentum_buffer": torch.ones(1)})


def test_unpacking_forgets_momentum_that_was_not_packed() -> None:
    module = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    fresh = pack_optimizer("sgd", optimizer)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    unpack_optimizer("sgd", optimizer, fresh)
    assert fresh == pack_optimizer("sgd", optimizer) == {}
