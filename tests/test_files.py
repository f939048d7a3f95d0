import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.files import atomic_path, write_arrays, write_json, write_table, write_text

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def write_half(target: Path, error: BaseException) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("new, but hal")
        raise error


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "scores.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match="half"):
        write_half(target, RuntimeError("half written"))
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.txt"]


def test_an_error_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "new.txt", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "never.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_errors_are_about_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("there", "x" * 256):
        with pytest.raises(OSError, match=name) as caught:
            write_text(tmp_path / name, "text")
        assert caught.value.filename == str(tmp_path / name)


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    for name in ("x" * 255, "\U0001f9b7" * 63):
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"


def test_folders_are_made_and_a_folder_is_never_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "deep")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "deep"
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "a" / "b", "a file in place of a folder")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c.txt"]


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "scores.txt"
    write_text(target, "old")
    code = (
        "import os, pathlib, sys\n"
        "from overread.files import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('hal')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == -9
    assert target.read_text() == "old"


def test_readers_beside_many_writers_see_whole_files_only(tmp_path: Path) -> None:
    target = tmp_path / "shared.txt"
    contents = [str(writer) * 200_000 for writer in range(6)]
    write_text(target, contents[0])

    def write(writer: int) -> None:
        for _ in range(10):
            write_text(target, contents[writer])

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, writer) for writer in range(6)]
        while not all(writer.done() for writer in writers):
            assert target.read_text() in contents
        for writer in writers:
            writer.result()
    assert [entry.name for entry in tmp_path.iterdir()] == ["shared.txt"]


def test_tables_and_arrays_come_back(tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([], pa.string()), "round": pa.array([], pa.int64())})
    write_table(tmp_path / "a" / "reads.parquet", table)
    assert pq.read_table(tmp_path / "a" / "reads.parquet").equals(table)
    arrays = {"images": np.arange(12, dtype=np.uint8).reshape(3, 4), "names": np.array(["a", "Ünïcode"])}
    write_arrays(tmp_path / "b" / "set.other", **arrays)
    with np.load(tmp_path / "b" / "set.other") as stored:
        assert {name: stored[name].tolist() for name in stored} == {n: a.tolist() for n, a in arrays.items()}


def test_an_array_that_needs_a_pickle_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(target, objects=np.array([object()]))
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_text_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    write_text(tmp_path / "names.txt", "Mélanome – 黒色腫")
    assert (tmp_path / "names.txt").read_bytes() == "Mélanome – 黒色腫".encode()


def test_nan_is_null_at_every_depth(tmp_path: Path) -> None:
    value = {"f1": math.nan, "rounds": [{"auroc": np.float64("nan")}, (1.5, math.nan)], "n": 3}
    write_json(tmp_path / "r.json", value)
    assert json.loads((tmp_path / "r.json").read_text()) == {
        "f1": None,
        "rounds": [{"auroc": None}, [1.5, None]],
        "n": 3,
    }


@given(JSON_VALUES)
@settings(deadline=None, max_examples=60)
def test_json_without_nan_is_what_it_was(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert equal_but_for_nan(json.loads(path.read_text(), parse_constant=refuse), value)


def equal_but_for_nan(read: object, value: object) -> bool:
    """Whether `read` is `value` with null in place of every NaN."""
    if isinstance(value, dict):
        return (
            isinstance(read, dict)
            and read.keys() == value.keys()
            and all(equal_but_for_nan(read[key], value[key]) for key in value)
        )
    if isinstance(value, list):
        return isinstance(read, list) and all(map(equal_but_for_nan, read, value)) and len(read) == len(value)
    return read is None if value != value else type(read) is type(value) and read == value


def test_infinity_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "r.json", {"loss": math.inf})
    assert list(tmp_path.iterdir()) == []
