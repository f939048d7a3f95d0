"""By which names a server is called: a page of a foreign name that resolves to this machine gets no answer."""

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

import idna

from overread.errors import ConfigError

__all__ = ["Names", "is_loopback", "names_of"]

LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class Names(NamedTuple):
    """The names of one server."""

    own: frozenset[str]
    """Lower case; addresses in their shortest form."""
    public: frozenset[str]
    """Those of `own` that a proxy may stand for."""
    any_address: bool
    """Whether every address counts, since the server listens on all of this machine; no page has a foreign address as
    its name and this machine as its server."""

    def answers_to(self, host: str) -> bool:
        """Whether a header `Host: {host}`, with a port or without, means this server."""
        name = _name_in(host)
        if name is None:
            return False
        return name in self.own or _is_loopback_name(name) or (self.any_address and _address(name) is not None)

    def is_own_origin(self, origin: str, scheme: str, host: str) -> bool:
        """Whether a page of `origin` is one of this server, which the request calls `scheme`://`host`."""
        if origin.lower() == f"{scheme}://{host}".lower():
            return True
        # A proxy may have put the address of this server into the place of the public name.
        found = origin.lower().partition("://")
        return found[0] == scheme and _name_in(found[2]) in self.public


def names_of(host: str, public_names: Iterable[str]) -> Names:
    """The names of a server that listens at `host`; ConfigError for a public name that is none."""
    public = set()
    for given in public_names:
        name = _as_sent(_name_in(given))
        if name is None or ":" in given.rpartition("]")[2] or not _is_host(name):
            raise ConfigError(f"--public-name {given!r} is no name of a host; give it as in study.example.org")
        public.add(name)
    own = _name_in(f"[{host}]" if ":" in host else host)
    address = None if own is None else _address(own)
    return Names(
        frozenset(public | ({own} if own else set())), frozenset(public), bool(address and address.is_unspecified)
    )


def _as_sent(name: str | None) -> str | None:
    """A name with letters beyond ASCII in the form in which browsers send it."""
    try:
        return name if name is None or name.isascii() else idna.encode(name, uts46=True).decode()
    except UnicodeError:
        return None


def _is_host(name: str) -> bool:
    """Whether browsers can call a server by the name: an address, or labels of letters, digits and hyphens."""
    return _address(name) is not None or (len(name) <= 253 and all(map(LABEL.fullmatch, name.split("."))))


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine reaches an address, which is a number."""
    found = _address(address)
    return found is not None and found.is_loopback


def _is_loopback_name(name: str) -> bool:
    return name == "localhost" or is_loopback(name)


def _name_in(host: str) -> str | None:
    """The name in `host`, a name with or without a port; None where it is neither."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    # Nothing but a name and a port: no person, path or question.
    if name is None or parts.netloc != host or "@" in host or not name.isprintable() or " " in name:
        return None
    address = _address(name)
    return str(address) if address else name.removesuffix(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
