"""The fifteen traps of the published code (docs/methods.md): each test fails on the published behaviour."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from tiny import tiny_config, write_tiny_set

from overread.arrays import FloatArray, IntArray
from overread.arrays.acquisition import Pool, list_samplers, select
from overread.arrays.metrics import classification_metrics
from overread.arrays.selection import keep_count
from overread.arrays.vog import VogWindow
from overread.config import Config, LnlConfig, ModelConfig
from overread.data.dataset import load_dataset
from overread.learn import finetune, training
from overread.learn.checkpoint import load_checkpoint, unpack_module
from overread.learn.infer import predict
from overread.learn.lnl import learn_with_noisy_labels
from overread.learn.models import build_network
from overread.learn.sources import ALL, FeatureSource
from overread.progress import Silent
from overread.refine import simulate
from overread.results import read_results, round_file
from overread.rng import generator
from overread.simulation import make_noisy_labels


def columns(run: Path, kind: str, number: int) -> dict[str, NDArray[Any]]:
    table = pq.read_table(round_file(run, kind, number))
    return {name: table[name].to_numpy() for name in table.column_names}


def with_fixed_given_labels(folder: Path, scramble: str | None = None) -> Path:
    """The tiny set with a given-label column; the truth of the split `scramble` is replaced by other classes."""
    data = dict(np.load(write_tiny_set(folder / "base.npz", val=4), allow_pickle=False))
    rng = np.random.default_rng(3)
    given = np.where(rng.random(len(data["labels"])) < 0.3, (data["labels"] + 1) % 3, data["labels"])
    if scramble:
        chosen = data["split"] == scramble
        data["labels"] = np.where(chosen, 2, data["labels"])
        # Every class must stay in every split.
        for label in (0, 1):
            data["labels"][np.flatnonzero(chosen)[2 * label : 2 * label + 2]] = label
    path = folder / f"{scramble or 'true'}.npz"
    np.savez(path, **data, given_label=given)
    return path


def run_on(folder: Path, path: Path, name: str, *settings: str, phase1: Path | None = None) -> Path:
    config = tiny_config(folder, f"data.path={path}", "noise.kind=given", *settings)
    simulate(config.model_copy(update={"out": folder / name}), phase1_folder=phase1)
    return folder / name


def test_01_truth_is_revealed_for_bought_items_only(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "preset=paper")
    results = simulate(config)
    run = tmp_path / "run"
    last = columns(run, "scores", 2)
    reads = columns_of(run / "reads.parquet")
    assert results["oracle_reads"] == len(reads["label"]) == int(last["bought"].sum()) == 10
    kept = last["presumed_clean"] & ~last["bought"]
    np.testing.assert_array_equal(last["exported"][kept], last["given"][kept])
    assert (last["given"][kept] != last["reference"][kept]).any(), "no wrong label was kept: the test proves nothing"


def test_01_the_leak_of_the_published_code_is_counted_and_named(tmp_path: Path) -> None:
    results = simulate(tiny_config(tmp_path, "preset=paper-as-published"))
    last = columns(tmp_path / "run", "scores", 2)
    kept = last["presumed_clean"]
    np.testing.assert_array_equal(last["exported"][kept], last["reference"][kept])
    assert results["label_leak"] is True
    assert results["leak"]["revealed"] == int(kept.sum())
    assert results["oracle_reads"] == int(kept.sum()) + 10
    assert [entry["bought"] for entry in results["rounds"]] == [0, 5, 10]


def columns_of(path: Path) -> dict[str, NDArray[Any]]:
    table = pq.read_table(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


@pytest.fixture(scope="module")
def phase1_of_all_samplers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for phase 1, which is the same whatever the sampler."""
    return tmp_path_factory.mktemp("phase1")


