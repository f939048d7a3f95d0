"""Where the project stands, for its owners; a reader sees how far the round is, and nothing of what others said."""

import math
from collections import Counter
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from overread.files import without_nan
from overread.project.folder import Project
from overread.project.status import next_step
from overread.web.opinions import LED, TIED
from overread.web.session import Here, Me, is_owner
from overread.web.work import Progress, progress_of

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["state"])


class ReaderState(BaseModel):
    """What stands of one reader."""

    name: str
    reads: int
    cannot_tell: int
    agreement: float | None
    """The share of his labels that the consensus of all others agrees with; None where there is none."""


class AgreementState(BaseModel):
    """Krippendorff's alpha over the items with two labels or more, and its interval of 95 %."""

    value: float
    low: float | None
    high: float | None
    """None: one item alone has no interval."""
    n_items: int


class State(BaseModel):
    """Where the project stands; for readers all but `progress` is empty."""

    items: int | None = None
    rounds: list[dict[str, Any]] = []
    """The complete ones with their estimates, phase 1 being number 0; counts of labels as in the terminal."""
    readers: list[ReaderState] = []
    agreement: AgreementState | None = None
    disputed: int | None = None
    """Items of which no class has more voices than any other, and nobody decided."""
    outvoted: int | None = None
    """Items whose readers named different classes, one of them more often than any other, and nobody decided."""
    unclear: int | None = None
    """Items of which all who read them said that they cannot tell."""
    next: str | None = None
    """What the owner does next."""
    progress: Progress | None


@router.get("/state")
def show_state(site: Here, me: Me) -> State:
    """What was read, how well readers agree, what is thought to be wrong still, and the next step."""
    current = site.round()
    progress = None if current is None else progress_of(site, current.number, me)
    if not is_owner(site, me):
        return State(progress=progress)
    project = Project(site.folder, site.config, dict(site.state()), site.store)
    said = site.overview.get(site.opinions.sequence())
    ranks = Counter(rank for rank, _ in site.opinions.disagreements())
    alpha = None if said is None else said.agreement
    return State(
        items=project.state["dataset"]["items"],
        rounds=[_in_whole_labels(entry) for entry in without_nan(project.rounds)],
        readers=[]
        if said is None
        else [
            ReaderState(name=one.name, reads=one.reads, cannot_tell=one.cannot_tell, agreement=one.with_others)
            for one in said.readers
        ],
        agreement=None
        if alpha is None
        else AgreementState(value=alpha.value, low=_number(alpha.low), high=_number(alpha.high), n_items=alpha.n_items),
        disputed=ranks[TIED],
        outvoted=ranks[LED],
        unclear=0 if said is None else said.unclear,
        next=next_step(project, served=True),
        progress=progress,
    )


def _in_whole_labels(entry: dict[str, Any]) -> dict[str, Any]:
    """The round with counts of labels rounded here: Python and browsers round a half to different sides."""
    left = entry["estimates"].get("wrong_labels_left")
    if not left:
        return entry
    rounded = {name: None if value is None else round(value) for name, value in left.items()}
    return {**entry, "estimates": {**entry["estimates"], "wrong_labels_left": rounded}}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
