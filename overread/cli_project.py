"""The commands of a project with human readers: init, learn, select, import, update, status, export."""

import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overread.errors import ConfigError, RunError

if TYPE_CHECKING:
    from overread.project.folder import Project
    from overread.project.imports import Imported

__all__ = ["register"]

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The project folder.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Set one configuration key; can be repeated."),
]


class Form(Enum):
    """Of an export."""

    CSV = "csv"
    PARQUET = "parquet"
    FOLDER = "folder"
    LABEL_STUDIO = "label-studio"


class Consensus(Enum):
    """Of several reads."""

    MAJORITY = "majority"
    DAWID_SKENE = "dawid-skene"


# Where the name of the file says it.
SUFFIXES = {".csv": Form.CSV, ".parquet": Form.PARQUET, ".json": Form.LABEL_STUDIO}


def register(app: typer.Typer) -> None:
    """Add the commands to `app`, in the order in which they are used."""
    for command, examples in (
        (init, "overread init study --images scans/  |  overread init study --images scans/ --labels labels.csv"),
        (learn, "overread learn study"),
        (select, "overread select study --budget 50  |  overread select study --budget 50 --audit 10 --readers 2"),
        (
            import_,
            "overread import study study/queue/round-001.csv --reader 'Dr. A'  |  overread import study tasks.json  |  "
            "overread import study wrong.csv --reader 'Dr. A' --take-back",
        ),
        (update, "overread update study"),
        (status, "overread status study"),
        (
            export,
            "overread export study --out cleaned.csv  |  overread export study --out cleaned.parquet  |  "
            "overread export study --format folder --out cleaned/  |  overread export study --out tasks.json",
        ),
    ):
        word = "Example" if "|" not in examples else "Examples"
        app.command(command.__name__.rstrip("_"), epilog=f"{word}: {examples}")(command)


def init(
    folder: Folder,
    images: Annotated[Path, typer.Option(help="Images, in any form that data.path takes.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A table with the columns id and label; for a folder of images with path, relative to it, and label.",
        ),
    ] = None,
    settings: Settings = None,
    db: Annotated[
        str | None, typer.Option(metavar="URL", help="postgresql+psycopg://user@host/name, instead of a file.")
    ] = None,
) -> None:
    """Begin a project with images and the labels that they came with.

    The labels may be wrong.
    """
    from overread.data.texts import shown
    from overread.progress import Bars
    from overread.project.begin import init_project
    from overread.project.words import counted

    state = init_project(folder, images, labels, settings or [], db, Bars())
    data = state["dataset"]
    skipped = f", {len(data['skipped'])} left out" if data["skipped"] else ""
    if state["unlisted"]:
        have, are = ("has", "is") if state["unlisted"] == 1 else ("have", "are")
        typer.echo(f"{counted(state['unlisted'], 'image')} {have} no row in {labels} and {are} left out")
    classes = ", ".join(f"{shown(name)} ({count})" for name, count in zip(data["classes"], data["counts"], strict=True))
    typer.echo(f"{counted(data['items'], 'image')}{skipped}, classes {classes}")
    _say_next(folder)


def learn(folder: Folder) -> None:
    """Learn from the given labels alone, and say which are believed."""
    from overread.progress import Bars
    from overread.project.folder import open_project
    from overread.project.order import check_learn
    from overread.project.status import describe

    with open_project(folder, to_work=True) as project:
        check_learn(project)
        # What learns takes seconds to import: an error is there before.
        from overread.project.steps import learn_labels

        learn_labels(project, Bars())
        typer.echo(describe(project))


def select(
    folder: Folder,
    budget: Annotated[int, typer.Option(min=1, help="Items that the sampler chooses for this round.")],
    audit: Annotated[
        int | None,
        typer.Option(min=0, help="Items drawn at random beside them, for the estimates; none = active.audit."),
    ] = None,
    readers: Annotated[
        int, typer.Option(min=1, max=1000, help="Readers of each item, who do not see each other's reads.")
    ] = 1,
    at_most: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Where no label has more voices than any other, one more reader at a time, up to so many.",
        ),
    ] = None,
) -> None:
    """Choose the items whose reading helps most, for the readers."""
    from overread.progress import Bars
    from overread.project.folder import open_project
    from overread.project.order import check_select
    from overread.project.queue_file import table_file
    from overread.project.status import next_step
    from overread.project.words import counted

    if at_most is not None and at_most < readers:
        raise typer.BadParameter(f"it is less than --readers {readers}", param_hint="--at-most")
    with open_project(folder, to_work=True) as project:
        check_select(project)
        from overread.project.steps import select_items

        queue = select_items(project, budget, Bars(), audited=audit, readers=readers, at_most=at_most)
        number, chosen = len(project.rounds), len(queue["chosen"])
        if chosen < budget:
            typer.echo(f"{budget} asked for, {chosen} {'is' if chosen == 1 else 'are'} there")
        audited = f", {len(queue['audited'])} of them drawn at random" if queue["audited"] else ""
        items = counted(sum(map(len, queue.values())), "item")
        typer.echo(f"round {number}: {items}{audited}, in {table_file(folder, number)}")
        typer.echo(next_step(project))


