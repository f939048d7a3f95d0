"""Passwords: what is kept of them, and checking one."""

import base64
import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import HTTPException

from overread.errors import ConfigError

__all__ = ["LONGEST", "SHORTEST", "Checks", "hash_password"]

SHORTEST = 10
LONGEST = 1000
# A hash takes 64 MiB; whoever waits holds one of the threads that serve readers.
HASHES_AT_ONCE = 2
WAITING = 8

HASHER = PasswordHasher()


def hash_password(password: str) -> str:
    """What is kept of a password: argon2id with its salt and parameters.  ConfigError where it is too short or long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigError(f"the password has {len(password)} characters; give {SHORTEST} to {LONGEST} of them")
    if any("\ud800" <= character <= "\udfff" for character in password):
        raise ConfigError("the password holds bytes that are not UTF-8; give another one")
    return HASHER.hash(_one_form(password))


class Checks:
    """Checks of passwords, two at a time, so that guesses take neither the memory nor the threads of the readers."""

    def __init__(self, hasher: PasswordHasher = HASHER) -> None:
        self._hasher = hasher
        self._running = threading.BoundedSemaphore(HASHES_AT_ONCE)
        self._admitted = threading.BoundedSemaphore(HASHES_AT_ONCE + WAITING)
        # The hash of nothing, with the parameters of all others: an unknown name takes as long as a known one.
        salt, digest = (
            base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
            for size in (hasher.salt_len, hasher.hash_len)
        )
        cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
        self._nobody = f"$argon2id$v=19${cost}${salt}${digest}"

    def is_right(self, password: str, password_hash: str | None) -> bool:
        """Whether the hash is one of this password; None as hash: never, and that takes as long.

        503 where too many wait already.
        """
        with self._turn():
            try:
                self._hasher.verify(password_hash or self._nobody, _one_form(password))
            except (VerificationError, InvalidHashError):
                return False
        return password_hash is not None

    def renewed(self, password: str, password_hash: str) -> str | None:
        """The hash of the right password under the parameters of today; None where they are those of `password_hash`.

        503 where too many wait already.
        """
        if not self._hasher.check_needs_rehash(password_hash):
            return None
        with self._turn():
            return self._hasher.hash(_one_form(password))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._admitted.acquire(blocking=False):
            raise HTTPException(503, "too many log-ins at once; try again in a moment")
        try:
            with self._running:
                yield
        finally:
            self._admitted.release()


def _one_form(password: str) -> str:
    """The same bytes for what looks the same, whatever keyboard typed it (NFKC, as of NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)
