"""How a project begins: from images and the labels that they came with, to a folder with a database."""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from overread.config import Config, load_config
from overread.data.alike import same_but_for_case, spelt_alike
from overread.data.dataset import Dataset, load_dataset
from overread.data.formats.medmnist_npz import is_set_name
from overread.data.formats.tables import read_table
from overread.data.images import IMAGE_SUFFIXES
from overread.data.labels import encode_labels
from overread.data.walk import walk
from overread.errors import ConfigError, DataError, RunError, StoreError, name_some
from overread.progress import Reporter
from overread.project.folder import CANNOT_TELL, DATABASE, STATE, check_config, save_state
from overread.project.words import command, counted
from overread.run import PROJECT, code_id, folder_of, open_run
from overread.store import Store
from overread.store.engine import is_file, url_of

__all__ = ["class_notes", "init_project"]

MOST_CLASSES = 500
FEW = 3
"""Images of a class whose name may be a typing error; or so many that another class has `RARE` times as many."""
RARE = 50


def init_project(
    folder: Path, images: Path, labels: Path | None, settings: list[str], database: str | None, reporter: Reporter
) -> dict[str, Any]:
    """What `project.json` of the new project in `folder` holds.

    images: whatever `data.path` may be.  labels: a table with the columns `id` and `label`, which take the place of
    those of the images; for a folder of images one with `path` and `label`.  database: a URL of PostgreSQL; None = a
    file in the folder.  Errors: DataError, ConfigError, RunError where there is a project or anything else already.
    """
    if (folder / STATE).exists():
        raise RunError(f"{folder} is a project already: see `{command('status', folder)}`")
    config = _config(folder, images, labels, settings)
    check_config(config)
    # Before images are decoded, which may take hours.
    folder_of(config, PROJECT)
    if database is not None:
        _check_url(database)
    _check_places(images, labels)
    dataset = load_dataset(config.data, config.seed, reporter, needs_test=False)
    if CANNOT_TELL in dataset.class_names:
        raise DataError(f"a class is named '{CANNOT_TELL}', which is what readers say who know none: rename it")
    train = dataset.positions("train")
    ids = dataset.ids[train].tolist()
    given = dataset.reference[train].tolist()
    if labels is not None and config.data.path != labels.absolute():
        given = _labels_of(labels, ids, dataset, config)
    counts = np.bincount(given, minlength=len(dataset.class_names)).tolist()
    for note in class_notes(dataset.class_names, counts, ids, given):
        reporter.note(note)
    with open_run(config, PROJECT) as run:
        if (run / STATE).exists():
            raise RunError(f"{folder} has become a project meanwhile: see `{command('status', folder)}`")
        if database is None:
            _refuse_used(run)
            # What an `init` left that was killed before it was done.
            for leftover in run.glob(f"{DATABASE}*"):
                leftover.unlink()
        try:
            with Store.create(database or run / DATABASE, dataset.class_names) as store:
                store.add_items(zip(ids, given, strict=True))
        except BaseException:
            # So that the command can be mended and given again.
            for made in run.glob(f"{DATABASE}*"):
                made.unlink()
            raise
        state: dict[str, Any] = {
            "schema": 1,
            "database": database,
            # What config.yaml leaves out, since it changes no result.
            "checkpoint_seconds": config.checkpoint_seconds,
            "cache": None if config.data.cache is None else str(config.data.cache.absolute()),
            "labels": None if labels is None else str(labels.absolute()),
            "unlisted": _unlisted(images, dataset, config),
            "dataset": {
                "name": dataset.name,
                "classes": list(dataset.class_names),
                "counts": counts,
                "items": len(ids),
                "digest": dataset.digest,
                "skipped": [list(entry) for entry in dataset.skipped],
            },
            "code": code_id(),
            "rounds": [],
        }
        save_state(run, state)
    return state