def import_(
    folder: Folder,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV with the columns id and label, also reader and comment; or JSON or JSON-MIN of Label Studio.",
        ),
    ],
    reader: Annotated[str | None, typer.Option(help="Who read, where the file does not say.")] = None,
    adjudicate: Annotated[
        bool, typer.Option("--adjudicate", help="These labels decide, whatever was said before.")
    ] = False,
    take_back: Annotated[
        bool,
        typer.Option(
            "--take-back", help="Take back the reads that this file brought, of the same reader; nothing is deleted."
        ),
    ] = False,
) -> None:
    """Take reads from a filled-in table, or from Label Studio.

    The same file again adds nothing.
    """
    from overread.project.disputes import note_disputes
    from overread.project.folder import open_project
    from overread.project.imports import import_reads, take_back_reads
    from overread.project.news import news_of
    from overread.project.status import next_step
    from overread.project.words import command, counted

    with open_project(folder) as project:
        if take_back:
            count = take_back_reads(project, file, reader, adjudicate=adjudicate)
            typer.echo(f"{counted(count, 'read')} taken back")
        else:
            found = import_reads(project, file, reader, adjudicate=adjudicate)
            who = [*(["--reader", reader] if reader else []), *(["--adjudicate"] if adjudicate else [])]
            for line in _brought(project, found, command("import", folder, file, *who, "--take-back")):
                typer.echo(line)
            if project.rounds:
                # The reads are stored: what cannot be written now, `status` writes.
                with suppress(OSError, RunError):
                    note_disputes(project, news_of(project).disputed)
        typer.echo(next_step(project))


def _brought(project: "Project", found: "Imported", way_back: str) -> Iterator[str]:
    from overread.project.words import counted

    known = f", {found.known} {'was' if found.known == 1 else 'were'} there already" if found.known else ""
    empty = f", {found.empty} {'says' if found.empty == 1 else 'say'} nothing" if found.empty else ""
    are_open = {each.number for each in project.store.rounds() if each.open}
    origins = [
        f"{counted(count, 'read')} of "
        + ("items that no round asked for" if number is None else f"round {number}")
        + ("" if number in are_open else ", learnt at the next update")
        for number, count in sorted(found.by_round.items(), key=lambda each: each[0] or 0)
    ]
    whole = origins[0] if len(origins) == 1 else counted(found.reads, "read")
    yield f"{whole}{known}{empty}"
    yield from origins if len(origins) > 1 else []
    yield from (f"new reader: {name}" for name in found.new_readers)
    if None in found.by_round:
        yield f"If these were no reads, take them back: {way_back}"


def update(
    folder: Folder,
    early: Annotated[bool, typer.Option("--early", help="Although reads are missing.")] = False,
    consensus: Annotated[
        Consensus | None,
        typer.Option(
            help="How several reads of an image become one label, from now on: the label with most voices, or who errs "
            "how is found out from what readers share; none = as before, at first majority."
        ),
    ] = None,
) -> None:
    """Close the round and learn from all that was read so far.

    Without a round that is read, learn what was said since the last update.
    """
    from overread.progress import Bars
    from overread.project.folder import open_project, save_state
    from overread.project.order import check_update, makes_no_difference
    from overread.project.status import describe, next_step

    with open_project(folder, to_work=True) as project:
        before = project.consensus
        if consensus is not None:
            project.state["consensus"] = consensus.value
        if project.consensus != before and makes_no_difference(project):
            save_state(folder, project.state)
            typer.echo(f"Readers agree by {project.consensus} from now on; no label changes by it.")
            typer.echo(next_step(project))
            return
        check_update(project, early)
        from overread.project.steps import update_model

        update_model(project, Bars(), early=early)
        typer.echo(describe(project))


def status(
    folder: Folder,
    readers: Annotated[
        bool,
        typer.Option("--readers", help="Also how readers compare: kappas, and who calls what by which other name."),
    ] = False,
) -> None:
    """Say what was read, what is still wrong, and what comes next."""
    from overread.project.disputes import disputed_items, note_disputes
    from overread.project.folder import open_project
    from overread.project.status import describe

    with open_project(folder) as project:
        # Where the folder cannot be written, the page is left as the way to decide.
        with suppress(OSError, RunError):
            note_disputes(project, disputed_items(project))
        typer.echo(describe(project, readers=readers))


def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The file to write, or the new folder.")],
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            help="Of the export; none = as the name of the file says: .csv, .parquet, or .json for label-studio, tasks "
            "as JSON and the labelling configuration beside them. folder = images by class.",
        ),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="With folder: hard links to the images where that is possible, not copies.")
    ] = False,
    images: Annotated[
        str | None,
        typer.Option(
            "--image-prefix",
            metavar="URL",
            help="With label-studio: what comes before the id in the address of an image; none = files that Label "
            "Studio serves itself.",
        ),
    ] = None,
) -> None:
    """Write every item with its label and where that comes from.

    With all that was ever said of it.
    """
    from overread.project.exports import LOCAL_FILES, config_file, export_labels
    from overread.project.folder import open_project
    from overread.project.words import counted

    wanted = form or SUFFIXES.get(out.suffix.lower())
    if wanted is None:
        raise ConfigError(
            f"the name of {out} says no format that is known: end it in {', '.join(SUFFIXES)}, or give "
            "--format csv, or --format folder for a new folder of images by class"
        )
    for name, given, needs in (("--link", link, Form.FOLDER), ("--image-prefix", images, Form.LABEL_STUDIO)):
        if given and wanted is not needs:
            raise typer.BadParameter(f"it is for --format {needs.value}", param_hint=name)
    prefix = LOCAL_FILES if images is None else images
    # So that what is half written is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with open_project(folder) as project:
        typer.echo(f"{counted(export_labels(project, out, wanted.value, images=prefix, link=link), 'item')}: {out}")
        if wanted is Form.LABEL_STUDIO:
            typer.echo(f"Labelling interface of the project in Label Studio: {config_file(out)}")


def _say_next(folder: Path) -> None:
    from overread.project.folder import open_project
    from overread.project.status import next_step

    with open_project(folder) as project:
        typer.echo(next_step(project))
