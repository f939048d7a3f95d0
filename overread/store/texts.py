"""Texts that both databases can keep."""

import unicodedata

from overread.errors import DataError

__all__ = ["stored_text", "tidy_name"]


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
