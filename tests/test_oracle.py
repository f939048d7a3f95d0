from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare

from overread.errors import RunError
from overread.oracle import Read, SimulatedOracle, load_reads, save_reads

REFERENCE = np.tile(np.arange(4), 1000)
READS = st.tuples(st.integers(0, 49), st.integers(0, 4), st.integers(1, 6), st.sampled_from(["bought", "leak"]))
EVERYTHING = np.arange(len(REFERENCE))


def asked(error_rate: float, seed: int = 0, round_number: int = 1, purpose: str = "bought") -> np.ndarray:
    return SimulatedOracle(REFERENCE, 4, error_rate, seed).answer(EVERYTHING, round_number, purpose)


@given(st.lists(st.lists(st.integers(0, 99), max_size=20), max_size=5))
@settings(deadline=None, max_examples=50)
def test_every_answer_is_a_read_in_order(rounds: list[list[int]]) -> None:
    reference = np.random.default_rng(0).integers(0, 5, 100)
    oracle = SimulatedOracle(reference, 5, 0.3, seed=1)
    expected = []
    for number, positions in enumerate(rounds, start=1):
        labels = oracle.answer(np.array(positions, dtype=np.int64), number, "bought")
        expected += [Read(p, int(y), number, "bought") for p, y in zip(positions, labels, strict=True)]
    assert oracle.reads == expected


def test_without_errors_the_answer_is_the_reference_and_a_copy_of_it() -> None:
    reference = np.array([2, 0, 1])
    oracle = SimulatedOracle(reference, 3, 0.0, seed=0)
    labels = oracle.answer(np.array([2, 0]), 1, "leak")
    assert labels.tolist() == [1, 2]
    labels[:] = 0
    assert reference.tolist() == [2, 0, 1]
    assert oracle.reads == [Read(2, 1, 1, "leak"), Read(0, 2, 1, "leak")]


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_errors_come_at_the_rate_and_go_evenly_to_the_other_classes(rate: float) -> None:
    labels = asked(rate)
    wrong = labels != REFERENCE
    assert binomtest(int(wrong.sum()), len(labels), rate).pvalue > 1e-4
    assert chisquare(np.bincount((labels - REFERENCE)[wrong] % 4, minlength=4)[1:]).pvalue > 1e-4
    assert labels.min() >= 0
    assert labels.max() <= 3


def test_an_erring_reader_of_two_classes_says_the_other_one() -> None:
    reference = np.zeros(500, dtype=np.int64)
    labels = SimulatedOracle(reference, 2, 0.999, seed=3).answer(np.arange(500), 1, "bought")
    assert binomtest(int((labels == 1).sum()), 500, 0.999).pvalue > 1e-4


def test_errors_depend_on_seed_round_and_purpose_alone() -> None:
    first = asked(0.4)
    assert np.array_equal(first, asked(0.4))
    fresh = SimulatedOracle(REFERENCE, 4, 0.4, seed=0)
    fresh.answer(EVERYTHING[:10], 7, "bought")
    assert np.array_equal(first, fresh.answer(EVERYTHING, 1, "bought"))
    for other in (asked(0.4, seed=1), asked(0.4, round_number=2), asked(0.4, purpose="leak")):
        assert not np.array_equal(first != REFERENCE, other != REFERENCE)


@given(st.lists(READS))
@settings(deadline=None, max_examples=40)
def test_reads_come_back_up_to_the_asked_round(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "reads.parquet"
    reads = [Read(*row) for row in rows]
    save_reads(path, reads, np.array([f"image {i}.png" for i in range(50)]))
    for last in (0, 3, 6):
        assert load_reads(path, last) == [read for read in reads if read.round <= last]
    assert pq.read_table(path)["id"].to_pylist() == [f"image {read.position}.png" for read in reads]


def test_reads_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "reads.parquet"
    with pytest.raises(RunError, match=r"reads\.parquet"):
        load_reads(path, 1)
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(RunError, match=r"reads\.parquet.*another folder"):
        load_reads(path, 1)
    pq.write_table(pa.table({"position": [1]}), path)
    with pytest.raises(RunError, match=r"reads\.parquet.*label"):
        load_reads(path, 1)
