"""An epoch of co-teaching of two ResNet-18, from images in memory."""

import numpy as np
import resnet
from epochs import Images
from measure import Benchmark, Step, timed
from torch import from_numpy
from torch.nn.functional import cross_entropy


def naive(data: Images) -> Step:
    return resnet.naive(data, with_vog=False)


def value(data: Images) -> Step:
    return resnet.product(data, "co-teaching")


def limit(data: Images) -> Step:
    """Forward and backward of the same two networks on a batch that is there; no picks, no update."""
    both = resnet.networks()
    batch = resnet.source(data).eval_batch(np.arange(data.batch))
    labels = from_numpy(data.given[: data.batch])

    def work() -> None:
        for _ in range(len(data.pixels) // data.batch):
            for network in both:
                network.zero_grad(set_to_none=True)
                cross_entropy(network(batch)[0], labels).backward()  # type: ignore[no-untyped-call]

    return timed(work)


BENCHMARK = Benchmark(
    what="one epoch of co-teaching, two ResNet-18, augmented images",
    unit="s per epoch",
    sizes=(32, 64, 224),
    size_is="pixels a side",
    quick_size=32,
    inputs=resnet.inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="forward and backward of both networks on a batch in memory",
    facts=resnet.facts,
)
