"""What the server of one project holds: the database, the settings of the server, and its keys."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from overread.config import Config
from overread.project.folder import open_project, read_state
from overread.store import Round, Store
from overread.web.access import Access, make_access
from overread.web.assistance import Assistance
from overread.web.opinions import Opinions
from overread.web.overview import Overview
from overread.web.pictures import Pictures
from overread.web.tokens import Tokens, load_secret

__all__ = ["Site", "open_site"]


class Site(NamedTuple):
    """The server of one project."""

    folder: Path
    config: Config
    store: Store
    n_items: int
    """Of the project, which never change."""
    tokens: Tokens
    log_in: bool
    """Whether who reads must give a password."""
    assisted: bool
    """Whether readers see the given label and what the model suggests."""
    lease_seconds: float
    """How long an image that was handed out is kept for its reader."""
    pictures: Pictures
    opinions: Opinions
    assistance: Assistance
    overview: Overview
    access: Access
    """Who comes in, and by which names the server is called."""

    def state(self) -> Mapping[str, Any]:
        """What `project.json` holds now: steps of the project go on beside the server."""
        return read_state(self.folder)

    def round(self) -> Round | None:
        """The round that is being read; None where there is none."""
        rounds = self.store.rounds()
        return rounds[-1] if rounds and rounds[-1].open else None


@contextmanager
def open_site(
    folder: Path,
    *,
    log_in: bool = False,
    assisted: bool = False,
    lease_seconds: float = 900.0,
    host: str = "127.0.0.1",
    public_names: Iterable[str] = (),
    https: bool = False,
) -> Iterator[Site]:
    """The site of the project in `folder`; errors as of `open_project`.

    host, public_names: by what browsers call the server.  https: whether they come through a proxy that speaks TLS.
    """
    with open_project(folder) as project, closing(Pictures(project.config.data, project.store)) as pictures:
        yield Site(
            folder,
            project.config,
            project.store,
            project.store.count_items(),
            Tokens(load_secret(folder)),
            log_in,
            assisted,
            lease_seconds,
            pictures,
            Opinions(project.store),
            Assistance(folder, project.store),
            Overview(project.store),
            make_access(project.store, host, public_names, https),
        )
