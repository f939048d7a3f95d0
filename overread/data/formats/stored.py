"""Arrays of a file where names or labels are wanted: anything may stand there, and only text and numbers are taken."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from overread.data.texts import shown
from overread.errors import DataError

__all__ = ["names", "texts_or_numbers"]


def texts_or_numbers(where: str, array: NDArray[Any]) -> NDArray[Any]:
    """`array` as text or numbers: bytes, which must be UTF-8, are decoded.

    DataError: dates, complex numbers, records, Python objects, text that is damaged; `where` names the array.
    """
    if array.dtype.kind in "SO" and all(isinstance(value, bytes | str) for value in array.ravel().tolist()):
        texts = [_text(where, value) for value in array.ravel().tolist()]
        return np.array(texts, dtype=np.str_).reshape(array.shape)
    if array.dtype.kind == "U" and not _are_characters(array):
        raise DataError(f"{where} holds text with characters that Unicode does not have: store it again")
    if array.dtype.kind not in "biufU":
        raise DataError(f"{where} has the type {shown(array.dtype)}; it must hold text or numbers")
    return array


def names(where: str, array: NDArray[Any], rows: int | None = None) -> list[str]:
    """The texts of `array`, which must be (N,), with N = `rows` where that is given; NaN is the empty text.

    DataError: another shape, or values that are neither text nor numbers.
    """
    values = texts_or_numbers(where, array)
    if values.ndim != 1 or len(values) != (len(values) if rows is None else rows):
        wanted = "(C,), one name a class" if rows is None else f"({rows},)"
        raise DataError(f"{where} has the shape {array.shape}; it must be {wanted}")
    return ["" if value != value else str(value) for value in values.tolist()]


def _text(where: str, value: bytes | str) -> str:
    try:
        return value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        raise DataError(f"{where} holds text that is not UTF-8, {shown(value)}: save it as UTF-8") from None


def _are_characters(array: NDArray[Any]) -> bool:
    """Whether a text array, which numpy takes from a file as it is, holds no halves of characters and no others."""
    texts = np.ascontiguousarray(array.ravel(), dtype=array.dtype.newbyteorder("="))
    codes = texts.view(np.uint32) if texts.itemsize else np.empty(0, dtype=np.uint32)
    return not bool(((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any())
