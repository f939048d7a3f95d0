"""From the labels that a source holds, names or numbers, to class indices."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from overread.arrays import IntArray
from overread.data.raw import ItemError
from overread.data.texts import shown
from overread.errors import name_some

__all__ = ["class_order", "encode_column", "encode_labels", "encode_one_hot"]

NO_LABEL = "it has no label"
Names = Sequence[str] | None


def encode_labels(values: ArrayLike, found: Names, wanted: Names) -> tuple[IntArray, tuple[str, ...], dict[int, str]]:
    """Class indices (N,), the class names in order, and the problems: position -> why the item has no index.

    `values` (N,) are whole numbers or texts.  `found` are the class names that the source brings: whole numbers
    index them.  `wanted` are the names of the configuration: they fix the order, and a label outside them is a
    problem.  Without `found`, whole numbers index `wanted`, unless a wanted name is a number: then all are names.
    Without either, the classes are the distinct labels, numbers in numerical order, else sorted.
    Items with a problem have the index -1.  The empty text and -1 mean that there is no label.

    >>> encode_labels(["nv", "mel", "nv"], None, None)
    (array([1, 0, 1]), ('mel', 'nv'), {})
    """
    distinct, inverse = np.unique(np.asarray(values), return_inverse=True)
    names = [_name_or_error(value, found, wanted) for value in distinct.tolist()]
    if wanted is not None:
        classes = tuple(wanted)
    elif found is not None:
        classes = tuple(found)
    else:
        classes = class_order({name for name in names if isinstance(name, str)})
    index = {name: position for position, name in enumerate(classes)}
    codes = np.full(len(names), -1, dtype=np.int64)
    reasons = [""] * len(names)
    for k, name in enumerate(names):
        if isinstance(name, ItemError):
            reasons[k] = str(name)
        elif name in index:
            codes[k] = index[name]
        else:
            reasons[k] = f"its label '{shown(name)}' is outside the classes {name_some(classes)}"
    labels = codes[inverse.reshape(-1)]
    problems = {int(i): reasons[inverse.reshape(-1)[i]] for i in np.flatnonzero(labels < 0)}
    return labels, classes, problems


def encode_column(
    values: ArrayLike, found: Names, classes: Sequence[str], column: str
) -> tuple[IntArray, dict[int, str]]:
    """Class indices (N,) of a further label column, -1 = absent, and the problems: position -> what is wrong.

    Like `encode_labels`, but a missing label is no problem: not every annotator saw every item.

    >>> encode_column(["nv", ""], None, ["mel", "nv"], "given")
    (array([ 1, -1]), {})
    """
    labels, _, problems = encode_labels(values, found, classes)
    return labels, {i: f"column {column}: {why}" for i, why in problems.items() if why != NO_LABEL}


def encode_one_hot(rows: Sequence[Sequence[str]]) -> tuple[IntArray, dict[int, str]]:
    """Class indices (N,) from one 0/1 column a class, and the problems: not finite, or not exactly one 1.

    >>> encode_one_hot([["0.0", "1.0"], ["1", "1"]])
    (array([ 1, -1]), {1: 'its one-hot columns hold 1, 1 and not exactly one 1'})
    """
    labels = np.full(len(rows), -1, dtype=np.int64)
    problems: dict[int, str] = {}
    for i, row in enumerate(rows):
        try:
            numbers = [float(value) for value in row]
        except ValueError:
            problems[i] = f"its one-hot columns hold {shown(', '.join(row))} and not only numbers"
            continue
        if not all(math.isfinite(number) for number in numbers):
            problems[i] = f"its one-hot columns hold {shown(', '.join(row))}, which is not finite"
        elif sorted(numbers) != [0.0] * (len(numbers) - 1) + [1.0]:
            problems[i] = f"its one-hot columns hold {shown(', '.join(row))} and not exactly one 1"
        else:
            labels[i] = numbers.index(1.0)
    return labels, problems


def _name_or_error(value: Any, found: Names, wanted: Names) -> str | ItemError:
    try:
        return _name(value, found, wanted)
    except ItemError as error:
        return error


def _name(value: Any, found: Names, wanted: Names) -> str:
    """The class name that one label stands for."""
    known = found if found is not None else wanted
    if isinstance(value, str):
        text = value.strip()
        if not text:
            raise ItemError(NO_LABEL)
        if known is not None and text in known:
            return text
    number = _whole_number(value)
    if number is None:
        return str(value).strip()
    if number == -1:
        raise ItemError(NO_LABEL)
    names_are_numbers = known is not None and any(_is_number(name) for name in known)
    # Numbers from an array always index the names that came with it; a text that is a number may be a name itself.
    if known is None or (names_are_numbers and (found is None or isinstance(value, str))):
        if number < 0:
            raise ItemError(f"its label {shown(number)} is negative")
        # A text of digits stays as it is written: 01 and 1 may be two classes.
        return value.strip() if isinstance(value, str) and value.strip().isdigit() else str(number)
    if not 0 <= number < len(known):
        raise ItemError(f"its label {shown(number)} is outside the {len(known)} classes 0 to {len(known) - 1}")
    return str(known[number])


def _whole_number(value: Any) -> int | None:
    """The number, or None for a text that is none; spreadsheets write whole numbers with a hole as 1.0."""
    try:
        # Long codes are exact as whole numbers only.
        if "_" not in str(value):  # Python reads 1_0 as 10
            return int(str(value))
    except ValueError:
        pass
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number):
        raise ItemError(f"its label {shown(value)} is not finite")
    if number != int(number):
        raise ItemError(f"its label {shown(value)} is not a whole number")
    return int(number)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def class_order(names: set[str]) -> tuple[str, ...]:
    """Class names in the order that nobody gave: numbers by value, else sorted."""
    if all(_is_number(name) for name in names):
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    return tuple(sorted(names))
