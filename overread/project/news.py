"""What was said since the last update, which that has not learnt."""

from typing import NamedTuple

from overread.arrays.agreed import MAJORITY
from overread.project.folder import Project
from overread.project.snapshot import load_snapshot, snapshot_of_reads
from overread.results import round_file

__all__ = ["News", "news_of"]


class News(NamedTuple):
    """What was said since the last update."""

    changed: int
    """Items whose label from readers is new, another one, or taken back: what an update would learn."""
    disputed: list[int]
    """Positions of items of which somebody said something since then, and on whose label readers do not agree."""
    all_read: bool
    """Whether somebody has read every item of the project, now or before."""


def news_of(project: Project) -> News:
    """The news of a project after phase 1.  Time and memory grow with what was said since the last update alone.

    Where nearly all items are read, or the rule of consensus looks at all reads, time also grows with all of them.
    RunError where the labels that the last update learnt from are lost, and something was said since.
    """
    store, entry = project.store, project.rounds[-1]
    # Entries of earlier versions do not say up to which read they know.
    touched = store.items_since(entry.get("last_read", 0))
    is_other_rule = project.consensus != entry.get("consensus", MAJORITY)
    if is_other_rule or (touched and project.consensus != MAJORITY):
        # Then the label of an item may change by what was said of others.
        touched = store.items_since(0)
    known = entry["items_read"] + entry.get("disputed", 0) + entry.get("unclear", 0)
    n_items = project.state["dataset"]["items"]
    all_read = known + len(touched) >= n_items and len({read.item for read in store.current_reads()}) == n_items
    if not touched:
        return News(0, [], all_read)
    now = snapshot_of_reads(store.standing_of(touched), len(store.classes), project.consensus)
    learnt = load_snapshot(round_file(project.folder, "snapshots", len(project.rounds) - 1))
    before = dict(zip(learnt.positions.tolist(), learnt.labels.tolist(), strict=True))
    after = dict(zip(now.positions.tolist(), now.labels.tolist(), strict=True))
    changed = sum(before.get(item) != after.get(item) for item in touched)
    return News(changed, now.disputed.tolist(), all_read)
