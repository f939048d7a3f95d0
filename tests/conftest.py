import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Databases that tests ask for by name.
pytest_plugins = ["browser", "store_places", "web_sites"]

TEST_DATA = Path(os.environ.get("OVERREAD_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the cache of the person who runs the tests out of them, and them out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERREAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A function from the name of a real image set to its .npz file; skips the test where there is none."""

    def find(name: str) -> Path:
        path = TEST_DATA / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"{path.name} is not in {TEST_DATA}: set OVERREAD_TEST_DATA to the folder of real image sets")
        return path

    return find
