"""Write how often the intervals in the finished runs of a bench hold the truth, as Markdown tables.

    python grids/forecast_coverage.py BENCH_FOLDER

The truth of label accuracy is that of the run.  The truth of macro-F1 is that of the test set with its classes weighted
to be as frequent as among the training items, which is what is estimated; it has the sampling error of the test set.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import f1_score


def main(bench: Path) -> None:
    """Print one table by share read and audit, and one by data set and noise."""
    plan = json.loads((bench / "bench.json").read_text(encoding="utf-8"))
    by_share, by_noise = defaultdict(list), defaultdict(list)
    for planned in plan["runs"]:
        run = bench / "runs" / planned["slug"]
        if not (run / "results.json").exists():
            continue
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        if not results["complete"]:
            continue
        for entry in results["rounds"]:
            row = [*_judged(entry["estimates"]["label_accuracy"], entry["label_accuracy"]),
                   *_judged(entry["estimates"]["macro_f1"], _macro_f1(run, results, entry["round"]))]  # fmt: skip
            chosen = (entry["bought"] - entry["audited"]) / results["dataset"]["n_train"]
            by_share[planned["arm"], f"{chosen:.0%}"].append(row)
            by_noise[planned["dataset"], planned["noise"], planned["arm"]].append(row)
    _print(("arm", "read"), by_share)
    _print(("data", "noise", "arm"), by_noise)


def _macro_f1(run: Path, results: dict, number: int) -> float:
    counts = np.array(results["dataset"]["train_counts"])
    table = pq.read_table(run / "test" / f"round-{number:03d}.parquet")
    reference = np.asarray(table["reference"])
    predicted = np.stack([np.asarray(table[f"prob_{c}"]) for c in range(len(counts))], axis=1).argmax(axis=1)
    weight = counts / np.maximum(np.bincount(reference, minlength=len(counts)), 1)
    return float(f1_score(reference, predicted, average="macro", sample_weight=weight[reference]))


def _judged(interval: dict, truth: float) -> tuple[float, float, float, float]:
    """Held (0 or 1), width, estimate minus truth, its absolute value."""
    error = interval["estimate"] - truth
    held = interval["low"] - 1e-9 <= truth <= interval["high"] + 1e-9
    return float(held), interval["high"] - interval["low"], error, abs(error)


def _print(names: tuple[str, ...], rows: dict) -> None:
    print(f"| {' | '.join(names)} | n | accuracy held | width | bias | error | macro-F1 held | width | bias | error |")
    print("|" + " --- |" * len(names) + " ---: |" * 9)
    for key, values in sorted(rows.items(), key=lambda item: [part.zfill(24) for part in item[0]]):
        numbers = np.mean(values, axis=0)
        texts = [f"{number:.2f}" if position % 4 == 0 else f"{number:.3f}" for position, number in enumerate(numbers)]
        print(f"| {' | '.join(key)} | {len(values)} | {' | '.join(texts)} |")
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
