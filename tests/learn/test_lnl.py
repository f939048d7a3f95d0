"""Phase 1 against a plain second implementation, and what its options change."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from overread.arrays import IntArray
from overread.config import LnlConfig, ModelConfig
from overread.learn.lnl import LnlResult, learn_with_noisy_labels
from overread.learn.methods import get_method, list_methods
from overread.learn.models import Network, build_network
from overread.learn.sources import FeatureSource
from overread.learn.training import Checkpointer, batches, cosine_rate
from overread.progress import Silent
from overread.rng import generator

N, D, C = 90, 6, 3


def blobs() -> tuple[NDArray[np.float32], IntArray, IntArray]:
    """Features, reference labels and given labels of which a fifth are wrong."""
    rng = np.random.default_rng(1)
    reference = np.repeat(np.arange(C), [50, 25, 15])
    features = (rng.normal(size=(C, D)) * 2)[reference] + rng.normal(size=(N, D))
    given = reference.copy()
    wrong = rng.choice(N, N // 5, replace=False)
    given[wrong] = (given[wrong] + 1) % C
    return features.astype(np.float32), reference, given


def run(config: LnlConfig, dropout: float = 0.0, head: str = "linear", rate: float = 0.2) -> tuple[LnlResult, Network]:
    features, _, given = blobs()
    model = ModelConfig.model_validate({"dropout": dropout, "head": head, "hidden": 8})
    networks = [build_network(model, C, D, seed) for seed in range(get_method(config.method).networks)]
    result = learn_with_noisy_labels(
        networks,
        FeatureSource(features, torch.device("cpu")),
        given,
        C,
        rate,
        config,
        seed=5,
        checkpointer=Checkpointer(None, 0.0, "test"),
        reporter=Silent(),
    )
    return result, networks[0]


def quick(**changes: object) -> LnlConfig:
    settings = {
        "epochs": 12,
        "batch_size": 32,
        "warmup_epochs": 6,
        "forget_ramp_epochs": 4,
        "vog_window": 4,
        "learning_rate": 0.05,
    }
    return LnlConfig.model_validate({**settings, **changes})


def by_hand(config: LnlConfig, rate: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Weights of the first of two linear networks, and its picks of the last epoch: plain numpy, direct formulas."""
    features, _, given = blobs()
    x = features.astype(np.float64)
    onehot = np.eye(C)[given]
    model = ModelConfig(dropout=0.0)
    networks = [build_network(model, C, D, seed) for seed in (0, 1)]
    weights = [
        np.concatenate([n.last.weight.detach().numpy().T, n.last.bias.detach().numpy()[None]]).astype(np.float64)
        for n in networks
    ]
    momentum = [np.zeros_like(w) for w in weights]
    history: list[list[NDArray[np.float64]]] = [[], []]
    ones = np.ones((N, 1))
    rows = np.concatenate([x, ones], axis=1)
    last = np.zeros(N, dtype=bool)
    for epoch in range(config.epochs):
        forget = rate * min(1.0, epoch / config.forget_ramp_epochs)
        lr = config.learning_rate * 0.5 * (1 + np.cos(np.pi * epoch / config.epochs))
        epoch_gradients = [np.zeros((N, D + 1)), np.zeros((N, D + 1))]
        last = np.zeros(N, dtype=bool)
        for batch in batches(np.arange(N), config.batch_size, generator(5, "lnl", epoch)):
            probs = []
            for w in weights:
                z = rows[batch] @ w
                e = np.exp(z - z.max(axis=1, keepdims=True))
                probs.append(e / e.sum(axis=1, keepdims=True))
            keep = max(1, int((1 - forget) * len(batch) + 1e-9))
            picks = []
            for index, p in enumerate(probs):
                error = (p[np.arange(len(batch)), given[batch]] - 1)[:, None]
                epoch_gradients[index][batch] = error * rows[batch]
                loss = -np.log(p[np.arange(len(batch)), given[batch]])
                n_vog = 0
                if epoch >= config.warmup_epochs and config.method == "co-teaching-vog":
                    n_vog = int(config.mix_ratio * keep + 1e-9)
                chosen = list(np.argsort(loss, kind="stable")[: keep - n_vog])
                if n_vog:
                    window = np.stack(history[index][-config.vog_window :])
                    vog = window.std(axis=0).mean(axis=1)[batch]
                    chosen += [i for i in np.argsort(vog, kind="stable") if i not in set(chosen)][:n_vog]
                picks.append(np.array(chosen))
            last[batch[picks[0]]] = True
            for index, p in enumerate(probs):
                peer = picks[1 - index]
                gradient = rows[batch[peer]].T @ (p[peer] - onehot[batch[peer]]) / len(peer)
                gradient += config.weight_decay * weights[index]
                momentum[index] = config.momentum * momentum[index] + gradient
                weights[index] = weights[index] - lr * momentum[index]
        for index in (0, 1):
            history[index].append(epoch_gradients[index])
    return weights[0], last


