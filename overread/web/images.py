"""Images by opaque id: as the data set shows them, and with all their grey levels."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import BaseModel

from overread.web.pictures import Picture
from overread.web.session import Here, Me
from overread.web.site import Site
from overread.web.work import position_of

__all__ = ["router"]

router = APIRouter(prefix="/api/images", tags=["images"])

# Pixels never change; the browser of one reader may keep them for as long as a session lasts.
HEADERS = {"Cache-Control": "private, max-age=43200, immutable"}

ItemInPath = Annotated[str, Path(max_length=64)]


class About(BaseModel):
    """What the page needs to know of an image before it changes its brightness."""

    width: int
    height: int
    """Pixels, as sent."""
    grey: bool
    """Whether there is an image of grey levels; all below is about it."""
    lowest: int
    highest: int
    """The range of grey levels that occur."""
    centre: float
    window: float
    """Where the window lies with which the image is shown, and how wide it is, in grey levels."""
    invert: bool
    """Whether large grey levels are dark."""
    slope: float
    intercept: float
    """`slope * grey + intercept` is the value in the units of the file."""


# These wait without a thread of their own: while images are opened, answers are taken.
@router.get("/{item}", response_class=Response, responses={200: {"content": {"image/png": {}}}})
async def show(site: Here, _: Me, request: Request, item: ItemInPath) -> Response:
    """The image as PNG, at most 4,096 pixels a side."""
    picture = await picture_at(site, item)
    return _sent(request, picture.png, "image/png", f'"{picture.tag}"')


@router.get("/{item}/about")
async def tell(site: Here, _: Me, item: ItemInPath) -> About:
    """Its size, and how its grey levels are shown."""
    picture = await picture_at(site, item)
    image = picture.image
    return About(
        width=picture.width,
        height=picture.height,
        grey=picture.grey is not None,
        lowest=image.lowest,
        highest=image.highest,
        centre=image.centre,
        window=image.width,
        invert=image.invert,
        slope=image.slope,
        intercept=image.intercept,
    )


@router.get("/{item}/grey", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
async def show_grey(site: Here, _: Me, request: Request, item: ItemInPath) -> Response:
    """Its grey levels, row by row, as little-endian 16-bit numbers; 404 for an image with colours."""
    picture = await picture_at(site, item)
    if picture.grey is None:
        raise HTTPException(404, "this image has colours and no grey levels")
    return _sent(request, picture.grey, "application/octet-stream", f'"{picture.tag}-grey"')


async def picture_at(site: Site, item: str) -> Picture:
    found = site.pictures.get(position_of(site, item))
    # Who leaves does not end what others wait for.
    return await asyncio.shield(asyncio.wrap_future(found))


def _sent(request: Request, content: bytes, kind: str, tag: str) -> Response:
    headers = {**HEADERS, "ETag": tag}
    if tag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
