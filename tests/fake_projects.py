"""Projects after a round whose scores nobody computed: for what only passes labels and reads on.

`python fake_projects.py FOLDER 1000 50` makes one of 1000 items without images, 50 of which somebody has read.
"""

import json
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
import yaml

from overread.config import load_config
from overread.files import write_json, write_text
from overread.project.folder import DATABASE, STATE, open_project, save_state
from overread.project.snapshot import NOTHING, save_snapshot
from overread.results import round_file, write_scores
from overread.rng import generator
from overread.run import CONFIG
from overread.store import Read, Store

CLASSES = ["benign", "malignant", "other"]


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
        save_snapshot(round_file(folder, "snapshots", number), NOTHING)
        project.state.update(config_id="fake", device="cpu", choice="", notes=[])
        project.rounds.append({"round": number, "items_read": 0, "estimated_rate": 0.2, "estimates": {}})
        save_state(folder, project.state)


def fake_project(folder: Path, n_items: int, n_read: int) -> None:
    """A project in the new `folder` whose images are not there; every so often two readers have read an item."""
    folder.mkdir()
    config = load_config(settings=[f"data.path={folder.absolute() / 'images.npz'}"])
    write_text(folder / CONFIG, yaml.safe_dump(config.settings_of_results(), sort_keys=False))
    data = {"name": "fake", "classes": CLASSES, "items": n_items, "digest": "fake"}
    state: dict[str, object] = {
        "schema": 1,
        "database": None,
        "cache": None,
        "checkpoint_seconds": 600,
        "dataset": data,
        "rounds": [],
    }
    write_json(folder / STATE, state)
    with Store.create(folder / DATABASE, CLASSES) as store:
        store.add_items((f"patients/{number:07d}/image.png", number % len(CLASSES)) for number in range(n_items))
        readers = [store.add_reader(name).id for name in ("Dr. A", "b@example.org")]
        reads = [
            Read(str(UUID(int=2 * number + which)), number * n_items // n_read, reader, "label", number % len(CLASSES))
            for number in range(n_read)
            for which, reader in enumerate(readers)
        ]
        store.record_by((), lambda _: reads)
    fake_round(folder)


if __name__ == "__main__":
    fake_project(Path(sys.argv[1]), *map(json.loads, sys.argv[2:]))
