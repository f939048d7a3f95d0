"""A person who recognises the images that the page shows: the project ends where a simulation ends."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from overread.config import load_config
from overread.data.dataset import load_dataset
from overread.files import write_text
from overread.learn.checkpoint import load_checkpoint
from overread.progress import Silent
from overread.project.begin import init_project
from overread.project.exports import export_labels
from overread.project.folder import open_project
from overread.project.steps import learn_labels, select_items, update_model
from overread.refine import simulate
from overread.results import round_file
from overread.simulation import make_noisy_labels
from overread.web import make_app, open_site

ROUNDS, BUDGET, AUDIT = 2, 40, 5


def pixels_of(image: bytes) -> bytes:
    """The pixels of a PNG."""
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).tobytes()


def read_by_page(folder: Path, known: dict[bytes, int]) -> int:
    """The number of images that one person read in the open round, each recognised by what the page shows."""
    count = 0
    with open_site(folder) as site, TestClient(make_app(site), base_url="http://127.0.0.1:8000") as client:
        client.headers["X-Overread-Proof"] = client.post("/api/session", json={"name": "A"}).json()["proof"]
        work = client.post("/api/work", json={"images": 3}).json()
        tasks = work["tasks"]
        while tasks:
            item = tasks.pop(0)["item"]
            shown = client.get(f"/api/images/{item}")
            assert shown.status_code == 200, shown.text
            label = known[pixels_of(shown.content)]
            said = {"client_id": str(uuid4()), "round": work["round"], "item": item, "kind": "label", "label": label}
            answered = client.post("/api/reads", json=said)
            assert answered.status_code == 200, answered.text
            following = answered.json()["next"]
            tasks += [following] if following else []
            count += 1
    return count


@pytest.mark.slow
def test_a_person_at_the_page_ends_where_a_simulation_ends(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    path = real_data("ham10000_64")
    settings = ["preset=default", "model.mode=frozen", f"active.audit={AUDIT}"]
    simulated = [f"data.path={path}", f"out={tmp_path / 'run'}", "noise.rate=0.4", f"active.rounds={ROUNDS}"]
    config = load_config(settings=[*settings, *simulated, f"active.budget={BUDGET}"])
    results = simulate(config)
    dataset = load_dataset(config.data, config.seed)
    train = dataset.positions("train")
    ids, reference = dataset.ids[train].tolist(), dataset.reference[train]
    given = make_noisy_labels(dataset, train, config.noise, config.seed).given
    rows = [f"{name},{dataset.class_names[label]}" for name, label in zip(ids, given.tolist(), strict=True)]
    write_text(tmp_path / "labels.csv", "\n".join(["id,label", *rows]) + "\n")
    with np.load(path, allow_pickle=False) as arrays:
        images: NDArray[np.uint8] = arrays["images"]
        labels: list[int] = arrays["labels"].tolist()
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert len(known) == len(labels)

    folder = tmp_path / "study"
    init_project(folder, path, tmp_path / "labels.csv", settings, None, Silent())
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
    for _ in range(ROUNDS):
        with open_project(folder, to_work=True) as project:
            select_items(project, BUDGET, Silent())
        assert read_by_page(folder, known) == BUDGET + AUDIT
        with open_project(folder, to_work=True) as project:
            update_model(project, Silent())

    for number in range(ROUNDS + 1):
        mine = pq.read_table(round_file(folder, "scores", number))
        theirs = pq.read_table(round_file(tmp_path / "run", "scores", number)).drop(["reference"])
        assert mine.column_names == theirs.column_names
        for name in mine.column_names:
            np.testing.assert_array_equal(mine[name].to_numpy(), theirs[name].to_numpy(), f"{number} {name}")
        # The same model has the same metrics on whatever it is tested on.
        own, other = (
            load_checkpoint(round_file(place, "checkpoints", number, ".safetensors"))[0]
            for place in (folder, tmp_path / "run")
        )
        assert own.keys() == other.keys()
        assert all(np.array_equal(np.asarray(own[name]), np.asarray(other[name]), equal_nan=True) for name in own)
    with open_project(folder) as project:
        export_labels(project, tmp_path / "out.csv", "csv")
    exported = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    right = np.mean(
        [row["label"] == dataset.class_names[label] for row, label in zip(exported, reference, strict=True)]
    )
    assert right == pytest.approx(results["rounds"][-1]["label_accuracy"])
    assert [row["source"] for row in exported].count("read") == ROUNDS * (BUDGET + AUDIT)
