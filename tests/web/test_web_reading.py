"""Reading through the HTTP API: work, answers, undo."""

from collections.abc import Callable
from uuid import uuid4

from fastapi.testclient import TestClient

from overread.web import Site

Visit = Callable[[str], TestClient]


def test_two_readers_read_a_round_and_every_read_is_in_the_database(site: Site, visit: Visit) -> None:
    for name in ("ada", "ben"):
        client = visit(name)
        work = client.post("/api/work", json={"images": 3}).json()
        assert work["round"] == 1
        assert len(work["tasks"]) == 3
        tasks = work["tasks"]
        while tasks:
            task = tasks.pop(0)
            said = {"client_id": str(uuid4()), "round": 1, "item": task["item"], "kind": "label", "label": 1}
            answered = client.post("/api/reads", json=said).json()
            assert answered["receipt"]["item"] == task["item"]
            tasks += [answered["next"]] if answered["next"] else []
        assert client.get("/api/progress").json()["mine"] == 6
    assert site.store.progress(1).finished == 6


def test_a_round_as_it_is_for_one_reader(site: Site, visit: Visit) -> None:
    ada, ben = visit("ada"), visit("ben")

    def says(client: TestClient, kind: str, skipped: bool = False) -> dict[str, int]:
        work = client.post("/api/work", json={"images": 1, "skipped": skipped}).json()
        label = 1 if kind == "label" else None
        said = {"client_id": str(uuid4()), "round": 1, "item": work["tasks"][0]["item"], "kind": kind, "label": label}
        assert client.post("/api/reads", json=said).status_code == 200
        progress: dict[str, int] = client.get("/api/progress").json()
        return {name: progress[name] for name in ("mine", "left", "skipped", "reading", "waiting")}

    assert says(ada, "skip") == {"mine": 0, "left": 5, "skipped": 1, "reading": 0, "waiting": 0}
    for left in range(4, -1, -1):
        counted = says(ada, "label")
        assert (counted["mine"], counted["left"], counted["skipped"]) == (5 - left, left, 1)
    assert ada.post("/api/work", json={"images": 3}).json()["tasks"] == []
    assert counted["waiting"] == 5
    # Ben holds two images: that which she skipped, and one that she read.
    assert says(ben, "label")["reading"] == 0
    assert len(ben.post("/api/work", json={"images": 2}).json()["tasks"]) == 2
    assert ada.get("/api/progress").json()["reading"] == 0
    assert says(ada, "label", skipped=True) == {"mine": 6, "left": 0, "skipped": 0, "reading": 0, "waiting": 5}
