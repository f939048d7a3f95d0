"""Write an .npz that has nothing of the test split of another, for choices that tests must not see.

    python grids/development_set.py SET.npz DEVELOPMENT_SET.npz

Items of train and val are split anew, 70 % train and 30 % test, groups (lesion_id, group) kept together.
"""

import sys
from pathlib import Path

import numpy as np

GROUPS = ("lesion_id", "group")
TEST_SHARE = 0.3
SEED = 77


def main(source: Path, target: Path) -> None:
    """Write the development set of `source` to `target`."""
    with np.load(source, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    n = len(arrays["labels"])
    keep = np.flatnonzero(arrays["split"] != "test")
    kept = {name: values[keep] if len(values) == n else values for name, values in arrays.items()}
    name = next((name for name in GROUPS if name in kept), None)
    group = kept[name] if name else np.arange(len(keep)).astype(str)
    groups = np.unique(group)
    np.random.default_rng(SEED).shuffle(groups)
    held_back = np.isin(group, groups[: int(TEST_SHARE * len(groups))])
    kept["split"] = np.where(held_back, "test", "train")
    np.savez(target, **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
