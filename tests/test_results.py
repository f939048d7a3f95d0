import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from overread.errors import RunError
from overread.results import lost_files, read_results, round_file, write_gallery, write_results, write_scores

WHOLE = {"schema": 1, "complete": False, "rounds": []}


def test_results_come_back_with_nan_as_null(tmp_path: Path) -> None:
    write_results(tmp_path, {**WHOLE, "noise": {"estimated_rate": math.nan}})
    assert read_results(tmp_path) == {**WHOLE, "noise": {"estimated_rate": None}}


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "damaged"),
        (json.dumps(WHOLE).encode()[:-5], "damaged"),
        (b"\xff\xfe\x00", "damaged"),
        (b"[]", "schema 1"),
        (json.dumps({**WHOLE, "schema": 2}).encode(), "schema 1"),
        (json.dumps({"schema": 1, "complete": True}).encode(), "no rounds"),
    ],
)
def test_damaged_results_are_named(tmp_path: Path, content: bytes, fragment: str) -> None:
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(RunError, match=rf"results\.json.*{fragment}"):
        read_results(tmp_path)


def test_a_folder_without_results_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no results\.json"):
        read_results(tmp_path)


def test_files_of_rounds_sort_by_round() -> None:
    names = [round_file(Path("run"), "scores", number) for number in (0, 2, 10, 999)]
    assert names == sorted(names)
    assert names[1] == Path("run/scores/round-002.parquet")
    assert round_file(Path("run"), "checkpoints", 4, ".safetensors").name == "round-004.safetensors"


def test_what_a_run_wrote_and_lost_is_named(tmp_path: Path) -> None:
    results = {"complete": False, "rounds": []}
    assert lost_files(tmp_path, results) == []
    first = ["noise.json", *(f"{kind}/round-000" for kind in ("checkpoints", "scores", "test"))]
    stages = [
        ({"complete": False, "rounds": [{"round": 0}]}, first),
        ({"complete": True, "rounds": [{"round": 0}]}, [*first, "gallery.npz"]),
        (
            {"complete": False, "rounds": [{"round": 0}, {"round": 1}]},
            [*first, *(name.replace("000", "001") for name in first[1:]), "reads.parquet"],
        ),
    ]
    for results, names in stages:
        lost = [path.relative_to(tmp_path) for path in lost_files(tmp_path, results)]
        assert sorted(str(path.with_suffix("") if "round" in path.name else path) for path in lost) == sorted(names)
    for path in lost_files(tmp_path, stages[2][0]):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert lost_files(tmp_path, stages[2][0]) == []
    round_file(tmp_path, "test", 0).unlink()
    assert lost_files(tmp_path, stages[2][0]) == [tmp_path / "test" / "round-000.parquet"]


def test_scores_hold_the_columns_and_one_probability_a_class(tmp_path: Path) -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(3), size=5)
    columns = {"id": np.array(list("abcde")), "given": np.arange(5), "bought": np.arange(5) > 2}
    write_scores(tmp_path / "scores" / "round-000.parquet", columns, probs)
    table = pq.read_table(tmp_path / "scores" / "round-000.parquet")
    assert table.column_names == ["id", "given", "bought", "prob_0", "prob_1", "prob_2"]
    assert table["id"].to_pylist() == list("abcde")
    assert table["bought"].to_pylist() == [False, False, False, True, True]
    assert np.array_equal(np.stack([table[f"prob_{c}"].to_numpy() for c in range(3)], axis=1), probs)


def test_the_gallery_needs_no_pickle(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    write_gallery(tmp_path, ids=np.array(["a", "Ünïcode"]), images=images)
    with np.load(tmp_path / "gallery.npz", allow_pickle=False) as stored:
        assert sorted(stored) == ["ids", "images"]
        assert np.array_equal(stored["images"], images)
        assert stored["ids"].tolist() == ["a", "Ünïcode"]
    with pytest.raises(ValueError, match="allow_pickle"):
        write_gallery(tmp_path, ids=np.array([object()], dtype=object))
    assert [entry.name for entry in tmp_path.iterdir()] == ["gallery.npz"]
