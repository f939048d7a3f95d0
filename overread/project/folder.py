"""A project folder: its configuration, what was done so far, and the database of reads.

Everything is what a run folder has, but without a reference label anywhere.  `config.yaml` says how, `project.json`
which rounds are complete, and the database what people said.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from overread.arrays import IntArray
from overread.arrays.agreed import MAJORITY, RULES
from overread.config import Config, DataConfig, load_config
from overread.data.dataset import Dataset, load_dataset
from overread.errors import ConfigError, RunError, name_some
from overread.files import write_json
from overread.progress import Reporter
from overread.project.words import command
from overread.run import CONFIG, PROJECT, open_run
from overread.store import Store

__all__ = [
    "CANNOT_TELL",
    "DATABASE",
    "STATE",
    "Project",
    "check_config",
    "check_images",
    "identity_of",
    "load_items",
    "open_project",
    "read_state",
    "save_state",
]

STATE = "project.json"
DATABASE = "project.db"
# What a reader may say instead of a class, in tables.
CANNOT_TELL = "cannot tell"


class Project(NamedTuple):
    """An open project."""

    folder: Path
    config: Config
    state: dict[str, Any]
    """What `project.json` holds; rounds that are not in it are not complete."""
    store: Store

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """The entries of the complete rounds, phase 1 being number 0."""
        entries: list[dict[str, Any]] = self.state["rounds"]
        return entries

    @property
    def consensus(self) -> str:
        """The rule by which several reads of an item become one label."""
        rule: str = self.state.get("consensus", MAJORITY)
        return rule


@contextmanager
def open_project(folder: Path, *, to_work: bool = False) -> Iterator[Project]:
    """The project in `folder`.

    to_work: for a step that writes files; no other step may run then.  Errors: RunError where there is no project, or
    its files are damaged; StoreError for the database.
    """
    if not (folder / CONFIG).is_file() or not (folder / STATE).is_file():
        if (folder / DATABASE).is_file():
            lost = " and ".join(name for name in (CONFIG, STATE) if not (folder / name).is_file())
            raise RunError(f"{folder} holds a project that lost its {lost}: restore that from a copy")
        near = _project_called_like(folder)
        begin = f"begin one with `{command('init', folder, '--images', 'PATH')}`"
        raise RunError(f"{folder} holds no project: {f'did you mean {near}?' if near else begin}")
    config = load_config(folder / CONFIG).model_copy(update={"out": folder})
    with open_run(config, PROJECT) if to_work else nullcontext():
        # Only now: another step may have changed it before this one had the folder to itself.
        state = read_state(folder)
        cache = None if state["cache"] is None else Path(state["cache"])
        own = {
            "checkpoint_seconds": state["checkpoint_seconds"],
            "data": config.data.model_copy(update={"cache": cache}),
        }
        with Store.open(state["database"] or folder / DATABASE) as store:
            yield Project(folder, config.model_copy(update=own), state, store)


def _project_called_like(folder: Path) -> Path | None:
    """A project beside `folder` whose name is nearly the same."""
    try:
        names = [each.name for each in folder.parent.iterdir() if (each / STATE).is_file()]
    except OSError:
        return None
    near = get_close_matches(folder.name, names, n=1)
    return folder.with_name(near[0]) if near else None


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `project.json` atomically."""
    write_json(folder / STATE, dict(state))


def check_config(config: Config) -> None:
    """ConfigError for what needs the truth, or leaves items out."""
    if config.lnl.forget_rate == "true" or config.active.label_leak:
        raise ConfigError(
            "a project has no reference labels: leave out lnl.forget_rate=true, active.label_leak and "
            "preset=paper-as-published, which are for simulations"
        )
    dropped = [key for key in ("imbalance_factor", "max_train") if getattr(config.data, key) is not None]
    if dropped:
        raise ConfigError(f"data.{dropped[0]} leaves items out at random, which is for simulations: remove it")
    plain, said = load_config().settings(), config.settings()
    unread = [f"noise.{key}" for key, value in said["noise"].items() if value != plain["noise"][key]]
    unread += [f"active.{key}" for key in ("until", "oracle_error") if said["active"][key] != plain["active"][key]]
    unread += ["data.given_column"] if config.data.given_column else []
    unread += ["cluster"] if config.cluster != "none" else []
    if unread:
        raise ConfigError(
            f"{name_some(unread)} mean nothing in a project, whose labels are as they are: leave them out"
        )


def identity_of(config: Config) -> str:
    """A digest of what must not change once phase 1 is done; where the images lie may, for their digest is compared."""
    moved = {"path": None, "image_root": None, "metadata": None, "test_path": None}
    return config.model_copy(update={"data": config.data.model_copy(update=moved)}).identity()


def check_images(folder: Path, data: DataConfig) -> None:
    """RunError where the images or their table are no longer where `config.yaml` in `folder` says; no image is read."""
    places = {"path": data.path, "image_root": data.image_root, "metadata": data.metadata, "test_path": data.test_path}
    gone = {key: place for key, place in places.items() if place and place.is_absolute() and not place.exists()}
    if gone:
        where = " and ".join(f"{place} (data.{key})" for key, place in gone.items())
        raise RunError(
            f"the images of the project are no longer at {where}: put them back, or write where they are now into "
            f"{folder / CONFIG}, below data: {', '.join(gone)}"
        )


def load_items(project: Project, reporter: Reporter) -> tuple[Dataset, IntArray]:
    """The images of the project, and the given labels (N,) of its items, those of the training split.

    RunError where the images or their labels are not those with which the project began.
    """
    check_images(project.folder, project.config.data)
    dataset = load_dataset(project.config.data, project.config.seed, reporter, needs_test=False)
    if dataset.digest != project.state["dataset"]["digest"]:
        raise RunError(
            f"the data of the project {project.folder} has changed since it began; put the images and their labels "
            "back, or begin another project"
        )
    items = list(project.store.items())
    ids = dataset.ids[dataset.positions("train")].tolist()
    if [item.id for item in items] != ids:
        raise RunError(f"the database of the project {project.folder} holds other items than its images; restore it")
    return dataset, np.array([item.given for item in items], dtype=np.int64)


def read_state(folder: Path) -> dict[str, Any]:
    """What `project.json` of the project in `folder` holds; RunError where it is damaged."""
    path = folder / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); give it its permissions back") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it from a copy") from None
    if not isinstance(state, dict) or state.get("schema") != 1:
        raise RunError(f"{path} is not of schema 1, the one that this version reads")
    if not _is_whole(state):
        raise RunError(f"{path} lacks parts that this version needs; restore it from a copy")
    return state


def _is_whole(state: Mapping[str, Any]) -> bool:
    rounds, dataset = state.get("rounds"), state.get("dataset")
    if not isinstance(rounds, list) or not isinstance(dataset, dict):
        return False
    keys = ["database", "cache", "checkpoint_seconds", *(["config_id", "device", "choice", "notes"] if rounds else [])]
    own = {"round", "items_read", "estimated_rate", "estimates"}
    return (
        all(key in state for key in keys)
        and {"name", "classes", "items", "digest"} <= dataset.keys()
        and isinstance(dataset["items"], int)
        and all(state[key] is None or isinstance(state[key], str) for key in ("database", "cache"))
        and state.get("consensus", MAJORITY) in RULES
        and all(isinstance(entry, dict) and own <= entry.keys() for entry in rounds)
        and all(isinstance(entry["estimates"], dict) for entry in rounds)
    )
