"""Images over HTTP: the pixels that the data set shows, all grey levels, and nothing else of a file."""

import io
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from dicom_files import MARKER, SECRETS, dicom, noise, save
from fastapi.testclient import TestClient
from PIL.PngImagePlugin import PngInfo
from web_sites import HOME

from overread.arrays.windows import windowed
from overread.config import DataConfig
from overread.data.deep import DeepImage, deep_pixels
from overread.data.deep_image import colour_image, grey_image
from overread.errors import DataError
from overread.progress import Silent
from overread.project.begin import init_project
from overread.store import Store
from overread.web import Site, make_app, open_site, pictures
from overread.web.pictures import Pictures, picture_of

Visit = Callable[[str], TestClient]
Opened = Callable[[str], DeepImage]
SIDE = 12


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of images of many kinds, with a marker wherever a file can hold a text."""
    place = tmp_path_factory.mktemp("mixed")
    dark, light = place / "images" / "dark", place / "images" / "light"
    window = {"WindowCenter": "900", "WindowWidth": "1200"}
    rescale = {"RescaleSlope": "2", "RescaleIntercept": "-1024"}
    save(dicom(noise((SIDE, SIDE), 12, seed=1), 12, **window, **rescale), dark / "case-window")
    save(dicom(noise((SIDE, SIDE), 12, seed=2), 12, "MONOCHROME1"), dark / "case-white-is-0")
    save(dicom(noise((SIDE, SIDE), 16, signed=True, seed=3), 16), dark / "case-signed")
    save(dicom(noise((SIDE, SIDE, 3), 8, seed=4), 8, "RGB"), dark / "case-colours")
    light.mkdir()
    text = PngInfo()
    text.add_text("Comment", MARKER)
    PIL.Image.fromarray(noise((SIDE, SIDE), 8, seed=5)).save(light / "case-grey.png", pnginfo=text)
    PIL.Image.fromarray(noise((SIDE, SIDE), 16, seed=6)).save(light / "case-deep.png", pnginfo=text)
    exif = PIL.Image.Exif()
    exif[0x010E] = MARKER
    colours = PIL.Image.fromarray(noise((SIDE, SIDE, 3), 8, seed=7))
    colours.save(light / "case-photo.jpg", exif=exif, icc_profile=MARKER.encode(), comment=MARKER.encode())
    init_project(
        place / "study", place / "images", None, ["data.image_size=8", f"data.cache={place / 'cache'}"], None, Silent()
    )
    return place / "study"


@pytest.fixture
def reading(mixed: Path) -> Iterator[tuple[Site, TestClient]]:
    """The site of `mixed`, and the browser of one who reads."""
    with open_site(mixed) as site, TestClient(make_app(site), base_url=HOME) as client:
        client.headers["X-Overread-Proof"] = client.post("/api/session", json={"name": "ada"}).json()["proof"]
        yield site, client


def addresses(site: Site) -> dict[str, str]:
    """The address of every image by its id."""
    return {item.id: f"/api/images/{site.tokens.item_id(item.position)}" for item in site.store.items()}


def chunks(png: bytes) -> set[bytes]:
    kinds, at = set(), 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kinds.add(png[at + 4 : at + 8])
        at += length + 12
    return kinds


def test_every_image_is_shown_as_the_data_set_has_it_and_its_window_gives_the_same_shades(
    reading: tuple[Site, TestClient],
) -> None:
    site, client = reading
    found = addresses(site)
    assert len(found) == 7
    grey = set()
    with deep_pixels(site.config.data) as pixels:
        for name, address in found.items():
            shown = client.get(address)
            assert shown.headers["content-type"] == "image/png"
            expected = pixels(name).rgb()
            with PIL.Image.open(io.BytesIO(shown.content)) as image:
                np.testing.assert_array_equal(np.asarray(image.convert("RGB")), expected)
            about = client.get(f"{address}/about").json()
            assert (about["height"], about["width"]) == (SIDE, SIDE)
            sent = client.get(f"{address}/grey")
            assert about["grey"] == (sent.status_code == 200)
            if about["grey"]:
                grey.add(name)
                values = np.frombuffer(sent.content, dtype="<u2").reshape(SIDE, SIDE)
                assert (values.min(), values.max()) == (about["lowest"], about["highest"])
                shades = windowed(values, about["centre"], about["window"], about["invert"])
                np.testing.assert_array_equal(shades, expected[:, :, 0])
            else:
                assert sent.status_code == 404
    assert grey == set(found) - {"dark/case-colours", "light/case-photo.jpg"}


def test_the_units_of_a_file_come_with_it(reading: tuple[Site, TestClient]) -> None:
    site, client = reading
    about = client.get(f"{addresses(site)['dark/case-window']}/about").json()
    assert about["slope"] == 2
    # Black and white as DICOM PS3.3 C.11.2.1.2.1 has them for the window of the file, 900 and 1200.
    for grey, units in (
        (about["centre"] - about["window"] / 2, 900 - 0.5 - 1199 / 2),
        (about["centre"] + about["window"] / 2 - 1, 900 - 0.5 + 1199 / 2),
    ):
        assert about["slope"] * grey + about["intercept"] == units
    assert client.get(f"{addresses(site)['dark/case-white-is-0']}/about").json()["invert"]


def test_nothing_of_a_file_but_its_pixels_is_in_any_answer(reading: tuple[Site, TestClient]) -> None:
    site, client = reading
    for address in addresses(site).values():
        for part in ("", "/about", "/grey"):
            answer = client.get(address + part)
            content = answer.content + repr(answer.headers).encode()
            # No text of a file, and none of its name either.
            for secret in (*SECRETS, "case-", "dark", "light"):
                assert secret.encode() not in content, secret
        assert chunks(client.get(address).content) == {b"IHDR", b"IDAT", b"IEND"}


def test_a_browser_keeps_an_image_and_asks_no_server_between(reading: tuple[Site, TestClient]) -> None:
    site, client = reading
    address = addresses(site)["light/case-deep.png"]
    for part in ("", "/grey"):
        first = client.get(address + part)
        assert first.headers["cache-control"].split(", ")[::2] == ["private", "immutable"]
        again = client.get(address + part, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = client.get(address + part, headers={"If-None-Match": '"another"'})
        assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize("part", ["", "/about", "/grey"])
def test_foreign_ids_and_people_without_a_session_get_nothing(reading: tuple[Site, TestClient], part: str) -> None:
    site, client = reading
    address = addresses(site)["light/case-grey.png"]
    forged = address[:-1] + ("A" if address[-1] != "A" else "B")
    for wrong in (forged, "/api/images/light%2Fcase-grey.png", "/api/images/0"):
        assert client.get(wrong + part).status_code == 404
    client.cookies.clear()
    assert client.get(address + part).status_code == 401


def test_an_image_that_became_unreadable_is_not_named_to_the_reader(
    reading: tuple[Site, TestClient], mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, client = reading
    address = addresses(site)["light/case-grey.png"]
    file = mixed.parent / "images" / "light" / "case-grey.png"
    content = file.read_bytes()
    file.write_bytes(content[:60])
    try:
        answer = client.get(address)
    finally:
        file.write_bytes(content)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("this image cannot be shown")
    assert "case-grey.png" not in answer.text
    assert "light/case-grey.png" in capsys.readouterr().err
    # It can be mended while the server runs.
    assert client.get(address).status_code == 200


@contextmanager
def _no_pixels(config: DataConfig) -> Iterator[Opened]:
    if config.path is not None:
        raise DataError(f"{config.path} is gone")
    yield lambda _: DeepImage()


def test_images_that_cannot_be_opened_say_so_and_the_server_answers(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "deep_pixels", _no_pixels)
    with open_site(study) as site, TestClient(make_app(site), base_url=HOME) as client:
        client.post("/api/session", json={"name": "ada"})
        answer = client.get(f"/api/images/{site.tokens.item_id(0)}")
        assert answer.status_code == 422
        assert "cannot be opened" in answer.json()["error"]["message"]
        assert "tiny.npz" not in answer.text
        assert client.get("/api/progress").status_code == 200
    assert "tiny.npz is gone" in capsys.readouterr().err


def test_while_images_are_opened_everything_else_answers(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opens = threading.Event()

    @contextmanager
    def slow_pixels(_: DataConfig) -> Iterator[Opened]:
        assert opens.wait(60)
        yield lambda _: grey_image(np.zeros((3, 5), dtype=np.uint8))

    monkeypatch.setattr(pictures, "deep_pixels", slow_pixels)
    with (
        open_site(study) as site,
        TestClient(make_app(site), base_url=HOME) as client,
        # More than the server has threads.
        ThreadPoolExecutor(60) as readers,
    ):
        client.post("/api/session", json={"name": "ada"})
        waiting = [readers.submit(client.get, f"/api/images/{site.tokens.item_id(i)}") for i in range(60)]
        assert client.get("/api/progress").status_code == 200
        assert not any(each.done() for each in waiting)
        opens.set()
        assert {each.result().status_code for each in waiting} == {200}


class Project:
    """Images that are counted when they are decoded, and an empty store beside them."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded: list[str] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.store = Store.create(place / "reads.db", ("a", "b"))
        self.store.add_items((str(i), 0) for i in range(9))

        @contextmanager
        def counted(_: DataConfig) -> Iterator[Opened]:
            def decode(name: str) -> DeepImage:
                self.decoded.append(name)
                assert self.goes_on.wait(60)
                return colour_image(noise((40, 40, 3), 8, seed=int(name)))

            yield decode

        monkeypatch.setattr(pictures, "deep_pixels", counted)

    def pictures(self, **options: Any) -> Pictures:
        return Pictures(DataConfig(), self.store, **options)


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    made = Project(tmp_path, monkeypatch)
    yield made
    made.store.close()