@pytest.mark.parametrize("method", ["co-teaching", "co-teaching-vog"])
def test_equals_a_direct_numpy_implementation(method: str) -> None:
    config = quick(method=method, mix_ratio=0.3, clean_set="last-epoch")
    result, network = run(config)
    weights, picked = by_hand(config, rate=0.2)
    np.testing.assert_allclose(network.last.weight.detach().numpy(), weights[:D].T, atol=2e-4)
    np.testing.assert_array_equal(result.presumed_clean, picked)


def test_vog_changes_what_is_learned() -> None:
    without, _ = run(quick(method="co-teaching"))
    with_vog, _ = run(quick(method="co-teaching-vog", mix_ratio=0.5))
    assert not np.allclose(without.loss, with_vog.loss)
    assert np.isnan(without.vog).all()
    assert np.isfinite(with_vog.vog).all()


def test_mix_ratio_zero_is_plain_co_teaching() -> None:
    plain, _ = run(quick(method="co-teaching"))
    zero, _ = run(quick(method="co-teaching-vog", mix_ratio=0.0))
    np.testing.assert_array_equal(plain.loss, zero.loss)
    np.testing.assert_array_equal(plain.presumed_clean, zero.presumed_clean)


@pytest.mark.parametrize("method", list_methods())
@pytest.mark.parametrize("clean_set", ["whole-set", "last-epoch"])
def test_every_method_ends_with_scores_of_every_item(method: str, clean_set: str) -> None:
    result, _ = run(quick(method=method, clean_set=clean_set), dropout=0.2)
    assert result.presumed_clean.shape == result.loss.shape == result.vog.shape == (N,)
    assert np.isfinite(result.loss).all()
    kept = int(result.presumed_clean.sum())
    if get_method(method).splits:
        assert 0.7 * N <= kept <= 0.8 * N
    else:
        assert kept == N


def test_whole_set_selection_is_made_of_the_smallest_losses() -> None:
    result, _ = run(quick(method="co-teaching"))
    kept = result.presumed_clean
    assert kept.sum() == 72
    assert result.loss[kept].max() <= result.loss[~kept].min()


def test_learns_despite_the_noise() -> None:
    features, reference, given = blobs()
    result, network = run(quick(method="co-teaching"))
    with torch.inference_mode():
        predicted = network.eval()(torch.from_numpy(features))[0].argmax(dim=1).numpy()
    assert (predicted == reference).mean() > 0.9
    right = given == reference
    assert right[result.presumed_clean].mean() > right.mean() + 0.1


@pytest.mark.parametrize(
    "change",
    [
        {"vog_source": "evaluation"},
        {"vog_normalise": "class"},
        {"vog_window": 2},
        {"warmup_epochs": 4},
        {"forget_ramp_epochs": 0},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"batch_size": 16},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_option_changes_the_result(change: dict[str, object]) -> None:
    base, _ = run(quick(mix_ratio=0.5), dropout=0.2)
    other, _ = run(quick(mix_ratio=0.5, **change), dropout=0.2)
    assert not np.array_equal(base.loss, other.loss)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_one_seed_gives_the_same_bits_whatever_ran_before(head: str) -> None:
    first, _ = run(quick(), dropout=0.2, head=head)
    torch.manual_seed(99)
    second, _ = run(quick(), dropout=0.2, head=head)
    np.testing.assert_array_equal(first.loss, second.loss)
    np.testing.assert_array_equal(first.vog, second.vog)


def test_a_phase_within_its_warm_up_picks_by_loss_alone() -> None:
    result, _ = run(quick(epochs=3, warmup_epochs=6))
    assert result.loss[result.presumed_clean].max() <= result.loss[~result.presumed_clean].min()


@pytest.mark.parametrize(("n", "size"), [(5, 2), (3, 2), (7, 6)])
def test_no_batch_of_one_is_left(n: int, size: int) -> None:
    parts = list(batches(np.arange(n), size, np.random.default_rng(0)))
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert min(map(len, parts)) >= 2


@pytest.mark.parametrize(("n", "size"), [(257, 256), (256, 256), (1, 4), (10, 3)])
def test_batches_cover_everything_once_and_none_is_short(n: int, size: int) -> None:
    parts = list(batches(np.arange(n), size, np.random.default_rng(0)))
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert max(map(len, parts)) <= size
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_cosine_runs_over_epochs_of_the_step() -> None:
    reference: Callable[[int], float] = lambda e: 0.5 * 0.2 * (1 + np.cos(np.pi * e / 25))  # noqa: E731
    assert [cosine_rate(0.2, e, 25) for e in range(25)] == pytest.approx([reference(e) for e in range(25)])
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 25)
    for epoch in range(25):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(cosine_rate(0.2, epoch, 25))
        optimizer.step()
        schedule.step()
