"""Items on which readers do not agree, and who decides."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel

from overread.store import Read, StoredRead, current_among
from overread.web.opinions import DECIDED
from overread.web.session import Here, Owner
from overread.web.site import Site
from overread.web.work import Comment, ItemId, Label, Receipt, position_of, receipt_of

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["decisions"])

AT_ONCE = 50


class Opinion(BaseModel):
    """What one reader said of an item."""

    reader: str
    label: str | None
    """None: cannot tell."""
    comment: str
    seconds: float | None


class Disagreement(BaseModel):
    """An item whose readers named two classes or more."""

    item: str
    reads: list[Opinion]
    decided: str | None
    """The class that somebody decided for."""


class Disagreements(BaseModel):
    """Some of the items on which readers do not agree."""

    round: int | None
    """The round that is being read."""
    items: list[Disagreement]
    """Undecided ones first, of them those first where no class has more voices than any other."""
    total: int
    undecided: int
    """Of them all."""
    after: str | None
    """For the next ones; None: these are the last."""


class Decision(BaseModel):
    """What an item is, whatever was said of it."""

    client_id: UUID
    """Made by the page for each decision: sent twice, it is one."""
    item: ItemId
    label: Label
    comment: Comment = ""


@router.get("/disagreements")
def list_disagreements(
    site: Here, _: Owner, after: Annotated[str | None, Query(max_length=80)] = None
) -> Disagreements:
    """Items of all rounds whose readers named two classes or more."""
    start = (-1, -1) if after is None else _place_of(site, after)
    ranked = site.opinions.disagreements()
    found = [place for place in ranked if place > start]
    names = {reader.id: reader.name for reader in site.store.readers()}
    current = site.round()
    return Disagreements(
        round=None if current is None else current.number,
        items=[_disagreement(site, item, names) for _, item in found[:AT_ONCE]],
        total=len(ranked),
        undecided=sum(rank < DECIDED for rank, _ in ranked),
        after=_cursor(site, *found[AT_ONCE - 1]) if len(found) > AT_ONCE else None,
    )


@router.post("/decisions")
def decide(site: Here, me: Owner, decision: Decision) -> Receipt:
    """Say what an item is; it replaces what was decided before."""
    position = position_of(site, decision.item)
    read = Read(
        client_id=str(decision.client_id),
        item=position,
        reader=me.id,
        kind="adjudication",
        label=decision.label,
        # As when decisions are imported: of the last round that asked for it.
        round=site.store.asked_in([position]).get(position),
        comment=decision.comment,
    )
    return receipt_of(site, site.store.record(read))


def _disagreement(site: Site, item: int, names: dict[int, str]) -> Disagreement:
    standing = current_among(site.store.history(item))
    decided = [read for read in standing if read.kind == "adjudication"]
    return Disagreement(
        item=site.tokens.item_id(item),
        reads=[
            Opinion(reader=names[read.reader], label=_name(site, read), comment=read.comment, seconds=read.seconds)
            for read in standing
            if read.kind != "adjudication"
        ],
        decided=_name(site, decided[-1]) if decided else None,
    )


def _name(site: Site, read: StoredRead) -> str | None:
    return None if read.label is None else site.store.classes[read.label]


def _cursor(site: Site, rank: int, item: int) -> str:
    # With the rank of then: an item that is decided meanwhile moves to the end, and the cursor must not.
    return f"{rank}.{site.tokens.item_id(item)}"


def _place_of(site: Site, cursor: str) -> tuple[int, int]:
    rank, _, item = cursor.partition(".")
    if rank not in ("0", "1", "2"):
        raise HTTPException(422, "after is what an answer before gave as its after")
    return int(rank), position_of(site, item)
