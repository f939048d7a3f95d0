"""Both phases end to end on a tiny set, the contract of results.json, and real images where they are there."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score
from tiny import CLASSES, tiny_config

from overread.arrays.acquisition import list_samplers
from overread.config import PRESETS
from overread.refine import simulate
from overread.results import round_file

ROUND = {"round", "oracle_reads", "test", "selection", "label_accuracy", "seconds"}
TEST = {"accuracy", "balanced_accuracy", "macro_f1", "mcc", "auroc", "per_class"}


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_results_follow_the_contract(tmp_path: Path, preset: str) -> None:
    simulate(tiny_config(tmp_path, f"preset={preset}"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["schema"] == 1
    assert results["preset"] == preset
    assert results["complete"] is True
    assert set(results["dataset"]) >= {"name", "classes", "n_train", "n_test", "imbalance"}
    assert results["dataset"]["classes"] == list(CLASSES)
    assert (results["dataset"]["n_train"], results["dataset"]["n_test"]) == (96, 36)
    assert results["dataset"]["imbalance"] == pytest.approx(5.0)
    assert set(results["noise"]) >= {"kind", "rate", "estimated_rate"}
    assert set(results["lnl"]) >= {"method", "epochs", "mix_ratio"}
    assert results["wall_seconds"] > 0
    assert results["peak_rss_mb"] > 1
    assert len(results["rounds"]) == 3
    for number, entry in enumerate(results["rounds"]):
        assert set(entry) >= ROUND
        assert set(entry["test"]) >= TEST
        assert {row["class"] for row in entry["test"]["per_class"]} == set(CLASSES)
        assert set(entry["test"]["per_class"][0]) >= {"class", "precision", "recall", "f1", "support"}
        assert set(entry["selection"]) == {"precision", "recall", "per_class"}
        assert entry["round"] == number
    assert results["label_leak"] is (preset == "paper-as-published")
    reads = pq.read_table(tmp_path / "run" / "reads.parquet")
    assert results["oracle_reads"] == len(reads) == results["rounds"][-1]["oracle_reads"]


def test_scores_are_those_of_the_written_probabilities(tmp_path: Path) -> None:
    results = simulate(tiny_config(tmp_path))
    for number, entry in enumerate(results["rounds"]):
        test = pq.read_table(round_file(tmp_path / "run", "test", number)).to_pydict()
        predicted = np.stack([test[f"prob_{c}"] for c in range(3)], axis=1).argmax(axis=1)
        assert entry["test"]["macro_f1"] == pytest.approx(f1_score(test["reference"], predicted, average="macro"))
        assert entry["test"]["balanced_accuracy"] == pytest.approx(
            balanced_accuracy_score(test["reference"], predicted)
        )
        train = pq.read_table(round_file(tmp_path / "run", "scores", number)).to_pydict()
        right = np.equal(train["exported"], train["reference"])
        assert entry["label_accuracy"] == pytest.approx(right.mean())


@pytest.fixture(scope="module")
def phase1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs that differ in phase 2 alone share phase 1."""
    return tmp_path_factory.mktemp("phase1")


@pytest.mark.parametrize("sampler", list_samplers())
def test_every_sampler_buys_the_budget_from_the_noisy_part(tmp_path: Path, phase1: Path, sampler: str) -> None:
    results = simulate(tiny_config(tmp_path, f"active.sampler={sampler}"), phase1_folder=phase1)
    assert [entry["oracle_reads"] for entry in results["rounds"]] == [0, 5, 10]
    scores = pq.read_table(round_file(tmp_path / "run", "scores", 2)).to_pydict()
    bought, clean = np.array(scores["bought"]), np.array(scores["presumed_clean"])
    assert bought.sum() == 10
    assert not (bought & clean).any()
    np.testing.assert_array_equal(np.array(scores["exported"])[bought], np.array(scores["reference"])[bought])


def test_a_pool_that_runs_empty_is_a_normal_end(tmp_path: Path) -> None:
    results = simulate(tiny_config(tmp_path, "active.rounds=3", "active.budget=40", "lnl.forget_rate=0.5"))
    assert [entry["bought"] for entry in results["rounds"]] == [0, 40, 48, 48]
    assert [entry["pool"] for entry in results["rounds"]] == [48, 8, 0, 0]
    assert results["rounds"][2]["test"] == results["rounds"][3]["test"]
    assert results["complete"]


def test_cross_entropy_may_buy_everything(tmp_path: Path) -> None:
    results = simulate(tiny_config(tmp_path, "preset=cross-entropy", "active.budget=60"))
    assert [entry["bought"] for entry in results["rounds"]] == [0, 60, 96]
    assert results["rounds"][-1]["label_accuracy"] == 1.0


def test_phase_1_is_shared_by_runs_that_differ_in_phase_2(tmp_path: Path) -> None:
    own = simulate(tiny_config(tmp_path, "active.sampler=margin"))
    shared = tmp_path / "phase1"
    for sampler in ("random", "margin"):
        config = tiny_config(tmp_path, f"active.sampler={sampler}", f"out={tmp_path / sampler}")
        results = simulate(config, phase1_folder=shared)
    assert sorted(path.name.partition("-")[0] for path in shared.glob("*.safetensors")) == ["noise", "phase1"]
    assert [r["test"] for r in results["rounds"]] == [r["test"] for r in own["rounds"]]


@pytest.mark.parametrize(
    "change",
    ["active.start=scratch", "active.train_on=bought", "active.epochs=5", "active.oracle_error=0.5", "seed=1"],
)
def test_options_of_phase_2_change_the_result(tmp_path: Path, phase1: Path, change: str) -> None:
    tables = []
    for name, settings in (("base", ()), ("other", (change,))):
        simulate(tiny_config(tmp_path, *settings, f"out={tmp_path / name}"), phase1_folder=phase1)
        tables.append(pq.read_table(round_file(tmp_path / name, "test", 2)))
    assert not tables[0].equals(tables[1])


def test_one_bought_item_alone_can_be_trained_on(tmp_path: Path) -> None:
    settings = ("model.mode=finetune", "model.name=test_resnet", "model.weights=none", "lnl.epochs=2")
    config = tiny_config(tmp_path, *settings, "active.train_on=bought", "active.budget=1", "active.epochs=1")
    assert simulate(config)["complete"]


def test_readers_who_err_leave_wrong_labels(tmp_path: Path) -> None:
    simulate(tiny_config(tmp_path, "active.oracle_error=0.5", "active.budget=15"))
    scores = pq.read_table(round_file(tmp_path / "run", "scores", 2)).to_pydict()
    bought = np.array(scores["bought"])
    wrong = np.not_equal(scores["exported"], scores["reference"])[bought]
    assert 0.2 < wrong.mean() < 0.8
