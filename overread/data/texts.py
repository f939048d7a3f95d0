"""Text from outside, file names and table cells, as it may stand in a message or in a result."""

__all__ = ["NOT_UTF8", "shown", "writable"]

LIMIT = 300
NOT_UTF8 = "its name is not UTF-8: rename the file or folder"


def writable(text: str) -> str:
    r"""`text` as UTF-8 can hold it: the bytes of a file name that are no UTF-8 are escaped.

    >>> writable("caf\udce9.png")
    'caf\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value: object) -> str:
    r"""`value` for a message: one line of at most about `LIMIT` characters, without those that cannot be printed.

    >>> shown("a\nb"), len(shown("a" * 10_000))
    ('a\\nb', 305)
    """
    text = str(value)
    if len(text) > LIMIT:
        text = f"{text[: LIMIT // 2]} ... {text[-LIMIT // 2 :]}"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
