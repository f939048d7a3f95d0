"""What must hold of the item table before anything is learnt from it.

Problems of single items (an unreadable file, a missing label, an id that stands twice) may be skipped on request and
are then listed.  Problems of the set (a group in two splits, a class without items) are always errors: leaving
something out would be a choice that only the user can make.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overread.arrays import IntArray
from overread.arrays.splits import group_leaks
from overread.data.alike import same_but_for_case, spelt_alike
from overread.data.raw import RawItems, ReadPixels
from overread.data.texts import shown, writable
from overread.errors import DataError, name_some

__all__ = [
    "SPLITS",
    "SPLIT_WORDS",
    "add_test_source",
    "check_classes",
    "check_groups",
    "check_split_names",
    "item_name",
    "item_problems",
    "refuse",
]

SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
    **{split: split for split in SPLITS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "testing": "test",
}


def item_problems(items: RawItems) -> dict[int, str]:
    """Every problem of single items that shows without decoding: position -> reason, in order of position.

    Beside those that the format found: an empty id, an id that stands twice (all of its items: which of them is
    meant cannot be known), and a word in the split column that is no split.
    """
    problems = dict(items.problems)
    positions = defaultdict(list)
    for i, name in enumerate(items.ids):
        positions[name].append(i)
    for name, same in positions.items():
        for i in same:
            if not name:
                problems.setdefault(i, "its id is empty")
            elif len(same) > 1:
                problems.setdefault(i, f"its id stands {len(same)} times")
    for i, word in enumerate(items.split or ()):
        if word.strip().lower() not in SPLIT_WORDS:
            problems.setdefault(i, f"its split '{shown(word)}' is none of {', '.join(SPLITS)}")
    return dict(sorted(problems.items()))


def refuse(items: RawItems, problems: Mapping[int, str]) -> None:
    """Nothing where there are no problems; else DataError, which names the first items and their reasons."""
    if not problems:
        return
    names = [item_name(items, i) for i in problems]
    first = "; ".join(
        f"'{name}'" + (f" ({shown(items.sources[i])})" if name not in items.sources[i] else "") + f": {why}"
        for name, (i, why) in list(zip(names, problems.items(), strict=True))[:3]
    )
    count = f"{len(problems)} items cannot be used" if len(problems) > 1 else "one item cannot be used"
    more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
    raise DataError(f"{count}: {first}{more}. Mend the data, or leave such items out with data.on_error=skip", names)


def item_name(items: RawItems, i: int) -> str:
    """The item's name in messages and in lists of what was left out."""
    return shown(items.ids[i] or items.sources[i])


def check_split_names(split: Sequence[str], needs_test: bool = True) -> None:
    """DataError unless there is a train split, and where it is needed a test split not made from something else."""
    present = set(split)
    if "train" not in present:
        raise DataError(f"the data has no train split, only {name_some(sorted(present))}")
    if needs_test and present == {"train", "val"}:
        raise DataError(
            "the data has a train and a val split but no test split: "
            "mark the test items, or give them as data.test_path"
        )


def check_groups(groups: Sequence[str] | NDArray[np.str_], split: Sequence[str] | NDArray[np.str_]) -> None:
    """DataError naming the groups that stand in two splits: what is learnt from one half is no test on the other."""
    leaks = group_leaks(groups, split)
    if leaks:
        where = sorted({str(name) for group, name in zip(groups, split, strict=True) if group == leaks[0]})
        raise DataError(
            f"the group {leaks[0]!r} stands in the splits {' and '.join(where)}; "
            f"groups that are split: {name_some(leaks)}. Give whole groups to one split",
            leaks,
        )


