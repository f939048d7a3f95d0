"""A table with one row an image: path, label, and optionally id, second label, group and split."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from overread.arrays import IntArray
from overread.config import DataConfig
from overread.data.formats.tables import Table, read_table
from overread.data.images import check_file, read_deep
from overread.data.labels import encode_column, encode_labels, encode_one_hot
from overread.data.raw import ItemError, RawItems, data_format
from overread.data.texts import NOT_UTF8, shown, writable
from overread.data.walk import walk
from overread.errors import ConfigError, DataError

__all__ = ["read_csv"]


@data_format("csv")
def read_csv(path: Path, config: DataConfig) -> RawItems:
    """The items of a table; the keys of `config` say which column holds what.

    The separator is the most frequent of comma, semicolon and tab in the first line.  An image is the file
    `image_root / (path + path_suffix)`; a mere name that is not there is looked for in all folders below, links
    to folders included.
    `group_column` may be in the table or in the second table `metadata`, joined by `path_column` = `metadata_key`.
    DataError: an absent column or file, a quote that is never closed, one key twice in the second table.
    """
    table = read_table(path)
    values = table.column(config.path_column, "data.path_column")
    ids = table.column(config.id_column, "data.id_column") if config.id_column else values
    used = {config.path_column, config.id_column, config.label_column, *config.one_hot_columns}
    used |= {config.given_column, config.group_column, config.split_column}
    misplaced = {**table.line_breaks(used), **table.ragged}
    problems = dict(misplaced)
    files = _image_files(values, config.image_root or path.parent, config.path_suffix, problems)
    if config.one_hot_columns:
        hot = [table.column(name, "data.one_hot_columns") for name in config.one_hot_columns]
        indices, wrong = encode_one_hot(list(zip(*hot, strict=True)))
        names = [config.one_hot_columns[k] if k >= 0 else "" for k in indices.tolist()]
        labels, class_names, outside = encode_labels(names, config.one_hot_columns, config.classes)
        wrong = {**outside, **wrong}
    else:
        texts = table.column(config.label_column, "data.label_column")
        # What stands in the label column of a misplaced row is no class.
        texts = ["" if i in misplaced else text for i, text in enumerate(texts)]
        labels, class_names, wrong = encode_labels(texts, None, config.classes)
    problems = {**wrong, **problems}
    columns: dict[str, IntArray] = {}
    if config.given_column:
        given = table.column(config.given_column, "data.given_column")
        found = config.one_hot_columns or None
        columns["given"], wrong = encode_column(given, found, class_names, config.given_column)
        problems = {**wrong, **problems}
    groups = _groups(table, values, config, problems)
    return RawItems(
        name=path.stem,
        class_names=class_names,
        ids=ids,
        sources=[writable(str(file)) for file in files],
        labels=labels,
        files=files,
        open_pixels=lambda _: nullcontext(lambda i: read_deep(files[i])),
        columns=columns,
        groups=groups,
        split=table.column(config.split_column, "data.split_column") if config.split_column else None,
        problems=problems,
    )


def _image_files(values: Sequence[str], root: Path, suffix: str, problems: dict[int, str]) -> list[Path]:
    """The file of every item; items whose file cannot be told are added to `problems`."""
    if not root.is_dir():
        raise DataError(f"the folder of the images, data.image_root={root}, does not exist")
    files = [root / f"{value}{suffix}" for value in values]
    below: dict[str, list[Path]] | None = None
    for i, value in enumerate(values):
        if not value:
            problems.setdefault(i, f"row {i + 1} names no image")
            continue
        try:
            check_file(files[i])
            continue
        except ItemError as error:
            why = str(error)
        below = _files_below(root) if below is None else below
        found = below.get(files[i].name, []) if Path(value).name == value else []
        if not found:
            problems.setdefault(i, why)
        elif len(found) > 1 and len({file.resolve() for file in found}) > 1:
            name = shown(files[i].name)
            problems.setdefault(i, f"its name {name} stands for several files, {shown(found[0])} and {shown(found[1])}")
        elif writable(str(found[0])) != str(found[0]):
            problems.setdefault(i, f"{shown(found[0])}: {NOT_UTF8}")
        files[i] = found[0] if found else files[i]
    return files


def _files_below(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for file in walk(root).files:
        found[file.name].append(file)
    return found


def _groups(table: Table, values: Sequence[str], config: DataConfig, problems: dict[int, str]) -> list[str] | None:
    if config.group_column is None:
        if config.metadata is not None:
            raise ConfigError("data.metadata is given without data.group_column, the column of it that is wanted")
        return None
    if config.metadata is None or config.group_column in table.columns:
        return table.column(config.group_column, "data.group_column")
    second = read_table(config.metadata)
    second.refuse_ragged()
    keys = second.column(config.metadata_key, "data.metadata_key")
    group_of: dict[str, str] = {}
    for key, group in zip(keys, second.column(config.group_column, "data.group_column"), strict=True):
        if group_of.setdefault(key, group) != group:
            one, other = shown(group_of[key]), shown(group)
            raise DataError(f"{config.metadata} puts '{shown(key)}' into two groups, '{one}' and '{other}'", [key])
    for i, value in enumerate(values):
        if value not in group_of:
            problems.setdefault(i, f"{config.metadata} has no row for it")
    return [group_of.get(value, "") for value in values]