@pytest.mark.parametrize("sampler", list_samplers())
def test_02_phase_1_and_what_is_bought_do_not_depend_on_the_truth(
    tmp_path: Path, phase1_of_all_samplers: Path, sampler: str
) -> None:
    settings = ("preset=paper", "active.rounds=1", f"active.sampler={sampler}")
    runs = []
    for scramble in (None, "train"):
        path, name = with_fixed_given_labels(tmp_path, scramble), str(scramble)
        # Each truth has a phase 1 of its own: that they are equal is to be seen.
        runs.append(run_on(tmp_path, path, name, *settings, phase1=phase1_of_all_samplers / name))
    bought = [columns_of(run / "reads.parquet") for run in runs]
    np.testing.assert_array_equal(bought[0]["id"], bought[1]["id"])
    one, other = (columns(run, "scores", 0) for run in runs)
    assert (one["reference"] != other["reference"]).any()
    for name in ("presumed_clean", "loss", "vog", "prob_0", "prob_2"):
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("split", ["val", "test"])
def test_03_clean_labels_of_other_splits_choose_nothing(tmp_path: Path, split: str) -> None:
    runs = [run_on(tmp_path, with_fixed_given_labels(tmp_path, scramble), str(scramble)) for scramble in (None, split)]
    for number in range(3):
        one, other = (columns(run, "scores", number) for run in runs)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    changed = (columns(runs[0], "test", 0)["reference"] != columns(runs[1], "test", 0)["reference"]).any()
    assert changed == (split == "test")


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the tiny set and with the cache that it alone has used."""
    folder = tmp_path_factory.mktemp("plain")
    simulate(tiny_config(folder, f"data.cache={folder / 'cache'}"))
    return folder


@pytest.mark.parametrize("number", [0, 1, 2])
def test_04_05_every_point_of_the_curve_is_the_last_epoch(plain_run: Path, number: int) -> None:
    results = read_results(plain_run / "run")
    assert len(results["rounds"]) == 3
    tensors, _ = load_checkpoint(round_file(plain_run / "run", "checkpoints", number, ".safetensors"))
    reported = columns(plain_run / "run", "test", number)
    width = next(value for name, value in tensors.items() if name.endswith("last.weight")).shape[1]
    network = build_network(ModelConfig(), 3, width, 0)
    unpack_module("network", network, tensors)
    probs = np.stack([reported[f"prob_{c}"] for c in range(3)], axis=1)
    again = predict(network, FeatureSource(embeddings_of_test(plain_run), torch.device("cpu")), np.arange(36)).probs
    np.testing.assert_allclose(probs, again, atol=1e-6)
    expected = classification_metrics(reported["reference"], probs, ["a", "b", "c"])["macro_f1"]
    assert results["rounds"][number]["test"]["macro_f1"] == pytest.approx(expected)


def embeddings_of_test(folder: Path) -> NDArray[np.float32]:
    """Standardised embeddings of the test items, made by hand from those in the cache."""
    config = tiny_config(folder)
    dataset = load_dataset(config.data, config.seed)
    (file,) = [f for f in (folder / "cache").rglob("*.npy") if np.load(f, mmap_mode="r").dtype == np.float32]
    rows = np.load(file).astype(np.float64)
    train = rows[dataset.positions("train")]
    deviation = train.std(axis=0)
    scaled = (rows - train.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return np.asarray(scaled[dataset.positions("test")], dtype=np.float32)


def test_06_the_learning_rate_falls_over_the_epochs_of_each_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    def spy(optimizer: torch.optim.SGD, rate: float) -> None:
        rates.append(rate)
        training.set_rate(optimizer, rate)

    monkeypatch.setattr(finetune, "set_rate", spy)
    simulate(tiny_config(tmp_path, "active.epochs=4"))
    one_round = [0.01 * 0.5 * (1 + np.cos(np.pi * epoch / 4)) for epoch in range(4)]
    assert rates == pytest.approx(one_round * 2)


def test_07_every_seed_has_its_own_noise(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    dataset = load_dataset(config.data, config.seed)
    train = dataset.positions("train")
    draws = [make_noisy_labels(dataset, train, config.noise, seed).given for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


class EvaluationOnly:
    """A source that refuses to augment."""

    def __init__(self, features: NDArray[np.float32]) -> None:
        self.inner = FeatureSource(features, torch.device("cpu"))
        self.n_items = len(features)
        self.fixed_features: NDArray[np.float32] | None = None

    def train_batch(self, positions: IntArray, rng: np.random.Generator, rows: slice = ALL) -> torch.Tensor:
        raise AssertionError("scored under the training transform")

    def eval_batch(self, positions: IntArray) -> torch.Tensor:
        return self.inner.eval_batch(positions)


def test_08_pool_items_are_scored_under_the_evaluation_transform() -> None:
    features = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    network = build_network(ModelConfig(), 3, 4, 0)
    assert predict(network, EvaluationOnly(features), np.arange(20), draws=3).probs.shape == (20, 3)


def test_09_bald_samples_dropout_and_moves_no_statistic() -> None:
    network = build_network(ModelConfig(mode="finetune", name="test_resnet", weights="none", dropout=0.5), 3, None, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    class Pixels:
        n_items = 6
        fixed_features: NDArray[np.float32] | None = None

        def train_batch(self, positions: IntArray, rng: np.random.Generator, rows: slice = ALL) -> torch.Tensor:
            raise AssertionError

        def eval_batch(self, positions: IntArray) -> torch.Tensor:
            return torch.ones(len(positions), 3, 32, 32) * torch.arange(len(positions)).view(-1, 1, 1, 1)

    draws = predict(network.train(), Pixels(), np.arange(6), draws=4).draws
    assert draws is not None
    assert not np.array_equal(draws[0], draws[1])
    for name, value in network.state_dict().items():
        assert torch.equal(before[name], value), name
    certain = np.zeros((4, 6, 3))
    certain[:, :, 0] = 1.0
    pool = Pool(probs=certain[0], draws=certain, features=None, given=np.zeros(6, np.int64), open=np.ones(6, bool))
    assert len(select("bald", pool, 3, np.random.default_rng(0))) == 3


@pytest.mark.parametrize("batch_size", [4, 9, 64])
def test_10_phase_1_keeps_the_gradient_of_each_sample_whatever_its_batch(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the loop pushes into the window, against autograd on single samples, for a head with a hidden layer."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(18, 5)).astype(np.float32)
    given = rng.integers(0, 3, 18)
    windows: list[VogWindow] = []
    values = VogWindow.values

    def remember(self: VogWindow) -> FloatArray:
        windows.append(self)
        return values(self)

    monkeypatch.setattr(VogWindow, "values", remember)
    model = ModelConfig(head="mlp", hidden=8, dropout=0.0)
    networks = [build_network(model, 3, 5, seed) for seed in (0, 1)]
    # So small a rate that the weights stay the initial ones to well below the tolerance.
    lnl = LnlConfig(epochs=1, warmup_epochs=0, batch_size=batch_size, learning_rate=1e-12)
    source = FeatureSource(inputs, torch.device("cpu"))
    checkpointer = training.Checkpointer(None, 0.0, "test")
    learn_with_noisy_labels(networks, source, given, 3, 0.0, lnl, 0, checkpointer, Silent())
    first = build_network(model, 3, 5, 0)
    for i in range(18):
        first.zero_grad()
        logits, _ = first(torch.from_numpy(inputs[i : i + 1]))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(given[i : i + 1]))
        loss.backward()  # type: ignore[no-untyped-call]
        assert first.last.weight.grad is not None
        assert first.last.bias.grad is not None
        row = torch.cat([first.last.bias.grad[given[i]].view(1), first.last.weight.grad[given[i]]])
        np.testing.assert_allclose(windows[0].state()["rows"][0, i], row.numpy(), atol=1e-6)


def test_11_a_short_batch_keeps_something() -> None:
    assert [keep_count(n, 0.8) for n in (1, 2, 4, 5, 6)] == [1, 1, 1, 1, 1]


def test_12_random_draws_anew_in_every_round_and_for_every_seed() -> None:
    pool = Pool(probs=None, draws=None, features=None, given=np.zeros(50, np.int64), open=np.ones(50, bool))
    picks = [select("random", pool, 10, generator(seed, "sampler", n)) for seed, n in ((0, 1), (0, 2), (1, 1))]
    assert len({tuple(p.tolist()) for p in picks}) == 3


def test_13_coreset_needs_no_labelled_item_and_names_nothing_twice() -> None:
    features = np.zeros((8, 2), dtype=np.float32)
    features[:2] = [[3, 3], [3, 3]]
    pool = Pool(probs=None, draws=None, features=features, given=np.zeros(8, np.int64), open=np.ones(8, bool))
    picks = select("coreset", pool, 8, np.random.default_rng(0))
    assert sorted(picks.tolist()) == list(range(8))


def test_14_nothing_is_pickled(tmp_path: Path) -> None:
    simulate(tiny_config(tmp_path))
    for path in (tmp_path / "run").rglob("*"):
        if path.suffix == ".npz":
            for array in np.load(path, allow_pickle=False).values():
                assert array.dtype != object
        assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth"}
    sources = [path.read_text() for path in Path(__file__).parents[1].joinpath("overread").rglob("*.py")]
    for forbidden in ("allow_pickle=True", "weights_only=False", "pickle.load"):
        assert not any(forbidden in text for text in sources), forbidden


def test_15_an_absent_class_has_no_auroc_and_is_counted() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    metrics = classification_metrics(np.arange(40) % 2, probs, ["a", "b", "rare"])
    assert metrics["auroc_undefined"] == 1
    assert np.isnan(metrics["per_class"][2]["auroc"])
    assert np.isfinite(metrics["auroc"])


def test_the_results_say_which_weights_and_whose_rate(tmp_path: Path) -> None:
    config: Config = tiny_config(tmp_path, "preset=paper-as-published", "active.rounds=0")
    simulate(config, Silent())
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["lnl"]["forget_rate_source"] == "true"
    assert results["lnl"]["forget_rate"] == pytest.approx(results["noise"]["rate"])
    assert "last epoch" in results["evaluated_weights"]
