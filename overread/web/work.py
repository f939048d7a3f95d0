"""Reading: what comes next, an answer, and taking it back."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from overread.store import Lease, Read, Reader, Recorded
from overread.web.session import Here, Me
from overread.web.site import Site

__all__ = ["Receipt", "router"]

router = APIRouter(prefix="/api", tags=["reading"])

ItemId = Annotated[str, Field(max_length=64)]
Label = Annotated[int, Field(ge=0, le=100_000)]
Comment = Annotated[str, Field(max_length=2000)]
# What is shown is stored as JSON, where a NUL would pass unseen.
ShownName = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]


class Shown(BaseModel):
    """What a reader saw beside the image; nothing of it = blind."""

    model_config = ConfigDict(extra="forbid")

    given: ShownName | None = None
    suggested: ShownName | None = None
    similar: int | None = Field(None, ge=0, le=1000)
    """How many similar images, which somebody had read, he looked at."""


class Task(BaseModel):
    """An image to read."""

    item: str
    until: datetime
    """Until then it is kept for the reader."""
    shown: Shown
    """In assisted mode what the page shows, and sends back with the answer."""


class Progress(BaseModel):
    """How far the round is, and what of it is for this reader."""

    items: int
    finished: int
    wanted: int
    """Reads, of all items and readers."""
    answered: int
    mine: int
    """Items that this reader answered in this round."""
    left: int
    """Items that he can still read, with those that he holds now."""
    skipped: int
    """Items that he skipped and can still read: `work` gives them where they are asked for."""
    reading: int
    """Items that others read now; those that are given back may come to him."""
    waiting: int
    """Items that still want a read of somebody else, with those that others read now."""


class Hold(BaseModel):
    """How many images a page keeps at a time, so that the next one is there at once."""

    images: Annotated[int, Field(ge=1, le=10)] = 3
    skipped: bool = False
    """Of what this reader skipped and nobody read in his place, instead of what he has not seen."""


class Work(BaseModel):
    """What the page is to show."""

    round: int | None
    """None: no round is being read."""
    tasks: list[Task]
    """Empty: nothing is left for this reader, or what is left is with others now."""
    progress: Progress | None


class Answer(BaseModel):
    """What a reader says."""

    client_id: UUID
    """Made by the page for each answer: sent twice, it is one read."""
    round: Annotated[int, Field(ge=1, le=1_000_000)]
    item: ItemId
    kind: Literal["label", "cannot-tell", "skip"]
    label: Label | None = None
    comment: Comment = ""
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    shown: Shown = Shown()


class Undo(BaseModel):
    """Take an answer in the open round back."""

    client_id: UUID
    item: ItemId | None = None
    """The image that it was about; None: whichever this reader answered last."""


class Receipt(BaseModel):
    """An answer that is on the disk."""

    sequence: int
    item: str
    when: datetime


class Answered(BaseModel):
    """A receipt, and what comes next."""

    receipt: Receipt
    next: Task | None
    """One more image, beside those that the page holds."""


class Undone(BaseModel):
    """What was taken back."""

    receipt: Receipt | None
    """None: there was nothing to take back."""


@router.post("/work")
def claim(site: Here, me: Me, hold: Hold) -> Work:
    """What this reader reads now, and more, up to `images`."""
    current = site.round()
    if current is None:
        return Work(round=None, tasks=[], progress=None)
    leases = site.store.leases(current.number, me.id)
    while len(leases) < hold.images:
        found = site.store.next_item(current.number, me.id, site.lease_seconds, skipped=hold.skipped)
        if found is None:
            break
        leases.append(found)
    return Work(
        round=current.number,
        tasks=[task_of(site, each) for each in leases],
        progress=progress_of(site, current.number, me),
    )


@router.get("/progress")
def show_progress(site: Here, me: Me) -> Progress | None:
    """How far the round is that is being read."""
    current = site.round()
    return None if current is None else progress_of(site, current.number, me)


@router.post("/reads")
def answer(site: Here, me: Me, said: Answer) -> Answered:
    """Record an answer; the next image comes with the receipt."""
    read = Read(
        client_id=str(said.client_id),
        item=position_of(site, said.item),
        reader=me.id,
        kind=said.kind,
        label=said.label,
        round=said.round,
        comment=said.comment,
        shown=said.shown.model_dump(exclude_none=True),
        seconds=said.seconds,
    )
    recorded, found = site.store.record_and_next(read, site.lease_seconds)
    return Answered(receipt=receipt_of(site, recorded), next=None if found is None else task_of(site, found))


@router.post("/undo")
def undo(site: Here, me: Me, which: Undo) -> Undone:
    """Take an answer in the open round back; its image comes with the next `work`."""
    item = None if which.item is None else position_of(site, which.item)
    recorded = site.store.undo(me.id, str(which.client_id), site.lease_seconds, item)
    return Undone(receipt=None if recorded is None else receipt_of(site, recorded))


def task_of(site: Site, lease: Lease) -> Task:
    beside = site.assistance.of(lease.item) if site.assisted else {}
    return Task(item=site.tokens.item_id(lease.item), until=lease.until, shown=Shown.model_validate(beside))


def progress_of(site: Site, number: int, me: Reader) -> Progress:
    done, part = site.store.progress(number), site.store.part(number, me.id)
    return Progress(
        items=done.items,
        finished=done.finished,
        wanted=done.wanted,
        answered=done.answered,
        mine=part.answered,
        left=part.left,
        skipped=part.skipped,
        reading=part.with_others,
        # Two looks at the database: what was said between them must not count below nothing.
        waiting=max(0, done.items - done.finished - part.left - part.skipped),
    )


def receipt_of(site: Site, recorded: Recorded) -> Receipt:
    return Receipt(sequence=recorded.sequence, item=site.tokens.item_id(recorded.item), when=recorded.when)


def position_of(site: Site, item: str) -> int:
    """The position of an item; 404 for an id that this project never gave."""
    position = site.tokens.position(item)
    if position is None or position >= site.n_items:
        raise HTTPException(404, "there is no such image")
    return position
