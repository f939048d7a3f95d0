"""Texts that both databases can keep."""

from overread.errors import DataError

__all__ = ["stored_text"]


def stored_text(value: str, what: str) -> str:
    """`value` as it is; DataError where it holds a NUL or half a character, which PostgreSQL or UTF-8 cannot keep.

    what: names it in the message.
    """
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(f"{what} holds characters that cannot be stored: {value!r}; take them out")
    return value
