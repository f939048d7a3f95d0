"""What a round says of every training item, as the columns of its file of scores."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from overread.arrays.metrics import label_quality
from overread.learn.learners import Scores, State
from overread.learn.phase1 import Phase1
from overread.learn.task import Task

__all__ = ["score_columns"]


def score_columns(
    task: Task, state: State, scores: Scores, phase1: Phase1, **known: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Columns (N,) by name, probabilities aside; nothing but those `known` comes from a reference label."""
    return {
        "id": task.ids,
        "given": task.given,
        **known,
        "exported": scores.exported,
        "suggested": scores.suggested,
        "presumed_clean": state.presumed_clean,
        "bought": state.bought,
        "loss": phase1.loss,
        "vog": phase1.vog,
        "label_quality": label_quality(scores.probs, task.given),
        # What the next round's reads are compared with.
        "exported_probability": scores.posterior[np.arange(len(scores.exported)), scores.exported],
    }
