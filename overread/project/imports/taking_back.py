"""Taking back what a file brought that should not have been imported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from overread.project.folder import Project
from overread.project.imports.reading_in import IMPORTED, answers_of
from overread.project.imports.staging import Said, stage
from overread.store import Read, Store, StoredRead, Withdrawal

__all__ = ["take_back_reads"]

REPEATS = "repeats"
"""In what was shown: the number of the read that stands again."""


def take_back_reads(project: Project, file: Path, reader: str | None, *, adjudicate: bool = False) -> int:
    """The number of reads taken back: those that stand, came from an import, and say what an answer in `file` says.

    That is, of the same reader, item and label; arguments as of `import_reads`, but for tables that we exported, which
    earlier versions took for reads.  Nothing is deleted: a read is undone by an event, in closed rounds too, and where
    it had taken the place of what somebody said before, that is said again.  What was said on the page is never taken
    back.  In bounded memory; again: no effect.
    Errors: DataError as of `import_reads`; then nothing is taken back.
    """
    count = 0
    with stage(answers_of(file, exports=True), project, file, reader, adjudicate) as staged:
        for batch in staged.batches:
            count += project.store.take_back(_withdrawals(project.store, batch))
    return count


def _withdrawals(store: Store, batch: Sequence[Said]) -> list[Withdrawal]:
    ids = {each.name: each.id for each in store.readers()}
    wanted = {(said.item, ids.get(said.reader), said.kind, said.label) for said in batch}
    standing = store.standing_of(sorted({said.item for said in batch}))
    return [
        Withdrawal(read.sequence, str(uuid4()), _said_again(store, read))
        for read in standing
        if _was_imported(read) and _what(read) in wanted
    ]


def _what(read: StoredRead) -> tuple[object, ...]:
    return read.item, read.reader, read.kind, read.label


def _was_imported(read: StoredRead) -> bool:
    return {name: value for name, value in read.shown.items() if name != REPEATS} == IMPORTED


def _before(read: StoredRead, events: Mapping[int, StoredRead]) -> StoredRead | None:
    """What `read` took the place of, or the one that it repeats, however often; None where that is nothing."""
    repeats = read.shown.get(REPEATS)
    if isinstance(repeats, int):
        original = events.get(repeats)
        return None if original is None else _before(original, events)
    return None if read.supersedes is None else events.get(read.supersedes)


def _said_again(store: Store, read: StoredRead) -> Read | None:
    """What `read` took the place of, to be said again; None where that is nothing.

    Imported reads that say the same are passed over: the file brought them, too, with another comment.
    """
    events = {event.sequence: event for event in store.history(read.item)}
    before = _before(read, events)
    while before is not None and _was_imported(before) and _what(before) == _what(read):
        before = _before(before, events)
    if before is None or before.kind == "skip":
        return None
    return Read(
        client_id=str(uuid4()),
        item=before.item,
        reader=before.reader,
        kind=before.kind,
        label=before.label,
        round=before.round,
        comment=before.comment,
        shown={**before.shown, REPEATS: before.sequence},
        seconds=before.seconds,
    )
