"""Assisted mode: what is shown beside an image, and that it is recorded; and that nothing is shown else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from web_sites import HOME

from overread.project.folder import STATE
from overread.results import round_file
from overread.store import Store
from overread.web import Site, make_app, open_site
from overread.web.assistance import Assistance

Visit = Callable[[str], TestClient]
CLASSES = ("disc", "stripe", "noise")


@pytest.fixture
def assisted(study: Path) -> Iterator[tuple[Site, TestClient]]:
    with open_site(study, assisted=True) as site, TestClient(make_app(site), base_url=HOME) as client:
        client.headers["X-Overread-Proof"] = client.post("/api/session", json={"name": "ada"}).json()["proof"]
        yield site, client


def test_labels_are_shown_and_what_was_shown_is_recorded(assisted: tuple[Site, TestClient]) -> None:
    site, client = assisted
    scores = pq.read_table(round_file(site.folder, "scores", 0)).to_pydict()
    given = [item.given for item in site.store.items()]
    tasks = client.post("/api/work", json={"images": 2}).json()["tasks"]
    while tasks:
        task = tasks.pop(0)
        position = site.tokens.position(task["item"])
        assert position is not None
        label = given[position]
        assert label is not None
        expected = {"given": CLASSES[label], "suggested": CLASSES[scores["suggested"][position]], "similar": None}
        assert task["shown"] == expected
        said = {"client_id": str(uuid4()), "round": 1, "item": task["item"], "kind": "label", "label": 1}
        shown = {**task["shown"], "similar": 4}
        answered = client.post("/api/reads", json={**said, "shown": shown}).json()
        assert site.store.history(position)[-1].shown == shown
        tasks += [answered["next"]] if answered["next"] else []
    assert site.store.progress(1).answered == 6


def test_by_default_nothing_is_shown(visit: Visit) -> None:
    client = visit("ada")
    answer = client.post("/api/work", json={"images": 6})
    for task in answer.json()["tasks"]:
        assert not any(task["shown"].values())
    assert not any(name in answer.text for name in CLASSES)


def set_rounds(folder: Path, count: int) -> None:
    """A state file with so many complete rounds, replaced as the project replaces it."""
    (folder / "new").write_text(json.dumps({"schema": 1, "rounds": [ENTRY] * count, **REST}))
    (folder / "new").replace(folder / STATE)


ENTRY = {"round": 0, "items_read": 0, "estimated_rate": 0.0, "estimates": {}}
REST: dict[str, Any] = {
    "database": None,
    "cache": None,
    "checkpoint_seconds": 1,
    "config_id": "",
    "device": "cpu",
    "choice": "",
    "notes": [],
    "dataset": {"name": "x", "classes": [], "items": 3, "digest": ""},
}


def write_suggested(folder: Path, number: int, labels: list[int]) -> None:
    path = round_file(folder, "scores", number)
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"suggested": labels}), path)


def test_suggestions_are_those_of_the_last_complete_round_and_are_read_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.create(tmp_path / "reads.db", CLASSES) as store:
        store.add_items([("a", 0), ("b", None), ("c", 2)])
        beside = Assistance(tmp_path, store)
        set_rounds(tmp_path, 0)
        assert [beside.of(i) for i in range(3)] == [{"given": "disc"}, {}, {"given": "noise"}]
        write_suggested(tmp_path, 0, [2, 1, 0])
        assert beside.of(1) == {}
        set_rounds(tmp_path, 1)
        assert beside.of(1) == {"suggested": "stripe"}
        round_file(tmp_path, "scores", 0).unlink()
        # Something else in the state changes: the scores are not read again.
        set_rounds(tmp_path, 1)
        assert beside.of(0) == {"given": "disc", "suggested": "noise"}
        assert capsys.readouterr().err == ""
        # Scores that are lost keep nobody from reading.
        set_rounds(tmp_path, 2)
        assert beside.of(0) == {"given": "disc"}
        assert beside.of(0) == {"given": "disc"}
        assert capsys.readouterr().err.count("nothing is suggested") == 1
        write_suggested(tmp_path, 2, [0, 0, 1])
        set_rounds(tmp_path, 3)
        assert beside.of(2) == {"given": "noise", "suggested": "stripe"}


def test_a_million_suggestions_are_small(tmp_path: Path) -> None:
    with Store.create(tmp_path / "reads.db", CLASSES) as store:
        store.add_items([("a", 0)])
        path = round_file(tmp_path, "scores", 0)
        path.parent.mkdir()
        pq.write_table(pa.table({"suggested": np.zeros(1_000_000, dtype=np.int64)}), path)
        found = Assistance(tmp_path, store)._read(0)
    assert found is not None
    assert found.nbytes == 1_000_000
