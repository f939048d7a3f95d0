"""The estimates of a round: what the files of the run and the learner say, handed to `overread.arrays.forecast`.

Reads are compared with what was believed without them: by models that did not train on the item where the learner has
such, else by the learner as it stood before the read, of which the scores of the round before tell.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.forecast import Beliefs, Interval, forecast
from overread.arrays.recalibration import Evidence
from overread.learn.learners import Scores
from overread.oracle import Read
from overread.results import column_names, read_column, round_file

__all__ = ["round_estimates"]

BELIEVED = "exported_probability"


def round_estimates(
    run: Path,
    number: int,
    reads: Sequence[Read],
    scores: Scores,
    next_reads: IntArray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The `estimates` of round `number` in results.json; nothing in them comes from a reference label.

    reads: all up to this round.  next_reads: positions whose gain is asked for.  Errors: RunError for damaged scores of
    an earlier round.
    """
    posterior = scores.posterior
    read = np.zeros(len(posterior), dtype=bool)
    read[[entry.position for entry in reads]] = True
    if scores.blind is None:
        # Also of leaked labels, which are no reads of the learner.
        posterior = posterior.copy()
        posterior[read] = np.eye(posterior.shape[1])[scores.exported[read]]
    # The leak costs nothing, so it must not sharpen an estimate either.
    paid = [entry for entry in reads if entry.purpose != "leak"]
    blind = (
        _blind_now(paid, scores.blind)
        if scores.blind is not None
        else _blind_before(run, number, paid, scores.judge.changes)
    )
    beliefs = Beliefs(posterior, scores.exported, scores.predicted, read, scores.judge)
    found = forecast(beliefs, blind, next_reads, rng)
    return {
        "wrong_labels_left": _ends(found.wrong_labels_left),
        "label_accuracy": _ends(found.label_accuracy),
        "macro_f1": _ends(found.macro_f1),
        "next_100_reads": {"label_accuracy": found.gain_label_accuracy, "macro_f1": found.gain_macro_f1},
    }


def _blind_now(reads: Sequence[Read], blind: FloatArray) -> Evidence:
    """Reads beside what models that did not train on their items believe by now."""
    posterior = blind[[read.position for read in reads]]
    exported = posterior.argmax(axis=1)
    wrong = 1.0 - posterior[np.arange(len(reads)), exported]
    return _evidence(reads, wrong, exported, np.ones(len(reads), dtype=bool))


def _blind_before(run: Path, number: int, reads: Sequence[Read], last_alone: bool) -> Evidence:
    """Reads beside what was believed of their items at the end of the round before.

    last_alone: whether those of the last round with reads alone count.
    """
    wrong, exported = [np.empty(0)], [np.empty(0, dtype=np.int64)]
    ordered: list[Read] = []
    for earlier in range(number):
        of_round = [read for read in reads if read.round == earlier + 1]
        if not of_round:
            continue
        positions = [read.position for read in of_round]
        path = round_file(run, "scores", earlier)
        if BELIEVED not in column_names(path):
            # A round of an earlier version, of which nothing is known.
            continue
        ordered += of_round
        wrong.append(1.0 - read_column(path, BELIEVED)[positions])
        exported.append(read_column(path, "exported")[positions])
    rounds = np.array([read.round for read in ordered], dtype=np.int64)
    counts = rounds == rounds.max(initial=0) if last_alone else np.ones(len(ordered), dtype=bool)
    return _evidence(ordered, np.concatenate(wrong), np.concatenate(exported), counts)


def _evidence(reads: Sequence[Read], wrong: FloatArray, exported: IntArray, counts: BoolArray) -> Evidence:
    return Evidence(
        wrong=wrong,
        exported=exported,
        said=np.array([read.label for read in reads], dtype=np.int64),
        random=np.array([read.purpose == "audit" for read in reads], dtype=bool),
        counts=counts,
    )


def _ends(interval: Interval) -> dict[str, float]:
    return interval._asdict()
