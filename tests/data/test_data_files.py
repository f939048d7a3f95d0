"""Folders as people have them: links, folders without permission, names of all kinds.  No image is passed over."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_builders import config, save_image, toy, write_csv, write_folder, write_npz
from PIL import Image

from overread.data import load_dataset
from overread.data.walk import walk
from overread.errors import DataError


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Path]]:
    """Folders that the system refuses to list, also to an administrator, whom no permission stops."""
    folders: set[Path] = set()
    real = os.scandir

    def scandir(path: Any) -> Any:
        if isinstance(path, Path) and path in folders:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    yield folders
    monkeypatch.undo()


def test_linked_images_and_linked_folders_are_read(tmp_path: Path) -> None:
    """The whole tree elsewhere: one class folder linked, one folder within a class, one image, and the root."""
    plain = load_dataset(config(tmp_path, **write_folder(toy(), tmp_path)), seed=0)
    root, store = tmp_path / "toy", tmp_path / "store"
    store.mkdir()
    for number, name in enumerate(["train/nv", "train/mel/im001.png", "test"]):
        target = store / f"{number}{Path(name).suffix}"
        (root / name).rename(target)
        (root / name).symlink_to(target)
    (root / "train" / "bcc" / "more").symlink_to(store / "more")
    save_image(255 - toy().images[0], store / "more" / "deep" / "deeper" / "new.png")
    (tmp_path / "link").symlink_to(root)
    linked = load_dataset(config(tmp_path, path=tmp_path / "link"), seed=0)
    assert set(linked.ids) - set(plain.ids) == {"train/bcc/more/deep/deeper/new.png"}
    assert set(plain.ids) <= set(linked.ids)
    assert (
        linked.class_names[linked.reference[linked.ids.tolist().index("train/bcc/more/deep/deeper/new.png")]] == "bcc"
    )


def test_links_between_classes_end(tmp_path: Path) -> None:
    """Each class holds a link to the other: their images are read once more, and then it stops."""
    keys = write_folder(toy(), tmp_path, splits=False)
    (keys["path"] / "nv" / "other").symlink_to("../mel")
    (keys["path"] / "mel" / "other").symlink_to("../nv")
    loaded = load_dataset(config(tmp_path, **keys, on_error="skip"), seed=0)
    assert len(loaded.ids) == 36 + 12 + 12
    assert {name for name, _ in loaded.skipped} == {"nv/other/other", "mel/other/other"}


def test_a_folder_within_a_class_that_cannot_be_read(tmp_path: Path, closed: set[Path]) -> None:
    keys = write_folder(toy(), tmp_path)
    inner = keys["path"] / "train" / "nv" / "inner"
    save_image(255 - toy().images[0], inner / "a.png")
    closed.add(inner)
    with pytest.raises(DataError, match=r"'train/nv/inner': the folder cannot be read \(Permission denied\)") as caught:
        load_dataset(config(tmp_path, **keys), seed=0)
    assert caught.value.items == ("train/nv/inner",)
    loaded = load_dataset(config(tmp_path, **keys, on_error="skip"), seed=0)
    assert [name for name, _ in loaded.skipped] == ["train/nv/inner"]
    assert len(loaded.ids) == 36


@pytest.mark.parametrize("which", [".", "train", "train/nv"])
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_class_is_never_left_out(which: str, on_error: str, tmp_path: Path, closed: set[Path]) -> None:
    keys = write_folder(toy(), tmp_path)
    closed.add(keys["path"] / which)
    with pytest.raises(DataError, match="may hold a whole class: the folder cannot be read") as caught:
        load_dataset(config(tmp_path, **keys, on_error=on_error), seed=0)
    assert caught.value.items == (str(keys["path"] / which),)


def test_what_is_no_image_beside_the_class_folders_is_passed_over(tmp_path: Path) -> None:
    keys = write_folder(toy(), tmp_path)
    (keys["path"] / "README.md").write_text("about")
    (keys["path"] / "train" / "labels.csv").write_text("")
    (keys["path"] / "lost+found").mkdir()
    save_image(toy().images[0], keys["path"] / ".thumbnails" / "a.png")
    loaded = load_dataset(config(tmp_path, **keys), seed=0)
    assert len(loaded.ids) == 36
    assert loaded.skipped == ()


def test_a_working_folder_whose_name_is_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is in the paths; the cache's key names it."""
    keys = write_folder(toy(), tmp_path)
    folder = keys["path"].rename(tmp_path / os.fsdecode(b"caf\xe9"))
    monkeypatch.chdir(folder)
    loaded = load_dataset(config(tmp_path, path="."), seed=0)
    assert len(loaded.ids) == 36
    assert loaded.name == r"caf\udce9"


def test_a_table_finds_images_through_links(tmp_path: Path) -> None:
    """A file that two links lead to is one file."""
    keys = write_csv(toy(), tmp_path)
    (tmp_path / "pictures").rename(tmp_path / "store")
    (tmp_path / "root").mkdir()
    for name in ("one", "two"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "store")
    (tmp_path / "root" / "loop").symlink_to(".")
    keys["path"].write_text(keys["path"].read_text().replace("pictures/", ""))
    loaded = load_dataset(config(tmp_path, **keys, image_root=tmp_path / "root"), seed=0)
    assert len(loaded.ids) == 36


def test_a_walk_names_what_it_could_not_enter(tmp_path: Path, closed: set[Path]) -> None:
    for name in ("a/x", "a/.y", "b/x", "c/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "gone").symlink_to("nothing")
    closed.add(tmp_path / "c")
    found = walk(tmp_path, lambda name: name.startswith("."))
    assert found.files == [tmp_path / "a" / "x", tmp_path / "b" / "x"]
    assert found.folders == [tmp_path, tmp_path / "a", tmp_path / "b"]
    assert list(found.unread) == [tmp_path / "a" / "gone", tmp_path / "a" / "up", tmp_path / "c"]


def test_side_notes_that_are_damaged_warn_nobody(tmp_path: Path) -> None:
    """A warning would be an error in this test; the pixels are those of the file without the note."""
    keys = write_csv(toy(), tmp_path)
    damaged = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"
    Image.fromarray(toy().images[5]).save(tmp_path / "pictures" / "im005.png", exif=damaged)
    loaded = load_dataset(config(tmp_path, **keys), seed=0)
    row = loaded.ids.tolist().index("pictures/im005.png")
    np.testing.assert_array_equal(loaded.images[row], toy().images[5])


def test_the_digest_of_a_well_formed_set_stays(tmp_path: Path) -> None:
    """Stored results name their data by it: a change of this value makes them all useless."""
    ids = np.array(toy().ids)
    loaded = load_dataset(config(tmp_path, **write_npz(toy(), tmp_path, image_id=ids)), seed=0)
    assert loaded.digest == "4b21c460d881b3df91d11b0978dc53f7"
