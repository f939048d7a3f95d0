"""A whole project on real images, in the browser: two readers at once by keyboard, one who decides, a second round.

With OVERREAD_SCREENSHOTS=docs/page it writes the pictures of the documentation.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from browser import Desk, Sit
from histology import CLASSES, write_tiles
from PIL import Image
from served import Served

from overread.arrays.noise import flip_labels, symmetric_matrix
from overread.cli import app
from overread.project.folder import open_project
from overread.store import StoredRead

BUDGET, AUDIT = 6, 2
# How the page says which image it shows: the pixels that it drew.
DRAWN = """() => {
  const image = document.querySelector("img.picture");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
  return [...data].filter((_, i) => i % 4 < 3 && i % 7 === 0).join();
}"""


def drawn(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    """What `DRAWN` says of an image."""
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, dtype=np.uint8)]).ravel()
    places = np.arange(len(opaque))
    return ",".join(map(str, opaque[(places % 4 < 3) & (places % 7 == 0)].tolist()))


def key_of(label: str) -> str:
    return str(CLASSES.index(label) + 1)


@pytest.fixture(name="begun")
def fixture_begun(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A project of tiles with a third of their labels wrong, after phase 1; and the truth by name."""
    truth = write_tiles(tmp_path / "tiles")
    right = np.array([CLASSES.index(label) for label in truth.values()])
    given = flip_labels(right, symmetric_matrix(len(CLASSES), 0.35), np.random.default_rng(3))
    rows = [f"{name},{CLASSES[label]}" for name, label in zip(truth, given.tolist(), strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    study = tmp_path / "colon"
    sources = ["--images", str(tmp_path / "tiles"), "--labels", str(tmp_path / "labels.csv")]
    run("init", study, *sources, "--set", "model.mode=frozen", "--set", "seed=3")
    run("learn", study)
    return study, truth


def run(command: str, study: Path, *options: str) -> None:
    app([command, str(study), *options], standalone_mode=False)


def take(desk: Desk, name: str) -> None:
    """A picture for the documentation, where one is wanted."""
    folder = os.environ.get("OVERREAD_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        desk.page.screenshot(path=Path(folder) / f"{name}.png")


def reads_of(study: Path) -> list[StoredRead]:
    with open_project(study) as project:
        return list(project.store.reads_since(0))


class Person:
    """Somebody who knows the right label of every image that the page shows."""

    def __init__(self, desk: Desk, known: Mapping[str, str]) -> None:
        self.desk = desk
        self._known = known

    @property
    def sees(self) -> str:
        """The name of the image that he sees."""
        self.desk.ready()
        return self._known[self.desk.page.evaluate(DRAWN)]

    def read(self, truth: Mapping[str, str], wrong: Mapping[str, str]) -> Iterator[str]:
        """One image at each step until nothing is left, by name; `wrong`: what he takes for something else."""
        while True:
            self.desk.eventually("document.querySelector('.answer:enabled, .empty h2') !== null")
            if self.desk.page.query_selector(".empty h2"):
                return
            name = self.sees
            self.desk.press(key_of(wrong.get(name, truth[name])))
            yield name


def test_a_whole_project(begun: tuple[Path, dict[str, str]], desk: Sit, tmp_path: Path) -> None:
    study, truth = begun
    tiles = {name: np.asarray(Image.open(tmp_path / "tiles" / name)) for name in truth}
    known = {drawn(pixels): name for name, pixels in tiles.items()}
    assert len(known) == len(truth)
    run("select", study, "--budget", str(BUDGET), "--audit", str(AUDIT), "--readers", "2")

    with Served(study) as served:
        window = {"viewport": {"width": 1366, "height": 768}}
        ada, ben = (Person(desk(served.home, name, **window), known) for name in ("Ada", "Ben"))
        # One slip of the finger, taken back.
        slipped = ada.sees
        ada.desk.press(key_of(next(label for label in CLASSES if label != truth[slipped]))).press("u")
        ada.desk.wait(".answer.before")
        assert ada.sees == slipped
        # One image on which they do not agree; which one it is depends on who sees what.
        doubtful = ben.sees
        mistaken = {doubtful: next(label for label in CLASSES if label != truth[doubtful])}
        take(ben.desk, "reading")
        steps = [ada.read(truth, {}), ben.read(truth, mistaken)]
        read = Counter(name for pair in zip(*steps, strict=True) for name in pair)
        assert set(read.values()) == {2}
        assert len(read) == BUDGET + AUDIT
        ada.desk.settled()
        ben.desk.settled()

        ada.desk.page.click("[data-view='disagreements']")
        ada.desk.wait(".answer:enabled")
        assert ada.sees == doubtful
        take(ada.desk, "disagreement")
        ada.desk.press(key_of(truth[doubtful]))
        ada.desk.page.get_by_text("All decided").wait_for()

        run("update", study)
        run("select", study, "--budget", str(BUDGET), "--audit", "0")
        ada.desk.page.click("[data-view='read']")
        ben.desk.page.reload()
        second = {ada.sees, ben.sees}
        assert not second & set(read)
        for person in (ada, ben):
            second |= set(person.read(truth, {}))
            person.desk.settled()
        assert len(second) == BUDGET
        run("update", study)
        ada.desk.page.click("[data-view='project']")
        ada.desk.wait("svg")
        take(ada.desk, "project")

    events = reads_of(study)
    assert Counter(event.kind for event in events) == {
        "label": 1 + 2 * (BUDGET + AUDIT) + BUDGET,
        "undo": 1,
        "adjudication": 1,
    }
    assert all(event.shown == {} for event in events)
    run("export", study, "--out", str(tmp_path / "cleaned.csv"))
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "cleaned.csv").read_text().splitlines())}
    by_people = {name: row for name, row in rows.items() if row["source"] in ("read", "adjudicated")}
    assert by_people.keys() == read.keys() | second
    assert all(row["label"] == truth[name] for name, row in by_people.items())
    assert rows[doubtful]["source"] == "adjudicated"
    history = json.loads(rows[slipped]["reads"])
    assert [event["kind"] for event in history][:2] == ["label", "undo"]
    assert {event["reader"] for event in history} == {"Ada", "Ben"}
