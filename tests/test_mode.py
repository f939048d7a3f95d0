"""What `model.mode=auto` tries: a small network where it fits the images and takes minutes, else embeddings alone."""

import re

import pytest

from overread.config import load_config
from overread.errors import ConfigError
from overread.mode import settle


@pytest.mark.parametrize("side", [24, 28, 64])
def test_small_images_get_a_small_network(side: int) -> None:
    settled = settle(load_config(), 5000, side, "cpu")
    assert (settled.config.model.mode, settled.config.model.name) == ("auto", "small_resnet")
    assert settled.config.model.input_size == min(side, 32)
    assert settled.config.model.weights == "self"
    assert settled.reason == ""


@pytest.mark.parametrize(
    ("n_train", "side", "says"),
    [
        (5000, 20, r"for images of 24 to 64 pixels and these have 20"),
        (5000, 224, "these have 224"),
        (10**6, 28, "e\\+"),
    ],
)
def test_what_would_take_hours_or_does_not_fit_is_frozen(n_train: int, side: int, says: str) -> None:
    settled = settle(load_config(), n_train, side, "cpu")
    assert settled.config.model == load_config(settings=["model.mode=frozen"]).model
    assert re.search(says, settled.reason)


def test_another_device_does_more() -> None:
    assert settle(load_config(), 10**6, 28, "cuda").config.model.mode == "auto"


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_a_mode_that_was_asked_for_stays(mode: str) -> None:
    config = load_config(settings=[f"model.mode={mode}"])
    assert settle(config, 10**9, 1000, "cpu").config == config


def test_the_default_leaves_a_model_that_was_named_to_its_embeddings() -> None:
    assert load_config().model.mode == "auto"
    for named in (["model.name=resnet18"], ["model.weights=hub"], ["model.weights=self", "model.beside=packaged"]):
        config = load_config(settings=named)
        assert (config.model.mode, config.lnl.method, config.lnl.optimizer) == ("frozen", "noise-model", "sgd")


def test_the_default_trains_networks_without_weights_as_they_want_it() -> None:
    scratch = load_config(settings=["model.mode=finetune", "model.weights=none"])
    assert (scratch.model.name, scratch.lnl.optimizer, scratch.lnl.method) == ("small_resnet", "adamw", "noise-model")
    trained = load_config(settings=["model.mode=finetune"])
    assert (trained.model.weights, trained.lnl.optimizer, trained.lnl.method) == ("packaged", "sgd", "noise-model")


def test_weights_without_labels_are_left_out_before_the_networks_are() -> None:
    # 2 x (14 + 8 x 4) passes for the networks, and 2 x 40 before them.
    with_weights, without = int(1.5e9 / (28**2 * 172)), int(1.5e9 / (28**2 * 92))
    for n_train, expected in (
        (299, ("auto", "none")),
        (300, ("auto", "self")),
        (with_weights, ("auto", "self")),
        (with_weights + 1, ("auto", "none")),
        (without, ("auto", "none")),
        (without + 1, ("frozen", "packaged")),
    ):
        model = settle(load_config(), n_train, 28, "cpu").config.model
        assert (model.mode, model.weights) == expected, n_train
    none = load_config(settings=["model.weights=none"])
    assert settle(none, 5000, 28, "cpu").config.model.weights == "none"


def test_several_processes_stay_with_embeddings() -> None:
    settled = settle(load_config(), 5000, 28, "cpu", processes=2)
    assert settled.config.model.mode == "frozen"
    assert "2 processes were launched" in settled.reason


def test_what_the_preset_says_anyway_changes_nothing() -> None:
    for same in ("model.name=small_resnet", "model.weights=self", "model.beside=none"):
        assert load_config(settings=[same]) == load_config()
    assert load_config(settings=["model.input_size=160"]).model.mode == "frozen"
    assert load_config(settings=["model.weights=self", "model.beside=packaged"]).model.name == "small_resnet"


def test_a_head_of_another_kind_is_refused_where_it_would_not_be_read() -> None:
    with pytest.raises(ConfigError, match=r"set model\.head=linear"):
        load_config(settings=["lnl.method=noise-model", "model.mode=auto", "model.head=mlp"])


def test_other_methods_do_not_choose_a_mode() -> None:
    assert load_config(settings=["preset=paper"]).model.mode == "frozen"
    with pytest.raises(ConfigError, match=r"model.mode=auto belongs to lnl.method=noise-model"):
        load_config(settings=["preset=paper", "model.mode=auto"])
