from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overread.arm_styles import COLOURS, KNOWN, MARKERS, arm_styles
from overread.yaml_files import read_yaml_file

GRIDS = sorted((Path(__file__).parent.parent / "grids").glob("*.yaml"))
NAMES = st.one_of(st.sampled_from(sorted(KNOWN)), st.text(max_size=12))


def arms_of(grid: Path) -> list[str]:
    values, _ = read_yaml_file(grid, "grid")
    return [*values["arms"], *values.get("hindsight", {})]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda path: path.stem)
def test_arms_of_the_committed_grids_have_the_looks_of_the_table(grid: Path) -> None:
    for name, style in arm_styles(arms_of(grid)).items():
        if name in KNOWN:
            assert style == KNOWN[name]


def test_every_arm_of_a_grid_with_figures_is_known() -> None:
    drawn = {path.parent.name for path in (GRIDS[0].parent.parent / "docs" / "results").glob("*/*.png")}
    unknown = {name for grid in GRIDS if grid.stem in drawn for name in arms_of(grid)} - set(KNOWN)
    assert drawn
    assert not unknown


@given(st.lists(NAMES, max_size=40, unique=True))
@settings(deadline=None)
def test_no_two_arms_of_a_figure_look_alike(arms: list[str]) -> None:
    styles = arm_styles(arms)
    assert list(styles) == arms
    for one, other in combinations(styles.values(), 2):
        assert (one.colour, one.marker) != (other.colour, other.marker)


@given(NAMES, st.lists(NAMES, max_size=8, unique=True))
@settings(deadline=None)
def test_a_name_looks_the_same_wherever_nothing_else_claims_its_look(name: str, others: list[str]) -> None:
    alone = arm_styles([name])[name]
    taken = {style.colour for other, style in arm_styles(others).items() if other != name}
    if alone.colour not in taken:
        assert arm_styles([*others, name])[name] == alone


def test_few_unknown_arms_have_colours_of_their_own() -> None:
    for start in range(20):
        styles = arm_styles([f"arm {start} {index}" for index in range(len(COLOURS))])
        assert len({style.colour for style in styles.values()}) == len(COLOURS)


def test_more_arms_than_looks_are_drawn_all_the_same() -> None:
    n = len(COLOURS) * len(MARKERS)
    assert len(set(arm_styles([f"arm {index}" for index in range(n)]).values())) == n
    assert len(arm_styles([f"arm {index}" for index in range(n + 5)])) == n + 5