def test_an_image_that_two_ask_for_is_decoded_once_and_two_at_most_at_a_time(counted: Project) -> None:
    made = counted.pictures()
    try:
        counted.goes_on.clear()
        asked = [made.get(position) for position in (0, 0, 1, 1, 2, 2, 0)]
        while len(counted.decoded) < 2:
            assert not any(each.done() for each in asked)
        assert sorted(counted.decoded) == ["0", "1"]
        counted.goes_on.set()
        found = [each.result(60) for each in asked]
        assert found[0] is found[1] is found[6]
        made.get(2).result(60)
        assert sorted(counted.decoded) == ["0", "1", "2"]
    finally:
        made.close()


def test_the_images_asked_for_last_are_kept_up_to_a_budget(counted: Project) -> None:
    one = len(picture_of(colour_image(noise((40, 40, 3), 8))).png)
    made = counted.pictures(kept_bytes=int(2.5 * one))
    try:
        for position in (0, 1, 0, 2, 0, 1):
            made.get(position).result(60)
        assert counted.decoded == ["0", "1", "2", "1"]
    finally:
        made.close()


def test_a_server_that_stops_leaves_no_file_open_and_nobody_waiting(
    counted: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens, closed = threading.Event(), threading.Event()

    @contextmanager
    def slow(_: DataConfig) -> Iterator[Opened]:
        assert opens.wait(60)
        yield lambda _: colour_image(noise((4, 4, 3), 8))
        closed.set()

    monkeypatch.setattr(pictures, "deep_pixels", slow)
    monkeypatch.setattr(pictures, "STOP_SECONDS", 0.05)
    made = counted.pictures()
    waiting = made.get(0)
    made.close()
    assert isinstance(waiting.exception(60), DataError)
    opens.set()
    assert closed.wait(60)


def test_large_images_are_reduced_before_their_window_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LONGEST_SIDE", 50)
    values = noise((150, 90), 16, seed=8)
    picture = picture_of(grey_image(values))
    assert (picture.height, picture.width) == (50, 30)
    assert picture.grey is not None
    grey = np.frombuffer(picture.grey, dtype="<u2").reshape(50, 30)
    means = values.astype(float).reshape(50, 3, 30, 3).mean(axis=(1, 3))
    assert np.abs(grey - means).max() <= 1
    with PIL.Image.open(io.BytesIO(picture.png)) as image:
        np.testing.assert_array_equal(np.asarray(image), windowed(grey, 32768.0, 65536.0, invert=False))


@pytest.mark.parametrize("shape", [(5000, 7, 3), (3, 4097, 3), (4096, 2, 3)])
def test_no_side_is_longer_than_what_browsers_show(shape: tuple[int, int, int]) -> None:
    picture = picture_of(colour_image(np.full(shape, 77, dtype=np.uint8)))
    assert max(picture.height, picture.width) == 4096
    assert min(picture.height, picture.width) >= 1
    assert picture.grey is None
    with PIL.Image.open(io.BytesIO(picture.png)) as image:
        assert image.getextrema() == ((77, 77),) * 3