def check_classes(
    reference: IntArray,
    split: NDArray[np.str_],
    class_names: Sequence[str],
    ids: NDArray[np.str_],
    min_class_items: int,
    needs_test: bool = True,
) -> None:
    """DataError unless there are two classes, every one with `min_class_items` training items, and a test item.

    needs_test: without, nothing is drawn or left out, and the message does not propose to change that.
    """
    if len(class_names) < 2:
        raise DataError(f"there is only one class, {name_some(class_names)}; there must be two at least")
    unnamed = [name for name in class_names if not name or writable(name) != name]
    if unnamed:
        raise DataError(f"the class name {shown(unnamed[0])!r} is empty or not UTF-8: give the class another name")
    twice = [name for name, count in Counter(class_names).items() if count > 1]
    if twice:
        raise DataError(f"the class {twice[0]!r} is named twice", twice)
    everywhere = np.bincount(reference, minlength=len(class_names))
    absent = [name for name, count in zip(class_names, everywhere, strict=True) if count == 0]
    if absent:
        raise DataError(f"the classes {name_some(absent)} have no items: leave them out of data.classes", absent)
    for name in ("train", "test") if needs_test else ("train",):
        if not (split == name).any():
            raise DataError(f"the {name} split has no items")
    counts = np.bincount(reference[split == "train"], minlength=len(class_names))
    small = np.flatnonzero(counts < min_class_items).tolist()
    if small:
        names = [f"{class_names[k]} ({counts[k]})" for k in small]
        # What nearly nobody has is often a typing error: say where it is, and what was meant.
        told = [_small_class(ids[(reference == k) & (split == "train")], class_names, k) for k in small[:3]]
        ways = "merge or leave out small classes, or lower data.imbalance_factor or data.test_fraction"
        if not needs_test:
            allowed = f"--set data.min_class_items={max(1, min(counts))}"
            ways = f"mend the labels, merge or leave out small classes, or allow them with {allowed}"
        raise DataError(
            f"classes with fewer than {min_class_items} training items (data.min_class_items): {name_some(names)}. "
            f"{'; '.join(told)}: {ways}",
            names,
        )


def _small_class(ids: NDArray[np.str_], class_names: Sequence[str], k: int) -> str:
    """Which items a small class has, and which class may be meant."""
    name = class_names[k]
    others = [each for each in class_names if each != name]
    near = [each for each in others if same_but_for_case(name, each) or spelt_alike(name, each)]
    meant = f", did you mean {shown(near[0])!r}?" if near else ""
    has = f"is the label of {name_some(ids.tolist(), 3)}" if len(ids) else "has no training item"
    return f"{shown(name)!r} {has}{meant}"


def add_test_source(items: RawItems, test: RawItems) -> RawItems:
    """`items` with those of a second source as their test split.

    The ids of the second source get its name in front.  DataError: other classes, or a test split in both.
    """
    if items.split and any(SPLIT_WORDS.get(word.strip().lower()) == "test" for word in items.split):
        raise DataError(f"{items.name} has a test split already, so data.test_path has no place")
    if set(items.class_names) != set(test.class_names):
        odd = sorted(set(items.class_names) ^ set(test.class_names))
        raise DataError(f"data.path and data.test_path must have the same classes; only one has {name_some(odd)}", odd)
    n, m = len(items.ids), len(test.ids)
    to_first = np.array([items.class_names.index(name) for name in test.class_names] + [-1], dtype=np.int64)

    @contextmanager
    def open_pixels(scratch: Path) -> Iterator[ReadPixels]:
        with items.open_pixels(scratch) as read, test.open_pixels(scratch) as read_test:
            yield lambda i: read(i) if i < n else read_test(i - n)

    absent = np.full(n, -1, dtype=np.int64), np.full(m, -1, dtype=np.int64)
    columns = {
        name: np.concatenate([items.columns.get(name, absent[0]), to_first[test.columns.get(name, absent[1])]])
        for name in [*items.columns, *(name for name in test.columns if name not in items.columns)]
    }
    groups = None
    if items.groups is not None or test.groups is not None:
        groups = [*(items.groups or [""] * n), *(test.groups or [""] * m)]
    return RawItems(
        name=items.name,
        class_names=items.class_names,
        ids=[*items.ids, *(f"{test.name}/{name}" for name in test.ids)],
        sources=[*items.sources, *test.sources],
        labels=np.concatenate([items.labels, to_first[test.labels]]),
        files=[*items.files, *test.files],
        open_pixels=open_pixels,
        columns=columns,
        groups=groups,
        split=[*(items.split or ["train"] * n), *["test"] * m],
        problems={**items.problems, **{n + i: why for i, why in test.problems.items()}},
    )
