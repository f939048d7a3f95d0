"""Whether two names, of classes or of readers, may be meant to be one."""

import unicodedata
from difflib import SequenceMatcher

__all__ = ["same_but_for_case", "same_letters", "spelt_alike"]

# Shorter words tell names apart: "Dr. A" and "Dr. B", "B cells" and "T cells".
SHORTEST = 4
ALIKE = 0.8


def same_letters(one: str, other: str) -> bool:
    """Whether two names differ in nothing but case, accents, blanks and punctuation.

    >>> same_letters("Dr Ada", "dr. ada"), same_letters("Dr. A", "Dr. B")
    (True, False)
    """
    letters = "".join(_words(one))
    return letters != "" and letters == "".join(_words(other))


def same_but_for_case(one: str, other: str) -> bool:
    """Whether two names differ in nothing but case and blanks.

    >>> same_but_for_case("basal cell", "BasalCell"), same_but_for_case("ER+", "ER-")
    (True, False)
    """
    return "".join(one.split()).casefold() == "".join(other.split()).casefold()


def spelt_alike(one: str, other: str) -> bool:
    """Whether all words of two names but one are the same, and that one is spelt almost alike.

    Words that are short or hold a digit are never almost alike.

    >>> spelt_alike("Dr Mueler", "Dr. Mueller"), spelt_alike("annotator 1", "annotator 2")
    (True, False)
    """
    words, others = _words(one), _words(other)
    different = [(a, b) for a, b in zip(words, others, strict=False) if a != b]
    if len(words) != len(others) or len(different) != 1:
        return False
    a, b = different[0]
    if min(len(a), len(b)) < SHORTEST or not (a.isalpha() and b.isalpha()):
        return False
    return SequenceMatcher(None, a, b).ratio() >= ALIKE


def _words(name: str) -> list[str]:
    plain = "".join(
        letter if letter.isalnum() else " "
        for letter in unicodedata.normalize("NFKD", name).casefold()
        if not unicodedata.combining(letter)
    )
    return plain.split()
