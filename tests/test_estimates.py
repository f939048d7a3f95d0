"""Estimates, audits and early stops in whole runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny import tiny_config

from overread import estimates, simulation
from overread.arrays.forecast import Beliefs, Forecast, forecast
from overread.arrays.recalibration import Evidence
from overread.errors import RunError
from overread.refine import simulate
from overread.report import write_report

NOISE_MODEL = ("lnl.method=noise-model", "active.sampler=macro-f1", "noise.rate=0.4")
NETWORKS = (*NOISE_MODEL, "model.mode=finetune", "model.name=small_resnet", "model.weights=none")
METHODS = [NOISE_MODEL, NETWORKS, ("preset=paper",), ("preset=paper-as-published",), ("preset=cross-entropy",)]
INTERVALS = ("wrong_labels_left", "label_accuracy", "macro_f1")


@pytest.mark.parametrize("method", METHODS, ids=["noise-model", "networks", "paper", "as-published", "cross-entropy"])
def test_every_round_of_every_method_has_estimates(tmp_path: Path, method: tuple[str, ...]) -> None:
    simulate(tiny_config(tmp_path, *method, "active.audit=2"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["stopped"] is None
    for entry in results["rounds"]:
        estimates = entry["estimates"]
        for key in INTERVALS:
            assert set(estimates[key]) == {"estimate", "low", "high"}
            assert estimates[key]["low"] <= estimates[key]["estimate"] <= estimates[key]["high"]
        assert set(estimates["next_100_reads"]) == {"label_accuracy", "macro_f1"}


def test_an_audit_is_random_charged_and_taught(tmp_path: Path) -> None:
    results = simulate(tiny_config(tmp_path, "active.audit=4"))
    reads = pq.read_table(tmp_path / "run" / "reads.parquet").to_pylist()
    assert [entry["oracle_reads"] for entry in results["rounds"]] == [0, 9, 18]
    assert [(entry["bought"], entry["audited"]) for entry in results["rounds"]] == [(0, 0), (9, 4), (18, 8)]
    assert len({read["position"] for read in reads}) == len(reads) == 18
    scores = pq.read_table(tmp_path / "run" / "scores" / "round-002.parquet").to_pydict()
    audited = [read["position"] for read in reads if read["purpose"] == "audit"]
    assert np.array(scores["bought"])[audited].all()
    # From everything, where the sampler may buy what is presumed noisy alone.
    assert np.array(scores["presumed_clean"])[audited].any()


def test_without_an_audit_the_picks_are_what_they_were(tmp_path: Path) -> None:
    simulate(tiny_config(tmp_path, f"out={tmp_path / 'a'}", "active.rounds=1"))
    simulate(tiny_config(tmp_path, f"out={tmp_path / 'b'}", "active.rounds=2"))
    first, second = (pq.read_table(tmp_path / name / "reads.parquet").to_pylist() for name in "ab")
    assert first == second[: len(first)]
    assert {read["purpose"] for read in second} == {"bought"}


@pytest.mark.parametrize("method", [NOISE_MODEL, ("preset=paper",)], ids=["noise-model", "paper"])
def test_no_estimate_knows_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: tuple[str, ...]) -> None:
    """Before any read, other reference labels under the same given labels change no estimate."""
    config = tiny_config(tmp_path, *method, "active.rounds=0", f"out={tmp_path / 'a'}")
    first = simulate(config)["rounds"][0]
    true_labels = simulation.make_noisy_labels
    import overread.refine as refine

    def with_other_truth(dataset, positions, noise, seed):  # type: ignore[no-untyped-def]
        found = true_labels(dataset, positions, noise, seed)
        dataset.reference[positions] = np.roll(dataset.reference[positions], 1)
        return found

    monkeypatch.setattr(refine, "make_noisy_labels", with_other_truth)
    second = simulate(config.model_copy(update={"out": tmp_path / "b"}))["rounds"][0]
    assert first["label_accuracy"] != second["label_accuracy"]
    assert first["estimates"] == second["estimates"]


def test_a_run_that_has_enough_stops_is_complete_and_stays_so(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "active.until=gain<0.9", "active.rounds=5")
    results = simulate(config)
    assert results["complete"]
    assert len(results["rounds"]) == 2
    assert results["stopped"]["rule"] == "gain<0.9"
    assert results["stopped"]["round"] == 1
    assert simulate(config) == json.loads(json.dumps(results))
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "Stopped after round 1 by gain&lt;0.9" in page
    assert "Estimated wrong labels left" in page


def test_a_rule_that_is_never_met_changes_nothing(tmp_path: Path) -> None:
    plain = simulate(tiny_config(tmp_path, f"out={tmp_path / 'a'}"))
    ruled = simulate(tiny_config(tmp_path, f"out={tmp_path / 'b'}", "active.until=label_accuracy=0.9999"))
    assert ruled["stopped"] is None
    assert [entry["estimates"] for entry in plain["rounds"]] == [entry["estimates"] for entry in ruled["rounds"]]


def test_another_rule_is_another_run(tmp_path: Path) -> None:
    simulate(tiny_config(tmp_path, "active.rounds=1"))
    with pytest.raises(RunError, match=r"active\.until"):
        simulate(tiny_config(tmp_path, "active.rounds=1", "active.until=gain<0.9"))


@pytest.mark.parametrize("method", [NETWORKS, ("preset=paper",)], ids=["networks", "paper"])
def test_reads_are_compared_with_what_was_believed_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: tuple[str, ...]
) -> None:
    seen: list[Evidence] = []

    def spy(beliefs: Beliefs, evidence: Evidence, *rest: Any) -> Forecast:
        seen.append(evidence)
        return forecast(beliefs, evidence, *rest)

    monkeypatch.setattr(estimates, "forecast", spy)
    simulate(tiny_config(tmp_path, *method))
    reads = pq.read_table(tmp_path / "run" / "reads.parquet").to_pylist()
    assert [len(evidence.wrong) for evidence in seen] == [0, 5, 10]
    for read, wrong, exported, said, counts in zip(reads, *(seen[-1][i].tolist() for i in (0, 1, 2, 4)), strict=True):
        before = pq.read_table(tmp_path / "run" / "scores" / f"round-{read['round'] - 1:03d}.parquet").to_pydict()
        item = read["position"]
        assert wrong == 1 - before["exported_probability"][item]
        assert (exported, said) == (before["exported"][item], read["label"])
        # Networks that learn from a model which learns from reads are others after a round.
        assert counts == (read["round"] == 2 or method != NETWORKS)


def test_a_round_of_an_earlier_version_tells_nothing_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Evidence] = []

    def spy(beliefs: Beliefs, evidence: Evidence, *rest: Any) -> Forecast:
        seen.append(evidence)
        if len(seen) == 1:
            path = tmp_path / "run" / "scores" / "round-000.parquet"
            pq.write_table(pq.read_table(path).drop_columns(["exported_probability"]), path)
        return forecast(beliefs, evidence, *rest)

    monkeypatch.setattr(estimates, "forecast", spy)
    results = simulate(tiny_config(tmp_path, "preset=paper"))
    assert [len(evidence.wrong) for evidence in seen] == [0, 0, 5]
    assert len(results["rounds"]) == 3
