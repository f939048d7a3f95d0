"""The application: routes, errors and guards around one site."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from overread import __version__
from overread.web import decisions, images, session, similar, state, work
from overread.web.failures import Failure, add_failures
from overread.web.guards import Guards
from overread.web.site import Site

__all__ = ["make_app"]

STATIC = Path(__file__).parent / "static"


def make_app(site: Site) -> FastAPI:
    """The ASGI application of `site`; the description of its API is at /api/openapi.json."""
    # No pages of documentation: they load code from foreign hosts.
    app = FastAPI(
        title="overread",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses={"default": {"model": Failure, "description": "Refused or failed"}},
    )
    app.state.site = site
    add_failures(app)
    app.add_middleware(Guards, site=site)
    for part in (session, work, images, similar, decisions, state):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=STATIC), "static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    return app
