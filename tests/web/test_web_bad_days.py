"""Bad days of a server: it is killed, the database is locked, full or gone.  No accepted read is lost or doubled."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient
from postgresql_server import Server
from served import Served, asked, bare_project
from sqlalchemy import event

from overread.store import Store
from overread.web import Site, make_app, open_site

N_ITEMS = 400


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path, place: str) -> Path:
    """A bare project on SQLite or PostgreSQL, with an open round over everything."""
    folder = bare_project(tmp_path / "study", N_ITEMS, place)
    with Store.open(place) as store:
        store.open_round("random", range(N_ITEMS))
    return folder


def said(task: dict[str, Any], label: int = 1) -> dict[str, Any]:
    return {"client_id": str(uuid4()), "round": 1, "item": task["item"], "kind": "label", "label": label}


def insist(client: httpx.Client, content: dict[str, Any], until: float = 60) -> dict[str, Any]:
    """What the page does: the same answer, with the same id, until it is taken."""
    end = time.monotonic() + until
    while time.monotonic() < end:
        try:
            answer = client.post("/api/reads", json=content)
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == 200:
            found: dict[str, Any] = answer.json()
            return found
        assert answer.status_code == 503, answer.text
        time.sleep(0.05)
    raise AssertionError("the answer was never taken")


def test_a_server_that_is_killed_again_and_again_loses_and_doubles_nothing(folder: Path, place: str) -> None:
    with Served(folder) as served:
        accepted: list[str] = []

        def read_all(name: str) -> None:
            with closing(served.browser(name)) as client:
                tasks = asked(client, "work", {"images": 2})["tasks"]
                # Whoever has begun insists; to come in, the page asks its reader.
                all_have_work.wait(60)
                while tasks:
                    content = said(tasks.pop(0))
                    following = insist(client, content)["next"]
                    accepted.append(content["client_id"])
                    # The receipt may have been lost with the one who was to come next.
                    tasks += [following] if following else []

        all_have_work = threading.Barrier(5)
        readers = [threading.Thread(target=read_all, args=(f"reader {number}",)) for number in range(4)]
        for reader in readers:
            reader.start()
        all_have_work.wait(60)
        for _ in range(3):
            time.sleep(0.4)
            served.kill()
            served.start()
        for reader in readers:
            reader.join()
    with Store.open(place) as store:
        stored = [read.client_id for read in store.reads_since(0)]
        assert len(stored) == len(set(stored))
        assert set(stored) == set(accepted)
        per_item = [read.item for read in store.current_reads()]
        assert len(per_item) == len(set(per_item))
        assert store.progress(1).answered == len(stored)


def test_the_same_answer_sent_twice_is_one_read(folder: Path, place: str) -> None:
    with open_site(folder) as site, TestClient(make_app(site), base_url="http://127.0.0.1:8000") as client:
        client.headers["X-Overread-Proof"] = asked(client, "session", {"name": "ada"})["proof"]
        first, second = asked(client, "work", {"images": 2})["tasks"]
        content = said(first)
        receipts = [asked(client, "reads", content)["receipt"] for _ in range(3)]
        assert receipts[0] == receipts[1] == receipts[2]
        assert len(list(site.store.reads_since(0))) == 1
        other = client.post("/api/reads", json={**content, "label": 2})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
        other = client.post("/api/reads", json={**content, "item": second["item"]})
        assert other.status_code == 409


@pytest.fixture(name="client")
def fixture_client(site: Site) -> Iterator[TestClient]:
    with TestClient(make_app(site), base_url="http://127.0.0.1:8000") as client:
        client.headers["X-Overread-Proof"] = asked(client, "session", {"name": "ada"})["proof"]
        yield client


def test_a_full_disk_is_said_and_the_answer_is_taken_once_there_is_room(site: Site, client: TestClient) -> None:
    task = asked(client, "work", {"images": 1})["tasks"][0]
    room = {"pages": 1}

    @event.listens_for(site.store._engine, "checkout")
    def _small_disk(connection: sqlite3.Connection, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={room['pages']}")

    content = {**said(task), "comment": "x" * 2000}
    for _ in range(200):
        answer = client.post("/api/reads", json=content)
        if answer.status_code != 200:
            break
        content = {**content, "client_id": str(uuid4())}
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "full")
    assert "make room" in answer.json()["error"]["message"]
    assert answer.headers["Retry-After"]
    before = len(list(site.store.reads_since(0)))
    room["pages"] = 1_000_000
    assert client.post("/api/reads", json=content).status_code == 200
    assert len(list(site.store.reads_since(0))) == before + 1


def test_a_database_that_another_process_holds_is_said_and_waited_for(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store = Store.open
    monkeypatch.setattr(Store, "open", lambda place: open_store(place, timeout=0.5))
    with open_site(study) as site, TestClient(make_app(site), base_url="http://127.0.0.1:8000") as client:
        client.headers["X-Overread-Proof"] = asked(client, "session", {"name": "ada"})["proof"]
        content = said(asked(client, "work", {"images": 1})["tasks"][0])
        with closing(sqlite3.connect(study / "project.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = client.post("/api/reads", json=content)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
            assert client.get("/api/progress").json()["answered"] == 0
            other.execute("ROLLBACK")
        asked(client, "reads", content)
        assert [read.client_id for read in site.store.reads_since(0)] == [content["client_id"]]


def test_a_postgresql_that_is_started_again_is_found_again(tmp_path: Path, server: Server) -> None:
    place = server.new_database()
    folder = bare_project(tmp_path / "study", 10, place)
    with Store.open(place) as store:
        store.open_round("random", range(10))
    with open_site(folder) as site, TestClient(make_app(site), base_url="http://127.0.0.1:8000") as client:
        client.headers["X-Overread-Proof"] = asked(client, "session", {"name": "ada"})["proof"]
        content = said(asked(client, "work", {"images": 1})["tasks"][0])
        server.stop()
        try:
            answer = client.post("/api/reads", json=content)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unreachable")
            assert "overread@" not in answer.text
            assert "127.0.0.1" not in answer.text
        finally:
            server.start()
        asked(client, "reads", content)
        assert [read.client_id for read in site.store.reads_since(0)] == [content["client_id"]]


def test_an_answer_behind_its_lease_counts(site: Site, client: TestClient, visit: Callable[[str], TestClient]) -> None:
    late = site._replace(lease_seconds=0.05)
    with TestClient(make_app(late), base_url="http://127.0.0.1:8000") as slow:
        slow.headers["X-Overread-Proof"] = asked(slow, "session", {"name": "ben"})["proof"]
        task = asked(slow, "work", {"images": 1})["tasks"][0]
        time.sleep(0.1)
        others = asked(client, "work", {"images": 1})["tasks"]
        assert others[0]["item"] == task["item"]
        asked(slow, "reads", said(task, 0))
        asked(client, "reads", said(task, 2))
    assert [read.label for read in site.store.reads_since(0)] == [0, 2]
