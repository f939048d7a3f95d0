"""What the server signs and encrypts: ids of items, sessions, and the proof that a request comes from the page."""

import base64
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from overread.errors import RunError
from overread.files import temporary_beside

__all__ = ["Tokens", "load_secret"]

N_BYTES = 32
KEY = "session.key"


def load_secret(folder: Path) -> bytes:
    """The secret of the project in `folder`, made where there is none: sessions outlive a server that is killed."""
    path = folder / KEY
    try:
        # Linked into place whole: of several servers that begin at once all have the same one.
        temporary = temporary_beside(path)
        if not path.exists():
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(N_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            except OSError:
                # File systems of memory cards have no links; of two servers that begin at once one may then end the
                # sessions of the other.
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        secret = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"{path}, the key of the server, cannot be used ({error.strerror or error}): give it and its folder their "
            "permissions back; without the file a new key is made, and everybody signs in again"
        ) from None
    if len(secret) != N_BYTES:
        raise RunError(f"{path}, the key of the server, is damaged: remove it, and everybody signs in again")
    return secret


class Tokens:
    """The signatures of one project; those of another one mean nothing here.

    clock: seconds since 1970, of which sessions are dated.
    """

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        def key(purpose: str, size: int) -> bytes:
            return hashlib.blake2b(purpose.encode(), key=secret, digest_size=size).digest()

        self._items = AESSIV(key("items", 64))
        self._sessions = Fernet(base64.urlsafe_b64encode(key("sessions", 32)))
        self._proofs = key("proofs", 32)
        self._clock = clock
        self.cookie = f"overread-{key('cookie', 4).hex()}"
        """The name of the cookie of sessions: browsers do not tell ports apart, so every project has its own."""

    def item_id(self, position: int) -> str:
        """The id of the item at `position` on the page: always the same one, which says nothing about the item."""
        return base64.urlsafe_b64encode(self._items.encrypt(position.to_bytes(8, "big"), [])).decode()

    def position(self, item_id: str) -> int | None:
        """The position of the item with this id; None for an id that this project never gave."""
        try:
            return int.from_bytes(self._items.decrypt(base64.urlsafe_b64decode(item_id.encode()), []), "big")
        except (InvalidTag, ValueError):
            return None

    def session(self, content: str) -> str:
        """`content`, encrypted and signed, with the time."""
        return self._sessions.encrypt_at_time(content.encode(), int(self._clock())).decode()

    def content(self, session: str, seconds: int) -> str | None:
        """The content of a session that is no older than so many seconds; None for any other."""
        try:
            now = int(self._clock())
            return self._sessions.decrypt_at_time(session.encode(), ttl=seconds, current_time=now).decode()
        except (InvalidToken, ValueError):
            return None

    def age(self, session: str) -> float:
        """How many seconds ago a session was dated, which has a `content`."""
        return self._clock() - self._sessions.extract_timestamp(session.encode())

    def proof(self, session_id: str) -> str:
        """What a page of the session with this id sends with everything that it changes."""
        return hmac.new(self._proofs, b"session:" + session_id.encode(), hashlib.sha256).hexdigest()

    def digest(self, password_hash: str) -> str:
        """What a session says of the password that it began with."""
        return hmac.new(self._proofs, b"password:" + password_hash.encode(), hashlib.sha256).hexdigest()[:32]
