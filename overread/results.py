"""The files of a run folder: `results.json` (schema 1), scores of every round, noise, and the gallery."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from overread.errors import RunError
from overread.files import write_arrays, write_json, write_table

__all__ = [
    "GALLERY",
    "NOISE",
    "READS",
    "RESULTS",
    "column_names",
    "lost_files",
    "read_column",
    "read_results",
    "round_file",
    "write_gallery",
    "write_results",
    "write_scores",
]

RESULTS = "results.json"
NOISE = "noise.json"
READS = "reads.parquet"
GALLERY = "gallery.npz"


def round_file(run: Path, kind: str, round_number: int, suffix: str = ".parquet") -> Path:
    """Path of a file of one round, such as `scores/round-003.parquet`."""
    return run / kind / f"round-{round_number:03d}{suffix}"


def write_results(run: Path, results: Mapping[str, Any]) -> None:
    """Write `results.json` atomically; NaN becomes null."""
    write_json(run / RESULTS, dict(results))


def read_results(run: Path) -> dict[str, Any]:
    """The results of the run in folder `run`; RunError where there are none or they are damaged."""
    path = run / RESULTS
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{run} holds no {RESULTS}, so it is no run folder") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"{path} is damaged ({error}); remove it to start this run again") from None
    if not isinstance(results, dict) or results.get("schema") != 1:
        raise RunError(f"{path} is not of schema 1, the one that this version reads; give another folder")
    absent = [key for key in ("complete", "rounds") if key not in results]
    if absent:
        raise RunError(f"{path} is damaged (it has no {absent[0]}); remove it to start this run again")
    return results


def read_column(path: Path, name: str) -> NDArray[Any]:
    """The column `name` (N,) of a file that `write_scores` wrote; RunError where it is damaged."""
    try:
        return np.asarray(pq.read_table(path, columns=[name])[name])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise RunError(f"{path} is damaged ({error}); remove it and run the same command again") from None


def column_names(path: Path) -> list[str]:
    """The columns of a file that `write_scores` wrote; RunError where it is damaged."""
    try:
        names: list[str] = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} is damaged ({error}); remove it and run the same command again") from None
    return names


def lost_files(run: Path, results: Mapping[str, Any]) -> list[Path]:
    """Files that the rounds in `results` wrote and that are no longer in the folder `run`.

    Not `report.html`, which is made from the others, and not the end of phase 1, which may lie elsewhere.
    """
    numbers = [entry["round"] for entry in results["rounds"]]
    written = [run / NOISE] if numbers else []
    written += [round_file(run, "checkpoints", number, ".safetensors") for number in numbers]
    written += [round_file(run, kind, number) for number in numbers for kind in ("scores", "test")]
    if numbers[1:]:
        written.append(run / READS)
    if results["complete"]:
        written.append(run / GALLERY)
    return [path for path in written if not path.is_file()]


def write_scores(path: Path, columns: Mapping[str, Any], probs: NDArray[np.floating]) -> None:
    """Write one row per item: `columns`, then `prob_0` ... of `probs` (N, C), as Parquet, atomically."""
    table = {name: pa.array(values) for name, values in columns.items()}
    table |= {f"prob_{index}": pa.array(probs[:, index]) for index in range(probs.shape[1])}
    write_table(path, pa.table(table))


def write_gallery(run: Path, **arrays: NDArray[Any]) -> None:
    """Write the images of the report's gallery and what is said of them, uncompressed and without pickles."""
    write_arrays(run / GALLERY, **arrays)
