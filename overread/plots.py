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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator
from scipy.optimize import isotonic_regression

from overread.arm_styles import ArmStyle
from overread.arrays import FloatArray, IntArray
from overread.files import atomic_path

__all__ = ["Curve", "bench_figure", "budget_curves", "heat_map", "plain_label"]

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
# Of a panel, inches: the plot, and what stands to its left, below and above it.
PLOT_WIDTH, PLOT_HEIGHT = 4.4, 2.9
BESIDE, BELOW, ABOVE = 0.72, 0.62, 0.34
EDGE = 0.2
LABEL_GAP = 0.03  # of the width of the plot
LABEL_POINTS = 8.5
LABEL_CHARACTERS = 56
TITLE_POINTS = 13.0
# Above so many arms bands cover one another and the lines.
BANDED_ARMS = 6
# Above so many arms panels grow, so that the names have room.
ROOMY_ARMS = 10
NAME_INCHES = 0.17
TICKS = 7


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

    styles = {
        name: ArmStyle(colour, marker)
        for name, (colour, marker) in zip(lines, ((SERIES_1, "o"), (SERIES_2, "s")), strict=False)
    }

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.055, 0.16, 0.775, 0.8))
        ends = _draw_curves(axes, lines, styles, banded=False)
        axes.set_xticks(_round_ticks(lines.values()))
        axes.set_xlabel(xlabel)
        _name_line_ends(axes, ends, step=0.085)

    return _svg((8.8, 2.9), draw, alt)


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
    panels: Mapping[str, Mapping[str, Curve]],
    title: str,
    path: Path,
    styles: Mapping[str, ArmStyle],
    *,
    in_percent: bool = False,
) -> None:
    """Write a PNG with one panel per noise condition: per arm a line of macro-F1, its name at the end.

    panels: condition -> arm -> curve. styles: of every arm.  in_percent: reads are percent of the training set, not
    counts.  95 % intervals are shaded in figures of up to six arms.  Each panel has a score axis of its own, since
    arms are compared within a condition. NaN leaves a gap; an arm without any number in a panel is left out there. The
    file is whole or absent.
    Errors: ValueError for no panel, or for a curve whose lists differ in length.
    """
    if not panels:
        raise ValueError(f"the figure {title!r} needs at least one panel")
    arms = list(dict.fromkeys(arm for curves in panels.values() for arm in curves))
    banded = len(arms) <= BANDED_ARMS
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    with _style(ink="#1a1d21", muted="#5b6570", line="#dfe2e5"), atomic_path(path) as temporary:
        names_width = max(_inches(plain_label(arm, LABEL_CHARACTERS)) for arm in arms)
        panel_width = BESIDE + PLOT_WIDTH * (1 + LABEL_GAP) + names_width + EDGE
        plot_height = PLOT_HEIGHT + NAME_INCHES * max(0, len(arms) - ROOMY_ARMS)
        panel_height = (ABOVE if any(panels) else 0) + plot_height + BELOW
        width = panel_width * columns
        heading = _wrapped(plain_label(title, 120), width - 2 * EDGE)
        top = 0.5 + 0.25 * len(heading)
        height = panel_height * rows + top
        figure = Figure(figsize=(width, height), facecolor="white")
        for position, (condition, curves) in enumerate(panels.items()):
            row, column = divmod(position, columns)
            left, bottom = BESIDE + panel_width * column, height - top - panel_height * (row + 1) + BELOW
            axes = figure.add_axes((left / width, bottom / height, PLOT_WIDTH / width, plot_height / height))
            ends = _draw_curves(axes, curves, styles, banded)
            axes.set_xticks(_percent_ticks(curves.values()) if in_percent else _round_ticks(curves.values()))
            _name_line_ends(axes, ends, step=NAME_INCHES / plot_height)
            axes.set_title(plain_label(condition, 60), loc="left", parse_math=False)
            axes.set_ylabel("macro-F1")
            axes.set_xlabel("% of the training set read" if in_percent else "reads bought")
        figure.text(
            EDGE / width, 1 - 0.15 / height, "\n".join(heading), fontsize=TITLE_POINTS, va="top", parse_math=False
        )
        said = "bands: their 95 % intervals" if banded else "their 95 % intervals are in the tables"
        under = 1 - (0.2 + 0.25 * len(heading)) / height
        figure.text(EDGE / width, under, f"Lines: means over seeds; {said}.", color="#5b6570", va="top")
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def _inches(text: str, points: float = LABEL_POINTS) -> float:
    """Width of a text of one line."""
    renderer = FigureCanvasAgg(Figure(dpi=72)).get_renderer()  # type: ignore[no-untyped-call]
    return float(renderer.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)[0]) / 72


