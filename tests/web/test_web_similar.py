"""Images that look alike: the features that a project keeps, and who may know what of them."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler, normalize

from overread.data.dataset import load_dataset
from overread.errors import RunError
from overread.project import features as module
from overread.project.features import FEATURES, most_alike, open_features, write_features
from overread.project.folder import open_project
from overread.project.snapshot import take_snapshot
from overread.store import Read, Store
from overread.web import Site
from overread.web.opinions import Opinions

Visit = Callable[[str], TestClient]


def test_the_product_of_two_rows_is_the_cosine_of_their_principal_components(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    embeddings = (rng.normal(size=(300, 20)) @ rng.normal(size=(20, 20)) * 50 + 1000).astype(np.float32)
    embeddings[:, 3] = 7
    write_features(tmp_path, embeddings)
    found = open_features(tmp_path, 300)
    assert found is not None
    assert found.shape == (300, 20)
    expected = normalize(PCA(19).fit_transform(StandardScaler().fit_transform(embeddings.astype(float))))
    wide = found.astype(float)
    np.testing.assert_allclose(wide @ wide.T, expected @ expected.T, atol=3e-3)


def test_features_are_few_and_the_same_each_time_however_the_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = np.random.default_rng(1).normal(size=(500, 90)).astype(np.float32)
    embeddings[499] = embeddings[0]
    monkeypatch.setattr(module, "SAMPLED", 200)
    contents: list[bytes] = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        np.random.seed(len(contents))  # noqa: NPY002 - the stream that libraries draw from, which must not matter
        write_features(folder, embeddings)
        contents.append((folder / FEATURES).read_bytes())
    assert contents[0] == contents[1]
    found = open_features(tmp_path / "one", 500)
    assert found is not None
    assert found.shape == (500, 64)
    np.testing.assert_allclose(np.linalg.norm(found.astype(float), axis=1), 1, atol=1e-3)
    np.testing.assert_array_equal(found[0], found[499])


@pytest.mark.parametrize("shape", [(1, 5), (3, 5), (5, 1)])
def test_the_smallest_projects_have_features_too(tmp_path: Path, shape: tuple[int, int]) -> None:
    write_features(tmp_path, np.random.default_rng(2).normal(size=shape).astype(np.float32))
    found = open_features(tmp_path, shape[0])
    assert found is not None
    assert np.isfinite(found.astype(float)).all()


def test_features_of_another_project_or_damaged_ones_are_refused(tmp_path: Path) -> None:
    assert open_features(tmp_path, 10) is None
    write_features(tmp_path, np.eye(10, dtype=np.float32))
    with pytest.raises(RunError, match="11 items"):
        open_features(tmp_path, 11)
    path = tmp_path / FEATURES
    for content in (path.read_bytes()[:-9], b"", b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(RunError, match="damaged"):
            open_features(tmp_path, 10)


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 12))
def test_the_most_alike_are_those_of_a_plain_search(seed: int, n_candidates: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    features = normalize(rng.integers(-2, 3, size=(40, 3))).astype(np.float16)
    candidates = rng.choice(40, n_candidates, replace=False)
    cosine = [float(features[0].astype(np.float32) @ features[j].astype(np.float32)) for j in candidates]
    expected = sorted(range(n_candidates), key=lambda i: (-cosine[i], i))[:k]
    assert most_alike(features, 0, candidates, k).tolist() == expected


def test_a_project_keeps_features_of_its_items_by_position(begun_study: Path) -> None:
    with open_project(begun_study) as project:
        dataset = load_dataset(project.config.data, project.config.seed, needs_test=False)
        cache = project.config.data.cache
        found = open_features(begun_study, project.store.count_items())
    assert cache is not None
    (file,) = cache.glob("embeddings-*.npy")
    embeddings = np.load(file)[dataset.positions("train")].astype(float)
    expected = normalize(PCA(64).fit_transform(StandardScaler().fit_transform(embeddings)))
    assert found is not None
    wide = found.astype(float)
    # The components left out, and those that were found by iteration, are small.
    np.testing.assert_allclose(wide @ wide.T, expected @ expected.T, atol=0.02)


def test_without_features_it_says_so(site: Site, visit: Visit) -> None:
    (site.folder / FEATURES).unlink()
    answer = visit("ada").get(f"/api/similar/{site.tokens.item_id(0)}")
    assert answer.status_code == 404
    assert "which images look alike" in answer.json()["error"]["message"]


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["read", "read", "read", "unsure", "skip", "undo", "decide", "import", "turn", "look"]),
        st.integers(0, 2),
        st.integers(0, 5),
        st.integers(0, 2),
    ),
    max_size=60,
)


@settings(max_examples=30, deadline=None)
@given(OPERATIONS)
def test_what_is_known_follows_from_the_reads_that_stand(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, int, int]]
) -> None:
    with Store.create(tmp_path_factory.mktemp("reads") / "reads.db", ("a", "b", "c")) as store:
        store.add_items((str(i), 0) for i in range(9))
        people = [store.add_reader(name).id for name in ("ada", "ben", "cem")]
        opinions = Opinions(store)
        rounds = 0
        queue_of: dict[int, int] = {}
        for kind, who, which, label in operations:
            person = people[who]
            number = store.rounds()[-1].number if store.rounds() else None
            item = queue_of[number] + which % 3 if number else which
            if kind == "turn":
                if number and store.rounds()[-1].open:
                    store.close_round(number)
                elif rounds < 3:
                    rounds += 1
                    queue_of[rounds] = 3 * (rounds - 1)
                    store.open_round("random", range(3 * rounds - 3, 3 * rounds), 2)
            elif kind == "undo":
                store.undo(person, str(uuid4()), 60)
            elif kind == "import":
                store.record(Read(str(uuid4()), which, person, "label", label))
            elif kind == "decide":
                store.record(Read(str(uuid4()), item, person, "adjudication", label, number))
            elif kind != "look" and number:
                said = {"read": "label", "unsure": "cannot-tell", "skip": "skip"}[kind]
                read = Read(str(uuid4()), item, person, said, label if kind == "read" else None, number)  # type: ignore[arg-type]
                store.record(read)
            if kind == "look":
                compare(opinions, store, people)
        compare(opinions, store, people)


def compare(opinions: Opinions, store: Store, people: list[int]) -> None:
    """With what follows from all standing reads at once."""
    standing = list(store.current_reads())
    secret = {each.number for each in store.rounds() if each.open}
    hidden = {item for item, number in store.asked_in(range(9)).items() if number in secret}
    told = [read for read in standing if read.item not in hidden]
    agreed = take_snapshot(told, 9, 3)
    public = dict(zip(agreed.positions.tolist(), agreed.labels.tolist(), strict=True))
    public |= dict.fromkeys(agreed.unclear.tolist(), -1)
    for person in people:
        mine = sorted((read for read in standing if read.reader == person), key=lambda r: r.kind == "adjudication")
        own = {read.item: -1 if read.label is None else read.label for read in mine}
        items, labels, is_mine = opinions.known_to(person)
        found = dict(zip(items.tolist(), zip(labels.tolist(), is_mine.tolist(), strict=True), strict=True))
        assert len(found) == len(items)
        expected = {item: (label, False) for item, label in public.items()}
        assert found == expected | {item: (label, True) for item, label in own.items()}
    several = {
        item
        for item in range(9)
        if len({read.label for read in standing if read.item == item and read.kind == "label"}) > 1
    }
    assert {item for _, item in opinions.disagreements()} == several


def say(client: TestClient, item: str, label: int | None) -> None:
    kind = "cannot-tell" if label is None else "label"
    said = {"client_id": str(uuid4()), "round": 1, "item": item, "kind": kind, "label": label}
    assert client.post("/api/reads", json=said).status_code == 200


def test_a_reader_sees_his_own_reads_at_once_and_those_of_others_when_the_round_is_closed(
    site: Site, visit: Visit
) -> None:
    ada, ben = visit("ada"), visit("ben")
    items = [task["item"] for task in ada.post("/api/work", json={"images": 6}).json()["tasks"]]
    say(ada, items[0], 1)
    say(ada, items[1], None)
    address = f"/api/similar/{items[2]}"
    assert ben.get(address).json() == []
    seen = {each["item"]: (each["label"], each["mine"]) for each in ada.get(address).json()}
    assert seen == {items[0]: ("stripe", True), items[1]: (None, True)}
    say(ben, items[0], 1)
    assert {each["item"] for each in ben.get(address).json()} == {items[0]}
    site.store.close_round(1)
    seen = {each["item"]: (each["label"], each["mine"]) for each in ben.get(address).json()}
    assert seen == {items[0]: ("stripe", True), items[1]: (None, False)}


def test_the_most_alike_come_first_and_the_image_itself_never(site: Site, visit: Visit) -> None:
    ada = visit("ada")
    items = [task["item"] for task in ada.post("/api/work", json={"images": 6}).json()["tasks"]]
    for item in items:
        say(ada, item, 0)
    features = np.load(site.folder / FEATURES).astype(float)
    positions = [site.tokens.position(item) or 0 for item in items]
    cosines = {item: features[positions[0]] @ features[p] for item, p in zip(items, positions, strict=True)}
    expected = sorted(items[1:], key=lambda item: -cosines[item])
    address = f"/api/similar/{items[0]}"
    assert [each["item"] for each in ada.get(address).json()] == expected
    assert [each["item"] for each in ada.get(address, params={"images": 2}).json()] == expected[:2]
    assert ada.get(address, params={"images": 51}).status_code == 422
    assert ada.get("/api/similar/x").status_code == 404


def test_a_late_answer_does_not_tell_who_reads_the_item_anew(site: Site, visit: Visit) -> None:
    ada, ben = visit("Ada"), visit("Ben")
    task = ada.post("/api/work", json={"images": 1}).json()["tasks"][0]
    position = site.tokens.position(task["item"])
    assert position is not None
    site.store.close_round(1)
    site.store.open_round("random", [position, (position + 1) % 90])
    late = {"client_id": str(uuid4()), "round": 1, "item": task["item"], "kind": "label", "label": 2}
    assert ada.post("/api/reads", json=late).status_code == 200
    other = site.tokens.item_id((position + 1) % 90)
    assert ben.get(f"/api/similar/{other}").json() == []
    assert [each["item"] for each in ada.get(f"/api/similar/{other}").json()] == [task["item"]]
    site.store.close_round(2)
    assert [each["label"] for each in ben.get(f"/api/similar/{other}").json()] == ["noise"]
