"""The benchmarks in `bench/` run, print what was agreed, and compare ways that do the same work.  No time is judged."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overread.arrays.acquisition import Pool, select
from overread.arrays.vog import last_layer_gradient, vog

BENCH = Path(__file__).parents[1] / "bench"
NAMES = sorted(file.stem.replace("_", "-") for file in (BENCH / "benchmarks").glob("*.py") if file.stem != "__init__")


def run_bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(BENCH / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    """What every benchmark prints with --quick --json, by name."""
    done = run_bench("all", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"]: row for row in rows}


@pytest.fixture
def naive(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("naive")


@pytest.fixture
def naive_torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("naive_torch")


def test_all_runs_every_file(results: dict[str, dict[str, Any]]) -> None:
    assert sorted(results) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_prints_the_agreed_keys(results: dict[str, dict[str, Any]], name: str) -> None:
    result = results[name]
    assert set(result) == {"name", "unit", "value", "naive", "limit", "speedup", "of_limit", "machine", "details"}
    assert result["unit"].startswith("s")
    # One round: the median of the ratios is the ratio.
    assert result["speedup"] == pytest.approx(result["naive"] / result["value"])
    assert result["of_limit"] == pytest.approx(result["limit"] / result["value"])
    assert min(result["value"], result["naive"], result["limit"]) > 0
    assert {"cpu", "cores", "threads", "python", "numpy", "torch"} <= set(result["machine"])
    assert {"naive", "value", "limit", "ratios"} <= set(result["details"]["cpu_seconds"])


def test_the_table_has_a_row_for_each_and_says_what_was_measured_beside(
    results: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(BENCH)
    (tmp_path / "bench.jsonl").write_text("\n".join(map(json.dumps, results.values())) + "\n")
    importlib.import_module("table").main(tmp_path / "bench.jsonl")
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| `")]
    assert [row[0].split("`")[1] for row in rows] == list(results)
    assert {len(row) for row in rows} == {8}
    for row, result in zip(rows, results.values(), strict=True):
        assert float(row[5]) == pytest.approx(result["speedup"], rel=0.01)
        assert row[7] == f"`python bench/run.py {result['name']} --size {result['details']['size']} --rounds 1` |"
    assert re.search(r"- `window` .*value in memory .*; peak memory naive \d+ MiB above the inputs", printed)
    assert re.search(r"- `scale` .*items .* MiB; exponent", printed)
    assert re.search(r"- `noise-model` .*items .* MiB; exponent .*; of the memory [\d,]+ MiB are libraries", printed)


@pytest.mark.parametrize("content", [None, "{broken", "{}", "[1]"])
def test_a_file_of_another_kind_makes_no_table(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    if content is not None:
        file.write_text(content)
    done = subprocess.run(
        [sys.executable, str(BENCH / "table.py"), str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{file} is not what `run.py --json` printed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of memory")
@pytest.mark.parametrize("name", ["window", "coreset"])
def test_peaks_of_memory_are_measured(results: dict[str, dict[str, Any]], name: str) -> None:
    peaks = results[name]["details"]["peak_mb_above_inputs"]
    assert set(peaks) == {"naive", "value"}
    assert all(peak > 0 for peak in peaks.values())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["corset"], "coreset"),
        (["all", "--size", "9"], "--size"),
        (["window", "--rounds", "0"], "--rounds"),
        (["frozen", "--size", "8"], "300 or more"),
        ([], "all"),
    ],
    ids=["unknown name", "size of all", "no round", "too few items", "no name"],
)
def test_a_wrong_call_says_what_is_known(arguments: list[str], named: str) -> None:
    done = run_bench(*arguments)
    assert done.returncode == 2
    assert named in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_naive_picks_are_those_of_the_sampler(naive: Any) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, 7)).astype(np.float32)
    labelled = np.array([3, 17, 40])
    is_open = np.ones(60, np.bool_)
    is_open[labelled] = False
    pool = Pool(None, None, features, np.zeros(60, np.int64), is_open)
    expected = select("coreset", pool, 12, rng)
    assert naive.k_centre_greedy(features, labelled.tolist(), 12) == expected.tolist()


def test_the_naive_vog_is_that_of_the_product(naive: Any, tmp_path: Path) -> None:
    gradients = np.random.default_rng(0).standard_normal((5, 20, 9))
    np.testing.assert_allclose(naive.vog_of_history(list(gradients), tmp_path), vog(gradients), rtol=1e-12)
    assert (tmp_path / "gradients.pkl").stat().st_size > gradients[0].nbytes


def test_the_naive_labels_are_those_that_were_bought(naive: Any) -> None:
    labels = naive.relabel(np.array([0, 1, 2, 3]), [2, 0], np.array([7, 8]))
    assert labels.tolist() == [8, 1, 7, 3]


def test_the_naive_gradients_are_the_closed_form(naive_torch: Any) -> None:
    torch = naive_torch.torch
    features = np.random.default_rng(0).standard_normal((10, 6)).astype(np.float32)
    given = np.arange(10) % 3
    network = naive_torch.Classifier(torch.nn.Identity(), 6, 3, dropout=0.0)
    loader = naive_torch.DataLoader(naive_torch.FeatureItems(features, given), 4, shuffle=True)
    with torch.no_grad():
        probs = network(torch.from_numpy(features))[0].softmax(dim=1).numpy()
    np.testing.assert_allclose(
        naive_torch.gradients_of_pass(network, loader), last_layer_gradient(probs, features, given), atol=1e-6
    )


def test_the_naive_picks_mix_loss_and_vog(naive_torch: Any) -> None:
    loss = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    keep_half = naive_torch.picked(loss, -loss, 0.5)
    assert keep_half == [0, 1, 2, 3, 9]
    assert naive_torch.picked(loss, None, 0.5) == [0, 1, 2, 3, 4]
