"""Who reads: sessions in a signed cookie."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import BaseModel, Field

from overread.store import Reader
from overread.web.site import Site

__all__ = ["Here", "Me", "Owner", "router"]

COOKIE = "overread"
SESSION_SECONDS = 12 * 3600
NO_SESSION = "sign in first: the session is missing, has ended or belongs to another project"

router = APIRouter(prefix="/api", tags=["session"])


def here(request: Request) -> Site:
    """The site that answers."""
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(here)]


def signed_in(request: Request, site: Here) -> Reader:
    """The reader of the session; 401 without one."""
    content = site.tokens.content(request.cookies.get(COOKIE, ""), SESSION_SECONDS)
    for reader in site.store.readers() if content else ():
        if reader.active and _content_of(reader) == content:
            return reader
    raise HTTPException(401, NO_SESSION)


Me = Annotated[Reader, Depends(signed_in)]


def signed_in_owner(site: Here, reader: Me) -> Reader:
    """The reader of the session where he may decide; 403 else.  Without log-in everybody may."""
    if site.log_in and reader.role != "owner":
        raise HTTPException(403, "this is for owners of the project")
    return reader


Owner = Annotated[Reader, Depends(signed_in_owner)]


def _content_of(reader: Reader) -> str:
    """What a session says: with another password it means nobody."""
    return f"{reader.id}:{reader.password_hash or ''}"


class SignIn(BaseModel):
    """Who reads."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    password: Annotated[str, Field(max_length=1000)] = ""


class Person(BaseModel):
    """A reader, as the page knows him."""

    name: str
    role: Literal["reader", "owner"]
    proof: str
    """Goes into the header X-Overread-Proof of everything that changes something."""


@router.get("/readers")
def list_names(site: Here) -> list[str]:
    """Names to choose from; none where a log-in is demanded."""
    return [] if site.log_in else [reader.name for reader in site.store.readers() if reader.active]


@router.post("/session")
def sign_in(site: Here, response: Response, who: SignIn) -> Person:
    """Begin a session.  Without log-in a new name becomes a reader."""
    name = " ".join(who.name.split())
    known = {reader.name: reader for reader in site.store.readers()}
    reader = known.get(name) or site.store.add_reader(name)
    session = site.tokens.session(_content_of(reader))
    response.set_cookie(COOKIE, session, max_age=SESSION_SECONDS, httponly=True, samesite="strict")
    return Person(name=reader.name, role=reader.role, proof=site.tokens.proof(session))


@router.get("/session")
def who_reads(request: Request, site: Here, me: Me) -> Person:
    """Who this session belongs to."""
    return Person(
        name=me.name,
        role=me.role if site.log_in else "owner",
        proof=site.tokens.proof(request.cookies[COOKIE]),
    )


@router.delete("/session")
def sign_out(response: Response) -> None:
    """End the session."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
