"""The commands for readers in a browser: serve, reader."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overread.errors import ConfigError

if TYPE_CHECKING:
    from overread.store import Role

__all__ = ["register"]

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The project folder.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command, examples in (
        (serve, "overread serve study  |  overread serve study --host 0.0.0.0 --public-name study.example.org --https"),
        (
            reader,
            "overread reader study  |  overread reader study 'Dr. A' --owner  |  "
            "overread reader study 'Dr. B' --remove",
        ),
    ):
        app.command(command.__name__, epilog=f"Examples: {examples}")(command)


def serve(
    folder: Folder,
    host: Annotated[str, typer.Option(help="Address to listen at; any but loopback demands a log-in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = a free one.")] = 8000,
    assisted: Annotated[
        bool, typer.Option("--assisted", help="Show the given label and the model's suggestion, and record that.")
    ] = False,
    log_in: Annotated[bool, typer.Option("--log-in", help="Demand a password also on this machine.")] = False,
    public_name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name by which browsers call the server; can be repeated."),
    ] = None,
    https: Annotated[
        bool, typer.Option("--https", help="Browsers come through a proxy that speaks TLS; cookies are Secure.")
    ] = False,
) -> None:
    """Open the page on which people read the round."""
    from overread.web.serving import Serving, serve_project

    how = Serving(host, port, assisted, log_in, https, public_name or ())
    serve_project(folder, how, typer.echo)


def reader(
    folder: Folder,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Who reads; none = list them.")] = None,
    owner: Annotated[
        bool | None,
        typer.Option("--owner/--no-owner", help="Whether he decides disagreements and sees the state of the project."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="He cannot sign in any more; his reads stay.")] = False,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Leave the password as it is; on this machine none is needed.")
    ] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Take the password from the first line of the standard input.")
    ] = False,
) -> None:
    """Add, change or remove a reader, or list all.

    Changes are of the role or the password.
    """
    from overread.project.folder import open_project
    from overread.web.people import describe_people, remove_reader, set_reader

    options = owner is not None or no_password or password_stdin
    if (options and (remove or name is None)) or (remove and name is None) or (no_password and password_stdin):
        raise ConfigError(
            "these options do not go together: give DIR alone, DIR NAME --remove, or DIR NAME with at most one of "
            "--no-password and --password-stdin"
        )
    with open_project(folder) as project:
        if name is None:
            typer.echo("\n".join(describe_people(project.store)) or "there are no readers yet")
            return
        if remove:
            typer.echo(f"{remove_reader(project.store, name).name} is removed; the reads stay")
            return
        password = None if no_password else _password(password_stdin)
        role: Role | None = None if owner is None else "owner" if owner else "reader"
        set_reader(project.store, name, role, password)
        typer.echo("\n".join(describe_people(project.store)))


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask for a password; give --password-stdin or --no-password")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
