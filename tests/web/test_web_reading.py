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
