"""Views of the review page: accessibility, hostile texts, decisions, grey levels, what is shown in assisted mode."""

import itertools
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Desk, Sit, serving
from numpy.typing import NDArray

from overread.arrays.windows import windowed
from overread.progress import Silent
from overread.project.folder import open_project
from overread.project.steps import update_model
from overread.store import Read
from overread.web import Site, open_site

SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def disagree(site: Site) -> None:
    """Let two readers answer all, each with another class, and one of them with a hostile comment."""
    for label, name in enumerate(("Ben", "Cleo")):
        reader = site.store.add_reader(name).id
        while (lease := site.store.next_item(1, reader, 60)) is not None:
            read = Read(str(uuid4()), lease.item, reader, "label", label, 1, SCRIPT if label else "", seconds=2.0)
            site.store.record(read)


def violations(desk: Desk) -> list[str]:
    """What axe has to say of the page as it is now."""
    found = Axe().run(desk.page).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_view_passes_axe(home: str, site: Site, desk: Sit, theme: str) -> None:
    ada = desk(home, None)
    ada.page.evaluate("(theme) => localStorage.setItem('overread:theme', JSON.stringify(theme))", theme)
    ada.page.reload()
    ada.wait("#name")
    found = violations(ada)
    ada.page.fill("#name", "Ada")
    ada.page.keyboard.press("Enter")
    ada.press("1").ready().page.keyboard.press("c")
    found += violations(ada)
    for key in (",", "?"):
        ada.page.keyboard.press("Escape")
        ada.page.keyboard.press(key)
        ada.wait("dialog")
        found += violations(ada)
    ada.page.keyboard.press("Escape")
    ada.press("m")
    ada.wait(".similar img")
    found += violations(ada)
    ada.press("s", "1", "1", "1", "1")
    ada.wait(".empty button")
    # What is disabled fades after a moment.
    ada.page.wait_for_timeout(400)
    found += violations(ada)
    for _ in range(3):
        ada.page.keyboard.press("u")
    ada.wait(".sure")
    found += violations(ada)
    disagree(site)
    ada.page.click("[data-view='disagreements']")
    ada.ready()
    found += violations(ada)
    ada.page.click("[data-view='project']")
    ada.wait("svg.chart")
    found += violations(ada)
    assert ada.page.evaluate("document.documentElement.dataset.theme") == theme
    assert found == []


def test_who_decides_sees_what_was_said_and_decides_by_one_key(home: str, site: Site, desk: Sit) -> None:
    disagree(site)
    ada = desk(home).page
    ada.click("[data-view='disagreements']")
    ada.wait_for_selector(".answer:enabled")
    assert ada.locator(".voices .what").all_inner_texts() == ["disc", "stripe"]
    # A hostile comment is text.
    assert ada.locator(".voices p").all_inner_texts() == [SCRIPT]
    ada.keyboard.press("3")
    ada.wait_for_selector(".side .hint:has-text('2 of 6  ·  5 to decide')")
    decided = [read for read in site.store.current_reads() if read.kind == "adjudication"]
    assert [read.label for read in decided] == [2]
    # Back to it: what was decided is marked, and can be decided anew.
    ada.keyboard.press("u")
    ada.wait_for_selector(".answer.before .name:text('noise')")
    assert ada.inner_text(".note") == "Decided: noise. Another class replaces this."
    ada.keyboard.press("1")
    ada.wait_for_selector(".side .hint:has-text('2 of 6  ·  5 to decide')")
    assert [read.label for read in site.store.current_reads() if read.kind == "adjudication"] == [0]


def test_who_decides_is_offered_only_what_can_be(home: str, site: Site, desk: Sit) -> None:
    disagree(site)
    ada = desk(home)
    ada.page.click("[data-view='disagreements']")
    ada.press("0")
    ada.wait(".note:has-text('Who decides names a class')")
    ada.press("9")
    ada.wait(".note:text('9 is no class here.')")
    ada.page.keyboard.press("?")
    ada.wait("dialog")
    offered = ada.page.locator("dialog .name").all_inner_texts()
    assert {"Next", "Back, to decide anew", "Comment"} <= set(offered)
    assert not {"Cannot tell", "Similar images", "Skip", "Undo"} & set(offered)
    ada.page.keyboard.press("Escape")
    ada.press("1").page.wait_for_selector(".side .hint:has-text('5 to decide')")
    ada.page.click("[data-view='project']")
    ada.wait(".tile:has-text('Readers differ, to decide'):has-text('5 without a majority')")
    assert "overread serve" not in ada.text(".next")


def test_signing_out_is_a_button_of_its_own(home: str, desk: Sit) -> None:
    ada = desk(home).press("1").settled()
    ada.page.click(".person .name")
    ada.ready().page.click("text=Sign out")
    ada.wait("#name")
    assert ada.page.inner_text("#said") == ""


def test_class_names_with_script_are_text(home: str, desk: Sit) -> None:
    ada = desk(home, None)
    names = [SCRIPT, "a very long name of a class " * 6, *(f"class {number}" for number in range(28))]
    about = {"name": SCRIPT, "classes": names, "log_in": False, "assisted": False}
    ada.page.route("**/api/about", lambda route: route.fulfill(json=about))
    ada.page.reload()
    ada.page.fill("#name", "Ada")
    ada.page.keyboard.press("Enter")
    ada.ready()
    assert ada.page.locator(".answer .name").all_inner_texts()[0] == SCRIPT
    assert ada.text(".project") == SCRIPT
    assert ada.page.locator("script").count() == 1
    caps = ada.page.locator(".answer kbd").all_inner_texts()
    # Thirty classes, each with a key of its own, none of them that of a command.
    commands = ada.page.locator(".command kbd").all_inner_texts()
    assert len({*caps, *commands}) == len(names) + len(commands)
    width, inside = ada.page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
    assert inside <= width


