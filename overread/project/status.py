"""Where a project stands, in words: what was read, how well readers agree, what is thought to be wrong still."""

import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from overread.arrays.agreement import krippendorff_alpha
from overread.arrays.consensus import CANNOT_TELL
from overread.project.folder import Project
from overread.project.queue_file import disputed_file
from overread.project.snapshot import opinions_among, take_snapshot
from overread.rng import generator
from overread.store import StoredRead

__all__ = ["describe", "next_step"]


def describe(project: Project) -> str:
    """Some lines for the terminal; the last one names the next command."""
    data = project.state["dataset"]
    lines = [f"{project.folder}: {data['items']} images of {data['name']}, classes {', '.join(data['classes'])}"]
    if project.rounds:
        chosen = [project.state["choice"]] if project.state["choice"] else []
        lines += [*chosen, *(f"Note: {note}." for note in project.state["notes"])]
        lines += ["", "round  items read  wrong labels left (90 %)     right labels (90 %)         macro-F1 (90 %)"]
        lines += [_round_line(entry) for entry in project.rounds]
        lines.append(_trust(project.rounds[-1], audited=bool(project.config.active.audit)))
    standing = list(project.store.current_reads())
    if standing:
        lines += ["", *_reads(project, standing)]
    return "\n".join([*lines, "", next_step(project)])


def next_step(project: Project) -> str:
    """One sentence with the command that comes next."""
    folder = _quoted(project.folder)
    if not project.rounds:
        return f"Next: overread learn {folder}"
    rounds = project.store.rounds()
    if not rounds or not rounds[-1].open or rounds[-1].number < len(project.rounds):
        return f"Next: overread select {folder} --budget N, or overread export {folder} --out FILE.csv"
    done = project.store.progress(rounds[-1].number)
    return (
        f"Round {rounds[-1].number}: {done.finished} of {done.items} items are read, {done.answered} reads. "
        f"Next: overread import {folder} FILE.csv --reader NAME, then overread update {folder}"
    )


def _quoted(path: Path) -> str:
    """As a shell wants it."""
    return shlex.quote(str(path))


def _round_line(entry: dict[str, Any]) -> str:
    left, right, score = (entry["estimates"][key] for key in ("wrong_labels_left", "label_accuracy", "macro_f1"))
    return (
        f"{entry['round']:5d} {entry['items_read']:11d} {_interval(left, 0):>24} {_interval(right, 3):>23} "
        f"{_interval(score, 3):>23}"
    )


def _interval(found: dict[str, Any], digits: int) -> str:
    if found["estimate"] is None:
        return "-"
    return f"{found['estimate']:.{digits}f} ({found['low']:.{digits}f}-{found['high']:.{digits}f})"


def _trust(entry: dict[str, Any], audited: bool) -> str:
    if not entry["items_read"]:
        return "Nobody has read yet: these are the model's own guesses, from labels of which nothing has been checked."
    more = "" if audited else " Items drawn at random, `overread select --audit N`, make them sharper."
    read = entry["items_read"]
    return f"No truth is known here: the figures rest on {read} items that were read, and on the model.{more}"


def _reads(project: Project, standing: list[StoredRead]) -> Iterator[str]:
    n_items, n_classes = project.state["dataset"]["items"], len(project.store.classes)
    names = {reader.id: reader.name for reader in project.store.readers()}
    snapshot = take_snapshot(standing, n_items, n_classes)
    item, reader, label = opinions_among(standing)
    n_reads, n_unsure = Counter(reader.tolist()), Counter(reader[label == CANNOT_TELL].tolist())
    for who, name in names.items():
        if n_reads[who]:
            unsure = f", {n_unsure[who]} of them cannot tell" if n_unsure[who] else ""
            yield f"{name}: {n_reads[who]} reads{unsure}"
    if len(n_reads) > 1:
        alpha = krippendorff_alpha(item, reader, label, n_items, max(names) + 1, n_classes, generator(0, "agreement"))
        if not np.isnan(alpha.value):
            yield f"Agreement of readers, Krippendorff's alpha: {alpha.value:.2f} ({alpha.low:.2f} to {alpha.high:.2f})"
    if len(snapshot.disputed):
        table = disputed_file(project.folder, len(project.rounds) - 1)
        way = (
            f"decide in {table}, and `overread import {_quoted(project.folder)} {_quoted(table)} --adjudicate --reader "
            "NAME`"
            if table.exists()
            else "the update writes a table of them"
        )
        yield f"{len(snapshot.disputed)} items are disputed, no label has more voices than any other: {way}"
    if len(snapshot.unclear):
        yield f"{len(snapshot.unclear)} items were read, and nobody could tell"
