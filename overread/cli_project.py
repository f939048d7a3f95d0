"""The commands of a project with human readers: init, learn, select, import, update, status, export."""

import signal
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

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


# Where the name of the file says it.
SUFFIXES = {".parquet": Form.PARQUET, ".json": Form.LABEL_STUDIO}


def register(app: typer.Typer) -> None:
    """Add the commands to `app`, in the order in which they are used."""
    for command, examples in (
        (init, "overread init study --images scans/  |  overread init study --images scans/ --labels labels.csv"),
        (learn, "overread learn study"),
        (select, "overread select study --budget 50  |  overread select study --budget 50 --audit 10 --readers 2"),
        (
            import_,
            "overread import study study/queue/round-001.csv --reader 'Dr. A'  |  overread import study project-1.json",
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
        typer.Option(help="A table with the columns id and label; for a folder of images with path and label."),
    ] = None,
    settings: Settings = None,
    db: Annotated[
        str | None, typer.Option(metavar="URL", help="postgresql+psycopg://user@host/name, instead of a file.")
    ] = None,
) -> None:
    """Begin a project: images and the labels that they came with, which may be wrong."""
    from overread.progress import Bars
    from overread.project.begin import init_project

    state = init_project(folder, images, labels, settings or [], db, Bars())
    data = state["dataset"]
    skipped = f", {len(data['skipped'])} left out" if data["skipped"] else ""
    if state["unlisted"]:
        typer.echo(f"{state['unlisted']} images have no row in {labels} and are left out")
    typer.echo(f"{data['items']} images{skipped}, classes {', '.join(data['classes'])}")
    _say_next(folder)


def learn(folder: Folder) -> None:
    """Learn from the given labels alone, and say which of them are believed."""
    from overread.progress import Bars
    from overread.project.folder import open_project
    from overread.project.status import describe
    from overread.project.steps import learn_labels

    with open_project(folder, to_work=True) as project:
        learn_labels(project, Bars())
        typer.echo(describe(project))


def select(
    folder: Folder,
    budget: Annotated[int, typer.Option(min=1, help="Items that the sampler chooses for this round.")],
    audit: Annotated[
        int | None,
        typer.Option(min=0, help="Items drawn at random beside them, for the estimates; none = active.audit."),
    ] = None,
    readers: Annotated[int, typer.Option(min=1, help="Readers of each item, who do not see each other's reads.")] = 1,
) -> None:
    """Choose the items whose reading helps most, and queue them for the readers."""
    from overread.progress import Bars
    from overread.project.folder import open_project
    from overread.project.queue_file import table_file
    from overread.project.status import next_step
    from overread.project.steps import select_items

    with open_project(folder, to_work=True) as project:
        queue = select_items(project, budget, Bars(), audited=audit, readers=readers)
        number = len(project.rounds)
        audited = f", {len(queue['audited'])} of them drawn at random" if queue["audited"] else ""
        typer.echo(f"round {number}: {sum(map(len, queue.values()))} items{audited}, in {table_file(folder, number)}")
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
) -> None:
    """Take reads from a table that was filled in by hand, or from Label Studio; the same file again adds nothing."""
    from overread.project.folder import open_project
    from overread.project.imports import import_reads
    from overread.project.status import next_step

    with open_project(folder) as project:
        found = import_reads(project, file, reader, adjudicate=adjudicate)
        known = f", {found.known} were there already" if found.known else ""
        empty = f", {found.empty} say nothing" if found.empty else ""
        typer.echo(f"{found.reads} reads{known}{empty}")
        typer.echo(next_step(project))


def update(
    folder: Folder,
    early: Annotated[bool, typer.Option("--early", help="Although reads are missing.")] = False,
) -> None:
    """Close the round and learn from all that was read so far."""
    from overread.progress import Bars
    from overread.project.folder import open_project
    from overread.project.status import describe
    from overread.project.steps import update_model

    with open_project(folder, to_work=True) as project:
        update_model(project, Bars(), early=early)
        typer.echo(describe(project))


def status(folder: Folder) -> None:
    """Say what was read, what is thought wrong still, and which command comes next."""
    from overread.project.folder import open_project
    from overread.project.status import describe

    with open_project(folder) as project:
        typer.echo(describe(project))


def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The file to write, or the new folder.")],
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            help="Of the export; none = as the name of the file says, else csv. folder = images by class; label-studio "
            "= tasks as JSON, and the labelling configuration beside them.",
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
    """Write every item with its label, where that comes from, and all that was ever said of it."""
    from overread.project.exports import LOCAL_FILES, config_file, export_labels
    from overread.project.folder import open_project

    wanted = form or SUFFIXES.get(out.suffix.lower(), Form.CSV)
    for name, given, needs in (("--link", link, Form.FOLDER), ("--image-prefix", images, Form.LABEL_STUDIO)):
        if given and wanted is not needs:
            raise typer.BadParameter(f"it is for --format {needs.value}", param_hint=name)
    prefix = LOCAL_FILES if images is None else images
    # So that what is half written is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with open_project(folder) as project:
        typer.echo(f"{export_labels(project, out, wanted.value, images=prefix, link=link)} items: {out}")
        if wanted is Form.LABEL_STUDIO:
            typer.echo(f"Labelling interface of the project in Label Studio: {config_file(out)}")


def _say_next(folder: Path) -> None:
    from overread.project.folder import open_project
    from overread.project.status import next_step

    with open_project(folder) as project:
        typer.echo(next_step(project))
