"""The database of reads: what people said of the items of a project, and what they are asked.  No torch, no arrays."""

from overread.store.records import (
    Disagreement,
    Item,
    Kind,
    Lease,
    Part,
    Progress,
    Read,
    Reader,
    Recorded,
    Role,
    Round,
    StoredRead,
    Withdrawal,
)
from overread.store.standing import current_among
from overread.store.store import Store

__all__ = [
    "Disagreement",
    "Item",
    "Kind",
    "Lease",
    "Part",
    "Progress",
    "Read",
    "Reader",
    "Recorded",
    "Role",
    "Round",
    "Store",
    "StoredRead",
    "Withdrawal",
    "current_among",
]