def class_notes(names: Sequence[str], counts: Sequence[int], ids: Sequence[str], given: Sequence[int]) -> list[str]:
    """Notes on classes that may be meant to be one, and on which images have the rarer of them.

    counts: items of each class.  ids, given: of every item.  Names that differ by case or blanks alone are one, and so
    may a class with few items be that has nearly the name of a larger one.  None of more than 500 classes, which nobody
    typed.
    """
    notes: list[str] = []
    if len(names) > MOST_CLASSES:
        return notes
    for small, large in permutations(range(len(names)), 2):
        few = counts[small] < counts[large] and counts[small] <= max(FEW, counts[large] // RARE)
        same = same_but_for_case(names[small], names[large]) and (counts[small], small) < (counts[large], large)
        if same or (few and spelt_alike(names[small], names[large])):
            where = [name for name, label in zip(ids, given, strict=True) if label == small]
            notes.append(
                f"{counted(counts[small], 'image')} with the label {names[small]!r} ({name_some(where, 3)}), and "
                f"{counts[large]} with {names[large]!r}: did you mean {names[large]!r}? Then begin again with mended "
                "labels"
            )
    return notes


def _refuse_used(folder: Path) -> None:
    """RunError where the database in `folder` holds what somebody did: then it is no leftover of a killed `init`."""
    if not (folder / DATABASE).is_file():
        return
    try:
        with Store.open(folder / DATABASE) as store:
            was_used = bool(store.rounds() or store.readers())
    except StoreError:
        # Killed before there were tables.
        return
    if was_used:
        raise RunError(f"{folder / DATABASE} holds readers or rounds, and {STATE} is lost: restore it from a copy")


def _check_places(images: Path, labels: Path | None) -> None:
    """DataError that names the option whose file or folder cannot be used, where that shows from outside."""
    if labels is not None and not labels.is_file():
        raise DataError(f"--labels {labels} {'is no file' if labels.exists() else 'does not exist'}: give a table")
    if not images.exists() and not is_set_name(str(images)):
        raise DataError(f"--images {images} does not exist: give a folder of images, a table or a file of arrays")
    if labels is None and images.is_dir():
        entries = list(images.iterdir())
        flat = any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries)
        if flat and not any(entry.is_dir() and not entry.name.startswith(".") for entry in entries):
            raise DataError(
                f"--images {images} holds images and no folder for each class: say their labels with --labels FILE, a "
                f"table with the columns path and label, where path is the name of a file in {images}"
            )


def _config(folder: Path, images: Path, labels: Path | None, settings: list[str]) -> Config:
    # Absolute, so that every later command finds them from wherever it is given; a set of medmnist is no path.
    path = images.absolute() if images.exists() else images
    own = [f"data.path={path}"]
    said = {setting.partition("=")[0].strip() for setting in settings}
    twice = said & {"data.path", "data.image_root", "out"}
    if twice:
        raise ConfigError(f"{name_some(sorted(twice))} is said by --images, --labels and DIR already: leave it out")
    if labels is not None and images.is_dir():
        own = [f"data.path={labels.absolute()}", "data.format=csv", f"data.image_root={path}"]
    config = load_config(None, [*own, *settings])
    return config.model_copy(update={"out": folder})


def _labels_of(file: Path, ids: list[str], dataset: Dataset, config: Config) -> list[int]:
    """The labels in the table `file` for the items `ids`; DataError where one has none, or several, or an odd one."""
    table = read_table(file)
    table.refuse_ragged()
    keys = table.column(config.data.id_column or "id", "data.id_column")
    texts = table.column(config.data.label_column, "data.label_column")
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise DataError(f"{file} names {name_some(twice)} more than once: leave one line of each", twice)
    indices, _, wrong = encode_labels(texts, dataset.class_names, dataset.class_names)
    if wrong:
        first = "; ".join(f"'{keys[i]}': {why}" for i, why in list(wrong.items())[:3])
        raise DataError(f"{len(wrong)} labels of {file} cannot be used: {first}. Mend the table")
    everything = {*dataset.ids.tolist(), *(name for name, _ in dataset.skipped)}
    unknown = [key for key in keys if key not in everything]
    if unknown:
        raise DataError(
            f"{file} names {name_some(unknown)}, of which there is no image: leave these lines out", unknown
        )
    label_of = dict(zip(keys, indices.tolist(), strict=True))
    absent = [name for name in ids if name not in label_of]
    if absent:
        raise DataError(f"{file} has no label for {name_some(absent)}: every image needs one", absent)
    return [label_of[name] for name in ids]


def _unlisted(images: Path, dataset: Dataset, config: Config) -> int:
    """How many images in the folder `images` a table of labels beside it does not name."""
    if config.data.format != "csv" or not images.is_dir():
        return 0
    named = {os.path.realpath(source) for source in dataset.sources.tolist()}
    files = [file for file in walk(images).files if file.suffix.lower() in IMAGE_SUFFIXES]
    return sum(os.path.realpath(file) not in named for file in files)


def _check_url(text: str) -> None:
    """ConfigError unless `text` is the URL of a PostgreSQL without a password: it is kept in a file."""
    try:
        url = url_of(text)
    except StoreError:
        url = None
    if url is None or is_file(url):
        raise ConfigError(f"--db takes postgresql+psycopg://user@host/name, not {text!r}; without it a file is made")
    if url.password is not None or "password" in url.query:
        raise ConfigError(
            "leave the password out of --db, which is kept in a file: put it into ~/.pgpass or PGPASSWORD"
        )
