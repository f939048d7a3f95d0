"""Images that look like one, and that somebody has read."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel

from overread.arrays.consensus import CANNOT_TELL
from overread.project.features import most_alike, open_features
from overread.web.images import ItemInPath
from overread.web.session import Here, Me
from overread.web.work import position_of

__all__ = ["router"]

NO_FEATURES = (
    "nothing is known of which images look alike: `overread learn` keeps that where a frozen network, or the noise "
    "model, has seen every image"
)

router = APIRouter(prefix="/api", tags=["reading"])


class Similar(BaseModel):
    """An image that was read."""

    item: str
    label: str | None
    """None: cannot tell."""
    mine: bool
    """Whether this reader said so himself, else it is what readers of a closed round say together."""


@router.get("/similar/{item}")
def find_similar(site: Here, me: Me, item: ItemInPath, images: Annotated[int, Query(ge=1, le=50)] = 6) -> list[Similar]:
    """The images that look most alike, the most alike first; 404 where nothing is known of what images look like."""
    position = position_of(site, item)
    features = open_features(site.folder, site.n_items)
    if features is None:
        raise HTTPException(404, NO_FEATURES)
    known = site.opinions.known_to(me.id)
    others = known.items != position
    items, labels, mine = (each[others] for each in known)
    return [
        Similar(
            item=site.tokens.item_id(int(items[i])),
            label=None if labels[i] == CANNOT_TELL else site.store.classes[labels[i]],
            mine=bool(mine[i]),
        )
        for i in most_alike(features, position, items, images).tolist()
    ]