def test_assisted_readers_see_labels_and_it_is_recorded(study: Path, desk: Sit) -> None:
    with open_site(study, assisted=True) as site, serving(site) as home:
        ada = desk(home).ready()
        assert "Given label" in ada.text(".assist")
        given, suggested = ada.page.locator(".assist dd").all_inner_texts()
        ada.press("1").settled().press("m")
        ada.wait(".similar img")
        ada.press("2").settled()
        first, second = sorted(site.store.current_reads(), key=lambda read: read.sequence)
        assert first.shown == {"given": given, "suggested": suggested}
        assert second.shown["similar"] == 1


def test_blind_readers_are_shown_no_label(home: str, desk: Sit) -> None:
    ada = desk(home, None)
    with ada.page.expect_response("**/api/work") as work:
        ada.page.fill("#name", "Ada")
        ada.page.keyboard.press("Enter")
    assert all(not any(task["shown"].values()) for task in work.value.json()["tasks"])
    assert ada.ready().page.is_hidden(".assist")
    assert ada.page.locator(".answer .tag").count() == 0


FITS = """(() => {
    const chart = document.querySelector("svg.chart").getBoundingClientRect();
    const panel = document.querySelector(".panel:has(svg)").getBoundingClientRect();
    const texts = [...document.querySelectorAll("svg.chart text:not(:empty)")];
    return Math.abs(panel.width - chart.width - 42) < 1
        && texts.map((each) => each.getBoundingClientRect())
            .every(({ left, right, height }) => left >= chart.left && right <= chart.right && height > 12);
})()"""


def test_the_project_view_has_a_curve_over_the_rounds(study: Path, desk: Sit) -> None:
    with open_site(study) as site:
        disagree(site)
    with open_project(study, to_work=True) as project:
        update_model(project, Silent(), early=True)
    with open_site(study) as site, serving(site) as home:
        ada = desk(home, None)
        ada.page.fill("#name", "Ada")
        ada.page.keyboard.press("Enter")
        ada.wait("h2:text('There is nothing to read now')")
        ada.page.click("[data-view='project']")
        ada.wait("svg.chart circle >> nth=1")
        assert "round 1" in (ada.page.get_attribute("svg.chart", "aria-label") or "")
        # It takes the width of its panel, as narrow as that may become, and no text of it is cut off.
        for width in (1440, 700):
            ada.page.set_viewport_size({"width": width, "height": 900})
            ada.eventually(FITS)


def test_shades_are_those_of_the_data_set(home: str, desk: Sit) -> None:
    page = desk(home, None).page
    greys: NDArray[np.uint16] = np.random.default_rng(5).integers(0, 65536, 3000).astype(np.uint16)
    greys[:4] = (0, 1, 65534, 65535)
    script = """async ([greys, centre, width, invert]) => {
        const { table, draw } = await import("/static/js/shades.js");
        const canvas = document.createElement("canvas");
        draw(canvas, Uint16Array.from(greys), 60, 50, table(centre, width, invert));
        const { data } = canvas.getContext("2d").getImageData(0, 0, 60, 50);
        const opaque = data.filter((_, i) => i % 4 === 3).every((alpha) => alpha === 255);
        return [...[...data].filter((_, i) => i % 4 === 1), opaque];
    }"""
    windows = ((32768.0, 65536.0), (1200.5, 400.0), (1000, 1.0), (40000.0, 513.0), (2.0, 3.0), (128.5, 511.0))
    for (centre, width), invert in itertools.product(windows, (False, True)):
        *drawn, opaque = page.evaluate(script, [greys.tolist(), centre, width, invert])
        assert drawn == windowed(greys, centre, width, invert).tolist()
        assert opaque


def inside(desk: Desk, selector: str) -> bool:
    """Whether nothing of what it holds is cut off, at any place."""
    script = "(all) => all.every((each) => each.scrollWidth <= each.clientWidth)"
    return bool(desk.page.locator(selector).evaluate_all(script))


def test_on_a_tablet_everything_has_its_room(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home, "Dr. Adelheid", viewport={"width": 1024, "height": 768}).press(*"12312").ready()
    assert "left" in ada.text(".numbers")
    # A longer one, as it may come.
    longer = "17 of 20 for you  ·  86 today  ·  about 12 min left"
    ada.page.evaluate("(text) => (document.querySelector('.numbers').textContent = text)", longer)
    assert inside(ada, ".numbers")
    assert inside(ada, "button:visible")
    tools = [ada.page.locator(".tools .group").nth(number).bounding_box() for number in range(3)]
    assert len({box and box["y"] for box in tools}) == 1
    # Upright, and where no round is open, there is no row for how far it is.
    ada.page.set_viewport_size({"width": 768, "height": 1024})
    assert ada.page.is_visible(".top .progress")
    site.store.close_round(1)
    ada.press("1")
    ada.wait("h2:text('There is nothing to read now')")
    assert ada.page.is_hidden(".top .progress")


@pytest.mark.parametrize("size", [(768, 1024), (1366, 768), (1920, 1080)])
def test_targets_are_large_and_nothing_is_cut_off(home: str, desk: Sit, size: tuple[int, int]) -> None:
    ada = desk(home, viewport={"width": size[0], "height": size[1]}, has_touch=True).ready()
    for button in ada.page.locator("button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44, button.inner_text()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
    stage = ada.page.locator(".stage").bounding_box()
    assert stage is not None
    assert stage["height"] > 0.45 * size[1]
    ada.page.locator(".answer").nth(1).tap()
    ada.settled()
