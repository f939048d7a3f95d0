"""The classifier: a trunk, dropout, and a last linear layer whose input is handed out beside the logits."""

import torch
from torch import nn

from overread.config import ModelConfig
from overread.errors import ModelError
from overread.learn.processes import Part
from overread.learn.weights import fixed_size, load_backbone
from overread.rng import derived_seed

__all__ = ["Network", "build_network", "check_takes", "network_input_size", "output_width"]

FROZEN_SIZE = 112


class Dropout(nn.Dropout):
    """Dropout whose masks are drawn eight numbers at a time: torch's own takes most of the time of a linear head.

    The share that is dropped is rounded to 256ths, and what is kept is scaled by its exact inverse.  256 x 1280
    numbers on one CPU core: 0.23 ms against 2.6 ms of torch 2.15.
    """

    def forward(self, x: torch.Tensor, part: Part | None = None) -> torch.Tensor:
        """`x` with a share of its numbers set to 0 in training mode; `x` in evaluation mode.

        part: which rows of a batch `x` (B, D) is; the masks of the whole batch are drawn, so that it does not matter
        into how many parts it was shared.
        """
        dropped = round(256 * self.p)
        if not self.training or dropped == 0:
            return x
        part = part or Part(0, len(x), len(x))
        width = x[0].numel()
        words = torch.empty(-(-part.total * width // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        drawn = words.view(torch.uint8)[part.start * width : part.stop * width].view(x.shape)
        # Compared as floats, in place: turning truth values into floats takes eight times as long on a CPU.
        return x * drawn.float().ge_(dropped).mul_(256 / (256 - dropped))


class Network(nn.Module):
    """`trunk -> dropout -> last`; all that training, VOG and samplers know of a model.

    The dropout before the last layer is the only one, so in evaluation mode the trunk is a function, and sampling
    dropout masks means sampling them on the features.
    """

    def __init__(self, trunk: nn.Module, n_features: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = Dropout(dropout)
        self.last = nn.Linear(n_features, n_classes)
        self.n_features = n_features

    @property
    def reads_inputs_directly(self) -> bool:
        """Whether the inputs are the features: a linear head on embeddings."""
        return isinstance(self.trunk, nn.Identity)

    def forward(self, x: torch.Tensor, part: Part | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, C) and features (B, D): what the last layer saw, so after dropout.

        With `p` the softmax of the logits, `(p_y - 1) [1, features]` is then exactly the gradient of the
        cross-entropy for the bias and the weights of row `y` of the last layer.

        part: which rows of a batch `x` is; none = all of it.
        """
        features = self.dropout(self.trunk(x), part)
        return self.last(features), features


def build_network(model: ModelConfig, n_classes: int, input_dim: int | None, seed: int) -> Network:
    """A network whose initial weights depend on `model`, the shapes and `seed` alone.

    input_dim: width of the embeddings for mode frozen; not read by the other modes, whose inputs are images
    (B, 3, H, W).  Torch's global generator is left as it was.

    Errors: ModelError where the backbone or its weights cannot be had, or where frozen has no input_dim.
    """
    with torch.random.fork_rng(devices=[]):
        # Layers are made on the CPU: its generator is the only one that is drawn from.
        torch.default_generator.manual_seed(derived_seed(seed, "initial-weights"))
        if model.mode != "frozen":
            trunk, _ = load_backbone(model.name, model.weights, input_size=model.input_size)
            n_features = output_width(trunk)
        elif input_dim is None:
            raise ModelError("model.mode=frozen builds a head on embeddings and needs their width")
        elif model.head == "mlp":
            trunk, n_features = nn.Sequential(nn.Linear(input_dim, model.hidden), nn.ReLU()), model.hidden
        else:
            trunk, n_features = nn.Identity(), input_dim
        network = Network(trunk, n_features, n_classes, model.dropout)
    return network.to(memory_format=torch.channels_last) if model.mode != "frozen" else network


def network_input_size(model: ModelConfig, image_size: int) -> int:
    """Pixels a side at which the network sees images of `image_size` pixels.

    `model.input_size` where it is given; else the size that the architecture is bound to; else the image size, and
    112 at least for frozen backbones, whose ImageNet features fade on smaller images.  Weights that are learnt from the
    images themselves know them at their own size.

    >>> network_input_size(ModelConfig(mode="frozen"), 28), network_input_size(ModelConfig(mode="finetune"), 28)
    (112, 28)
    """
    if model.input_size is not None:
        return model.input_size
    bound = fixed_size(model.name)
    if bound is not None:
        return bound
    return max(FROZEN_SIZE, image_size) if model.mode == "frozen" and model.weights != "self" else image_size


def check_takes(network: nn.Module, inputs: torch.Tensor, name: str) -> None:
    """Pass `inputs`, a few items, through `network`, called `name`: what does not fit is found before training.

    The network is in evaluation mode afterwards.  Errors: ModelError where the network cannot take them.
    """
    try:
        with torch.inference_mode():
            network.eval()(inputs)
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, inputs.shape[2:])) or "embedding"
        raise ModelError(
            f"the model {name} cannot take {size} inputs ({str(error).splitlines()[0]}); "
            "set model.input_size or another model.name"
        ) from None


def output_width(backbone: nn.Module) -> int:
    """Number of features that a timm network without classifier puts out."""
    # Some networks (MobileNetV3, VGG) widen the features between pooling and classifier.
    width = getattr(backbone, "head_hidden_size", None) or backbone.num_features
    return int(width)  # type: ignore[arg-type]
