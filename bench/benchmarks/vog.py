"""What VOG adds to an epoch of co-teaching of two ResNet-18."""

import resnet
from epochs import Images
from measure import Benchmark, Step


def naive(data: Images) -> Step:
    return resnet.naive(data, with_vog=True)


def naive_without(data: Images) -> Step:
    return resnet.naive(data, with_vog=False)


def value(data: Images) -> Step:
    return resnet.product(data, "co-teaching-vog")


def limit(data: Images) -> Step:
    return resnet.product(data, "co-teaching")


BENCHMARK = Benchmark(
    what="one epoch of co-teaching with VOG, window full, two ResNet-18, augmented images",
    unit="s per epoch",
    sizes=(32, 64, 224),
    size_is="pixels a side",
    quick_size=32,
    inputs=resnet.inputs,
    naive=naive,
    value=value,
    limit=limit,
    limit_is="the same epoch without VOG",
    facts=resnet.facts,
    also={"naive without VOG": naive_without},
)
