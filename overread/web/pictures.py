"""The images of a project as the page gets them: opened in the background, decoded once, kept for a while."""

import hashlib
import io
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from overread.config import DataConfig
from overread.data.deep import DeepImage, deep_pixels
from overread.errors import DataError, OverreadError
from overread.store import Store

__all__ = ["LONGEST_SIDE", "Picture", "Pictures", "picture_of"]

Kind = TypeVar("Kind", np.uint8, np.uint16)

LONGEST_SIDE = 4096
"""Pixels: what is longer is reduced."""
KEPT_BYTES = 256 << 20
# Images that are decoded at a time: one of them may take hundreds of megabytes.
AT_A_TIME = 2
# What a server that stops waits for an opening that goes on.
STOP_SECONDS = 2.0

EXPECTED = (OverreadError, OSError, MemoryError)

# Neither says a file name, which may say the label.
NOT_OPENED = (
    "the images of this project cannot be opened: whoever runs the server finds the reason in its output, and starts "
    "it again once that is mended"
)
NOT_SHOWN = (
    "this image cannot be shown: its file has become unreadable. Skip it, and tell whoever runs the server, who finds "
    "the name in its output"
)


@dataclass(frozen=True)
class Picture:
    """One image, encoded."""

    image: DeepImage
    """Without its pixels: the window and the range of what was grey."""
    height: int
    width: int
    """Of what is sent, in pixels."""
    png: bytes
    tag: str
    """A digest of `png`."""
    grey: bytes | None
    """Rows of little-endian uint16; None where there are colours."""


class Pictures:
    """The images of the project with this data and store, by position; may be used from several threads."""

    def __init__(self, config: DataConfig, store: Store, kept_bytes: int = KEPT_BYTES) -> None:
        self._store = store
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[int, Picture] = OrderedDict()
        self._running: dict[int, Future[Picture]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._resources = ExitStack()
        self._opened: Future[Callable[[str], DeepImage]] = Future()
        self._decoders = ThreadPoolExecutor(AT_A_TIME, "pictures")
        # A daemon: who stops the server does not wait for a list of millions of files.
        self._opener = threading.Thread(target=self._open, args=(config,), name="open-pictures", daemon=True)
        self._opener.start()

    def get(self, position: int) -> "Future[Picture]":
        """The image at a position, when it is there: asked for twice at a time it is decoded once.

        Its errors are DataError: one sentence for the page, which names no file; the reason goes to stderr.
        """
        with self._lock:
            running = self._running.get(position)
            if running is not None:
                return running
            kept = self._kept.get(position)
            if kept is not None:
                self._kept.move_to_end(position)
                done: Future[Picture] = Future()
                done.set_result(kept)
                return done
            running = self._decoders.submit(self._make, position)
            self._running[position] = running
            return running

    def close(self) -> None:
        """Let go of all files; what is being opened is let go of when it is open."""
        with self._lock:
            self._closed = True
        self._opener.join(STOP_SECONDS)
        if not self._opened.done():
            self._opened.set_exception(DataError("the server stops"))
        self._decoders.shutdown(cancel_futures=True)
        self._resources.close()

    def _open(self, config: DataConfig) -> None:
        opened = ExitStack()
        try:
            pixels = opened.enter_context(deep_pixels(config))
        except Exception as error:
            # Whatever it is: who waits for the images must not wait for ever.
            if self._finish(lambda: self._opened.set_exception(DataError(NOT_OPENED))):
                print(f"the images of the project cannot be opened: {error}", file=sys.stderr)
            if isinstance(error, EXPECTED):
                return
            raise

        def keep() -> None:
            self._resources = opened
            self._opened.set_result(pixels)

        if not self._finish(keep):
            opened.close()

    def _finish(self, work: Callable[[], None]) -> bool:
        """Whether `work` was done; it is not where the server stops."""
        with self._lock:
            if not self._closed:
                work()
            return not self._closed

    def _pixels(self) -> Callable[[str], DeepImage]:
        try:
            return self._opened.result()
        except DataError as error:
            # Another one for each request: one and the same would collect the tracebacks of all.
            raise DataError(str(error)) from None

    def _make(self, position: int) -> Picture:
        try:
            pixels = self._pixels()
            name = self._store.item(position).id
            try:
                picture = picture_of(pixels(name))
            except EXPECTED as error:
                print(f"'{name}' cannot be shown: {error}", file=sys.stderr)
                raise DataError(NOT_SHOWN) from None
        except BaseException:
            with self._lock:
                del self._running[position]
            raise
        with self._lock:
            del self._running[position]
            self._kept[position] = picture
            size = sum(_bytes_of(each) for each in self._kept.values())
            while size > self._kept_bytes:
                size -= _bytes_of(self._kept.popitem(last=False)[1])
        return picture


def picture_of(image: DeepImage) -> Picture:
    """`image` encoded, at most `LONGEST_SIDE` pixels a side; nothing but pixels is in it.

    A grey image is reduced before its window is applied, so that who applies it to `grey` sees the same shades.
    """
    if image.grey is None:
        shades, grey = _reduced(image.rgb()), None
    else:
        values = _reduced(image.grey)
        shades = DeepImage(
            grey=values, centre=image.centre, width=image.width, invert=image.invert, curve=image.curve
        ).shades()
        grey = values.astype("<u2", copy=False).tobytes()
    stream = io.BytesIO()
    PIL.Image.fromarray(shades).save(stream, "PNG", compress_level=1)
    png = stream.getvalue()
    return Picture(
        image=DeepImage(
            lowest=image.lowest,
            highest=image.highest,
            centre=image.centre,
            width=image.width,
            invert=image.invert,
            slope=image.slope,
            intercept=image.intercept,
        ),
        height=shades.shape[0],
        width=shades.shape[1],
        png=png,
        tag=hashlib.blake2b(png, digest_size=16).hexdigest(),
        grey=grey,
    )


def _reduced(pixels: NDArray[Kind]) -> NDArray[Kind]:
    """`pixels` (H, W) or (H, W, 3), each of the fewer ones the mean of the area that it covers."""
    height, width = pixels.shape[:2]
    share = LONGEST_SIDE / max(height, width)
    if share >= 1:
        return pixels
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.BOX))


def _bytes_of(picture: Picture) -> int:
    return len(picture.png) + len(picture.grey or b"")
