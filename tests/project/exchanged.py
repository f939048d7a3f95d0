"""Small projects that are ready to be exported and to be read into."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from fake_projects import fake_round

from overread.progress import Silent
from overread.project.begin import init_project
from overread.project.folder import Project, open_project
from overread.project.queue_file import write_queue
from overread.store import Kind, Read

CLASSES = ("disc", "a/b & <c>", "Größe")
SIDE = 6
N_ITEMS = 20


def begun(folder: Path, images: Path, *settings: str) -> Path:
    """A project with the `images` after its phase 1, which nobody computed."""
    init_project(folder, images, None, ["data.min_class_items=1", *settings], None, Silent())
    fake_round(folder)
    return folder


def write_arrays(path: Path, ids: list[str] | None = None, classes: tuple[str, ...] = CLASSES) -> Path:
    """An .npz file with small random pictures, the classes in turn."""
    rng = np.random.default_rng(3)
    names = ids or [f"item {number}" for number in range(N_ITEMS)]
    pixels = rng.integers(0, 256, (len(names), SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(len(names)) % len(classes)
    np.savez(path, images=pixels, labels=labels, class_names=classes, image_id=names)
    return path


@contextmanager
def with_round(folder: Path, wanted: int = 1) -> Iterator[Project]:
    """The project, its first round open over the first ten items."""
    order = list(range(10))
    with open_project(folder, to_work=True) as project:
        names = {item.position: item.id for item in project.store.items()}
        write_queue(folder, 1, {"audited": [], "chosen": order}, [(names[each], "") for each in order])
        project.store.open_round("random", order, wanted)
        yield project


def said(item: int, reader: int, label: int | None, kind: Kind = "label", **more: Any) -> Read:
    """A read with an id of its own."""
    return Read(str(uuid4()), item, reader, kind, label, **more)


def standing(project: Project) -> set[tuple[Any, ...]]:
    """The reads that stand: item, reader, kind, label, comment, seconds."""
    who = {reader.id: reader.name for reader in project.store.readers()}
    return {
        (read.item, who[read.reader], read.kind, read.label, read.comment, read.seconds)
        for read in project.store.current_reads()
    }
