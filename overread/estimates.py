"""The estimates of a round: what the files of the run and the learner say, handed to `overread.arrays.forecast`.

Reads are compared with what was believed without them: by models that did not train on the item where the learner has
such, else by the learner as it stood before the read, of which the scores of the round before tell.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overread.arrays import FloatArray, IntArray
from overread.arrays.decisions import label_posterior
from overread.arrays.forecast import Beliefs, Interval, forecast
from overread.arrays.recalibration import Evidence
from overread.learn.learners import Scores
from overread.oracle import Read
from overread.results import read_column, round_file

__all__ = ["round_estimates"]


def round_estimates(
    run: Path,
    number: int,
    reads: Sequence[Read],
    matrix: FloatArray,
    scores: Scores,
    next_reads: IntArray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The `estimates` of round `number` in results.json; nothing in them comes from a reference label.

    reads: all up to this round.  matrix: (C, C), the noise matrix behind `scores` where these are not blind.
    next_reads: positions whose gain is asked for.  Errors: RunError for damaged scores of an earlier round.
    """
    posterior, held_out = scores.posterior, scores.blind is not None
    read = np.zeros(len(posterior), dtype=bool)
    read[[entry.position for entry in reads]] = True
    if not held_out:
        # Also of leaked labels, which are no reads of the learner.
        posterior = posterior.copy()
        posterior[read] = np.eye(posterior.shape[1])[scores.exported[read]]
    # The leak costs nothing, so it must not sharpen an estimate either.
    paid = [entry for entry in reads if entry.purpose != "leak"]
    blind = _blind_now(paid, scores.blind) if scores.blind is not None else _blind_before(run, number, paid, matrix)
    beliefs = Beliefs(posterior, scores.exported, scores.predicted, read, held_out)
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
    return _evidence(reads, posterior, exported)


def _blind_before(run: Path, number: int, reads: Sequence[Read], matrix: FloatArray) -> Evidence:
    """Reads beside what was believed of their items at the end of the round before."""
    n_classes = len(matrix)
    posteriors: list[FloatArray] = [np.empty((0, n_classes))]
    exported = [np.empty(0, dtype=np.int64)]
    ordered: list[Read] = []
    for earlier in range(number):
        of_round = [read for read in reads if read.round == earlier + 1]
        if not of_round:
            continue
        ordered += of_round
        positions = [read.position for read in of_round]
        path = round_file(run, "scores", earlier)
        probs = np.stack([read_column(path, f"prob_{c}")[positions] for c in range(n_classes)], axis=1)
        posteriors.append(label_posterior(probs, matrix, read_column(path, "given")[positions]))
        exported.append(read_column(path, "exported")[positions])
    return _evidence(ordered, np.concatenate(posteriors), np.concatenate(exported))


def _evidence(reads: Sequence[Read], posterior: FloatArray, exported: IntArray) -> Evidence:
    return Evidence(
        wrong=1.0 - posterior[np.arange(len(reads)), exported],
        exported=exported,
        said=np.array([read.label for read in reads], dtype=np.int64),
        random=np.array([read.purpose == "audit" for read in reads], dtype=bool),
    )


def _ends(interval: Interval) -> dict[str, float]:
    return interval._asdict()
