"""Errors as answers: a status and one sentence, never a traceback."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from overread.errors import Conflict, DataError, OverreadError, StoreBusy, StoreFull, StoreUnreachable

__all__ = ["add_failures", "answer"]

# The first that fits counts; what passes by itself tells the page to try again.
STATUS: tuple[tuple[type[OverreadError], int, str], ...] = (
    (Conflict, 409, "conflict"),
    (StoreBusy, 503, "busy"),
    (StoreUnreachable, 503, "unreachable"),
    (StoreFull, 507, "full"),
    (DataError, 422, "data"),
    (OverreadError, 400, "refused"),
)
RETRY_SECONDS = "2"


def answer(status: int, code: str, message: str) -> JSONResponse:
    """`{"error": {"code", "message"}}` with this status."""
    headers = {"Retry-After": RETRY_SECONDS} if status in (503, 507) else {}
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def add_failures(app: FastAPI) -> None:
    """Make answers of all errors of `app`."""

    @app.exception_handler(OverreadError)
    def refused(_: Request, error: Exception) -> JSONResponse:
        status, code = next((status, code) for kind, status, code in STATUS if isinstance(error, kind))
        return answer(status, code, str(error))

    @app.exception_handler(HTTPException)
    def stopped(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return answer(error.status_code, str(error.status_code), str(error.detail))

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return answer(422, "malformed", f"{place}: {first['msg']}")
