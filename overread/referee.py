"""Who knows the truth, and writes down how good a round is."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from overread.arrays import FloatArray
from overread.arrays.metrics import classification_metrics, label_accuracy, label_quality, selection_metrics
from overread.config import Config
from overread.data.dataset import Dataset
from overread.files import write_json
from overread.learn.learners import Scores, State, open_pool
from overread.learn.phase1 import Phase1
from overread.learn.task import Task
from overread.oracle import Oracle
from overread.results import NOISE, round_file, write_gallery, write_scores
from overread.score_columns import score_columns
from overread.simulation import NoisyLabels

__all__ = ["Referee"]

GALLERY_SIZE = 24


class Referee:
    """Holds the truth and writes down scores; gives nothing back to what chooses."""

    def __init__(self, dataset: Dataset, noisy: NoisyLabels, config: Config) -> None:
        self._dataset = dataset
        self._train = dataset.positions("train")
        self._reference = dataset.reference[self._train]
        self._test = dataset.positions("test")
        self._noisy = noisy
        self._config = config

    def write_noise(self, run: Path, phase1: Phase1) -> None:
        """Write the injected and the estimated noise matrix."""
        write_json(
            run / NOISE,
            {
                "class_names": list(self._dataset.class_names),
                "injected": self._noisy.matrix.tolist(),
                "true_rate": self._noisy.rate,
                "estimated": phase1.estimated_matrix.tolist(),
                "estimated_rate": phase1.estimated_rate,
            },
        )

    def write_train_scores(
        self, run: Path, number: int, task: Task, state: State, scores: Scores, phase1: Phase1
    ) -> None:
        """Write what one round says of every training item."""
        columns = score_columns(task, state, scores, phase1, reference=self._reference)
        write_scores(round_file(run, "scores", number), columns, scores.probs)

    def write_test_scores(self, run: Path, number: int, test_probs: FloatArray) -> None:
        """Write what one round says of every test item."""
        write_scores(
            round_file(run, "test", number),
            {"id": self._dataset.ids[self._test], "reference": self._dataset.reference[self._test]},
            test_probs,
        )

    def entry(
        self, number: int, state: State, scores: Scores, test_probs: FloatArray, oracle: Oracle
    ) -> dict[str, Any]:
        """The entry of one round in `results.json`, but for its time."""
        names = self._dataset.class_names
        trusted = state.presumed_clean | state.bought
        purposes = Counter(read.purpose for read in oracle.reads)
        return {
            "round": number,
            "oracle_reads": len(oracle.reads),
            "bought": purposes["bought"] + purposes["audit"],
            "audited": purposes["audit"],
            "leaked": purposes["leak"],
            "pool": int(open_pool(state, self._config).sum()),
            "test": classification_metrics(self._dataset.reference[self._test], test_probs, names),
            "selection": selection_metrics(trusted, state.labels == self._reference, self._reference, names),
            "label_accuracy": label_accuracy(scores.exported, self._reference),
            "estimated_rate": scores.noise_rate,
        }

    def leak(self, task: Task, oracle: Oracle) -> dict[str, int]:
        """How many truths the label leak revealed, and how many labels it changed."""
        leaks = [read for read in oracle.reads if read.purpose == "leak"]
        return {"revealed": len(leaks), "changed": sum(read.label != int(task.given[read.position]) for read in leaks)}

    def write_gallery(self, run: Path, task: Task, state: State, scores: Scores) -> None:
        """Write the unread items whose given label is least likely, for the report."""
        quality = label_quality(scores.probs, task.given)
        unread = np.flatnonzero(~state.bought)
        worst = unread[np.argsort(quality[unread], kind="stable")[:GALLERY_SIZE]]
        write_gallery(
            run,
            ids=task.ids[worst],
            images=np.stack([self._dataset.images[position] for position in self._train[worst]])
            if len(worst)
            else np.zeros((0, *self._dataset.images.shape[1:]), dtype=np.uint8),
            given=task.given[worst],
            suggested=scores.suggested[worst],
            reference=self._reference[worst],
            label_quality=quality[worst],
        )
