"""A run folder: one configuration, one process at a time, and what is needed to go on after a crash."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from overread import __version__
from overread.config import Config, load_config
from overread.errors import ConfigError, RunError
from overread.files import write_text
from overread.locks import take_lock
from overread.results import RESULTS

__all__ = ["PROJECT", "RUN", "Kind", "code_id", "default_folder", "folder_of", "open_run"]

CONFIG = "config.yaml"
LOCK = "run.lock"


@cache
def code_id() -> str:
    """Version of the package and a digest of its source files, so that results name the code that made them."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def default_folder(config: Config) -> Path:
    """Folder of a run that was given none: the same command finds the same folder again."""
    data = config.data.path or Path("data")
    # Paths such as `.` and `..` name nothing themselves, and the root has no name at all.
    stem = data.stem if data.name not in ("", "..") else _real(data).stem or "data"
    return Path("runs") / f"{stem}-{config.preset}-{config.identity()[:8]}"


class Kind(NamedTuple):
    """What a folder is made for, and how messages say so."""

    name: str
    another: str
    """How another folder is given."""
    waiting: str
    """What helps where another process works in it."""


RUN = Kind("run", "with --out", "wait for it or give another --out")
PROJECT = Kind("project", "as DIR", "wait for it")


def folder_of(config: Config, kind: Kind = RUN) -> Path:
    """The folder of the run of `config`: `out`, else the default one; it need not exist.

    Errors: RunError where it lies in a folder that data is read from, for its files would become data.
    """
    folder = config.out or default_folder(config)
    for data in (config.data.path, config.data.test_path):
        if data is not None and data.is_dir() and _real(folder).is_relative_to(_real(data)):
            raise RunError(
                f"the {kind.name} folder {folder} lies in the data folder {data}, where its files would be taken for "
                f"data; give one outside of it {kind.another}"
            )
    return folder


def _real(path: Path) -> Path:
    """`path` without symbolic links; unlike Path.resolve, also where they lead in a circle."""
    return Path(os.path.realpath(path))


@contextmanager
def open_run(config: Config, kind: Kind = RUN) -> Iterator[Path]:
    """The run folder of `config`, created or found again, for this process alone; or that of a project.

    Where the block ends in an error before it wrote anything, a new folder goes away again, so that the command can
    be mended and repeated.  Errors: RunError where another process works in the folder, where it holds a run of
    another configuration or one that lost its configuration, where it holds other files, where it lies in the data,
    or where it cannot be written.
    """
    folder = folder_of(config, kind)
    with _naming(folder, kind):
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file; give a folder {kind.another}")
        before = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
        if CONFIG not in before and RESULTS in before:
            raise RunError(
                f"{folder} holds a run that lost its {CONFIG}, so nothing says how to go on with it; "
                f"put the file back or give another folder {kind.another}"
            )
        if CONFIG not in before and any(name != LOCK and not _is_leftover(name) for name in before):
            raise RunError(
                f"{folder} holds other files and no {kind.name}; give a new or an empty folder {kind.another}"
            )
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    with _naming(folder, kind):
        lock = take_lock(folder / LOCK, way_out=kind.waiting)
    with lock:
        try:
            with _naming(folder, kind):
                _claim(folder / CONFIG, config, kind)
            for leftover in folder.rglob(".*.tmp"):
                if not leftover.is_dir():
                    leftover.unlink(missing_ok=True)
            yield folder
        except BaseException:
            if CONFIG not in before and {entry.name for entry in folder.iterdir()} <= {CONFIG, LOCK}:
                _undo(folder, before, missing)
            raise


def _undo(folder: Path, before: set[str], missing: list[Path]) -> None:
    """Remove the files of a run that made nothing, and the folders that were made for it."""
    for name in {CONFIG, LOCK} - before:
        (folder / name).unlink(missing_ok=True)
    # A parent may hold another run by now.
    with suppress(OSError):
        for place in missing:
            place.rmdir()


@contextmanager
def _naming(folder: Path, kind: Kind) -> Iterator[None]:
    """Turn the system's errors into one that names the folder and the way out."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"the {kind.name} folder {folder} cannot be used ({reason}); give another {kind.another}"
        ) from None


def _is_leftover(name: str) -> bool:
    """Whether a file is what a killed process left of an atomic write."""
    return name.startswith(".") and name.endswith(".tmp")


def _claim(path: Path, config: Config, kind: Kind) -> None:
    """Write the configuration of a new run; compare it with that of one that is there."""
    if not path.exists():
        header = f"# Written by overread {__version__}: the whole configuration of this run ({config.identity()}).\n"
        # ASCII with escapes: with allow_unicode a few characters, such as U+0085, do not come back.
        write_text(path, header + yaml.safe_dump(config.settings_of_results(), sort_keys=False))
        return
    try:
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError):
        there = None
    if not isinstance(there, dict):
        raise RunError(
            f"{path} is damaged, so nothing says what {kind.name} this is; give another folder {kind.another}"
        )
    try:
        # Keys that came later have their defaults.
        there = load_config(path).settings_of_results()
    except ConfigError as error:
        raise RunError(f"{path} cannot be used by this version ({error}); give another folder {kind.another}") from None
    different = sorted(set(_differences(there, config.settings_of_results())))
    if different:
        more = f" and {len(different) - 4} more" if len(different) > 4 else ""
        raise RunError(
            f"{path.parent} holds a {kind.name} with another configuration ({', '.join(different[:4])}{more} differ); "
            f"give another folder {kind.another}"
        )


def _differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key in a.keys() | b.keys():
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            yield f"{prefix}{key}"
