"""Projects after a round whose scores nobody computed: for what only passes labels and reads on."""

from pathlib import Path

import numpy as np

from overread.project.folder import open_project, save_state
from overread.results import round_file, write_scores
from overread.rng import generator


def fake_round(folder: Path, number: int = 0) -> None:
    """Give the project in `folder` the scores of round `number`, drawn at random, and say that it is complete."""
    with open_project(folder, to_work=True) as project:
        items = list(project.store.items())
        rng = generator(number, "fake scores")
        n_classes = len(project.store.classes)
        given = np.array([item.given for item in items], dtype=np.int64)
        probs = rng.dirichlet(np.ones(n_classes), len(items)).astype(np.float32)
        suggested = np.argmax(probs, axis=1)
        clean = rng.random(len(items)) < 0.8
        columns = {
            "id": [item.id for item in items],
            "given": given,
            "exported": np.where(clean, given, suggested),
            "suggested": suggested,
            "presumed_clean": clean,
            "bought": np.zeros(len(items), dtype=bool),
            "label_quality": rng.random(len(items)),
        }
        path = round_file(folder, "scores", number)
        path.parent.mkdir(exist_ok=True)
        write_scores(path, columns, probs)
        project.state.update(config_id="fake", device="cpu", choice="", notes=[])
        project.rounds.append({"round": number, "items_read": 0, "estimated_rate": 0.2, "estimates": {}})
        save_state(folder, project.state)
