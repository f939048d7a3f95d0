"""Splits, long tails and cuts touch what they should and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from data_builders import SPLITS, config, toy, write_csv, write_folder, write_hdf5, write_npz

from overread.data import Dataset, load_dataset
from overread.errors import DataError


def shares(data: Dataset) -> list[int]:
    return [len(data.positions(split)) for split in SPLITS]


def test_a_set_without_splits_gets_stratified_ones(tmp_path: Path) -> None:
    loaded = load_dataset(
        config(tmp_path, **write_npz(toy(n=120), tmp_path, splits=False), val_fraction=0.25, test_fraction=0.25), seed=0
    )
    assert shares(loaded) == [60, 30, 30]
    for split, count in zip(SPLITS, (20, 10, 10), strict=True):
        assert np.bincount(loaded.reference[loaded.positions(split)]).tolist() == [count] * 3


def test_a_set_that_is_all_train_gets_splits_too(tmp_path: Path) -> None:
    keys = write_npz(toy(n=120), tmp_path, split=np.array(["train"] * 120))
    assert shares(load_dataset(config(tmp_path, **keys, val_fraction=0.1), seed=0)) == [84, 12, 24]


def test_there_is_no_validation_share_by_default(tmp_path: Path) -> None:
    keys = write_npz(toy(n=120), tmp_path, splits=False)
    assert shares(load_dataset(config(tmp_path, **keys), seed=0)) == [96, 0, 24]


def test_a_published_split_without_val_is_kept(tmp_path: Path) -> None:
    data = toy()
    split = np.where(data.split == "val", "train", data.split)
    assert shares(load_dataset(config(tmp_path, **write_npz(data, tmp_path, split=split)), seed=0)) == [27, 0, 9]


def test_the_drawn_split_depends_on_the_seed_and_on_nothing_else(tmp_path: Path) -> None:
    keys = config(tmp_path, **write_npz(toy(), tmp_path, splits=False))
    one, again, other = (load_dataset(keys, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.split, again.split)
    assert (one.split != other.split).any()
    np.testing.assert_array_equal(one.images, other.images)


def test_other_words_for_splits(tmp_path: Path) -> None:
    data = toy()
    words = {"train": "Training", "val": "VALID", "test": "testing "}
    table = write_csv(data, tmp_path)
    text = table["path"].read_text().splitlines()
    lines = [",".join([*line.split(",")[:2], words.get(line.split(",")[2], "split")]) for line in text]
    table["path"].write_text("\n".join(lines))
    assert shares(load_dataset(config(tmp_path, **table), seed=0)) == [18, 9, 9]
    folder = write_folder(data, tmp_path)
    (folder["path"] / "val").rename(folder["path"] / "validation")
    assert shares(load_dataset(config(tmp_path, **folder), seed=0)) == [18, 9, 9]


def test_a_long_tail_only_thins_the_training_split(tmp_path: Path) -> None:
    keys = write_npz(toy(n=720), tmp_path)
    whole = load_dataset(config(tmp_path, **keys), seed=0)
    tail = load_dataset(config(tmp_path, **keys, imbalance_factor=16.0), seed=0)
    assert np.bincount(whole.reference[whole.positions("train")]).tolist() == [120, 120, 120]
    assert np.bincount(tail.reference[tail.positions("train")]).tolist() == [120, 30, 8]
    for split in ("val", "test"):
        np.testing.assert_array_equal(whole.ids[whole.positions(split)], tail.ids[tail.positions(split)])
    # What is left keeps the canonical order and its pixels.
    rows = [whole.ids.tolist().index(name) for name in tail.ids]
    assert rows == sorted(rows)
    np.testing.assert_array_equal(tail.images, whole.images[rows])
    np.testing.assert_array_equal(tail.reference, whole.reference[rows])


def test_a_cut_comes_after_the_tail(tmp_path: Path) -> None:
    keys = write_npz(toy(n=720), tmp_path)
    loaded = load_dataset(config(tmp_path, **keys, imbalance_factor=16.0, max_train=79), seed=0)
    assert np.bincount(loaded.reference[loaded.positions("train")]).tolist() == [60, 15, 4]
    assert shares(loaded)[1:] == [180, 180]
    assert isinstance(loaded.images, np.memmap)
    assert not loaded.images.flags.writeable


def test_a_set_smaller_than_the_cut_stays_whole(tmp_path: Path) -> None:
    keys = write_npz(toy(), tmp_path)
    assert shares(load_dataset(config(tmp_path, **keys, max_train=500), seed=0)) == [18, 9, 9]


@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_whole(seed: int, tmp_path: Path) -> None:
    # Groups of one to five items, of mixed classes.
    group = np.repeat(np.arange(60), np.random.default_rng(seed).integers(1, 6, 60))
    keys = write_hdf5(toy(n=len(group)), tmp_path, splits=False, groups=group)
    loaded = load_dataset(config(tmp_path, **keys, val_fraction=0.1), seed=seed)
    assert loaded.groups is not None
    for name in set(loaded.groups.tolist()):
        assert len(set(loaded.split[loaded.groups == name].tolist())) == 1
    assert all(shares(loaded))


def test_all_groups_empty_is_no_groups(tmp_path: Path) -> None:
    keys = write_npz(toy(), tmp_path, group=np.array([""] * 36))
    assert load_dataset(config(tmp_path, **keys), seed=0).groups is None


def test_where_no_test_is_needed_none_is_drawn(tmp_path: Path) -> None:
    whole = load_dataset(config(tmp_path, **write_npz(toy(n=30), tmp_path, splits=False)), seed=0, needs_test=False)
    assert shares(whole) == [30, 0, 0]


def test_a_split_that_the_data_brings_stays_where_no_test_is_needed(tmp_path: Path) -> None:
    keys = write_npz(toy(n=30), tmp_path, split=np.repeat(["train", "val"], [20, 10]))
    assert shares(load_dataset(config(tmp_path, **keys), seed=0, needs_test=False)) == [20, 10, 0]
    with pytest.raises(DataError, match="no test split"):
        load_dataset(config(tmp_path, **keys), seed=0)
