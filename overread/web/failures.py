"""Errors as answers: a status and one sentence, never a traceback."""

import sys
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from overread.errors import (
    Conflict,
    DataError,
    OverreadError,
    RunError,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreUnreachable,
)

__all__ = ["Failure", "add_failures", "answer"]

# The first that fits counts; what passes by itself tells the page to try again.
STATUS: tuple[tuple[type[OverreadError], int, str], ...] = (
    (Conflict, 409, "conflict"),
    (DataError, 422, "data"),
    (OverreadError, 400, "refused"),
)
# Said without the place of the database, which is nothing for readers; that goes to the log.
OF_DATABASE: tuple[tuple[type[StoreError], int, str, str], ...] = (
    (StoreBusy, 503, "busy", "the database is busy with something else; try again in a moment"),
    (StoreUnreachable, 503, "unreachable", "the database cannot be reached; try again once its server runs"),
    (StoreFull, 507, "full", "the disk of the database is full; make room and try again: nothing was stored"),
    (StoreError, 503, "database", "the database fails; the log of the server says why"),
)
RETRY_SECONDS = "2"


class Reason(BaseModel):
    """Why a request failed."""

    code: str
    """For programs."""
    message: str
    """One sentence for people."""


class Failure(BaseModel):
    """The answer to a request that failed."""

    error: Reason


def answer(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """`{"error": {"code", "message"}}` with this status."""
    retry = {"Retry-After": RETRY_SECONDS} if status in (503, 507) else {}
    # A name that the request made up may hold half a character, which UTF-8 has no bytes for.
    text = message.encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": {"code": code, "message": text}}, status, {**retry, **(headers or {})})


def add_failures(app: FastAPI) -> None:
    """Make answers of all errors of `app`; those that nobody expects are left to the guards."""

    @app.exception_handler(OverreadError)
    def refused(_: Request, error: Exception) -> JSONResponse:
        # What the store says of its own accord has no cause.
        if isinstance(error, StoreError) and error.__cause__ is not None:
            print(f"overread: {error}", file=sys.stderr, flush=True)
            status, code, message = next(found[1:] for found in OF_DATABASE if isinstance(error, found[0]))
            return answer(status, code, message)
        if isinstance(error, RunError):
            print(f"overread: {error}", file=sys.stderr, flush=True)
            return answer(503, "files", "files of the project are damaged; the log of the server says which")
        status, code = next((status, code) for kind, status, code in STATUS if isinstance(error, kind))
        return answer(status, code, str(error))

    @app.exception_handler(HTTPException)
    def stopped(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return answer(error.status_code, str(error.status_code), str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return answer(422, "malformed", f"{place}: {first['msg']}")
