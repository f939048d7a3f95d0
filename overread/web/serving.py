"""Running the server of one project."""

import errno
import ipaddress
import shlex
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import uvicorn

from overread.errors import RunError
from overread.project.folder import check_images, open_project
from overread.web.app import make_app
from overread.web.names import is_loopback
from overread.web.site import Site, open_site

__all__ = ["Serving", "serve_project"]

# Proxies are believed what they say of the browser where they run on this machine.
PROXIES = ["127.0.0.1", "::1"]
# A reader looks at an image for longer than the five seconds that a connection is usually kept.
KEEP_SECONDS = 75
END_SECONDS = 5
BACKLOG = 2048


class _EndedError(BaseException):
    """SIGTERM came; nothing in between is to take it for a failure."""


class Serving(NamedTuple):
    """How a project is served."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: a free one."""
    assisted: bool = False
    log_in: bool = False
    """Demanded in any case where others can reach the server."""
    https: bool = False
    public_names: Sequence[str] = ()


def serve_project(folder: Path, how: Serving, say: Callable[[str], None]) -> None:
    """Serve the project in `folder` until SIGTERM; SIGINT raises KeyboardInterrupt when everything is closed.

    say: is told what is read, and where.  RunError where the address cannot be had, or readers have to log in and no
    owner can, or the images are gone; ConfigError for a public name that is none; else errors as of `open_project`.
    """
    with _ended_by_sigterm(), _listen(how.host, how.port) as listening:
        address, port = listening.getsockname()[:2]
        # Before anything is opened that waits for them.
        with open_project(folder) as project:
            check_images(folder, project.config.data)
        log_in = how.log_in or how.https or bool(how.public_names) or not is_loopback(address)
        with open_site(
            folder,
            log_in=log_in,
            assisted=how.assisted,
            host=how.host,
            public_names=how.public_names,
            https=how.https,
        ) as site:
            if log_in:
                _require_owner(site)
            say(_what_is_read(site))
            say(f"Open {_address_to_open(how, port)} in a browser; Ctrl-C ends the server.")
            _run(site, listening)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """A block that SIGTERM ends in good order.  A server that runs ends first, and then raises it again."""

    def end(*_: object) -> NoReturn:
        raise _EndedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _EndedError:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; RunError where there is no such address, or another server has it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise RunError(f"the host {host!r} is not known ({reason}); give an address of this machine") from None
    listening = socket.socket(family, kind, protocol)
    try:
        # The port of a server that was killed is free at once.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise RunError(
                f"port {port} of {host} is taken by another program; give another --port, or --port 0 for a free one"
            ) from None
        raise RunError(
            f"port {port} of {host} cannot be opened ({error.strerror}); give another --host or --port"
        ) from None
    return listening


def _require_owner(site: Site) -> None:
    if not any(reader.active and reader.role == "owner" and reader.password_hash for reader in site.store.readers()):
        raise RunError(
            "readers log in here, and no owner of the project has a password yet: give one with "
            f"`overread reader {shlex.quote(str(site.folder))} NAME --owner`"
        )


def _what_is_read(site: Site) -> str:
    current = site.round()
    if current is None:
        folder = shlex.quote(str(site.folder))
        return f"No round is open, so there is nothing to read yet: `overread status {folder}` says what comes next."
    done = site.store.progress(current.number)
    left = "all are read" if done.finished == done.items else f"{done.finished} of them are read"
    return f"Round {current.number}: {done.items} images, {left}, {done.answered} of {done.wanted} reads."


def _address_to_open(how: Serving, port: int) -> str:
    if how.public_names:
        scheme = "https" if how.https else "http"
        return f"{scheme}://{how.public_names[0]}" + ("" if how.https else f":{port}")
    try:
        host = ipaddress.ip_address(how.host)
    except ValueError:
        return f"http://{how.host}:{port}"
    if host.is_unspecified:
        # By number: a name that nobody gave with --public-name is not answered to.
        return f"http://{_own_address()}:{port}"
    return f"http://[{host}]:{port}" if host.version == 6 else f"http://{host}:{port}"


def _own_address() -> str:
    """The number by which others in the network reach this machine; loopback where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the system only says from where it would be.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _run(site: Site, listening: socket.socket) -> None:
    config = uvicorn.Config(
        make_app(site),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=True,
        forwarded_allow_ips=PROXIES,
        timeout_keep_alive=KEEP_SECONDS,
        timeout_graceful_shutdown=END_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])
