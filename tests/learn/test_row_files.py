"""Rows in files against arrays; a phase 1 whose window lies in files against one whose window is in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from overread.config import LnlConfig, ModelConfig
from overread.errors import RunError
from overread.learn import lnl
from overread.learn.lnl import LnlResult, learn_with_noisy_labels
from overread.learn.models import build_network
from overread.learn.row_files import RowFile, WindowFiles
from overread.learn.sources import FeatureSource
from overread.learn.training import Checkpointer
from overread.progress import Advance, Reporter, Silent

N = 90


@pytest.fixture
def array() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "rows",
    [
        slice(None),
        slice(3, 9),
        slice(9, 3),
        slice(0, 50, 7),
        np.array([], np.int64),
        np.array([4]),
        np.array([49, 0, 0, 20]),
        np.array([9, 7, 8, 8]),
    ],
    ids=str,
)
def test_a_row_file_gives_what_the_array_gives(
    rows: slice | NDArray[np.int64], array: NDArray[np.float32], tmp_path: Path
) -> None:
    np.save(tmp_path / "rows.npy", array)
    file = RowFile.of_map(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert (file.shape, len(file)) == (array.shape, len(array))
    np.testing.assert_array_equal(file[rows], array[rows])
    torch.from_numpy(file[rows])  # warns of memory that it may not write to


def test_what_is_written_is_there_and_the_rest_is_zero(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows", (5, 2), "w")
    file[np.array([3, 1, 3])] = np.array([[1, 2], [3, 4], [5, 6]])
    file[np.array([], np.int64)] = np.empty((0, 2))
    file.sync()
    again = RowFile(tmp_path / "rows", (5, 2), "r+")
    assert again[:].tolist() == [[0, 0], [3, 4], [0, 0], [5, 6], [0, 0]]
    assert RowFile(tmp_path / "rows", (5, 2), "w")[:].any() == np.False_


def test_rows_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"rows cannot be opened \(No such file"):
        RowFile(tmp_path / "rows", (5, 2))
    RowFile(tmp_path / "rows", (5, 2), "w")
    with pytest.raises(RunError, match="too short for 6 rows of 2 numbers"):
        RowFile(tmp_path / "rows", (6, 2))
    file = RowFile(tmp_path / "rows", (5, 2))
    with pytest.raises(IndexError, match="rows 0 to 5"):
        file[np.array([0, 5])]
    with pytest.raises(RunError, match="cannot be written"):
        file[np.array([0])] = np.ones((1, 2))
    (tmp_path / "rows").write_bytes(b"")
    with pytest.raises(RunError, match="cut short"):
        file[:]


def test_only_epochs_that_no_checkpoint_asks_for_are_removed(tmp_path: Path) -> None:
    files = WindowFiles(tmp_path / "a.safetensors")
    for network in range(2):
        for epoch in range(12):
            files.of_network(network, (3, 2))(epoch, True)
    files.forget(before=10)
    names = {f"network-{network}-epoch-{epoch}.rows" for network in range(2) for epoch in (10, 11)}
    assert {path.name for path in files.folder.iterdir()} == names
    files.clear()
    files.clear()
    assert list(tmp_path.iterdir()) == []


class StopsAfter(Silent):
    """A reporter that interrupts at the end of an epoch, when its checkpoint is due or not."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        def advance(steps: int) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        yield advance


class SavesEpoch(Checkpointer):
    """A checkpointer to which a save is due at the end of one epoch alone."""

    def __init__(self, path: Path, epoch: int) -> None:
        super().__init__(path, 0.0, "test")
        self.epoch = epoch

    def save_if_due(self, epoch: int, *rest: Any) -> None:
        if epoch == self.epoch:
            super().save_if_due(epoch, *rest)


def phase1(checkpointer: Checkpointer, reporter: Reporter, source: str = "training") -> LnlResult:
    rng = np.random.default_rng(1)
    given = rng.integers(0, 3, N)
    features = (rng.normal(size=(3, 6))[given] + rng.normal(size=(N, 6))).astype(np.float32)
    networks = [build_network(ModelConfig(head="mlp", hidden=8, dropout=0.2), 3, 6, seed) for seed in range(2)]
    config = LnlConfig.model_validate(
        {"epochs": 10, "batch_size": 32, "warmup_epochs": 3, "vog_window": 3, "vog_source": source, "mix_ratio": 0.5}
    )
    rows = FeatureSource(features, torch.device("cpu"))
    return learn_with_noisy_labels(networks, rows, given, 3, 0.2, config, 5, checkpointer, reporter)


@pytest.mark.parametrize("source", ["training", "evaluation"])
def test_a_window_in_files_changes_no_bit(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = phase1(Checkpointer(None, 0.0, "test"), Silent(), source)
    monkeypatch.setattr(lnl, "WINDOW_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(lnl, "EVALUATED_AT_ONCE", 32)
    found = phase1(Checkpointer(tmp_path / "a.safetensors", 0.0, "test"), Silent(), source)
    # Scored in other batches, the last bits may differ.
    exact = 0.0 if source == "training" else 1e-5
    np.testing.assert_allclose(found.vog, expected.vog, rtol=exact)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=exact)
    names = {path.name for path in (tmp_path / "a.windows").iterdir()}
    assert names == {f"network-{network}-epoch-{epoch}.rows" for network in range(2) for epoch in (7, 8, 9)}


@pytest.mark.parametrize(("saved", "stopped"), [(4, 5), (4, 9), (0, 4)])
def test_it_goes_on_to_the_bit_however_many_epochs_came_after_the_checkpoint(
    saved: int, stopped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = phase1(Checkpointer(None, 0.0, "test"), Silent())
    monkeypatch.setattr(lnl, "WINDOW_IN_MEMORY_BYTES", 0)
    path = tmp_path / "a.safetensors"
    with pytest.raises(KeyboardInterrupt):
        phase1(SavesEpoch(path, saved), StopsAfter(stopped))
    resumed = phase1(Checkpointer(path, 0.0, "test"), Silent())
    np.testing.assert_array_equal(resumed.vog, expected.vog)
    np.testing.assert_array_equal(resumed.loss, expected.loss)


def test_a_window_file_that_is_lost_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lnl, "WINDOW_IN_MEMORY_BYTES", 0)
    path = tmp_path / "a.safetensors"
    with pytest.raises(KeyboardInterrupt):
        phase1(SavesEpoch(path, 4), StopsAfter(6))
    (tmp_path / "a.windows" / "network-1-epoch-3.rows").unlink()
    with pytest.raises(RunError, match=r"network-1-epoch-3\.rows cannot be opened .*; put it back, or start again"):
        phase1(Checkpointer(path, 0.0, "test"), Silent())
