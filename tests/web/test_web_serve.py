"""`overread serve` as a process: where it listens, how it ends, and what outlives it."""

import ipaddress
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx2 as httpx
import pytest

from overread.cli import main
from overread.project.folder import open_project
from overread.store import Store
from overread.web.people import set_reader

Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture(name="start")
def fixture_start() -> Iterator[Start]:
    """A function that starts a server and returns it with the address that it prints."""
    running = []

    def started(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "overread", "serve", str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout
        for line in process.stdout:
            found = re.search(r"https?://\S+", line)
            if found:
                return process, found[0]
        assert process.stderr
        raise AssertionError(f"it ended with {process.wait()}: {process.stderr.read()}")

    yield started
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(name="refused")
def fixture_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that starts a server that is expected to refuse, and returns its one sentence."""

    def run(folder: Path, *options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["overread", "serve", str(folder), *options])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code, out, err.count("\n")) == (2, "", 1), (options, out, err)
        return err

    return run


def test_a_session_and_its_reads_outlive_a_server_that_is_killed(study: Path, start: Start) -> None:
    with Store.open(study / "project.db") as store:
        set_reader(store, "ada", "owner", "correct horse")
    process, home = start(study, "--port", "0", "--log-in")
    port = str(httpx.URL(home).port)
    with httpx.Client(base_url=home) as client:
        assert client.post("/api/session", json={"name": "ada", "password": "wrong"}).status_code == 401
        signed = client.post("/api/session", json={"name": "ada", "password": "correct horse"})
        assert signed.status_code == 200
        client.headers["X-Overread-Proof"] = signed.json()["proof"]
        task = client.post("/api/work", json={"images": 1}).json()["tasks"][0]
        said = {"client_id": str(uuid4()), "round": 1, "item": task["item"], "kind": "label", "label": 1}
        receipt = client.post("/api/reads", json=said).json()["receipt"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, again = start(study, "--port", port, "--log-in")
        assert again == home
        client.cookies.jar.clear_expired_cookies()
        assert client.get("/api/session").json() == signed.json()
        assert client.post("/api/reads", json=said).json()["receipt"] == receipt
        assert client.get("/api/progress").json()["mine"] == 1


def test_sigterm_is_a_clean_end_and_ctrl_c_is_130_though_a_browser_is_connected(study: Path, start: Start) -> None:
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        process, home = start(study, "--port", "0")
        with httpx.Client(base_url=home) as client:
            assert client.get("/").status_code == 200
            process.send_signal(number)
            _, err = process.communicate(timeout=20)
        assert process.returncode == code
        assert "Traceback" not in err
        assert err.count("\n") == (code == 130)


def test_it_says_what_is_read_also_when_there_is_nothing(study: Path, begun_study: Path, tmp_path: Path) -> None:
    empty = tmp_path / "no round"
    shutil.copytree(begun_study, empty)
    for folder, words in ((study, "Round 1: 6 images"), (empty, "nothing to read yet")):
        command = [sys.executable, "-m", "overread", "serve", str(folder), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            lines = [process.stdout.readline(), process.stdout.readline()]
            process.terminate()
            assert process.wait(20) == 0
        assert words in lines[0]
        assert re.fullmatch(r"Open http://127\.0\.0\.1:\d+ in a browser; Ctrl-C ends the server\.\n", lines[1])


def test_what_it_refuses(study: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = [
            (study, ("--port", port), f"port {port} of 127.0.0.1 is taken"),
            (study, ("--host", "no.such.host.invalid"), "is not known"),
            (study, ("--host", "203.0.113.77", "--port", "0"), "cannot be opened"),
            (study, ("--host", "0.0.0.0", "--port", "0"), f"`overread reader {study} NAME --owner`"),
            (study, ("--log-in", "--port", "0"), "--owner"),
            (study, ("--https", "--port", "0"), "--owner"),
            (study, ("--public-name", "study.example.org", "--port", "0"), "--owner"),
            (study, ("--public-name", "a/b", "--port", "0"), "--public-name"),
            (tmp_path / "absent", ("--port", "0"), "holds no project"),
        ]
        for folder, options, words in cases:
            assert words in refused(folder, *options), options
    moved = shutil.copytree(study, tmp_path / "moved")
    config = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(config.replace("tiny.npz", "gone.npz"))
    assert "below data: path" in refused(moved, "--port", "0")


def test_a_reader_or_one_who_was_removed_is_no_owner_who_can_log_in(study: Path, refused: Callable[..., str]) -> None:
    with open_project(study) as project:
        set_reader(project.store, "ben", "reader", "battery staple")
        set_reader(project.store, "cy", "owner", None)
        gone = set_reader(project.store, "ada", "owner", "correct horse")
        project.store.change_reader(gone.id, active=False)
    assert "no owner" in refused(study, "--log-in", "--port", "0")


def test_every_address_but_loopback_demands_a_password(study: Path, start: Start) -> None:
    with Store.open(study / "project.db") as store:
        set_reader(store, "ada", "owner", "correct horse")
    _, home = start(study, "--host", "0.0.0.0", "--port", "0")
    printed = httpx.URL(home)
    with httpx.Client(base_url=f"http://127.0.0.1:{printed.port}") as client:
        assert client.get("/api/about").json()["log_in"] is True
        # What it prints is answered to, be it that of a machine in a network or without one.
        assert client.get("/", headers={"Host": printed.netloc.decode()}).status_code == 200
        assert ipaddress.ip_address(printed.host) != ipaddress.ip_address("0.0.0.0")
        assert client.post("/api/session", json={"name": "eve"}).status_code == 401
        assert client.get("/api/about", headers={"Host": "evil.example"}).status_code == 400


def test_a_proxy_on_this_machine_says_that_browsers_come_by_https_and_from_where(study: Path, start: Start) -> None:
    with Store.open(study / "project.db") as store:
        set_reader(store, "ada", "owner", "correct horse")
    _, home = start(study, "--port", "0", "--public-name", "study.example.org")
    assert home.startswith("http://study.example.org:")
    with httpx.Client(base_url=f"http://127.0.0.1:{httpx.URL(home).port}") as client:
        forwarded = {
            "Host": "study.example.org",
            "Origin": "https://study.example.org",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "192.0.2.1",
        }
        who = {"name": "ada", "password": "correct horse"}
        answer = client.post("/api/session", json=who, headers=forwarded)
        assert answer.status_code == 200
        assert "Secure" in answer.headers["set-cookie"]
        # Waits are those of the browser's address, and not of the proxy's.
        for _ in range(6):
            last = client.post("/api/session", json={**who, "password": "wrong"}, headers=forwarded)
        assert last.status_code == 429
        other = client.post("/api/session", json=who, headers={**forwarded, "X-Forwarded-For": "192.0.2.2"})
        assert other.status_code in (200, 429)


def test_help_says_what_the_options_are() -> None:
    for command, words in (("serve", ("--public-name", "--https", "--log-in")), ("reader", ("--owner", "--remove"))):
        done = subprocess.run(
            [sys.executable, "-m", "overread", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert all(word in done.stdout for word in words)
        assert "Example" in done.stdout
