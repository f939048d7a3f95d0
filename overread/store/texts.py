"""Texts that both databases can keep."""

import unicodedata

from overread.errors import DataError

__all__ = ["NAME_LENGTH", "reader_name", "stored_text", "tidy_name"]

NAME_LENGTH = 200
# Control characters, and those that turn the direction of what follows; two that join letters some scripts need.
UNSEEN, JOINERS = ("Cc", "Cf", "Co", "Cn"), "\u200c\u200d"
# Letters, numbers, punctuation and symbols, but for those that are drawn as nothing.
SEEN, BLANKS = "LNPS", "\u115f\u1160\u2800\u3164\uffa0"


def stored_text(value: str, what: str) -> str:
    """`value` as it is; DataError where it holds a NUL or half a character, which PostgreSQL or UTF-8 cannot keep.

    what: names it in the message.
    """
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(f"{what} holds characters that cannot be stored: {value!r}; take them out")
    return value


def tidy_name(name: str) -> str:
    """The one form of a reader's name: composed characters, single blanks."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def reader_name(name: str) -> str:
    """The name of a reader in its one form; DataError for an empty one, one that is too long, or that hides characters.

    >>> reader_name(" Dr.  A ")
    'Dr. A'
    """
    tidy = stored_text(tidy_name(name), "the name of a reader")
    if not 1 <= len(tidy) <= NAME_LENGTH:
        raise DataError(f"the name of a reader has {len(tidy)} characters; give 1 to {NAME_LENGTH} of them")
    if any(unicodedata.category(letter) in UNSEEN and letter not in JOINERS for letter in tidy) or not any(
        unicodedata.category(letter)[0] in SEEN and letter not in BLANKS for letter in tidy
    ):
        raise DataError(f"the name of a reader holds characters that cannot be seen: {tidy!a}; take them out")
    return tidy
