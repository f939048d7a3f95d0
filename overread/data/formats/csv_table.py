"""A table with one row an image: path, label, and optionally id, second label, group and split."""

import csv
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from overread.arrays import IntArray
from overread.config import DataConfig, did_you_mean
from overread.data.images import read_image
from overread.data.labels import encode_column, encode_labels, encode_one_hot
from overread.data.raw import RawItems, data_format
from overread.errors import ConfigError, DataError

__all__ = ["read_csv"]

Table = dict[str, list[str]]


@data_format("csv")
def read_csv(path: Path, config: DataConfig) -> RawItems:
    """The items of a table; the keys of `config` say which column holds what.

    The separator is the most frequent of comma, semicolon and tab in the first line.  An image is the file
    `image_root / (path + path_suffix)`; a mere name that is not there is looked for in all folders below.
    `group_column` may be in the table or in the second table `metadata`, joined by `path_column` = `metadata_key`.
    DataError: an absent column or file, a row of the wrong length, one key twice in the second table.
    """
    table, problems = _read_table(path)
    columns: dict[str, IntArray] = {}
    values = _column(table, config.path_column, path, "data.path_column")
    ids = _column(table, config.id_column, path, "data.id_column") if config.id_column else values
    files = _image_files(values, config.image_root or path.parent, config.path_suffix, problems)
    if config.one_hot_columns:
        hot = [_column(table, name, path, "data.one_hot_columns") for name in config.one_hot_columns]
        indices, wrong = encode_one_hot(list(zip(*hot, strict=True)))
        names = [config.one_hot_columns[k] if k >= 0 else "" for k in indices.tolist()]
        labels, class_names, outside = encode_labels(names, config.one_hot_columns, config.classes)
        wrong = {**outside, **wrong}
    else:
        texts = _column(table, config.label_column, path, "data.label_column")
        labels, class_names, wrong = encode_labels(texts, None, config.classes)
    problems = {**wrong, **problems}
    if config.given_column:
        given = _column(table, config.given_column, path, "data.given_column")
        found = config.one_hot_columns or None
        columns["given"], wrong = encode_column(given, found, class_names, config.given_column)
        problems = {**wrong, **problems}
    groups = _groups(table, values, path, config, problems)
    return RawItems(
        name=path.stem,
        class_names=class_names,
        ids=ids,
        sources=[str(file) for file in files],
        labels=labels,
        files=files,
        open_pixels=lambda _: nullcontext(lambda i: read_image(files[i])),
        columns=columns,
        groups=groups,
        split=_column(table, config.split_column, path, "data.split_column") if config.split_column else None,
        problems=problems,
    )


def _read_table(path: Path) -> tuple[Table, dict[int, str]]:
    """The columns of a table by name, and its ragged rows."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            rows = [row for row in csv.reader(stream, delimiter=max(",;\t", key=first.count)) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the table {path} cannot be read as UTF-8 text ({error})") from None
    if len(rows) < 2:
        raise DataError(f"the table {path} has no rows below its header")
    header = [name.strip() for name in rows[0]]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"the table {path} has the column {twice[0]!r} twice")
    problems: dict[int, str] = {}
    width = len(header)
    for i, row in enumerate(rows[1:]):
        if len(row) != width:
            problems[i] = f"row {i + 1} of {path} has {len(row)} fields where the header has {width}"
            row[:] = (row + [""] * width)[:width]
    return {name: [row[k].strip() for row in rows[1:]] for k, name in enumerate(header)}, problems


def _column(table: Table, name: str, path: Path, key: str) -> list[str]:
    if name not in table:
        raise DataError(f"{path} has no column {name!r} ({key}): {did_you_mean(name, table)}")
    return table[name]


def _image_files(values: Sequence[str], root: Path, suffix: str, problems: dict[int, str]) -> list[Path]:
    """The file of every item; items whose file cannot be told are added to `problems`."""
    if not root.is_dir():
        raise DataError(f"the folder of the images, data.image_root={root}, does not exist")
    files = [root / f"{value}{suffix}" for value in values]
    below: dict[str, list[Path]] | None = None
    for i, value in enumerate(values):
        if not value:
            problems.setdefault(i, f"row {i + 1} names no image")
        elif not files[i].is_file():
            below = _files_below(root) if below is None else below
            found = below[files[i].name] if Path(value).name == value else []
            if len(found) == 1:
                files[i] = found[0]
            elif found:
                problems.setdefault(i, f"its name {files[i].name} stands for several files, {found[0]} and {found[1]}")
            else:
                problems.setdefault(i, f"the file {files[i]} does not exist")
    return files


def _files_below(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for folder, _, names in os.walk(root):
        for name in names:
            found[name].append(Path(folder, name))
    return found


def _groups(
    table: Table, values: Sequence[str], path: Path, config: DataConfig, problems: dict[int, str]
) -> list[str] | None:
    if config.group_column is None:
        if config.metadata is not None:
            raise ConfigError("data.metadata is given without data.group_column, the column of it that is wanted")
        return None
    if config.metadata is None or config.group_column in table:
        return _column(table, config.group_column, path, "data.group_column")
    second, ragged = _read_table(config.metadata)
    if ragged:
        raise DataError(next(iter(ragged.values())))
    keys = _column(second, config.metadata_key, config.metadata, "data.metadata_key")
    group_of: dict[str, str] = {}
    for key, group in zip(
        keys, _column(second, config.group_column, config.metadata, "data.group_column"), strict=True
    ):
        if group_of.setdefault(key, group) != group:
            raise DataError(f"{config.metadata} puts {key!r} into two groups, {group_of[key]!r} and {group!r}", [key])
    for i, value in enumerate(values):
        if value not in group_of:
            problems.setdefault(i, f"{config.metadata} has no row for it")
    return [group_of.get(value, "") for value in values]
