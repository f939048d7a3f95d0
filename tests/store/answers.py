"""Reads for tests."""

from uuid import uuid4

from overread.store import Kind, Read


def new_id() -> str:
    return str(uuid4())


def answer(item: int, reader: int, label: int | None = 0, kind: Kind = "label", round_number: int | None = 1) -> Read:
    """A read with a new id."""
    return Read(new_id(), item, reader, kind, label if kind in ("label", "adjudication") else None, round_number)
