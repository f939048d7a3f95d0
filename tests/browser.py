"""Chromium, and the review page in it."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import pytest
import uvicorn
from absent import absent
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from overread.web import Site, make_app

__all__ = ["Desk", "Sit", "browser", "desk", "home"]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 20_000
"""Milliseconds."""
EXPECTED = "Failed to load resource"
"""What the browser itself says where a request fails; tests of bad days make it fail."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; skips the test where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        absent("there is no Chromium on this machine: install Debian's package chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield opened
        opened.close()


class Desk(NamedTuple):
    """A reader before the page."""

    page: Page
    context: BrowserContext
    problems: list[str]
    """What the console said, and requests to other hosts."""

    def wait(self, selector: str) -> None:
        """Until it is there and visible."""
        self.page.wait_for_selector(selector)

    def ready(self) -> Self:
        """Until an image can be answered."""
        self.wait(".answer:enabled")
        return self

    def press(self, *keys: str) -> Self:
        """Answer by keys, each when its image is there."""
        for key in keys:
            self.ready()
            self.page.keyboard.press(key)
        return self

    def eventually(self, script: str) -> None:
        """Until the JavaScript `script` is true."""
        # The page forbids what `wait_for_function` does.
        end = time.monotonic() + PATIENCE / 1000
        while not self.page.evaluate(script):
            assert time.monotonic() < end, f"never came: {script}"
            self.page.wait_for_timeout(20)

    def settled(self) -> Self:
        """Until the server has all answers."""
        self.eventually(f"({OUTBOX}).length === 0")
        return self

    def outbox(self) -> list[dict[str, Any]]:
        """The answers that the server does not have."""
        found: list[dict[str, Any]] = self.page.evaluate(OUTBOX)
        return found

    def text(self, selector: str) -> str:
        """What it says."""
        return self.page.inner_text(selector)


OUTBOX = "JSON.parse(localStorage.getItem(Object.keys(localStorage).find((name) => name.endsWith(':outbox'))) ?? '[]')"

Sit = Callable[..., Desk]


@pytest.fixture
def home(site: Site) -> Iterator[str]:
    """The address of a server of `site`, in this process."""
    with serving(site) as address:
        yield address


@contextmanager
def serving(site: Site) -> Iterator[str]:
    """A server in a thread, which is there at once; its address."""
    server = uvicorn.Server(uvicorn.Config(make_app(site), log_config=None, ws="none", timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def desk(browser: Browser) -> Iterator[Sit]:
    """A function that seats a reader before the page of a server; at the end nothing was said on any console.

    name: None = he has not signed in.  With `bad_days` requests may fail.
    """
    seated: list[tuple[Desk, bool]] = []

    def seat(home: str, name: str | None = "Ada", *, bad_days: bool = False, **options: Any) -> Desk:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        made = Desk(context.new_page(), context, [])
        seated.append((made, bad_days))
        watch(made, home)
        made.page.goto(home)
        if name is not None:
            made.page.fill("#name", name)
            made.page.keyboard.press("Enter")
        return made

    yield seat
    for each, bad_days in seated:
        each.context.close()
        said = [problem for problem in each.problems if not (bad_days and problem.startswith(EXPECTED))]
        assert not said


def watch(desk: Desk, home: str) -> None:
    """Write down all that a page must not do."""
    page, problems = desk.page, desk.problems
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((home, "blob:")) else problems.append(f"a request to {request.url}")
        ),
    )
