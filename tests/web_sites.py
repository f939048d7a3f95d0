"""A small project with a round to read, and browsers of several readers without a browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tiny import write_tiny_set

from overread.progress import Silent
from overread.project.begin import init_project
from overread.project.folder import open_project
from overread.project.steps import learn_labels, select_items
from overread.web import Site, make_app, open_site

__all__ = ["begun_study", "site", "study", "visit"]

HOME = "http://127.0.0.1:8000"
SETTINGS = (
    "preset=default",
    "model.mode=frozen",
    "model.weights=none",
    "model.name=small_resnet",
    "data.image_size=16",
)


@pytest.fixture(scope="session")
def begun_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after phase 1."""
    place = tmp_path_factory.mktemp("begun")
    images = write_tiny_set(place / "tiny.npz")
    folder = place / "study"
    init_project(folder, images, None, [*SETTINGS, f"data.cache={place / 'cache'}"], None, Silent())
    with open_project(folder, to_work=True) as project:
        learn_labels(project, Silent())
    return folder


@pytest.fixture
def study(begun_study: Path, tmp_path: Path) -> Path:
    """A project whose first round, six items by two readers each, is open."""
    folder = tmp_path / "study"
    shutil.copytree(begun_study, folder)
    with open_project(folder, to_work=True) as project:
        select_items(project, 6, Silent(), audited=0, readers=2)
    return folder


@pytest.fixture
def site(study: Path) -> Iterator[Site]:
    """The site of `study`, without log-in, blind."""
    with open_site(study) as made:
        yield made


@pytest.fixture
def visit(site: Site) -> Iterator[Callable[[str], TestClient]]:
    """A function that signs a reader in and returns his browser."""
    app = make_app(site)
    open_clients = []

    def signed_in(name: str) -> TestClient:
        client = TestClient(app, base_url=HOME)
        open_clients.append(client)
        answer = client.post("/api/session", json={"name": name})
        assert answer.status_code == 200, answer.text
        client.headers["X-Overread-Proof"] = answer.json()["proof"]
        return client

    yield signed_in
    for client in open_clients:
        client.close()
