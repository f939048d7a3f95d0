"""A table of the items on which readers do not agree, for the one who decides, also between two updates."""

from collections.abc import Iterable

from overread.project.folder import Project
from overread.project.queue_file import read_rows, write_disputed
from overread.project.snapshot import snapshot_of_reads

__all__ = ["disputed_items", "note_disputes"]


def disputed_items(project: Project) -> list[int]:
    """Positions of the items that were read, and on whose label readers do not agree."""
    found = snapshot_of_reads(project.store.current_reads(), len(project.store.classes), project.consensus)
    positions: list[int] = found.disputed.tolist()
    return positions


def note_disputes(project: Project, positions: Iterable[int]) -> None:
    """Add the items at `positions` to the table of disputes of the last round.

    Where nothing was learnt yet, to that of round 0.
    """
    wanted = sorted(positions)
    if not wanted:
        return
    where = read_rows(project.folder, len(project.store.rounds()))
    rows = [where.get(position) or _row(project, project.store.item(position).id) for position in wanted]
    write_disputed(project.folder, max(0, len(project.rounds) - 1), rows)


def _row(project: Project, name: str) -> tuple[str, str]:
    """The row of an item that no round asked for; in folders of images its id says where it lies."""
    root = project.config.data.image_root or project.config.data.path
    image = None if root is None else root / name
    return name, str(image) if image is not None and image.is_file() else ""
