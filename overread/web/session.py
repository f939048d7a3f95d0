"""Who reads: sessions in a signed cookie."""

import math
import secrets
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import BaseModel, Field

from overread.errors import StoreError
from overread.store import Reader, Role
from overread.store.texts import NAME_LENGTH, tidy_name
from overread.web.site import Site

__all__ = ["Here", "Me", "Owner", "Session", "is_owner", "router", "session_of"]

SESSION_SECONDS = 12 * 3600
# Whoever works on gets a new cookie once an hour.
RENEWED_AFTER = 3600
NO_SESSION = "sign in first: the session is missing, has ended or belongs to another project"
WRONG = "name or password is wrong"

router = APIRouter(prefix="/api", tags=["session"])


class Session(NamedTuple):
    """What the cookie says."""

    id: str
    """Stays the same when the cookie is renewed."""
    reader: int
    password: str
    """A digest of the password that was given; empty where none was demanded."""


def here(request: Request) -> Site:
    """The site that answers."""
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(here)]


def session_of(site: Site, request: Request) -> Session | None:
    """What a cookie of this project says that is not too old; whether its reader may still come in it does not know."""
    content = site.tokens.content(request.cookies.get(site.tokens.cookie, ""), SESSION_SECONDS)
    if content is None:
        return None
    session_id, reader, password = content.split(":")
    return None if session_id in site.access.ended else Session(session_id, int(reader), password)


def someone(request: Request, response: Response, site: Here) -> Reader | None:
    """The reader of the session, whose cookie is renewed; None without one."""
    session = session_of(site, request)
    reader = None if session is None else site.access.roster.readers().get(session.reader)
    if session is None or reader is None or not reader.active:
        return None
    # With another password an old session means nobody; nor does one that began when no password was demanded.
    wanted = site.tokens.digest(reader.password_hash) if reader.password_hash else None
    if session.password != wanted and (site.log_in or session.password):
        return None
    if site.tokens.age(request.cookies[site.tokens.cookie]) > RENEWED_AFTER:
        _give_cookie(site, request, response, session)
    return reader


Someone = Annotated[Reader | None, Depends(someone)]


def signed_in(reader: Someone) -> Reader:
    """The reader of the session; 401 without one."""
    if reader is None:
        raise HTTPException(401, NO_SESSION)
    return reader


Me = Annotated[Reader, Depends(signed_in)]


def is_owner(site: Site, reader: Reader) -> bool:
    """Whether the reader may decide, and see what others said: without log-in everybody."""
    return reader.role == "owner" or not site.log_in


def signed_in_owner(site: Here, reader: Me) -> Reader:
    """The reader of the session where he may decide; 403 else.  Without log-in everybody may."""
    if not is_owner(site, reader):
        raise HTTPException(403, "this is for owners of the project")
    return reader


Owner = Annotated[Reader, Depends(signed_in_owner)]


class SignIn(BaseModel):
    """Who reads."""

    name: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]
    password: Annotated[str, Field(max_length=1000)] = ""


class Person(BaseModel):
    """A reader, as the page knows him."""

    name: str
    role: Literal["reader", "owner"]
    proof: str
    """Goes into the header X-Overread-Proof of everything that changes something."""


class About(BaseModel):
    """What a page has to know before anybody signs in."""

    id: str
    """Of the project: folders of two projects may have one name."""
    name: str
    classes: list[str]
    """In the order of the labels; none to strangers where a log-in is demanded."""
    log_in: bool
    assisted: bool


@router.get("/about")
def about(site: Here, reader: Someone) -> About:
    """What project this is, and whether one needs a password."""
    shown = site.store.classes if reader is not None or not site.log_in else ()
    name = site.folder.absolute().name
    return About(id=site.tokens.cookie, name=name, classes=list(shown), log_in=site.log_in, assisted=site.assisted)


@router.get("/readers")
def list_names(site: Here) -> list[str]:
    """Names to choose from; none where a log-in is demanded."""
    return [] if site.log_in else [reader.name for reader in site.access.roster.readers().values() if reader.active]


@router.post("/session")
def sign_in(request: Request, response: Response, site: Here, who: SignIn) -> Person:
    """Begin a session.  Without log-in a new name becomes a reader."""
    name = tidy_name(who.name)
    reader = _checked(site, name, who.password, _address_of(request)) if site.log_in else _welcomed(site, name)
    password = site.tokens.digest(reader.password_hash) if site.log_in and reader.password_hash else ""
    session = Session(secrets.token_hex(16), reader.id, password)
    _give_cookie(site, request, response, session)
    return _person(site, reader, session.id)


@router.get("/session")
def who_reads(request: Request, site: Here, me: Me) -> Person:
    """Who this session belongs to."""
    session = session_of(site, request)
    if session is None:
        raise HTTPException(401, NO_SESSION)
    return _person(site, me, session.id)


@router.delete("/session")
def sign_out(request: Request, response: Response, site: Here, me: Me) -> None:
    """End the session."""
    session = session_of(site, request)
    if session is not None:
        site.access.ended.add(session.id)
    # One that `someone` renewed goes, too.
    if "set-cookie" in response.headers:
        del response.headers["set-cookie"]
    secure = _is_secure(site, request)
    response.delete_cookie(site.tokens.cookie, httponly=True, samesite="strict", secure=secure)


def _checked(site: Site, name: str, password: str, address: str) -> Reader:
    """The reader with this name and password; 401 where there is none, 429 after too many failures."""
    access = site.access
    wait = math.ceil(access.attempts.begin(name, address))
    if wait:
        raise HTTPException(429, f"too many failed log-ins; try again in {wait} seconds", {"Retry-After": str(wait)})
    reader = access.roster.named(name)
    password_hash = reader.password_hash if reader is not None and reader.active else None
    try:
        is_right = access.checks.is_right(password, password_hash)
    except HTTPException:
        access.attempts.unchecked(name, address)
        raise
    if not is_right or reader is None or password_hash is None:
        raise HTTPException(401, WRONG)
    access.attempts.succeeded(name, address)
    renewed = access.checks.renewed(password, password_hash)
    if renewed is not None:
        reader = site.store.change_reader(reader.id, password_hash=renewed)
        access.roster.forget()
    return reader


def _welcomed(site: Site, name: str) -> Reader:
    """The reader with this name, new where there is none; 403 for one who was removed."""
    reader = site.access.roster.named(name)
    if reader is None:
        try:
            reader = site.store.add_reader(name)
        except StoreError:
            # In another tab, or by the command line, a moment ago.
            reader = next((each for each in site.store.readers() if each.name == name), None)
            if reader is None:
                raise
        finally:
            site.access.roster.forget()
    if not reader.active:
        raise HTTPException(403, "this reader was removed from the project; an owner can add him again")
    return reader


def _person(site: Site, reader: Reader, session_id: str) -> Person:
    role: Role = "owner" if is_owner(site, reader) else "reader"
    return Person(name=reader.name, role=role, proof=site.tokens.proof(session_id))


def _give_cookie(site: Site, request: Request, response: Response, session: Session) -> None:
    response.set_cookie(
        site.tokens.cookie,
        site.tokens.session(":".join(map(str, session))),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=_is_secure(site, request),
    )


def _is_secure(site: Site, request: Request) -> bool:
    return site.access.https or request.url.scheme == "https"


def _address_of(request: Request) -> str:
    return request.client.host if request.client else ""
