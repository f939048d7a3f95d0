"""Exporting a large project: how many rows a second, and whether memory grows with them."""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
from measure import Benchmark, Step, timed

from overread.project.exports import export_labels
from overread.project.folder import open_project
from overread.results import round_file

BUILDER = Path(__file__).parents[2] / "tests" / "fake_projects.py"
# One item in a hundred is read by two people.
READ_SHARE = 100


@dataclass
class Inputs:
    """A folder that goes away at the end, with a project in it, and what was found out beside the time."""

    n_items: int
    root: Any
    notes: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return Path(self.root.name) / "study"

    def new_file(self) -> Path:
        return Path(self.root.name) / str(uuid4())


def inputs(size: int, quick: bool) -> Inputs:
    made = Inputs(size, tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
    # In a process of its own: what it frees would hide what an export needs.
    command = [sys.executable, str(BUILDER), str(made.folder), str(size), str(max(1, size // READ_SHARE))]
    subprocess.run(command, check=True)
    return made


def of_format(form: str) -> Callable[[Inputs], Step]:
    """A way by the product."""

    def prepare(data: Inputs) -> Step:
        def work() -> None:
            out = data.new_file()
            started = time.perf_counter()
            with open_project(data.folder) as project:
                assert export_labels(project, out, form) == data.n_items
            rate = data.n_items / (time.perf_counter() - started)
            data.notes[form] = {"rows_per_second": rate, "mb": out.stat().st_size / 2**20}
            out.unlink()

        return timed(work)

    return prepare


def naive(data: Inputs) -> Step:
    """Everything in memory: all scores, all reads by item, all rows, and the text of the table; no consensus."""

    def work() -> None:
        out = data.new_file()
        with open_project(data.folder) as project:
            scores = pq.read_table(round_file(data.folder, "scores", 0)).to_pylist()
            reads = defaultdict(list)
            for read in project.store.all_reads():
                reads[read.item].append({**read._asdict(), "when": read.when.isoformat()})
            names = project.store.classes
        rows = []
        for position, scored in enumerate(scores):
            label = scored["exported"]
            rows.append(
                {
                    "id": scored["id"],
                    "given": names[scored["given"]],
                    "suggested": names[scored["suggested"]],
                    "label": names[label],
                    "source": "given" if label == scored["given"] else "model",
                    "presumed_clean": scored["presumed_clean"],
                    "label_quality": scored["label_quality"],
                    "probability": scored[f"prob_{label}"],
                    "round": "",
                    "reads": json.dumps(reads[position]),
                }
            )
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        out.write_text(text.getvalue(), encoding="utf-8")
        out.unlink()

    return timed(work)


def limit(data: Inputs) -> Step:
    table = data.new_file()
    with open_project(data.folder) as project:
        export_labels(project, table, "csv")
    content = table.read_bytes()
    table.unlink()

    def work() -> None:
        out = data.new_file()
        with out.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        out.unlink()

    return timed(work)


def facts(data: Inputs) -> dict[str, Any]:
    return {"read_items": max(1, data.n_items // READ_SHARE), "ways": data.notes, "naive_is": "all rows in memory"}


BENCHMARK = Benchmark(
    what="a project as CSV, with the history of every label",
    unit="s",
    sizes=(1_000_000,),
    size_is="items",
    quick_size=300,
    inputs=inputs,
    naive=naive,
    value=of_format("csv"),
    limit=limit,
    limit_is="the bytes of the CSV, flushed to the disk",
    facts=facts,
    also={"parquet": of_format("parquet"), "label-studio": of_format("label-studio")},
    warm_up=False,
    memory=True,
    memory_also=("parquet", "label-studio"),
)
