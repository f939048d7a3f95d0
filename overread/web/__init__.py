"""The review page and its API.  No torch."""

from overread.web.app import make_app
from overread.web.site import Site, open_site

__all__ = ["Site", "make_app", "open_site"]
