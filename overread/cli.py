"""The commands.  Everything heavy is imported by the command that needs it, so that `--help` is quick."""

import os
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer

from overread import __version__, cli_project, cli_serve
from overread.errors import ConfigError, OverreadError

__all__ = ["app", "main"]

# The base of all usage errors, which typer does not export by name.
USAGE_ERROR = cast(type[Exception], typer.BadParameter.__bases__[0])
# What typer makes of Ctrl-C.
INTERRUPTED = 130

app = typer.Typer(
    name="overread",
    help="Learn from medical image sets with wrong labels, and spend an expert's reads where they help most.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Machines(Enum):
    """Where runs are computed; typer wants an enumeration."""

    NONE = "none"
    RAY = "ray"


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Set one configuration key; can be repeated."),
]
ConfigFile = Annotated[Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="A configuration file.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"overread {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: overread demo --out runs/demo")
def demo(
    data: Annotated[
        str | None,
        typer.Option(help="A 2-D set of MedMNIST, such as dermamnist, instead of the packaged digits."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the demo's runs.")] = Path("runs/demo"),
) -> None:
    """Run both phases on packaged real images, offline.

    Prints the path of the report.
    """
    _check_alone("demo")
    from overread.demo import run_demo
    from overread.progress import Bars

    run_demo(data, out, Bars())


@app.command(
    epilog="Examples: overread simulate --set data.path=set.npz --set noise.rate=0.5 --out runs/first  |  "
    "overread simulate study.yaml --set preset=paper-as-published --set seed=3  |  "
    "overread simulate study.yaml --until 'gain<0.002'"
)
def simulate(
    config: ConfigFile = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; the same command resumes what is in it.")] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Stop when label_accuracy=0.95 or macro_f1=0.8 is reached, or at gain<0.002: --set active.until=RULE.",
        ),
    ] = None,
) -> None:
    """Make labels of a set wrong, and play both phases.

    Phase 1 and all rounds, with a simulated oracle.
    """
    from overread.config import load_config
    from overread.progress import Bars
    from overread.run import folder_of

    rule = [] if until is None else [f"active.until={until}"]
    loaded = load_config(config, [*(settings or []), *rule])
    run = folder_of(loaded.model_copy(update={"out": out}) if out else loaded)
    bars = Bars()

    from overread.refine import simulate as run_simulation
    from overread.report import write_report

    results = run_simulation(loaded.model_copy(update={"out": run}), bars)
    # Of several processes, the first one speaks.
    if results:
        typer.echo(summary(results))
        typer.echo(f"report: {write_report(run)}")


@app.command(
    epilog="Examples: overread bench grids/frozen.yaml --out runs/frozen --workers 2  |  "
    "overread bench grids/frozen.yaml --out /shared/frozen --cluster ray"
)
def bench(
    grid: Annotated[Path, typer.Argument(metavar="GRID.yaml", help="Methods x samplers x noise x seeds.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs, the table and the figures.")] = Path("runs/bench"),
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time; by default 2, or one for each CPU of the cluster at RAY_ADDRESS."),
    ] = None,
    cluster: Annotated[
        Machines,
        typer.Option(
            help="none: processes of this machine. ray: tasks on the Ray cluster at RAY_ADDRESS, else on a Ray of "
            "this machine; runs, data and cache must be on a file system that all machines share."
        ),
    ] = Machines.NONE,
) -> None:
    """Run a grid of simulations, and compare them.

    Writes one table with intervals and paired tests, and a figure per data set.
    """
    _check_alone("bench")
    from overread.bench import run_bench
    from overread.progress import Bars

    typer.echo(f"table: {run_bench(grid, out, workers, Bars(), cluster=cluster.value)}")


@app.command(epilog="Example: overread doctor study.yaml --set device=cuda")
def doctor(config: ConfigFile = None, settings: Settings = None) -> None:
    """Say what is installed, and what a configuration would do.

    And what runs on what device, without doing it.
    """
    from overread.doctor import examine

    typer.echo(examine(config, settings or []))


cli_project.register(app)
cli_serve.register(app)


def summary(results: dict[str, object]) -> str:
    """A small table of the rounds, for the terminal."""
    rounds = results["rounds"]
    assert isinstance(rounds, list)
    lines = ["round  reads  macro-F1  balanced accuracy  label accuracy"]
    for entry in rounds:
        scores = (entry["test"]["macro_f1"], entry["test"]["balanced_accuracy"], entry["label_accuracy"])
        f1, recall, labels = ("-" if score is None else f"{score:.3f}" for score in scores)
        lines.append(f"{entry['round']:5d} {entry['oracle_reads']:6d} {f1:>9} {recall:>18} {labels:>15}")
    estimates = rounds[-1].get("estimates") if rounds else None
    if estimates:
        left, score, gain = (estimates[key] for key in ("wrong_labels_left", "macro_f1", "next_100_reads"))
        lines += [
            f"Estimated wrong labels left: {left['estimate']:.0f} ({left['low']:.0f}-{left['high']:.0f}), macro-F1: "
            f"{score['estimate']:.3f} ({score['low']:.3f}-{score['high']:.3f}).",
            f"The next 100 reads are expected to add {gain['label_accuracy']:.4f} to the label accuracy and "
            f"{gain['macro_f1']:.4f} to the macro-F1.",
        ]
    stopped = results.get("stopped")
    if isinstance(stopped, dict):
        lines.append(f"Stopped after round {stopped['round']}: {stopped['reason']}.")
    pools = [entry["pool"] for entry in rounds]
    if pools and pools[-1] == 0 and len(pools) > 1:
        lines.append(f"The pool was empty after round {pools.index(0)}: nothing was left to buy.")
    noise = results["noise"]
    assert isinstance(noise, dict)
    notes = results["notes"]
    assert isinstance(notes, list)
    lines += [f"Note: {note}." for note in (*noise["warnings"], *notes)]
    if results["label_leak"]:
        lines.append("Label leak is on: the reads include truths that nobody paid for.")
    return "\n".join(lines)


def main() -> None:
    """Entry point: exit code 0 done, 2 bad input with one sentence on stderr, 130 interrupted and resumable."""
    arguments = sys.argv[1:] or ["--help"]
    try:
        _check_text(arguments)
        # Not standalone: usage errors are then raised here, and are one sentence like all others.
        code = app(arguments, standalone_mode=False)
    except OverreadError as error:
        _fail(str(error))
    except USAGE_ERROR as error:
        _fail(_usage_sentence(error))
    except OSError as error:
        # A full disk, a folder without permission: the system's word for it and the file that it is about.
        _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    if code == INTERRUPTED:
        # That may be nothing: here nobody knows.
        print("overread: interrupted; the same command goes on with whatever is done by now", file=sys.stderr)
    sys.exit(code)


def _check_alone(command: str) -> None:
    """ConfigError for a command that starts processes of its own, or many runs, under a launcher of several."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(f"overread {command} starts its own runs: start it without torchrun or accelerate launch")


def _check_text(arguments: Sequence[str]) -> None:
    """ConfigError for an argument that no path and no file of a run could hold."""
    for argument in arguments:
        # Surrogates are what Python makes of bytes that are not UTF-8.
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in argument):
            raise ConfigError(
                f"the argument {argument!r} holds a NUL character or a byte that is not UTF-8; "
                "give the file or folder another name"
            )


def _usage_sentence(error: Any) -> str:
    command = error.ctx.command_path if error.ctx else "overread"
    message = error.format_message().rstrip(".")
    return f"{message} See {command} --help" if message.endswith("?") else f"{message}; see {command} --help"


def _fail(message: str) -> NoReturn:
    print(f"overread: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
