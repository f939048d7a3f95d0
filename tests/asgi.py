"""Requests to an application that no client has made better."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.types import ASGIApp, Message

__all__ = ["ask"]


def ask(app: ASGIApp, receive: Callable[[], Awaitable[Message]], scope: dict[str, Any]) -> list[Message]:
    """What `app` sends on the HTTP request of `scope`, whose body comes from `receive`."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def answer() -> None:
        await app(
            {"type": "http", "scheme": "http", "http_version": "1.1", "query_string": b"", **scope}, receive, send
        )

    # In a thread of its own: tests of the page leave the loop of the browser running in theirs.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, answer()).result()
    return sent
