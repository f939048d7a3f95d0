"""Figures: SVG elements for the inside of a page, in the page's own colours, and PNG files for the benchmark.

No pyplot: each figure is made, drawn and forgotten.  Names of classes and arms are hostile input: they are never read
as mathematics and never break a drawing.
"""

import html
import io
import math
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.optimize import isotonic_regression

from overread.arrays import FloatArray, IntArray
from overread.files import atomic_path

__all__ = ["Curve", "bench_figure", "budget_curves", "heat_map", "plain_label"]

# Okabe and Ito's colours, told apart with every common colour blindness; markers tell the lines apart in grey.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#8C6D46")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
LINES = ("-", "--", ":", "-.")

# Stand-ins for the variables of the page's style sheet: matplotlib writes the left, the page reads the right.
THEME = {
    "#010203": "var(--ink)",
    "#010204": "var(--muted)",
    "#010205": "var(--line)",
    "#010206": "var(--series-1)",
    "#010207": "var(--series-2)",
}
INK, MUTED, LINE, SERIES_1, SERIES_2 = THEME
CELL_RGB = (0.16, 0.47, 0.78)  # strength is opacity, so that one picture suits light and dark pages
ANNOTATED_CLASSES = 12
NAMED_CLASSES = 40
PANEL_INCHES = (7.0, 3.7)
TITLE_CHARACTER_INCHES = 0.12


class Curve(NamedTuple):
    """One arm's score against reads: four lists of one length; `low` and `high` may hold NaN (one seed)."""

    reads: Sequence[float] | FloatArray
    mean: Sequence[float] | FloatArray
    low: Sequence[float] | FloatArray
    high: Sequence[float] | FloatArray


class LineEnd(NamedTuple):
    """The last point of a line, in data coordinates, and what to write beside it."""

    name: str
    colour: str
    x: float
    y: float


