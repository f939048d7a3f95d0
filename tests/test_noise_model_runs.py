"""The method noise-model in both phases: what it writes, what it resumes from, what it refuses."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny import tiny_config

from overread.config import Config, load_config
from overread.errors import ConfigError
from overread.learn.checkpoint import load_checkpoint
from overread.refine import simulate
from overread.results import round_file

PIXELS = (
    "model.mode=finetune",
    "model.name=small_resnet",
    "model.weights=none",
    "lnl.optimizer=adamw",
    "lnl.learning_rate=0.003",
)
METHOD = ("lnl.method=noise-model", "active.sampler=posterior-least-confidence", "noise.rate=0.4")


def table(config: Config, kind: str, number: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.generic]]]:
    assert config.out
    columns = pq.read_table(round_file(config.out, kind, number)).to_pydict()
    return {name: np.array(values) for name, values in columns.items()}


def test_reads_are_exported_and_what_nobody_read_is_what_the_posterior_says(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, *METHOD)
    results = simulate(config)
    assert [entry["oracle_reads"] for entry in results["rounds"]] == [0, 5, 10]
    scores = table(config, "scores", 2)
    bought = scores["bought"].astype(bool)
    assert bought.sum() == 10
    np.testing.assert_array_equal(scores["exported"][bought], scores["reference"][bought])
    np.testing.assert_array_equal(scores["exported"][~bought], scores["suggested"][~bought])
    assert results["rounds"][-1]["label_accuracy"] > 1 - results["noise"]["rate"]
    assert np.isnan(scores["vog"]).all()
    # Every round has an estimate of its own; round 0's is that of noise.json.
    rates = [entry["estimated_rate"] for entry in results["rounds"]]
    assert (
        rates[0]
        == results["noise"]["estimated_rate"]
        == json.loads((tmp_path / "run" / "noise.json").read_text())["estimated_rate"]
    )
    assert len(set(rates)) == 3


def test_the_default_says_what_it_chose_and_why(tmp_path: Path) -> None:
    size = "model.input_size=112"
    frozen = simulate(tiny_config(tmp_path, "preset=default", "model.mode=frozen", "active.rounds=0", size))
    assert (frozen["lnl"]["method"], frozen["sampler"]) == ("noise-model", "macro-f1")
    assert "frozen embeddings, because they were asked for" in frozen["choice"]
    # Pictures of 16 pixels are too small for a network that shrinks them.
    small = simulate(
        tiny_config(tmp_path, "preset=default", "model.mode=auto", "active.rounds=0", f"out={tmp_path / 'small'}")
    )
    assert "24 to 64 pixels and these have 16" in small["choice"]
    assert [entry["test"] for entry in small["rounds"]] == [entry["test"] for entry in frozen["rounds"]]
    assert simulate(tiny_config(tmp_path, "active.rounds=0", f"out={tmp_path / 'paper'}"))["choice"] is None


@pytest.mark.parametrize("weights", ["none", "self"])
@pytest.mark.parametrize("rate", ["0.004", "3.0"], ids=["learns", "learns nothing"])
def test_networks_stay_where_unseen_labels_are_more_probable_with_them(
    tmp_path: Path, rate: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overread.mode.FEWEST_FOR_WEIGHTS", 32 if weights == "self" else 1000)
    run, size = tmp_path / "run", ("data.image_size=24", "model.input_size=24", "model.self_epochs=2")
    config = tiny_config(
        tmp_path, "preset=default", "model.mode=auto", *size, f"lnl.learning_rate={rate}", "lnl.epochs=12"
    )
    results = simulate(config)
    trial = load_checkpoint(next((run / "checkpoints").glob("phase1-*.safetensors")))[1]["trial"]
    stay = trial["gain"] > 0
    assert stay == (rate == "0.004")
    assert results["model"]["mode"] == ("finetune" if stay else "frozen")
    begun = {"none": "random weights", "self": "weights learnt from the images without labels"}[weights]
    assert (f"two networks (small_resnet, from {begun}) together" in results["choice"]) == stay
    assert results["model"]["weights"] == (weights if stay or weights == "self" else "packaged")
    assert f"given labels of {trial['items']} images" in results["choice"]
    if not stay:
        # Then the run is the one on frozen embeddings.
        looks = {
            "none": ["data.image_size=24", "model.input_size=112"],
            "self": [*size, "model.weights=self", "model.beside=packaged"],
        }[weights]
        frozen = simulate(
            tiny_config(tmp_path, "preset=default", "model.mode=frozen", *looks, f"out={tmp_path / 'frozen'}")
        )
        for mine, other in zip(results["rounds"], frozen["rounds"], strict=True):
            assert mine["label_accuracy"] == other["label_accuracy"]
            assert mine["test"]["macro_f1"] == pytest.approx(other["test"]["macro_f1"], abs=1e-6)


def test_lost_scores_are_made_again_from_weights_and_reads(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, *METHOD)
    simulate(config)
    lost = [round_file(tmp_path / "run", kind, number) for kind in ("scores", "test") for number in (0, 1, 2)]
    before = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()
    simulate(config)
    assert [path.read_bytes() for path in lost] == before


def test_phase_1_that_was_shared_gives_the_same_run(tmp_path: Path) -> None:
    alone = simulate(tiny_config(tmp_path, *METHOD))
    for sampler in ("random", "posterior-least-confidence"):
        config = tiny_config(tmp_path, *METHOD, f"active.sampler={sampler}", f"out={tmp_path / sampler}")
        results = simulate(config, phase1_folder=tmp_path / "phase1")
    assert len(list((tmp_path / "phase1").glob("phase1-*.safetensors"))) == 1
    assert [entry["test"] for entry in results["rounds"]] == [entry["test"] for entry in alone["rounds"]]


def test_rare_classes_are_favoured_as_much_as_was_asked_for(tmp_path: Path) -> None:
    probs = {}
    for adjustment in (0.0, 1.0):
        config = tiny_config(
            tmp_path,
            *METHOD,
            f"lnl.prior_adjustment={adjustment}",
            "active.rounds=0",
            f"out={tmp_path / str(adjustment)}",
        )
        simulate(config)
        scores = table(config, "test", 0)
        probs[adjustment] = np.stack([scores[f"prob_{c}"] for c in range(3)], axis=1)
    odds = np.log(probs[1.0]) - np.log(probs[0.0])
    odds -= odds[:, :1]
    # One shift of the logits for each class, the same for all items; classes 1 and 2 are rarer than class 0.
    np.testing.assert_allclose(odds, np.broadcast_to(odds[0], odds.shape), atol=1e-3)
    assert (odds[0, 1:] > 0.1).all()


def test_no_class_is_favoured_while_labels_say_nothing(tmp_path: Path) -> None:
    tables = []
    for adjustment in (0.0, 1.0):
        out = tmp_path / str(adjustment)
        config = tiny_config(
            tmp_path,
            *METHOD,
            "noise.rate=0.66",  # of three classes
            f"lnl.prior_adjustment={adjustment}",
            "active.rounds=0",
            f"out={out}",
        )
        assert any("buy 20 reads first" in note for note in simulate(config)["notes"])
        tables.append(table(config, "test", 0))
    for c in range(3):
        np.testing.assert_array_equal(tables[0][f"prob_{c}"], tables[1][f"prob_{c}"])


def test_what_it_cannot_be_fitted_to_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"noise-model fits a linear head .*: set model.head=linear"):
        load_config(settings=["lnl.method=noise-model", "model.head=mlp"])


def test_networks_that_learn_from_the_noise_model_have_half_a_say(tmp_path: Path) -> None:
    run = tmp_path / "run"
    simulate(tiny_config(tmp_path, *METHOD, *PIXELS))
    tensors, _ = load_checkpoint(round_file(run, "checkpoints", 2, ".safetensors"))
    networks = {name.partition("/")[0] for name in tensors if name.startswith("network")}
    assert networks == {"network", "network.1"}
    assert not torch.equal(tensors["network/last.weight"], tensors["network.1/last.weight"])
    # The other half is the model of the embeddings: a run that is frozen buys other items and scores otherwise.
    simulate(tiny_config(tmp_path, *METHOD, f"out={tmp_path / 'frozen'}"))
    mine, frozen = (
        table(tiny_config(tmp_path, *METHOD, f"out={folder}"), "test", 2) for folder in (run, tmp_path / "frozen")
    )
    assert not np.allclose(mine["prob_0"], frozen["prob_0"], atol=1e-3)
    scores = table(tiny_config(tmp_path, *METHOD), "scores", 2)
    bought = scores["bought"].astype(bool)
    np.testing.assert_array_equal(scores["exported"][bought], scores["reference"][bought])


def test_phase_2_of_networks_begins_where_a_shared_phase_1_ended(tmp_path: Path) -> None:
    alone = simulate(tiny_config(tmp_path, *METHOD, *PIXELS))
    for name in ("first", "second"):
        config = tiny_config(tmp_path, *METHOD, *PIXELS, f"out={tmp_path / name}")
        results = simulate(config, phase1_folder=tmp_path / "phase1")
        assert [entry["test"] for entry in results["rounds"]] == [entry["test"] for entry in alone["rounds"]]


def test_a_label_leak_has_nothing_to_reveal() -> None:
    with pytest.raises(ConfigError, match=r"active.label_leak .* lnl.method=noise-model"):
        load_config(settings=["lnl.method=noise-model", "active.label_leak=true"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["preset=paper", "lnl.noise_matrix=free"], "lnl.noise_matrix belongs to lnl.method=noise-model"),
        (["preset=cross-entropy", "lnl.reader_error=0"], "lnl.reader_error belongs to lnl.method=noise-model"),
        (["lnl.noise_matrix=none"], r"no label is doubted, .* active.sampler=macro-f1 has nothing"),
        (
            ["lnl.noise_matrix=none", "active.sampler=entropy", "lnl.reader_error=0.1"],
            "lnl.reader_error is not read with lnl.noise_matrix=none",
        ),
        (["lnl.noise_matrix=fre"], "did you mean free"),
        (["lnl.reader_error=1"], r"lnl.reader_error=1 cannot be used"),
    ],
)
def test_parts_that_nothing_would_read_are_refused(settings: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(settings=settings)


def test_without_a_noise_matrix_labels_stay_but_where_somebody_read(tmp_path: Path) -> None:
    parts = ("lnl.method=noise-model", "lnl.noise_matrix=none", "active.sampler=label-quality")
    config = tiny_config(tmp_path, *parts, "noise.rate=0.4")
    results = simulate(config)
    before, after = table(config, "scores", 0), table(config, "scores", 2)
    bought = after["bought"].astype(bool)
    assert bought.sum() == 10
    np.testing.assert_array_equal(after["exported"][bought], after["reference"][bought])
    np.testing.assert_array_equal(after["exported"][~bought], after["given"][~bought])
    # Read were the items whose label is least likely by models that did not train on them.
    first = set(np.argsort(before["label_quality"], kind="stable")[:5])
    assert first <= set(np.flatnonzero(bought))
    assert results["rounds"][-1]["estimated_rate"] < 0.01


def test_readers_who_say_nothing_are_refused_before_a_folder_is_taken(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, *METHOD, "lnl.reader_error=0.7")
    with pytest.raises(ConfigError, match=r"say nothing of 3 classes: set lnl.reader_error to less than 0.667"):
        simulate(config)
    assert not (tmp_path / "run").exists()
