"""Images are decoded once; a cache that is stale, half or damaged is built again, and several may build it at once."""

import os
import resource
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_builders import Toy, config, save_image, toy, write_csv, write_folder, write_hdf5, write_npz

from overread.data import cache, load_dataset
from overread.errors import DataError
from overread.progress import Silent


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of items of every pass of decoding."""
    real, counts = cache._decode, []

    def counted(*arguments: Any) -> Any:
        counts.append(len(arguments[1]))
        return real(*arguments)

    monkeypatch.setattr(cache, "_decode", counted)
    return counts


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted((folder / "cache" / "images").glob(pattern))


def test_the_second_load_decodes_nothing(tmp_path: Path, decodings: list[int]) -> None:
    keys = config(tmp_path, **write_folder(toy(), tmp_path))
    first, second = load_dataset(keys, seed=0), load_dataset(keys, seed=0)
    np.testing.assert_array_equal(first.images, second.images)
    assert first.digest == second.digest
    assert decodings == [36]
    assert {path.suffix for path in files(tmp_path, "*")} == {".npy", ".json"}


def test_labels_splits_and_seeds_need_no_new_decoding(tmp_path: Path, decodings: list[int]) -> None:
    keys = write_csv(toy(), tmp_path)
    load_dataset(config(tmp_path, **keys), seed=0)
    text = keys["path"].read_text()
    keys["path"].write_text(text.replace("nv", "wart"))
    del keys["split_column"]
    for seed in range(3):
        assert load_dataset(config(tmp_path, **keys, max_train=9), seed=seed).class_names[2] == "wart"
    assert decodings == [36]


@pytest.mark.parametrize("change", ["pixels", "size", "fewer"])
def test_what_changes_pixels_decodes_again(change: str, tmp_path: Path, decodings: list[int]) -> None:
    data, more = toy(), {}
    keys = write_folder(data, tmp_path)
    load_dataset(config(tmp_path, **keys), seed=0)
    path = tmp_path / "toy" / "train" / "nv" / "im005.png"
    if change == "pixels":
        before = path.stat()
        save_image(255 - data.images[5], path)
        # A clock that is too coarse to see the change would be no fault of the cache.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    elif change == "size":
        more = {"image_size": 10}
    else:
        path.unlink()
    loaded = load_dataset(config(tmp_path, **keys, **more), seed=0)
    assert decodings == [36, 35 if change == "fewer" else 36]
    if change == "pixels":
        row = loaded.ids.tolist().index("train/nv/im005.png")
        np.testing.assert_array_equal(loaded.images[row], 255 - data.images[5])


def test_resizing_to_the_size_that_images_have_changes_nothing(tmp_path: Path) -> None:
    keys = write_folder(toy(), tmp_path)
    plain = load_dataset(config(tmp_path, **keys), seed=0)
    np.testing.assert_array_equal(load_dataset(config(tmp_path, **keys, image_size=12), seed=0).images, plain.images)


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "no table", "half a table", "other table", "no pixels", "rubbish"]
)
@pytest.mark.parametrize("subset", [False, True])
def test_a_damaged_cache_is_built_again(damage: str, subset: bool, tmp_path: Path) -> None:
    keys = config(tmp_path, **write_npz(toy(), tmp_path), **({"max_train": 9} if subset else {}))
    before = load_dataset(keys, seed=0)
    expected = np.array(before.images)
    del before
    for path in files(tmp_path, "*.npy"):
        content = path.read_bytes()
        if damage == "cut":
            path.write_bytes(content[:-100])
        elif damage == "flipped":
            path.write_bytes(content[:-3000] + bytes([content[-3000] ^ 1]) + content[-2999:])
        elif damage == "rubbish":
            path.write_bytes(b"rubbish")
        elif damage == "no pixels":
            path.unlink()
    (table,) = files(tmp_path, "*.json")
    if damage == "no table":
        table.unlink()
    elif damage == "half a table":
        table.write_text(table.read_text()[:300])
    elif damage == "other table":
        table.write_text('{"positions": [0], "digests": ["a"], "unreadable": []}')
    np.testing.assert_array_equal(load_dataset(keys, seed=0).images, expected)
    np.testing.assert_array_equal(load_dataset(keys, seed=0).images, expected)


def test_threads_that_build_one_cache_at_once(tmp_path: Path) -> None:
    keys = config(tmp_path, **write_folder(toy(), tmp_path), max_train=9)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: load_dataset(keys, seed=0), range(8)))
    assert len({one.digest for one in loaded}) == 1
    for one in loaded:
        np.testing.assert_array_equal(one.images, loaded[0].images)
    assert {path.suffix for path in files(tmp_path, "*")} == {".npy", ".json"}


def test_processes_that_build_one_cache_at_once(tmp_path: Path) -> None:
    keys = write_folder(toy(n=300, side=24), tmp_path)
    code = (
        "from overread.config import DataConfig; from overread.data import load_dataset; "
        f"print(load_dataset(DataConfig(path={str(keys['path'])!r}, cache={str(tmp_path / 'cache')!r}), 0).digest)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    digests = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert digests == {load_dataset(config(tmp_path, **keys), seed=0).digest + "\n"}


def test_a_killed_decoding_does_no_harm(tmp_path: Path, decodings: list[int]) -> None:
    """What it leaves is ignored, and deleted once nobody can be writing it."""
    place = tmp_path / "cache" / "images"
    old, new = place / ".decoding-old", place / ".decoding-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "unsorted").write_bytes(b"half")
    past = time.time() - 2 * cache.STALE_SECONDS
    os.utime(old, (past, past))
    half = place / ".abc.npy.123.tmp"
    half.write_bytes(b"half")
    os.utime(half, (past, past))
    load_dataset(config(tmp_path, **write_npz(toy(), tmp_path)), seed=0)
    assert decodings == [36]
    assert files(tmp_path, ".*") == [new]


def test_a_cache_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match=r"cache folder .*cache cannot be written .*set data.cache or the variable"):
        load_dataset(config(tmp_path, **write_npz(toy(), tmp_path)), seed=0)


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_a_full_disk(kind: str, tmp_path: Path) -> None:
    """Simulated by the limit on the size of a file: the system then refuses to write, as on a full disk."""
    data = toy(n=300)
    keys = config(tmp_path, **(write_npz if kind == "npz" else write_folder)(data, tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(DataError, match=r"cannot be written .*to a folder with room"):
            load_dataset(keys, seed=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path, "*") == []
    assert len(load_dataset(keys, seed=0).images) == 300


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERREAD_CACHE", str(tmp_path / "a"))
    assert cache.cache_folder(None) == tmp_path / "a"
    assert cache.cache_folder(tmp_path / "b") == tmp_path / "b"
    monkeypatch.setenv("OVERREAD_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder(None) == tmp_path / ".cache" / "overread"


@pytest.mark.parametrize("write", [write_npz, write_hdf5])
def test_no_set_is_held_in_memory(write: Any, tmp_path: Path) -> None:
    n, side = 1992, 100
    images = np.zeros((n, side, side, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(n) % 256
    base = toy(n=n, side=1)
    keys = config(tmp_path, **write(Toy(images, base.labels, base.split, base.ids), tmp_path), max_train=900)
    whole = images.nbytes
    del images
    tracemalloc.start()
    try:
        loaded = load_dataset(keys, seed=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert loaded.images.shape == (1896, side, side, 3)
    assert peak < whole / 2


def test_progress_counts_every_item(tmp_path: Path) -> None:
    class Counting(Silent):
        def __init__(self) -> None:
            self.totals: list[int] = []
            self.steps = 0
            self.notes: list[str] = []

        def task(self, description: str, total: int, done: int = 0) -> Any:
            from contextlib import nullcontext

            self.totals.append(total)
            return nullcontext(self.add)

        def add(self, steps: int) -> None:
            self.steps += steps

        def note(self, text: str) -> None:
            self.notes.append(text)

    data = toy()
    data.images[6] = data.images[0]  # one is val, the other train
    progress = Counting()
    load_dataset(config(tmp_path, **write_npz(data, tmp_path)), seed=0, progress=progress)
    assert progress.totals == [36]
    assert progress.steps == 36
    assert progress.notes == ["equal images stand in two splits: 1 pairs, such as 0 and 6"]


def test_a_strict_run_stops_soon_after_the_first_unreadable_image(tmp_path: Path) -> None:
    data = toy(n=600)
    keys = write_csv(data, tmp_path)
    (tmp_path / "pictures" / "im005.png").write_text("hello")
    (tmp_path / "pictures" / "im599.png").write_text("hello")
    with pytest.raises(DataError, match="one item cannot be used"):
        load_dataset(config(tmp_path, **keys), seed=0)
    # Skipping has to know them all.
    assert len(load_dataset(config(tmp_path, **keys, on_error="skip"), seed=0).skipped) == 2
