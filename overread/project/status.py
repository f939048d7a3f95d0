"""Where a project stands, in words: what was read, how well readers agree, what is thought to be wrong still."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from overread.arrays import IntArray
from overread.arrays.agreed import DAWID_SKENE, MAJORITY
from overread.arrays.agreement import Agreement, krippendorff_alpha
from overread.arrays.consensus import CANNOT_TELL, consensus_of_others
from overread.project.agreement import StandingReads, compare_readers, describe_compared, opinions_in
from overread.project.folder import Project
from overread.project.next_step import next_step
from overread.project.queue_file import disputed_file
from overread.project.snapshot import take_snapshot
from overread.project.words import command, counted
from overread.rng import generator

__all__ = ["ReaderSaid", "Said", "describe", "next_step", "what_was_said"]

NO_LABEL = {
    MAJORITY: "no label has more voices than any other",
    DAWID_SKENE: "no label is more probable than all others together",
}


class ReaderSaid(NamedTuple):
    """What stands of one reader."""

    name: str
    reads: int
    cannot_tell: int
    """Of them."""
    with_others: float | None
    """The share of his labels that all others agree with, of those on whose item they agree; None where there is no
    such item."""


class Said(NamedTuple):
    """What stands of all reads."""

    readers: list[ReaderSaid]
    """Those who have any, in the order in which they came."""
    agreement: Agreement | None
    """Krippendorff's alpha; None for one reader, and where it is not defined."""
    disputed: int
    """Items that were read, and on whose label readers do not agree."""
    unclear: int
    """Items of which all who read them said that they cannot tell."""


def what_was_said(said: StandingReads, rule: str = MAJORITY) -> Said | None:
    """How much was read, and how well readers agree; None where nothing stands.

    rule: of consensus, by which items are disputed.  Time and memory grow with the reads, not with the items.
    """
    if not said.standing:
        return None
    snapshot = take_snapshot(said.standing, said.n_items, said.n_classes, rule)
    reads = said.item, said.reader, said.label
    others = consensus_of_others(*reads, *said.shape)
    alpha = krippendorff_alpha(*reads, *said.shape, generator(0, "agreement"))
    return Said(
        [
            _said_by(name, said.label[said.reader == who], others[said.reader == who])
            for who, name in enumerate(said.names)
            if (said.reader == who).any()
        ],
        None if np.isnan(alpha.value) else alpha,
        len(snapshot.disputed),
        len(snapshot.unclear),
    )


def _said_by(name: str, label: IntArray, others: IntArray) -> ReaderSaid:
    both = (label != CANNOT_TELL) & (others != CANNOT_TELL)
    agreed = float((label == others)[both].mean()) if both.any() else None
    return ReaderSaid(name, len(label), int((label == CANNOT_TELL).sum()), agreed)


def describe(project: Project, *, readers: bool = False) -> str:
    """Some lines for the terminal; the last one names the next command.

    readers: also how they compare.
    """
    data = project.state["dataset"]
    lines = [f"{project.folder}: {counted(data['items'], 'image')}, classes {', '.join(data['classes'])}"]
    if project.rounds:
        chosen = [project.state["choice"]] if project.state["choice"] else []
        lines += [*chosen, *(f"Note: {note}." for note in project.state["notes"])]
        lines += ["", "round  items read  wrong labels left (90 %)     right labels (90 %)         macro-F1 (90 %)"]
        lines += [_round_line(entry) for entry in project.rounds]
        lines += [
            f"Round {entry['round']} ended without a new label: its numbers are those of round {entry['repeats']}."
            for entry in project.rounds
            if "repeats" in entry
        ]
        lines.append(_trust(project))
    standing = opinions_in(project.store)
    said = what_was_said(standing, project.consensus)
    if said is not None:
        lines += ["", *_read_lines(project, said)]
    if readers:
        compared = compare_readers(standing)
        nobody = ["No two readers have labelled the same image: there is nothing to compare."]
        lines += ["", *(nobody if compared is None else describe_compared(compared, project.store.classes))]
    return "\n".join([*lines, "", next_step(project)])


def _round_line(entry: dict[str, Any]) -> str:
    left, right, score = (entry["estimates"][key] for key in ("wrong_labels_left", "label_accuracy", "macro_f1"))
    return (
        f"{entry['round']:5d} {entry['items_read']:11d} {_interval(left, 0):>24} {_interval(right, 3):>23} "
        f"{_interval(score, 3):>23}"
    )


def _interval(found: dict[str, Any], digits: int) -> str:
    if found["estimate"] is None:
        return "-"
    return f"{found['estimate']:.{digits}f} ({found['low']:.{digits}f}-{found['high']:.{digits}f})"


def _trust(project: Project) -> str:
    read = project.rounds[-1]["items_read"]
    if not read:
        return "Nobody had read by then: these are the model's own guesses, from labels of which nothing was checked."
    audit = command("select", project.folder, "--budget", "50", "--audit", "10")
    more = "" if project.config.active.audit else f" Items drawn at random, `{audit}`, make them sharper."
    were = f"{counted(read, 'item')} that {'was' if read == 1 else 'were'} read"
    return f"No truth is known here: the figures rest on {were}, and on the model.{more}"


def _read_lines(project: Project, said: Said) -> Iterator[str]:
    for one in said.readers:
        unsure = f", {one.cannot_tell} of them cannot tell" if one.cannot_tell else ""
        yield f"{one.name}: {counted(one.reads, 'read')}{unsure}"
    alpha = said.agreement
    if alpha is not None:
        yield f"Agreement of readers, Krippendorff's alpha: {alpha.value:.2f} ({alpha.low:.2f} to {alpha.high:.2f})"
    if said.disputed:
        are = "is" if said.disputed == 1 else "are"
        why, way = NO_LABEL[project.consensus], _way_to_decide(project)
        yield f"{counted(said.disputed, 'item')} {are} disputed, {why}: {way}"
    if said.unclear:
        yield f"{counted(said.unclear, 'item')} {'was' if said.unclear == 1 else 'were'} read, and nobody could tell"


def _way_to_decide(project: Project) -> str:
    folder, table = project.folder, disputed_file(project.folder, max(0, len(project.rounds) - 1))
    by_hand = f"in {table}, and `{command('import', folder, table, '--adjudicate', '--reader', 'NAME')}`"
    if project.consensus != MAJORITY:
        # The page knows of items with different labels, and these may have one read.
        return f"decide {by_hand}"
    page = f"decide on the page, `{command('serve', folder)}`"
    return f"{page}, or {by_hand}" if table.exists() else page
