"""Where an export may be written, and in which form."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from os.path import realpath
from pathlib import Path

from overread.errors import ConfigError, RunError
from overread.files import atomic_path, write_text
from overread.project.exports.folders import write_folders
from overread.project.exports.label_studio import LOCAL_FILES, tasks_file
from overread.project.exports.rows import labelled_items
from overread.project.exports.tables import Write, csv_table, parquet_table
from overread.project.folder import STATE, Project
from overread.project.label_studio import labelling_config

__all__ = ["config_file", "export_labels"]

FORMATS = ("csv", "parquet", "folder", "label-studio")


def export_labels(project: Project, out: Path, form: str, *, images: str = LOCAL_FILES, link: bool = False) -> int:
    """The number of items written to `out`: every one with its label and where that comes from.

    form: csv or parquet, a table.  Columns: `given`, what the model suggests, `label` and its `source` (adjudicated,
    read, disputed = what the model suggests where readers do not agree, given = what the model agrees with, model), the
    `probability` of the label by the image alone, and `reads`, JSON with every read that was ever made of the item,
    those that were replaced later included.  Or folder, images by class, see `write_folders`, which `link` is for.  Or
    label-studio: tasks as JSON, and beside them the labelling configuration (`config_file`); `images` comes before
    the id in the address of an image.  Written whole or not at all, in bounded memory, but for the list of images that
    folders need.
    Errors: RunError before phase 1, for a place that the project is made of, and for one that cannot be written;
    ConfigError for another form.
    """
    if form not in FORMATS:
        raise ConfigError(f"there is no format {form!r} to export: known are {', '.join(FORMATS)}")
    _check_place(project, out, form)
    try:
        return _write(project, out, form, images, link)
    except OSError as error:
        raise RunError(f"{out} cannot be written ({error.strerror or error}): give another place with --out") from None


def _write(project: Project, out: Path, form: str, images: str, link: bool) -> int:
    if form == "folder":
        return write_folders(project, out, link=link)
    # Before anything is written: what it refuses is known then.
    config = labelling_config(project.store.classes) if form == "label-studio" else None
    model = f"overread, round {len(project.rounds) - 1}"
    writers: dict[str, Callable[[Path], AbstractContextManager[Write]]] = {
        "csv": csv_table,
        "parquet": parquet_table,
        "label-studio": lambda path: tasks_file(path, images, model),
    }
    count = 0
    with atomic_path(out) as path, writers[form](path) as write:
        for items in labelled_items(project):
            write(items)
            count += len(items)
    if config is not None:
        write_text(config_file(out), config)
    return count


def config_file(out: Path) -> Path:
    """The labelling configuration beside the tasks in `out`."""
    return out.with_name(f"{out.stem}.config.xml")


def _check_place(project: Project, out: Path, form: str) -> None:
    sources = [project.config.data.path, project.config.data.metadata, project.state.get("labels")]
    if form != "folder" and out.exists() and not (out.is_file() or out.is_dir()):
        raise RunError(f"{out} is no ordinary file: give another one with --out")
    if out.is_symlink() or out.name in ("", ".."):
        raise RunError(f"{out} is a link, or no name of its own: give the place itself with --out")
    if out.exists() and any(each is not None and Path(each).exists() and out.samefile(each) for each in sources):
        raise RunError(f"{out} holds the images or labels of the project: give another file with --out")
    place = Path(realpath(out))
    if place.is_relative_to(realpath(project.folder)) or any((each / STATE).is_file() for each in place.parents):
        raise RunError(f"{out} lies in a project folder: give a place outside of it with --out")
    if form == "label-studio" and config_file(out).exists() and not config_file(out).is_file():
        raise RunError(f"{config_file(out)}, which is written beside it, is no ordinary file: give another --out")
    if form != "folder":
        if out.is_dir():
            raise RunError(f"{out} is a folder: give a file with --out")
        return
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} is there already: give a new folder with --out")
    for data in (project.config.data.path, project.config.data.image_root):
        if data is not None and data.is_dir() and Path(realpath(out)).is_relative_to(realpath(data)):
            raise RunError(f"{out} lies in the folder of images {data}, and would become data: give another one")
