"""Disagreements and decisions over HTTP."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from web_sites import HOME

from overread.project.snapshot import take_snapshot
from overread.store import Read
from overread.web import Site, decisions, make_app, open_site
from overread.web.session import signed_in

Visit = Callable[[str], TestClient]


def read_all(client: TestClient, labels: list[int | None]) -> list[str]:
    """Read a whole round; the items in the order in which they came."""
    tasks = client.post("/api/work", json={"images": len(labels)}).json()["tasks"]
    for task, label in zip(tasks, labels, strict=True):
        kind = "cannot-tell" if label is None else "label"
        said = {"client_id": str(uuid4()), "round": 1, "item": task["item"], "kind": kind, "label": label}
        assert client.post("/api/reads", json={**said, "comment": f"says {label}", "seconds": 2.5}).status_code == 200
    return [task["item"] for task in tasks]


def decision(item: str, label: int, comment: str = "") -> dict[str, object]:
    return {"client_id": str(uuid4()), "item": item, "label": label, "comment": comment}


def test_an_owner_sees_who_said_what_and_decides(site: Site, visit: Visit) -> None:
    ada, ben = visit("ada"), visit("ben")
    items = read_all(ada, [0, 1, 2, 0, None, 1])
    assert read_all(ben, [1, 1, 0, 0, 1, None]) == items
    listed = ada.get("/api/disagreements").json()
    assert listed["round"] == 1
    assert listed["after"] is None
    # Neither those who agree, nor those of whom one cannot tell.
    assert {each["item"] for each in listed["items"]} == {items[0], items[2]}
    first = next(each for each in listed["items"] if each["item"] == items[0])
    assert first == {
        "item": items[0],
        "reads": [
            {"reader": "ada", "label": "disc", "comment": "says 0", "seconds": 2.5},
            {"reader": "ben", "label": "stripe", "comment": "says 1", "seconds": 2.5},
        ],
        "decided": None,
    }
    said = decision(items[0], 2, "neither")
    receipt = ada.post("/api/decisions", json=said).json()
    assert receipt["item"] == items[0]
    assert ada.post("/api/decisions", json=said).json() == receipt
    after = ada.get("/api/disagreements").json()["items"]
    assert [(each["item"], each["decided"]) for each in after] == [(items[2], None), (items[0], "noise")]
    position = site.tokens.position(items[0])
    assert position is not None
    stored = site.store.history(position)[-1]
    assert (stored.kind, stored.label, stored.round, stored.comment) == ("adjudication", 2, 1, "neither")
    learnt = take_snapshot(site.store.current_reads(), site.store.count_items(), 3)
    assert learnt.labels[learnt.positions == position].tolist() == [2]
    # Whoever changes his mind decides again.
    ben.post("/api/decisions", json=decision(items[0], 1))
    assert ada.get("/api/disagreements").json()["items"][1]["decided"] == "stripe"


def test_pages_of_disagreements_lose_none_while_somebody_decides(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "AT_ONCE", 2)
    ada = visit("ada")
    items = read_all(ada, [0] * 6)
    read_all(visit("ben"), [1] * 6)
    seen, after = [], None
    while True:
        page = ada.get("/api/disagreements", params={} if after is None else {"after": after}).json()
        for each in page["items"]:
            if each["decided"] is None:
                seen.append(each["item"])
                ada.post("/api/decisions", json=decision(each["item"], 2))
        after = page["after"]
        if after is None:
            break
    assert sorted(seen) == sorted(items)


def test_items_where_no_class_leads_come_first_and_imports_count(site: Site, visit: Visit) -> None:
    people = [site.store.add_reader(name).id for name in ("ada", "ben", "cem")]
    for position, labels in ((3, (0, 1, 1)), (7, (0, 1, 2)), (5, (1, 1, 1))):
        for person, label in zip(people, labels, strict=True):
            site.store.record(Read(str(uuid4()), position, person, "label", label))
    listed = visit("ada").get("/api/disagreements").json()["items"]
    assert [site.tokens.position(each["item"]) for each in listed] == [7, 3]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"label": 3}, 422),
        ({"label": None}, 422),
        ({"item": "x"}, 404),
        ({"client_id": "x"}, 422),
        ({"comment": "x" * 2001}, 422),
    ],
)
def test_decisions_that_cannot_be_are_refused(visit: Visit, site: Site, change: dict[str, object], status: int) -> None:
    said = {**decision(site.tokens.item_id(0), 1), **change}
    answer = visit("ada").post("/api/decisions", json=said)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert not list(site.store.all_reads())


@pytest.mark.parametrize("after", ["x", "0.x", "3.", "9"])
def test_odd_cursors_are_refused(visit: Visit, after: str) -> None:
    assert visit("ada").get("/api/disagreements", params={"after": after}).status_code in (404, 422)


def test_with_a_log_in_readers_neither_see_nor_decide(study: Path) -> None:
    with open_site(study, log_in=True) as site:
        app = make_app(site)
        with TestClient(app, base_url=HOME) as client:
            people = {role: site.store.add_reader(role, role) for role in ("reader", "owner")}
            app.dependency_overrides[signed_in] = lambda: people["reader"]
            assert client.get("/api/disagreements").status_code == 403
            assert client.post("/api/decisions", json=decision(site.tokens.item_id(0), 1)).status_code == 403
            app.dependency_overrides[signed_in] = lambda: people["owner"]
            assert client.get("/api/disagreements").status_code == 200
        assert not list(site.store.all_reads())
