"""Where a project stands over HTTP, beside what the terminal says."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient
from web_sites import HOME

from overread.arrays.agreement import krippendorff_alpha
from overread.project import status
from overread.project.agreement import opinions_in
from overread.project.folder import open_project, read_state, save_state
from overread.project.status import describe, what_was_said
from overread.store import Read, Store
from overread.web import Site, make_app, open_site, overview
from overread.web.overview import Overview
from overread.web.session import signed_in

Visit = Callable[[str], TestClient]


def fill(store: Store) -> None:
    """Six items by three readers: two agree, one tied, one with a majority, one unclear, one by one reader alone."""
    people = [store.add_reader(name).id for name in ("ada", "ben", "cem")]
    said = {0: (0, 0, 0), 1: (1, 1, 1), 2: (0, 1, 2), 3: (2, 2, 0), 4: (-1, -1, None), 5: (1, None, None)}
    for item, labels in said.items():
        for person, label in zip(people, labels, strict=True):
            if label == -1:
                store.record(Read(str(uuid4()), item, person, "cannot-tell"))
            elif label is not None:
                store.record(Read(str(uuid4()), item, person, "label", label))


def test_before_anybody_read_there_is_the_model_alone(site: Site, visit: Visit) -> None:
    state = visit("ada").get("/api/state").json()
    assert (state["items"], state["readers"], state["agreement"]) == (96, [], None)
    assert (state["disputed"], state["unclear"]) == (0, 0)
    assert [entry["round"] for entry in state["rounds"]] == [0]
    assert state["rounds"][0]["estimates"]["wrong_labels_left"]["estimate"] is not None
    assert state["progress"]["items"] == 6
    assert "6 items" in state["next"]
    # It is served already.
    assert "overread serve" not in state["next"]
    assert "Next: read the others here, then overread update" in state["next"]


def test_the_page_and_the_terminal_say_the_same(site: Site, visit: Visit) -> None:
    fill(site.store)
    client = visit("ada")
    state = client.get("/api/state").json()
    assert (state["disputed"], state["outvoted"], state["unclear"]) == (1, 1, 1)
    shown = client.get("/api/disagreements").json()
    assert (shown["total"], shown["undecided"]) == (2, 2)
    # Of ada's labels 0, 1 and 3 stand against a consensus of the others, but 3 is tied between them.
    assert state["readers"] == [
        {"name": "ada", "reads": 6, "cannot_tell": 1, "agreement": 1.0},
        {"name": "ben", "reads": 5, "cannot_tell": 1, "agreement": 1.0},
        {"name": "cem", "reads": 4, "cannot_tell": 0, "agreement": 2 / 3},
    ]
    alpha = state["agreement"]
    assert alpha["n_items"] == 4
    assert -1 <= alpha["low"] <= alpha["value"] <= alpha["high"] <= 1
    with open_project(site.folder) as project:
        lines = describe(project).splitlines()
    assert "cem: 4 reads" in lines
    assert "ben: 5 reads, 1 of them cannot tell" in lines
    wanted = f"alpha: {alpha['value']:.2f} ({alpha['low']:.2f} to {alpha['high']:.2f})"
    assert any(line.endswith(wanted) for line in lines)
    assert lines[-1].partition("Next: ")[0] == state["next"].partition("Next: ")[0]
    assert f"{site.folder}: 96 images" in lines[0]


@pytest.mark.parametrize(("estimate", "shown"), [(44.5, 44), (45.5, 46), (60.5, 60), (60.7, 61)])
def test_counts_of_labels_are_rounded_as_in_the_terminal(site: Site, visit: Visit, estimate: float, shown: int) -> None:
    state = dict(read_state(site.folder))
    state["rounds"][0]["estimates"]["wrong_labels_left"] = {"estimate": estimate, "low": 0.5, "high": None}
    save_state(site.folder, state)
    left = visit("ada").get("/api/state").json()["rounds"][0]["estimates"]["wrong_labels_left"]
    assert left == {"estimate": shown, "low": 0, "high": None}
    assert f"{estimate:.0f}" == str(shown)


def test_where_numbers_are_not_defined_there_are_none(site: Site, visit: Visit) -> None:
    client = visit("ada")
    ada, ben = (site.store.add_reader(name).id for name in ("one", "two"))
    site.store.record(Read(str(uuid4()), 0, ada, "label", 0))
    state = client.get("/api/state").json()
    assert state["agreement"] is None
    assert state["readers"] == [{"name": "one", "reads": 1, "cannot_tell": 0, "agreement": None}]
    site.store.record(Read(str(uuid4()), 0, ben, "label", 1))
    alpha = client.get("/api/state").json()["agreement"]
    assert (alpha["low"], alpha["high"], alpha["n_items"]) == (None, None, 1)


def test_with_a_log_in_readers_see_how_far_the_round_is_and_no_more(study: Path) -> None:
    with open_site(study, log_in=True) as site:
        fill(site.store)
        app = make_app(site)
        with TestClient(app, base_url=HOME) as client:
            people = {role: site.store.add_reader(role, role) for role in ("reader", "owner")}
            app.dependency_overrides[signed_in] = lambda: people["reader"]
            state = client.get("/api/state").json()
            assert state.pop("progress")["items"] == 6
            assert not any(state.values())
            app.dependency_overrides[signed_in] = lambda: people["owner"]
            assert len(client.get("/api/state").json()["readers"]) == 3


def test_no_work_grows_with_the_items_that_nobody_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    alpha = krippendorff_alpha

    def measured(*arguments, **options):  # type: ignore[no-untyped-def]
        sizes.append(arguments[3])
        return alpha(*arguments, **options)

    monkeypatch.setattr(status, "krippendorff_alpha", measured)
    with Store.create(tmp_path / "reads.db", ("a", "b", "c")) as store:
        store.add_items((str(i), 0) for i in range(5000))
        assert what_was_said(opinions_in(store)) is None
        people = [store.add_reader(name).id for name in ("ada", "ben")]
        for item in (4999, 17):
            for person in people:
                store.record(Read(str(uuid4()), item, person, "label", 1))
        said = what_was_said(opinions_in(store))
    assert said is not None
    assert [one.with_others for one in said.readers] == [1.0, 1.0]
    assert sizes == [2]


def test_what_takes_long_is_not_computed_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [100.0], []

    def slow(store: Store) -> None:
        calls.append(store)
        clock[0] += 0.5

    monkeypatch.setattr(overview, "what_was_said", slow)
    monkeypatch.setattr("overread.web.overview.time.monotonic", lambda: clock[0])
    with Store.create(tmp_path / "reads.db", ("a", "b")) as store:
        seen = Overview(store)
        counts = []
        for sequence, seconds in ((0, 0.0), (1, 0.0), (2, 9.0), (2, 1.0), (2, 99.0), (3, 0.0)):
            clock[0] += seconds
            seen.get(sequence)
            counts.append(len(calls))
    # Nothing was said at 0; ten seconds after the first time it is computed again, and then only for something new.
    assert counts == [0, 1, 1, 2, 2, 3]


def test_agreement_with_others_leaves_out_what_cannot_be_compared() -> None:
    label, others = np.array([0, 1, -1, 2, 0]), np.array([0, -1, 0, 1, 0])
    assert status._said_by("ada", label, others) == ("ada", 5, 1, 2 / 3)