def _wrapped(title: str, room: float) -> list[str]:
    """The lines of a title, each at most `room` inches wide."""
    limit = len(title)
    while limit > 1 and max((_inches(line, TITLE_POINTS) for line in textwrap.wrap(title, limit)), default=0.0) > room:
        limit -= 1
    return textwrap.wrap(title, max(1, limit)) or [""]


def _draw_curves(
    axes: Axes, curves: Mapping[str, Curve], styles: Mapping[str, ArmStyle], banded: bool
) -> list[LineEnd]:
    ends: list[LineEnd] = []
    for name, curve in curves.items():
        reads, mean, low, high = (np.asarray(values, dtype=float) for values in curve)
        if not len(reads) == len(mean) == len(low) == len(high):
            sizes = f"{len(reads)}, {len(mean)}, {len(low)} and {len(high)}"
            raise ValueError(f"reads, mean, low and high of {name!r} have {sizes} entries; give as many of each")
        there = np.flatnonzero(np.isfinite(mean))
        if not len(there):
            continue
        colour, marker, line = styles[name]
        # Where lines coincide the first arm is on top.
        above = 2.9 - 0.9 * len(ends) / len(curves)
        axes.plot(reads, mean, line, color=colour, linewidth=1.7, markersize=4.6, marker=marker, zorder=above)
        if banded:
            # An interval of few seeds may go beyond what a score can be.
            low, high = np.clip((low, high), 0, 1)
            axes.fill_between(reads, low, high, where=np.isfinite(low), color=colour, alpha=0.13, linewidth=0)
        ends.append(LineEnd(plain_label(name, LABEL_CHARACTERS), colour, reads[there[-1]], mean[there[-1]]))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.03, y=0.08)
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return ends


def _round_ticks(curves: Iterable[Curve]) -> list[int]:
    """The reads at the ends of rounds, of the curve that goes furthest: all, or every second, third ... one.

    The first and the last are among them where a step of up to a quarter of the rounds allows it.
    """
    reads = max(([round(value) for value in curve.reads] for curve in curves if len(curve.reads)), key=max, default=[])
    rounds = max(1, len(reads) - 1)
    least = math.ceil(rounds / (TICKS - 1))
    even = (step for step in range(least, max(least, rounds // 4) + 1) if rounds % step == 0)
    return reads[:: next(even, least)]


def _percent_ticks(curves: Iterable[Curve]) -> list[int]:
    """Multiples of 1, 2, 5, 10 or 20 % up to the last share, at most seven, with a point at each where there can be.

    A point counts for a multiple that it misses by a tenth of the step: budgets are rounded to whole reads.
    """
    shares = np.unique(np.concatenate([np.asarray(curve.reads, dtype=float) for curve in curves] or [np.zeros(1)]))
    found = []
    for step in (1, 2, 5, 10, 20):
        ticks = np.arange(0, shares.max(initial=0) + 0.1 * step, step).astype(int)
        missed = np.abs(ticks[:, None] - shares).min(axis=1) > 0.1 * step
        if len(ticks) <= TICKS:
            found.append((int(missed.sum()), ticks.tolist()))
    return min(found, key=lambda each: each[0])[1] if found else [0]


def _name_line_ends(axes: Axes, ends: Sequence[LineEnd], step: float) -> None:
    """Write the names to the right of the panel, at least `step` panel heights apart, tied to their line by a hair."""
    low, high = axes.get_ylim()
    ordered = sorted(ends, key=lambda end: end.y)
    heights = spread([(end.y - low) / (high - low) for end in ordered], step)
    for end, height in zip(ordered, heights, strict=True):
        axes.annotate(
            end.name, (end.x, end.y), (1 + LABEL_GAP, height), textcoords="axes fraction", color=end.colour,
            va="center", annotation_clip=False, parse_math=False, fontsize=LABEL_POINTS,
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": end.colour, "relpos": (0, 0.5),
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
