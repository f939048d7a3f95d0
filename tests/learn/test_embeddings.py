"""Standardised embeddings against the plain formula on the whole array, to the bit."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from overread.arrays import rows as rows_module
from overread.learn import embeddings as module
from overread.learn.embeddings import EmbeddingRows, SideBySide, scaling_of, standardised
from overread.learn.row_files import RowFile


def plain(embeddings: NDArray[np.float32], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """All rows with mean 0 and deviation 1 over those of `train`."""
    rows = embeddings[train].astype(np.float64)
    deviation = rows.std(axis=0)
    return np.asarray((embeddings - rows.mean(axis=0)) / np.where(deviation > 0, deviation, 1), dtype=np.float32)


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["lazy", "in memory"])
def test_parts_of_a_few_rows_give_the_bits_of_the_whole(
    limit: int, in_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 7 * 4 * 11)
    rng = np.random.default_rng(0)
    values = (100 + rng.standard_normal((300, 11)) * 10.0 ** rng.integers(-3, 4, 11)).astype(np.float32)
    values[:, 4] = 0.5  # constant
    train = np.sort(rng.permutation(300)[:200])
    np.save(tmp_path / "values.npy", values)
    stored = RowFile.of_map(np.load(tmp_path / "values.npy", mmap_mode="r")) if in_file else values
    scaling = scaling_of(stored, train)
    expected = plain(values, train)
    for some in (train, np.setdiff1d(np.arange(300), train)):
        found = standardised(stored, some, scaling)
        assert isinstance(found, np.ndarray if limit else EmbeddingRows)
        assert (found.shape, found.dtype) == ((len(some), 11), np.float32)
        np.testing.assert_array_equal(found[:], expected[some])
        positions = np.array([len(some) - 1, 0, 0, 17])
        np.testing.assert_array_equal(found[positions], expected[some[positions]])
    assert (expected[:, 4] == 0).all()


def test_without_a_scaling_the_rows_are_handed_out_as_they_are() -> None:
    values = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    rows = EmbeddingRows(values, np.array([5, 1, 8]))
    assert len(rows) == 3
    np.testing.assert_array_equal(rows[np.array([2, 0])], values[[8, 5]])


def test_embeddings_side_by_side_have_an_equal_say() -> None:
    rng = np.random.default_rng(1)
    narrow = (50 + 9 * rng.standard_normal((40, 3))).astype(np.float32)
    wide = (0.01 * rng.standard_normal((40, 20))).astype(np.float32)
    constant = np.ones((40, 2), dtype=np.float32)
    train = np.arange(0, 40, 2)
    both = SideBySide([narrow, wide, constant], train)
    assert (len(both), both.shape, both[:].dtype.name) == (40, (40, 25), "float32")
    expected = np.concatenate(
        [part / np.sqrt(part[train].astype(np.float64).var(axis=0).sum()) for part in (narrow, wide)] + [constant],
        axis=1,
    )
    np.testing.assert_allclose(both[:], expected, rtol=1e-6)
    np.testing.assert_array_equal(both[np.array([7, 0, 7])], both[:][[7, 0, 7]])
