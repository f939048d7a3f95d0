"""A residual network for small images, in timm's registry beside the others: `model.name=small_resnet`.

Those of ImageNet shrink an image of 28 pixels to a single position after a third of their layers.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

__all__ = ["small_resnet"]

NAME = "small_resnet"
WIDTH = 16

default_cfgs = generate_default_cfgs(
    {NAME: {"input_size": (3, 28, 28), "pool_size": (4, 4), "first_conv": "conv1", "classifier": "fc"}}
)


@register_model  # type: ignore[untyped-decorator]
def small_resnet(pretrained: bool = False, **options: Any) -> ResNet:
    """Four stages of one basic block (He et al., CVPR 2016), 16 to 128 channels, 0.3 million weights, for 24-64 pixels.

    The first layer keeps every pixel, as in the networks for CIFAR of the same paper; there are no trained weights.
    """
    channels = tuple(WIDTH * 2**stage for stage in range(4))
    network: ResNet = build_model_with_cfg(
        ResNet, NAME, pretrained, block=BasicBlock, layers=(1, 1, 1, 1), channels=channels, **options
    )
    first = network.layer1[0]
    network.conv1 = nn.Conv2d(network.conv1.in_channels, WIDTH, 3, padding=1, bias=False)
    network.bn1 = nn.BatchNorm2d(WIDTH)
    network.maxpool = nn.Identity()
    first.conv1 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
    first.downsample = None
    for layer in (network.conv1, first.conv1):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return network
