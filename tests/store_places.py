"""Every test that asks for `place` or `store` runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from absent import absent
from clocks import Clock
from postgresql_server import Server, binaries

from overread.store import Store


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    programs = binaries()
    if programs is None:
        absent("there is no PostgreSQL server here: apt-get install postgresql")
    running = Server(programs)
    try:
        yield running
    finally:
        running.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database can be made: a file that is not there, or the URL of an empty one."""
    if request.param == "sqlite":
        return str(tmp_path / "project.db")
    running: Server = request.getfixturevalue("server")
    return running.new_database()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(place: str, clock: Clock) -> Iterator[Store]:
    """A store with six items and three readers, numbered 1 to 3, the third of them the owner."""
    with Store.create(place, ["benign", "malignant", "other"], clock=clock) as made:
        made.add_items((f"image-{number}", number % 3) for number in range(6))
        for name in ("ada", "ben"):
            made.add_reader(name)
        made.add_reader("cleo", "owner", "a hash")
        yield made