def plain_label(name: object, limit: int = 24) -> str:
    """`name` on one line, without control characters, and cut with an ellipsis after `limit` characters.

    >>> plain_label("melanoma\\nin situ"), plain_label("abcdef", limit=4)
    ('melanoma in situ', 'abc…')
    """
    text = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in str(name))
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def budget_curves(lines: Mapping[str, Curve], xlabel: str, alt: str) -> str:
    """SVG element with one or two named lines of scores (0..1) against reads, in the colours of the page.

    lines: name -> curve, in drawing order; NaN leaves a gap, and a line without any number is not drawn.
    alt: what is told to somebody who cannot see the figure.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.085, 0.18, 0.655, 0.78))
        ends = _draw_curves(axes, lines, (SERIES_1, SERIES_2), list(lines))
        axes.set_xlabel(xlabel)
        _name_line_ends(axes, ends, step=0.085)

    return _svg((5.8, 2.9), draw, alt)


def heat_map(
    shares: FloatArray, names: Sequence[str], xlabel: str, ylabel: str, alt: str, counts: IntArray | None = None
) -> str:
    """SVG element with a C x C matrix of shares (0..1), first row on top; deeper colour = larger share.

    Up to 12 classes each cell is annotated in percent, with its count below where `counts` is given; up to 40 classes
    are named at the axes, more are numbered. NaN (a row of no items) stays empty.
    """
    n = len(names)
    few = n <= ANNOTATED_CLASSES
    texts = [plain_label(name, 15) for name in names] if n <= NAMED_CLASSES else ["100"]
    longest = max(map(len, texts))
    margin = 0.4 + 0.066 * longest
    side = margin + 0.05 + (max(2.4, 0.5 * n) if few else min(0.2 * n, 5.4))

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((margin / side, 0.05 / side, 1 - (margin + 0.05) / side, 1 - (margin + 0.05) / side))
        pixels = np.empty((n, n, 4))
        pixels[..., :3] = CELL_RGB
        pixels[..., 3] = 0.85 * np.clip(np.nan_to_num(shares), 0, 1)
        axes.imshow(pixels, interpolation="none", aspect="equal")
        axes.xaxis.set_ticks_position("top")
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(xlabel, labelpad=5)
        axes.set_ylabel(ylabel, labelpad=5)
        axes.tick_params(length=0, labelsize=8 if few else 7, labelcolor=INK)
        if n <= NAMED_CLASSES:
            axes.set_xticks(range(n), texts, rotation=0 if longest <= 3 and few else 90, parse_math=False)
            axes.set_yticks(range(n), texts, parse_math=False)
        if few:
            _rule_between_cells(axes, n)
            _annotate(axes, shares, counts)

    return _svg((side, side), draw, alt)


def bench_figure(
    panels: Mapping[str, Mapping[str, Curve]], title: str, ylabel: str, path: Path, xlabel: str = "reads bought"
) -> None:
    """Write a PNG with one panel per noise condition: per arm a line, its shaded 95 % interval, its name at the end.

    panels: condition -> arm -> curve. An arm keeps colour and marker in all panels, by order of first appearance; each
    panel has a score axis of its own, since arms are compared within a condition. NaN leaves a gap; an arm without any
    number in a panel is left out there. The file is whole or absent.
    Errors: ValueError for no panel, or for a curve whose lists differ in length.
    """
    if not panels:
        raise ValueError(f"the figure {title!r} needs at least one panel")
    arms = list(dict.fromkeys(arm for curves in panels.values() for arm in curves))
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = PANEL_INCHES[0] * columns
    heading = textwrap.wrap(plain_label(title, 120), int((width - 0.4) / TITLE_CHARACTER_INCHES)) or [""]
    top = 0.25 + 0.25 * len(heading)
    height = PANEL_INCHES[1] * rows + top
    with _style(ink="#1a1d21", muted="#5b6570", line="#dfe2e5"), atomic_path(path) as temporary:
        figure = Figure(figsize=(width, height), facecolor="white")
        for position, (condition, curves) in enumerate(panels.items()):
            row, column = divmod(position, columns)
            left, bottom = 0.72 + PANEL_INCHES[0] * column, height - top - PANEL_INCHES[1] * (row + 1) + 0.6
            box = (left / width, bottom / height, 3.9 / width, (PANEL_INCHES[1] - 1.05) / height)
            axes = figure.add_axes(box)
            _name_line_ends(axes, _draw_curves(axes, curves, PALETTE, arms), step=0.06)
            axes.set_title(plain_label(condition, 60), loc="left", parse_math=False)
            axes.set_ylabel(plain_label(ylabel, 40), parse_math=False)
            axes.set_xlabel(plain_label(xlabel, 40), parse_math=False)
        figure.text(0.2 / width, 1 - 0.15 / height, "\n".join(heading), fontsize=13, va="top", parse_math=False)
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def _draw_curves(
    axes: Axes, curves: Mapping[str, Curve], colours: Sequence[str], order: Sequence[str]
) -> list[LineEnd]:
    ends = []
    for name, curve in curves.items():
        reads, mean, low, high = (np.asarray(values, dtype=float) for values in curve)
        if not len(reads) == len(mean) == len(low) == len(high):
            sizes = f"{len(reads)}, {len(mean)}, {len(low)} and {len(high)}"
            raise ValueError(f"reads, mean, low and high of {name!r} have {sizes} entries; give as many of each")
        there = np.flatnonzero(np.isfinite(mean))
        if not len(there):
            continue
        turn = order.index(name)
        colour, line = colours[turn % len(colours)], LINES[turn // len(colours) % len(LINES)]
        axes.plot(reads, mean, line, color=colour, linewidth=1.7, markersize=4.2, marker=MARKERS[turn % len(MARKERS)])
        axes.fill_between(reads, low, high, where=np.isfinite(low), color=colour, alpha=0.13, linewidth=0)
        ends.append(LineEnd(plain_label(name, 32), colour, reads[there[-1]], mean[there[-1]]))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.03, y=0.12)
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return ends


def _name_line_ends(axes: Axes, ends: Sequence[LineEnd], step: float) -> None:
    """Write the names to the right of the panel, at least `step` panel heights apart, tied to their line by a hair."""
    low, high = axes.get_ylim()
    ordered = sorted(ends, key=lambda end: end.y)
    heights = spread([(end.y - low) / (high - low) for end in ordered], step)
    for end, height in zip(ordered, heights, strict=True):
        axes.annotate(
            end.name, (end.x, end.y), (1.03, height), textcoords="axes fraction", color=end.colour, va="center",
            annotation_clip=False, parse_math=False,
            fontsize=8.5, arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": end.colour, "relpos": (0, 0.5),
                                      "shrinkA": 1, "shrinkB": 3},
        )  # fmt: skip


def spread(heights: Sequence[float], step: float) -> FloatArray:
    """The ascending `heights` moved as little as possible (least squares) to stand `step` apart within 0..1.

    Where 0..1 has no room for so many, the step is the largest that fits.

    >>> spread([0.5, 0.5, 0.99], 0.1).round(2).tolist()
    [0.45, 0.55, 0.99]
    """
    if not len(heights):
        return np.empty(0)
    step = min(step, 1 / max(1, len(heights) - 1))
    stairs = step * np.arange(len(heights))
    # Standing `step` apart is the same as ascending once a staircase of that step is taken away.
    flat: FloatArray = isotonic_regression(np.asarray(heights) - stairs).x
    return np.clip(flat, 0, 1 - stairs[-1]) + stairs


def _rule_between_cells(axes: Axes, n: int) -> None:
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", linewidth=0.7)
    axes.tick_params(which="minor", length=0)


def _annotate(axes: Axes, shares: FloatArray, counts: IntArray | None) -> None:
    """Percent in each cell, and its count below; cells that round to nothing stay quiet."""
    for (row, column), share in np.ndenumerate(shares):
        if not np.isfinite(share):
            continue
        quiet = share < 0.005
        weight = "bold" if row == column else "normal"
        lift = 0.14 if counts is not None else 0
        percent = "·" if quiet else f"{100 * share:.0f}"
        colour = MUTED if quiet else INK
        axes.text(column, row - lift, percent, ha="center", va="center", fontsize=8.5, color=colour, fontweight=weight)
        if counts is not None and not quiet:
            text = f"{counts[row, column]:d}"
            axes.text(column, row + 0.24, text, ha="center", va="center", fontsize=6.5, color=INK)


@contextmanager
def _style(ink: str, muted: str, line: str, salt: str = "") -> Iterator[None]:
    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 8.5,
        "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "text.color": ink, "axes.labelcolor": muted,
        "axes.titlecolor": ink, "axes.edgecolor": line, "xtick.color": muted, "ytick.color": muted, "grid.color": line,
        "svg.fonttype": "none", "svg.hashsalt": f"overread {salt}", "text.usetex": False, "text.parse_math": False,
    }  # fmt: skip
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The page or the viewer has more fonts than the one that measures the text here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def _svg(size: tuple[float, float], draw: Callable[[Figure], None], alt: str) -> str:
    """One `<svg>` element without scripts, foreign addresses, or ids that could meet those of another figure."""
    buffer = io.StringIO()
    with _style(INK, MUTED, LINE, salt=alt):  # so that ids of two figures differ, and those of one never change
        figure = Figure(figsize=size)
        figure.patch.set_visible(False)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    for stand_in, variable in THEME.items():
        text = text.replace(stand_in, variable)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(plain_label(alt, 200))}"', 1).strip()
