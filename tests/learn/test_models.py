"""Networks: what they hand out and what their first weights depend on."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from overread.config import ModelConfig
from overread.errors import ModelError
from overread.learn.device import resolve_device, set_threads
from overread.learn.models import Dropout, Network, build_network, network_input_size

SMALL = ModelConfig(mode="finetune", name="mobilenetv3_small_050", weights="none", dropout=0.3)


def weights(network: Network) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize(
    "model", [SMALL, ModelConfig(head="mlp", hidden=8), ModelConfig()], ids=["cnn", "mlp", "linear"]
)
def test_first_weights_depend_on_the_seed_alone(model: ModelConfig) -> None:
    torch.manual_seed(1)
    first = weights(build_network(model, 4, 6, seed=7))
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, weights(build_network(model, 4, 6, seed=7)))
    assert not torch.equal(first, weights(build_network(model, 4, 6, seed=8)))
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "model", [SMALL, ModelConfig(head="mlp", hidden=8), ModelConfig()], ids=["cnn", "mlp", "linear"]
)
@pytest.mark.parametrize("training", [False, True])
def test_logits_come_from_the_features_handed_out(model: ModelConfig, training: bool) -> None:
    network = build_network(model, 4, 6, seed=0).train(training)
    inputs = torch.randn(5, 3, 32, 32) if model.mode == "finetune" else torch.randn(5, 6)
    logits, features = network(inputs)
    assert features.shape == (5, network.n_features)
    torch.testing.assert_close(features @ network.last.weight.T + network.last.bias, logits)
    assert network.reads_inputs_directly == (model == ModelConfig())


def test_the_closed_form_is_autograds_gradient_under_dropout() -> None:
    network = build_network(ModelConfig(head="mlp", hidden=16, dropout=0.5), 4, 6, seed=0).train()
    logits, features = network(torch.randn(1, 6))
    assert (features == 0).any()
    label = torch.tensor([2])
    weight, bias = torch.autograd.grad(cross_entropy(logits, label), [network.last.weight, network.last.bias])
    factor = logits.softmax(dim=1)[0, 2] - 1
    torch.testing.assert_close(weight[2], factor * features[0])
    torch.testing.assert_close(bias[2], factor)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "convnext_atto"])
def test_any_timm_network_gives_features_of_the_promised_width(name: str) -> None:
    network = build_network(SMALL.model_copy(update={"name": name}), 3, None, seed=0).eval()
    logits, features = network(torch.zeros(1, 3, 64, 64))
    assert logits.shape == (1, 3)
    assert features.shape == (1, network.n_features)


def test_a_transformer_is_built_for_the_size_it_will_see() -> None:
    model = SMALL.model_copy(update={"name": "vit_tiny_patch16_224", "input_size": 32})
    assert network_input_size(model, 28) == 32
    assert network_input_size(model.model_copy(update={"input_size": None}), 28) == 224
    logits, _ = build_network(model, 3, None, seed=0).eval()(torch.zeros(1, 3, 32, 32))
    assert logits.shape == (1, 3)


def test_frozen_backbones_see_112_pixels_at_least() -> None:
    frozen = ModelConfig(mode="frozen")
    assert [network_input_size(frozen, size) for size in (28, 112, 200)] == [112, 112, 200]
    assert network_input_size(SMALL, 28) == 28


def test_a_head_without_a_width_is_refused() -> None:
    with pytest.raises(ModelError, match="width"):
        build_network(ModelConfig(), 3, None, seed=0)


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    for name, reason in (("cuda:99", "not there"), ("tpu", "unknown"), ("meta", "not supported")):
        with pytest.raises(ModelError, match=reason):
            resolve_device(name)


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert set_threads(1) == set_threads(None) == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_dropout_keeps_the_mean_and_the_wanted_share() -> None:
    layer = Dropout(0.2)
    x = torch.full((400, 999), 3.0)
    torch.manual_seed(0)
    y = layer(x)
    dropped = (y == 0).float().mean().item()
    assert dropped == pytest.approx(51 / 256, abs=0.005)
    assert y.mean().item() == pytest.approx(3.0, rel=0.01)
    assert torch.unique(y[y > 0]).numel() == 1
    torch.manual_seed(0)
    assert torch.equal(y, layer(x))
    assert not torch.equal(y, layer(x))
    assert layer.eval()(x) is x


def test_dropout_passes_the_gradient_of_what_it_kept() -> None:
    x = torch.randn(8, 16, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)
