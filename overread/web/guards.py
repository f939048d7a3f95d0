"""What every request passes, whatever its route: the name of the server, size, origin, proof, and headers.

Pure ASGI: a wrapper that makes requests and responses anew would cost more than most answers.
"""

import hmac
import sys
import traceback
from collections.abc import Iterable

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overread.web.failures import answer
from overread.web.session import session_of
from overread.web.site import Site

__all__ = ["BODY_LIMIT", "PROOF", "Guards"]

BODY_LIMIT = 64 * 1024
PROOF = "X-Overread-Proof"
SAFE = ("GET", "HEAD")
SIGN_IN = ("POST", "/api/session")
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Guards:
    """The ASGI application `app` of `site`, behind its guards."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                _add_headers(MutableHeaders(scope=message), scope["path"])
            await send(message)

        try:
            refusal = self._refusal(Request(scope))
            body = None if refusal else await _whole_body(receive)
            if refusal or body is None:
                refusal = refusal or _too_large()
                await refusal(scope, receive, send_guarded)
                return
            await self._app(scope, _again(body, receive), send_guarded)
        except Exception as error:  # the last guard: whatever it is, nobody outside learns more than that it was
            _log(scope, error)
            # Half an answer cannot be taken back: the server then breaks the connection.
            if begun:
                raise
            failed = answer(500, "internal", "the server failed at this request; its log says where")
            await failed(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> JSONResponse | None:
        """Why this request is not let through; None where it is."""
        access = self._site.access
        host = request.headers.getlist("host")
        if len(host) != 1 or not access.names.answers_to(host[0]):
            return answer(400, "host", "this server has another name; `overread serve --public-name NAME` adds one")
        if not self._site.log_in and any(name in request.headers for name in FORWARDED):
            return answer(403, "proxy", "there is a proxy before this server: start it with --log-in")
        if not request.url.path.startswith("/api"):
            return None
        scheme = "https" if access.https else request.scope["scheme"]
        fetched = request.headers.get("sec-fetch-site", "none")
        origin = request.headers.get("origin")
        is_foreign = origin is not None and not access.names.is_own_origin(origin, scheme, host[0])
        if fetched not in ("same-origin", "none") or (is_foreign and request.method not in SAFE):
            return answer(
                403, "origin", "this comes from a page of another server; behind a proxy that speaks TLS: --https"
            )
        return (
            None if self._is_proven(request) else answer(403, "proof", f"the header {PROOF} of the session is missing")
        )

    def _is_proven(self, request: Request) -> bool:
        """Whether the request changes nothing, or has the proof of its session, or has no session."""
        if request.method in SAFE or (request.method, request.url.path) == SIGN_IN:
            return True
        session = session_of(self._site, request)
        if session is None:
            # The route says 401, so that the page asks its reader to sign in.
            return True
        given = request.headers.get(PROOF, "")
        return hmac.compare_digest(given.encode(), self._site.tokens.proof(session.id).encode())


async def _whole_body(receive: Receive) -> list[Message] | None:
    """The messages of the body, also of one that does not say how long it is; None where it is too large."""
    messages, size = [], 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > BODY_LIMIT:
            return None
        if message["type"] != "http.request" or not message.get("more_body", False):
            return messages


def _again(messages: Iterable[Message], receive: Receive) -> Receive:
    """These messages, then what comes after them."""
    waiting = iter(messages)

    async def receive_again() -> Message:
        for message in waiting:
            return message
        return await receive()

    return receive_again


def _too_large() -> JSONResponse:
    refusal = answer(413, "too-large", f"a request has at most {BODY_LIMIT} bytes")
    # The rest of the body is not read.
    refusal.headers["Connection"] = "close"
    return refusal


def _add_headers(headers: MutableHeaders, path: str) -> None:
    for name, value in HEADERS.items():
        headers[name] = value
    # Images say themselves how long they keep; pages are asked for again, for the next version has others.
    headers.setdefault("Cache-Control", "no-store" if path.startswith("/api") else "no-cache")


def _log(scope: Scope, error: BaseException) -> None:
    """On stderr where it happened; not what the error says, which may quote the request."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    print(
        f"{scope['method']} {scope['path']!r} failed: {type(error).__qualname__}\n{frames}", file=sys.stderr, flush=True
    )
