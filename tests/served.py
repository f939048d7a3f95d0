"""A server of a project in a process of its own, which can be killed and started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx2 as httpx

from overread.config import load_config
from overread.project.folder import DATABASE, save_state
from overread.run import open_run
from overread.store import Store

__all__ = ["Served", "bare_project"]

CLASSES = ["a", "b", "c"]


def bare_project(folder: Path, n_items: int, place: str | None = None) -> Path:
    """`folder` as a project with so many items and no images.  place: of an empty database; None = in the folder."""
    with open_run(load_config(settings=[f"out={folder}", f"data.path={folder}/images.npz"])):
        pass
    # It is looked for, and opened when somebody looks at an image.
    (folder / "images.npz").touch()
    dataset = {"name": "made", "classes": CLASSES, "items": n_items, "digest": ""}
    own = {"database": place, "cache": None, "checkpoint_seconds": 60.0, "labels": None}
    save_state(folder, {"schema": 1, **own, "dataset": dataset, "rounds": []})
    with Store.create(place or folder / DATABASE, CLASSES) as store:
        store.add_items((f"item-{number}", number % len(CLASSES)) for number in range(n_items))
    return folder


class Served:
    """`overread serve` of the project in `folder`, with further options."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._command = [sys.executable, "-m", "overread", "serve", str(folder), *options]
        self.home = self._start("0")
        self.port = str(httpx.URL(self.home).port)

    def _start(self, port: str) -> str:
        self.process = subprocess.Popen([*self._command, "--port", port], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        for line in self.process.stdout:
            found = [word for word in line.split() if word.startswith("http://")]
            if found:
                return found[0].rstrip("/.,")
        raise AssertionError(f"the server ended with {self.process.wait()} before it began")

    def kill(self) -> None:
        """As `kill -9` does."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.stop()

    def start(self) -> None:
        """Again, at the same address."""
        self._start(self.port)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def browser(self, name: str) -> httpx.Client:
        """Of a reader who has signed in."""
        client = httpx.Client(base_url=self.home, timeout=60)
        client.headers["X-Overread-Proof"] = asked(client, "session", {"name": name})["proof"]
        return client


def asked(client: httpx.Client, route: str, content: dict[str, Any]) -> dict[str, Any]:
    """What the server answers."""
    answer = client.post(f"/api/{route}", json=content)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
