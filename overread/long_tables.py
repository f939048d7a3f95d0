"""The CSV files of a bench: one line per number, for whoever wants others than the tables show."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from overread.contrasts import Contrast
from overread.outcomes import Cell

__all__ = ["difference_table", "score_table"]


def score_table(cells: Sequence[Cell]) -> str:
    """CSV with one line per run, round and metric; an undefined metric has an empty value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "noise", "arm", "seed", "round", "bought", "oracle_reads", "metric", "value"])
    for cell in cells:
        for arm, seeds in cell.arms.items():
            for seed, results in sorted(seeds.items()):
                for entry in results["rounds"]:
                    reads = [entry["round"], entry["bought"], entry["oracle_reads"]]
                    for metric, value in _metrics(entry):
                        writer.writerow([cell.dataset, cell.noise, arm, seed, *reads, metric, _number(value)])
    return text.getvalue()


def difference_table(cells: Sequence[Cell], compared: Sequence[Sequence[Contrast]], overall: Sequence[Contrast]) -> str:
    """CSV with one line per arm and score: the arm minus a reference in every cell and, without the names of data set
    and noise, over all of them.

    compared: of every cell.  p values are corrected; `reads_needed` stands in the column of differences.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ["dataset", "noise", "conditions", "arm", "reference", "pairs"]
    writer.writerow([*heads, "score", "difference", "low", "high", "corrected_p"])
    names = [(cell.dataset, cell.noise) for cell in cells]
    for where, found in [*zip(names, compared, strict=True), (("", ""), overall)]:
        for each in found:
            row = [*where, each.conditions, each.arm, each.reference, each.seeds]
            for score, values in each.scores.items():
                writer.writerow([*row, score, *map(_number, values)])
            writer.writerow([*row, "reads_needed", _number(each.reads), "", "", ""])
    return text.getvalue()


def _number(value: float | None) -> float | str:
    return "" if value is None or math.isnan(value) else value


def _metrics(entry: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield "label_accuracy", entry["label_accuracy"]
    yield "pool", entry["pool"]
    yield "estimated_rate", entry.get("estimated_rate")
    for part in ("test", "selection"):
        for name, value in (entry[part] or {}).items():
            if name != "per_class":
                yield f"{part}.{name}", value
                continue
            for row in value:
                yield from ((f"{part}.{key}[{row['class']}]", row[key]) for key in row if key != "class")
