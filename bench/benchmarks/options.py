"""What torch offers to speed up training: channels last (the product's layout), bfloat16 and compilation."""

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import resnet
import torch
from epochs import Images
from measure import Benchmark, Step, scaled, timed
from torch import nn
from torch.nn.functional import cross_entropy

from overread.learn.models import Network

GEMM = 2048


def training(data: Images, network: nn.Module, memory_format: torch.memory_format, bfloat16: bool = False) -> Step:
    """Forward and backward of one network on a batch in memory."""
    network = network.to(memory_format=memory_format).train()
    batch = resnet.source(data).eval_batch(np.arange(data.batch)).contiguous(memory_format=memory_format)
    labels = torch.from_numpy(data.given[: data.batch])

    def work() -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
            logits, _ = network(batch)
        cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]

    return timed(work)


def value(data: Images) -> Step:
    return training(data, resnet.networks()[0], torch.channels_last)


def contiguous(data: Images) -> Step:
    return training(data, resnet.networks()[0], torch.contiguous_format)


def bfloat16(data: Images) -> Step:
    return training(data, resnet.networks()[0], torch.channels_last, bfloat16=True)


def compiled(data: Images) -> Step:
    network = torch.compile(resnet.networks()[0].to(memory_format=torch.channels_last))
    step = training(data, network, torch.channels_last)  # type: ignore[arg-type]
    step()
    return step


def limit(data: Images) -> Step:
    """The time that a large square product takes, scaled to the multiplications of forward and backward."""
    left, right = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
    share = 3 * multiplications(resnet.networks()[0], data) / GEMM**3
    return scaled(timed(lambda: left @ right), share)


def multiplications(network: Network, data: Images) -> int:
    """Multiplications of a forward pass of the batch, in convolutions and linear layers."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output.numel() * layer.weight[0].numel()

    hooks = [part.register_forward_hook(count) for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    network.eval()
    with torch.inference_mode():
        network(resnet.source(data).eval_batch(np.arange(1)))
    for hook in hooks:
        hook.remove()
    return total * data.batch


def further() -> Mapping[str, Any]:
    # Compilation needs a compiler.
    return {"bfloat16": bfloat16, **({"compiled": compiled} if shutil.which("c++") else {})}


def facts(data: Images) -> dict[str, Any]:
    return {"batch": data.batch, "network": resnet.MODEL.name, "limit_scaled_from": f"a product of {GEMM} x {GEMM}"}


BENCHMARK = Benchmark(
    what="forward and backward of one ResNet-18; naive = torch's default memory layout",
    unit="s per batch",
    sizes=(32, 64, 224),
    size_is="pixels a side",
    quick_size=32,
    inputs=resnet.inputs,
    naive=contiguous,
    value=value,
    limit=limit,
    limit_is="as many multiplications in one large float32 product",
    facts=facts,
    also=further(),
    slow=frozenset({"compiled"}),
)
