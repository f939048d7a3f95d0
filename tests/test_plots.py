import itertools
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import minimize

from overread.arm_styles import ArmStyle, arm_styles
from overread.arrays import FloatArray
from overread.plots import (
    ANNOTATED_CLASSES,
    BANDED_ARMS,
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


def figure_of(panels: dict[str, dict[str, Curve]], path: Path, title: str = "", *, in_percent: bool = False) -> None:
    styles = arm_styles(arm for curves in panels.values() for arm in curves)
    bench_figure(panels, title, path, styles, in_percent=in_percent)


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@contextmanager
def drawn_texts() -> Iterator[dict[str, tuple[float, float, float, float]]]:
    """Texts of the figures that are saved inside, each with its box: left, bottom, right, top, in shares."""
    found: dict[str, tuple[float, float, float, float]] = {}
    save = Figure.savefig

    def spy(figure: Figure, *arguments: Any, **options: Any) -> None:
        figure.set_dpi(options["dpi"])
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        figure.draw(renderer)
        width, height = figure.canvas.get_width_height()
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            if text.get_text():
                # Of the words alone: the box of an annotation has its hair, too.
                box = Text.get_window_extent(text, renderer)
                found[text.get_text()] = (box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height)
        save(figure, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", spy)
        yield found


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
    figure_of(
        {"symmetric 0.4": arms, "symmetric 0.8": {"one seed": curve(0.3, 0.4)}, "none": {"arm": curve(NAN)}},
        path,
        "data",
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 2 * 7.0 * 110
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    before = path.read_bytes()
    figure_of(
        {"symmetric 0.4": arms, "symmetric 0.8": {"one seed": curve(0.3, 0.4)}, "none": {"arm": curve(NAN)}},
        path,
        "data",
    )
    assert path.read_bytes() == before


def test_long_title_is_wrapped_within_the_figure(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    figure_of({"none": {"arm": curve(0.1, 0.2)}}, path, "Whole network " * 8)
    with Image.open(path) as image:
        heading = np.asarray(image.convert("L"))[:80]
    assert (heading[:, -12:] == 255).all()
    # Two lines, with white between them.
    inked = (heading < 128).any(axis=1)
    assert (np.diff(inked.astype(int)) == 1).sum() >= 2


def test_arm_has_the_look_it_is_given_in_all_panels(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    styles = {"first": ArmStyle("#0072B2", "o"), "second": ArmStyle("#D55E00", "s", "--")}
    panels = {"left": {"first": curve(0.1, 0.2), "second": curve(0.2, 0.3)}, "right": {"second": curve(0.2, 0.3)}}
    bench_figure(panels, "", path, styles)
    left, right = np.array_split(pixels_of(path), 2, axis=1)
    blue, orange = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)
    assert (left == blue).all(axis=2).any()
    assert (left == orange).all(axis=2).any()
    assert (right == orange).all(axis=2).any()
    assert not (right == blue).all(axis=2).any()


@pytest.mark.parametrize("name", ["readers who err in 10 %, thought right", "W" * 56, "$_{" + "x" * 40])
def test_long_names_are_whole_and_inside(name: str, tmp_path: Path) -> None:
    with drawn_texts() as texts_drawn:
        figure_of({"a": {name: curve(0.1, 0.2)}, "b": {"other": curve(0.1, 0.3)}}, tmp_path / "figure.png")
    _, _, right, _ = texts_drawn[name]
    assert 0.3 < right < 0.5
    white = pixels_of(tmp_path / "figure.png")[:, -10:]
    assert (white == 255).all()


@pytest.mark.parametrize(
    ("reads", "in_percent", "ticks"),
    [
        (np.arange(9) * 2.5, True, ["0", "5", "10", "15", "20"]),
        (np.arange(9) * 2.54, True, ["0", "5", "10", "15", "20"]),
        (np.arange(9) * 2.49, True, ["0", "5", "10", "15", "20"]),
        (np.arange(3) * 5, True, ["0", "5", "10"]),
        (np.arange(5) * 5, True, ["0", "5", "10", "15", "20"]),
        (np.zeros(1), True, ["0"]),
        (np.arange(9) * 32, False, ["0", "64", "128", "192", "256"]),
        (np.arange(5) * 350, False, ["0", "350", "700", "1050", "1400"]),
        (np.arange(8) * 10, False, ["0", "20", "40", "60"]),
    ],
)
def test_ticks_are_budgets(reads: FloatArray, in_percent: bool, ticks: list[str], tmp_path: Path) -> None:
    scores = np.linspace(0.31, 0.39, len(reads))
    nothing = np.full(len(reads), NAN)
    with drawn_texts() as texts_drawn:
        figure_of({"": {"arm": Curve(reads, scores, nothing, nothing)}}, tmp_path / "a.png", in_percent=in_percent)
    # Scores have a point.
    assert [text for text in texts_drawn if text.isdigit()] == ticks


@pytest.mark.parametrize(("n_arms", "banded"), [(BANDED_ARMS, True), (BANDED_ARMS + 1, False)])
def test_bands_are_left_out_where_they_would_cover_the_lines(n_arms: int, banded: bool, tmp_path: Path) -> None:
    def share_inked(width: float) -> float:
        arms = {f"arm {index}": curve(0.1, 0.2 + index / 20, width=width) for index in range(n_arms)}
        with drawn_texts() as texts_drawn:
            figure_of({"": arms}, tmp_path / "figure.png")
        assert any("bands" in text for text in texts_drawn) == banded
        return float((pixels_of(tmp_path / "figure.png") < 255).any(axis=2).mean())

    assert (share_inked(0.03) > share_inked(NAN) + 0.02) == banded


def test_bands_end_where_scores_end(tmp_path: Path) -> None:
    with drawn_texts() as texts_drawn:
        figure_of({"": {"arm": curve(0.02, 0.97, width=3.0)}}, tmp_path / "figure.png")
    ticks = [float(text.replace("−", "-")) for text in texts_drawn if re.fullmatch(r"[−\d]+(\.\d+)?", text)]
    scores = [tick for tick in ticks if tick not in (0, 10)]
    # The axis has a margin, and its outermost ticks are not shown.
    assert min(scores) > -0.3
    assert max(scores) < 1.3


def test_title_stands_close_above_the_plot(tmp_path: Path) -> None:
    figure_of({"": {"arm": curve(0.1, 0.2)}}, tmp_path / "figure.png", "Fewer reads")
    inked = np.flatnonzero((pixels_of(tmp_path / "figure.png") < 250).any(axis=(1, 2)))
    assert np.diff(inked).max() < 50


def test_curves_of_a_report_fill_its_width() -> None:
    root = elements(
        budget_curves({"macro-F1": curve(0.1, 0.2), "balanced accuracy": curve(0.1, 0.3)}, "reads", "figure")
    )
    width = float(root.attrib["viewBox"].split()[2])
    # The axis below the points, and the names beside it.
    lines = [element.attrib["d"] for element in root.iter("path") if element.attrib.get("d", "").startswith("M")]
    rightmost = max(float(line.split()[-2]) for line in lines if line.count("L") == 1 and len(line) < 60)
    assert rightmost > 0.8 * width


@pytest.mark.parametrize(
    ("panels", "message"),
    [({}, "at least one panel"), ({"a": {"arm": Curve([0, 1], [0.1], [0.1], [0.1])}}, "2, 1, 1 and 1 entries")],
)
def test_bench_figure_says_what_is_wrong(panels: dict[str, dict[str, Curve]], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        figure_of(panels, tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []
