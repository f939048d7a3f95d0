import itertools
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.optimize import minimize

from overread.plots import (
    ANNOTATED_CLASSES,
    NAMED_CLASSES,
    Curve,
    bench_figure,
    budget_curves,
    heat_map,
    plain_label,
    spread,
)

NAN = math.nan


def curve(*mean: float, width: float = NAN) -> Curve:
    return Curve(range(0, 10 * len(mean), 10), mean, [m - width for m in mean], [m + width for m in mean])


def elements(svg: str) -> ElementTree.Element:
    """The figure as a tree; fails where it is not well-formed."""
    return ElementTree.fromstring(svg.replace("xlink:href", "href"))


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in elements(svg).iter("text")]


def test_budget_curves_name_their_lines_and_stand_alone() -> None:
    svg = budget_curves({"macro-F1": curve(0.1, 0.2), "$x^": curve(0.3, NAN)}, "reads & more", 'a "figure"')
    root = elements(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'a "figure"'
    assert {"macro-F1", "$x^", "reads & more"} <= set(texts(svg))
    assert "http" not in svg
    assert "<style" not in svg
    assert "var(--series-1)" in svg
    assert "var(--series-2)" in svg
    assert "#0102" not in svg


def test_line_without_numbers_is_left_out() -> None:
    svg = budget_curves({"here": curve(0.1, 0.2), "absent": curve(NAN, NAN)}, "reads", "figure")
    assert "here" in texts(svg)
    assert "absent" not in texts(svg)


def test_figures_are_deterministic_and_their_ids_differ() -> None:
    def ids(svg: str) -> set[str]:
        return {element.attrib["id"] for element in elements(svg).iter() if "id" in element.attrib}

    first = heat_map(np.eye(3), list("abc"), "given", "true", "injected")
    assert first == heat_map(np.eye(3), list("abc"), "given", "true", "injected")
    other = heat_map(np.eye(3), list("abc"), "given", "true", "estimated")
    assert ids(first)
    assert not ids(first) & ids(other)


def test_heat_map_annotates_percent_and_counts() -> None:
    shares = np.array([[0.75, 0.25], [NAN, NAN]])
    shown = texts(heat_map(shares, ["a", "b"], "predicted", "true", "figure", np.array([[31, 11], [0, 0]])))
    assert [text for text in shown if text.isdigit()] == ["75", "31", "25", "11"]


def test_heat_map_rounds_nothing_to_a_dot() -> None:
    assert texts(heat_map(np.array([[1.0, 0.004], [0.5, 0.5]]), ["a", "b"], "x", "y", "figure")).count("·") == 1


@pytest.mark.parametrize(
    ("n", "annotated", "named"), [(ANNOTATED_CLASSES, True, True), (NAMED_CLASSES, False, True), (100, False, False)]
)
def test_heat_map_says_less_of_more_classes(n: int, annotated: bool, named: bool) -> None:
    svg = heat_map(np.full((n, n), 0.37), [f"class {index}" for index in range(n)], "x", "y", "figure")
    assert (texts(svg).count("37") == n * n) == annotated
    assert (texts(svg).count("class 1") == 2) == named
    assert len(svg) < 120_000


@pytest.mark.parametrize("name", ["<b>&amp;", "$\\frac{", "名前", "a\x00b\nc", "", "--><!--"])
def test_hostile_class_names_are_drawn_as_they_are(name: str) -> None:
    svg = heat_map(np.eye(2), [name, "b"], "x", "y", name)
    shown = plain_label(name, 15)
    assert texts(svg).count(shown) == (2 if shown else 0)
    assert texts(svg).count("b") == 2


@given(st.text(max_size=40), st.integers(1, 30))
@settings(deadline=None, max_examples=60)
def test_plain_label_is_one_short_printable_line(name: str, limit: int) -> None:
    text = plain_label(name, limit)
    assert len(text) <= limit
    assert text.isprintable()
    assert plain_label(text, limit) == text


@given(st.lists(st.floats(0, 1), max_size=6), st.sampled_from([0.05, 0.1, 0.15, 0.5]))
@settings(deadline=None, max_examples=30)
def test_spread_is_the_nearest_arrangement_with_room(heights: list[float], step: float) -> None:
    heights = sorted(heights)
    moved = spread(heights, step)
    assert len(moved) == len(heights)
    if len(heights) < 2:
        assert moved.tolist() == heights
        return
    room = min(step, 1 / (len(heights) - 1))
    assert moved.min() >= -1e-9
    assert moved.max() <= 1 + 1e-9
    assert all(b - a >= room - 1e-9 for a, b in itertools.pairwise(moved))
    best = minimize(
        lambda y: np.sum((y - heights) ** 2),
        np.linspace(0, 1, len(heights)),
        jac=lambda y: 2 * (y - np.array(heights)),
        bounds=[(0, 1)] * len(heights),
        constraints=[{"type": "ineq", "fun": lambda y: np.diff(y) - room}],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert np.sum((moved - heights) ** 2) <= best.fun + 1e-6


def test_bench_figure_writes_a_whole_png(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    arms = {f"arm {index} $" + "x" * 40: curve(0.1, 0.2 + index / 20, width=0.02) for index in range(9)}
    bench_figure(
        {"symmetric 0.4": arms, "symmetric 0.8": {"one seed": curve(0.3, 0.4)}, "none": {"arm": curve(NAN)}},
        "data",
        "macro-F1",
        path,
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width == round(2 * 7.0 * 110)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    before = path.read_bytes()
    bench_figure(
        {"symmetric 0.4": arms, "symmetric 0.8": {"one seed": curve(0.3, 0.4)}, "none": {"arm": curve(NAN)}},
        "data",
        "macro-F1",
        path,
    )
    assert path.read_bytes() == before


def test_long_title_is_wrapped_within_the_figure(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    bench_figure({"none": {"arm": curve(0.1, 0.2)}}, "Whole network " * 8, "", path)
    with Image.open(path) as image:
        heading = np.asarray(image.convert("L"))[:80]
    assert (heading[:, -12:] == 255).all()
    # Two lines, with white between them.
    inked = (heading < 128).any(axis=1)
    assert (np.diff(inked.astype(int)) == 1).sum() >= 2


def test_arm_keeps_its_colour_in_all_panels(tmp_path: Path) -> None:
    def colours(panels: dict[str, dict[str, Curve]], half: int) -> set[tuple[int, ...]]:
        bench_figure(panels, "", "", tmp_path / "figure.png")
        with Image.open(tmp_path / "figure.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        side = np.array_split(pixels, 2, axis=1)[half].reshape(-1, 3)
        return {tuple(colour) for colour in np.unique(side, axis=0).tolist()}

    blue, orange = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)
    panels = {"left": {"first": curve(0.1, 0.2), "second": curve(0.2, 0.3)}, "right": {"second": curve(0.2, 0.3)}}
    assert {blue, orange} <= colours(panels, half=0)
    right = colours(panels, half=1)
    assert orange in right
    assert blue not in right


@pytest.mark.parametrize(
    ("panels", "message"),
    [({}, "at least one panel"), ({"a": {"arm": Curve([0, 1], [0.1], [0.1], [0.1])}}, "2, 1, 1 and 1 entries")],
)
def test_bench_figure_says_what_is_wrong(panels: dict[str, dict[str, Curve]], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        bench_figure(panels, "title", "score", tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []
