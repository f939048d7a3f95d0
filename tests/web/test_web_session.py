"""Who comes in: passwords, sessions, waits after failures, and the readers of a project by command."""

import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi import HTTPException
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from overread.cli import main
from overread.errors import ConfigError
from overread.store import Reader, Store
from overread.store.texts import tidy_name
from overread.web import Site, make_app, open_site
from overread.web.access import Ended, Roster
from overread.web.attempts import AT_MOST, Attempts
from overread.web.passwords import Checks, hash_password
from overread.web.people import find_reader, remove_reader, set_reader
from overread.web.session import RENEWED_AFTER, SESSION_SECONDS
from overread.web.tokens import Tokens

HOME = "http://127.0.0.1:8000"
ADA, BEN = "correct horse", "battery staple"
# As quick as argon2 gets: what is tested here is not how long a hash takes.
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Clock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="guarded")
def fixture_guarded(study: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The site with log-in, of an owner and a reader; times of sessions by its `Clock`."""
    monkeypatch.setattr("overread.web.passwords.HASHER", QUICK)
    with open_site(study, log_in=True) as site:
        set_reader(site.store, "ada", "owner", ADA)
        set_reader(site.store, "ben", None, BEN)
        tokens = Tokens((study / "session.key").read_bytes(), Clock())
        access = site.access._replace(checks=Checks(QUICK), roster=Roster(site.store, 0.0))
        yield site._replace(tokens=tokens, access=access)


@contextmanager
def browser(site: Site, address: str = "192.0.2.1") -> Iterator[TestClient]:
    with TestClient(make_app(site), base_url=HOME, client=(address, 50000)) as client:
        yield client


def log_in(client: TestClient, name: str, password: str) -> int:
    answer = client.post("/api/session", json={"name": name, "password": password})
    if answer.status_code == 200:
        client.headers["X-Overread-Proof"] = answer.json()["proof"]
    return int(answer.status_code)


def test_the_right_password_signs_in_and_every_wrong_one_gets_the_same_answer(guarded: Site) -> None:
    set_reader(guarded.store, "guest", None, None)
    remove_reader(guarded.store, set_reader(guarded.store, "gone", None, ADA).name)
    with browser(guarded) as client:
        wrong = [("ada", BEN), ("nobody", ADA), ("guest", ""), ("gone", ADA), ("ada", ""), ("ada", ADA + " ")]
        answers = [client.post("/api/session", json={"name": name, "password": word}) for name, word in wrong]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.text for answer in answers}) == 1
        assert client.get("/api/session").status_code == 401
        assert log_in(client, " ada ", ADA) == 200
        me = client.get("/api/session").json()
        assert (me["name"], me["role"]) == ("ada", "owner")
    assert [reader.name for reader in guarded.store.readers()] == ["ada", "ben", "guest", "gone"]


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(guarded: Site) -> None:
    for https, scheme, secure in ((False, "http", False), (True, "http", True), (False, "https", True)):
        site = guarded._replace(access=guarded.access._replace(https=https))
        with TestClient(make_app(site), base_url=f"{scheme}://127.0.0.1") as client:
            answer = client.post("/api/session", json={"name": "ada", "password": ADA})
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert "path=/" in cookie
            assert f"max-age={SESSION_SECONDS}" in cookie
            assert ("secure" in cookie.split("; ")) == secure
            assert "domain" not in cookie


def test_a_session_ends_after_twelve_hours_unless_it_is_used(guarded: Site) -> None:
    clock = guarded.tokens._clock
    assert isinstance(clock, Clock)
    with browser(guarded) as client, browser(guarded) as idle:
        assert log_in(client, "ada", ADA) == log_in(idle, "ada", ADA) == 200
        proof = client.headers["X-Overread-Proof"]
        assert "set-cookie" not in client.get("/api/progress").headers
        for _ in range(5):
            clock.now += SESSION_SECONDS - 60
            answer = client.post("/api/work", json={})
            assert answer.status_code == 200, "used in time, with the proof of the beginning"
            assert "set-cookie" in answer.headers
        assert client.get("/api/session").json()["proof"] == proof
        assert idle.get("/api/progress").status_code == 401
        clock.now += RENEWED_AFTER - 1
        assert "set-cookie" not in client.get("/api/progress").headers
        clock.now += SESSION_SECONDS
        assert client.post("/api/work", json={}).status_code == 401


def test_a_new_password_or_removal_ends_the_sessions_of_this_reader_alone(guarded: Site) -> None:
    with browser(guarded) as ada, browser(guarded) as ben:
        assert log_in(ada, "ada", ADA) == log_in(ben, "ben", BEN) == 200
        set_reader(guarded.store, "ben", None, "another password")
        assert ben.get("/api/progress").status_code == 401
        assert log_in(ben, "ben", BEN) == 401
        assert log_in(ben, "ben", "another password") == 200
        remove_reader(guarded.store, "ben")
        assert ben.get("/api/progress").status_code == 401
        assert log_in(ben, "ben", "another password") == 401
        assert ada.get("/api/progress").status_code == 200


def test_whoever_signed_out_stays_out_even_with_a_copy_of_the_cookie(guarded: Site) -> None:
    clock = guarded.tokens._clock
    assert isinstance(clock, Clock)
    with browser(guarded) as client:
        assert log_in(client, "ada", ADA) == 200
        copied = client.cookies[guarded.tokens.cookie]
        clock.now += RENEWED_AFTER + 1
        gone = client.delete("/api/session")
        assert gone.status_code == 200
        assert len(gone.headers.get_list("set-cookie")) == 1
        assert guarded.tokens.cookie not in client.cookies
        client.cookies[guarded.tokens.cookie] = copied
        assert client.get("/api/progress").status_code == 401


def test_a_session_of_the_time_without_log_in_means_nothing_once_there_is_one(guarded: Site) -> None:
    with browser(guarded._replace(log_in=False)) as before, browser(guarded) as after:
        assert log_in(before, "ada", "") == 200
        assert before.get("/api/progress").status_code == 200
        after.cookies[guarded.tokens.cookie] = before.cookies[guarded.tokens.cookie]
        assert after.get("/api/progress").status_code == 401


def test_cookies_that_are_forged_cut_or_of_another_project_mean_nothing(guarded: Site) -> None:
    with browser(guarded) as client:
        assert log_in(client, "ada", ADA) == 200
        name, whole = guarded.tokens.cookie, client.cookies[guarded.tokens.cookie]
        other = Tokens(b"x" * 32)
        content = guarded.tokens.content(whole, SESSION_SECONDS)
        assert content is not None
        changed = [whole[:n] + ("A" if whole[n] != "A" else "B") + whole[n + 1 :] for n in range(0, len(whole) - 2, 7)]
        for cookie in ("", "x", whole[:-4], whole[8:], other.session(content), content, "1:1:", *changed):
            client.cookies.clear()
            client.cookies[name] = cookie
            assert client.get("/api/progress").status_code == 401, cookie
            assert client.post("/api/work", json={}).status_code == 401, (
                "401 and not 403: the page then asks for a name"
            )
        assert other.cookie != name


def test_guessing_is_slowed_down_and_others_are_not(guarded: Site) -> None:
    with browser(guarded, "192.0.2.1") as guesser, browser(guarded, "192.0.2.2") as elsewhere:
        assert [log_in(guesser, "ada", f"guess {n}") for n in range(6)] == [401] * 5 + [429]
        answer = guesser.post("/api/session", json={"name": "ada", "password": ADA})
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 2
        # An unknown name is no different.
        assert [log_in(guesser, "nobody", f"guess {n}") for n in range(6)] == [401] * 5 + [429]
        assert log_in(elsewhere, "ben", BEN) == 200
        assert log_in(guesser, "ben", BEN) == 200


def test_a_hash_with_old_parameters_is_renewed(guarded: Site) -> None:
    old = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(ADA)
    ada = find_reader(guarded.store, "ada")
    assert ada is not None
    guarded.store.change_reader(ada.id, password_hash=old)
    with browser(guarded) as client:
        assert log_in(client, "ada", ADA) == 200
        now = find_reader(guarded.store, "ada")
        assert now is not None
        assert now.password_hash is not None
        assert not QUICK.check_needs_rehash(now.password_hash)
        assert client.get("/api/progress").status_code == 200, "the session is of the new hash"
        assert log_in(client, "ada", ADA) == 200


def test_without_log_in_a_removed_reader_stays_out(site: Site, visit: Callable[[str], TestClient]) -> None:
    client = visit("ada")
    remove_reader(site.store, "ada")
    site.access.roster.forget()
    assert client.get("/api/progress").status_code == 401
    answer = client.post("/api/session", json={"name": "ada"})
    assert answer.status_code == 403
    assert "removed" in answer.json()["error"]["message"]
    assert client.get("/api/readers").json() == []


def test_what_a_stranger_learns(site: Site, guarded: Site, visit: Callable[[str], TestClient]) -> None:
    with browser(guarded) as client:
        assert client.get("/api/readers").json() == []
        about = {"id": site.tokens.cookie, "name": "study", "classes": [], "log_in": True, "assisted": False}
        assert client.get("/api/about").json() == about
        assert log_in(client, "ben", BEN) == 200
        assert client.get("/api/about").json() == {**about, "classes": ["disc", "stripe", "noise"]}
    with browser(site) as client:
        assert client.get("/api/about").json()["classes"] == ["disc", "stripe", "noise"]
        assert visit("cy").get("/api/readers").json() == ["ada", "ben", "cy"]


# Attempts


def test_waits_double_up_to_a_quarter_of_an_hour_and_pass() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    waits = []
    for _ in range(17):
        wait = attempts.begin("ada", "192.0.2.1")
        if wait:
            waits.append(wait)
            assert attempts.begin("ada", "198.51.100.7") == wait, "wherever it comes from"
            clock.now += wait - 0.001
            assert attempts.begin("ada", "192.0.2.1") == pytest.approx(0.001, abs=1e-4)
            clock.now += 0.002
            assert attempts.begin("ada", "192.0.2.1") == 0
    assert waits == [min(900, 2.0 * 2**n) for n in range(12)]
    clock.now += 3601
    assert [attempts.begin("ada", "192.0.2.1") for _ in range(5)] == [0] * 5


def test_an_address_waits_whomever_it_tries_and_one_success_does_not_clear_it() -> None:
    attempts = Attempts(Clock())
    for number in range(19):
        assert attempts.begin(f"name {number}", "192.0.2.1") == 0
        # His own name in between.
        assert attempts.begin("mallory", "192.0.2.1") == 0
        attempts.succeeded("mallory", "192.0.2.1")
    assert attempts.begin("one more", "192.0.2.1") == 0
    assert attempts.begin("ada", "192.0.2.1") == 2
    assert attempts.begin("ada", "192.0.2.2") == 0


def test_a_stranger_does_not_lock_out_somebody_who_was_here_before() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    assert attempts.begin("ada", "192.0.2.1") == 0
    attempts.succeeded("ada", "192.0.2.1")
    for number in range(40):
        attempts.begin("ada", f"198.51.100.{number}")
        clock.now += 60
    assert attempts.begin("ada", "198.51.100.77") > 0
    assert attempts.begin("ada", "192.0.2.1") == 0
    # But there, too, guesses are counted.
    assert [attempts.begin("ada", "192.0.2.1") > 0 for _ in range(5)] == [False] * 4 + [True]


def test_an_ipv6_host_is_its_network_and_an_ipv4_in_ipv6_is_ipv4() -> None:
    attempts = Attempts(Clock())
    for number in range(20):
        assert attempts.begin(f"name {number}", f"2001:db8::{number:x}") == 0
    assert attempts.begin("ada", "2001:db8::ffff:1") > 0
    assert attempts.begin("ada", "2001:db8:0:1::1") == 0
    for number in range(20):
        assert attempts.begin(f"name {number}", "::ffff:192.0.2.1") == 0
    assert attempts.begin("ada", "192.0.2.1") > 0


def test_memory_of_failures_is_bounded() -> None:
    attempts = Attempts(Clock(), at_most=50)
    for number in range(1000):
        attempts.begin(f"name {number}", f"10.0.{number // 256}.{number % 256}")
        attempts.succeeded(f"name {number}", f"10.0.{number // 256}.{number % 256}")
        attempts.begin(f"other {number}", f"10.0.{number // 256}.{number % 256}")
    assert len(attempts) <= 150
    assert AT_MOST <= 100_000


def test_of_many_attempts_at_once_only_the_free_ones_are_let_through() -> None:
    attempts = Attempts(Clock())
    let_through: list[float] = []
    threads = [
        threading.Thread(target=lambda: let_through.append(attempts.begin("ada", "192.0.2.1"))) for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(let_through)[:6] == [0] * 5 + [2]


# Passwords


class Slow(PasswordHasher):
    """Hashes that wait for the test, and count how many there are at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.running, self.most = 0, 0
        self.go_on = threading.Event()
        self.lock = threading.Lock()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go_on.wait(10)
        with self.lock:
            self.running -= 1
        return super().verify(hash, password)


def test_two_hashes_at_once_some_wait_and_the_rest_is_told_to_come_again() -> None:
    slow = Slow()
    checks, stored = Checks(slow), QUICK.hash(ADA)
    answers: list[Any] = []

    def check() -> None:
        try:
            answers.append(checks.is_right(ADA, stored))
        except HTTPException as error:
            answers.append(error.status_code)

    threads = [threading.Thread(target=check) for _ in range(30)]
    for thread in threads:
        thread.start()
    while len(answers) < 20:
        threading.Event().wait(0.01)
    assert answers == [503] * 20
    slow.go_on.set()
    for thread in threads:
        thread.join()
    assert answers[20:] == [True] * 10
    assert slow.most == 2


def test_an_unknown_name_costs_a_hash_with_the_parameters_of_all_others() -> None:
    seen: list[str] = []

    class Seeing(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
            seen.append(str(hash))
            return super().verify(hash, password)

    hasher = Seeing(time_cost=1, memory_cost=8, parallelism=1)
    assert not Checks(hasher).is_right("", None)
    assert not hasher.check_needs_rehash(seen[0])
    assert len(seen[0]) == len(hasher.hash(ADA))


def test_passwords_are_argon2id_and_the_same_whatever_keyboard_typed_them() -> None:
    stored = hash_password("Grüße aus Köln")
    assert stored.startswith("$argon2id$")
    assert not PasswordHasher().check_needs_rehash(stored)
    assert Checks().is_right("Gru\u0308ße aus Ko\u0308ln", stored)
    assert not Checks().is_right("Grusse aus Koln", stored)
    assert not Checks().is_right(ADA, "no hash")


@pytest.mark.parametrize("password", ["", "123456789", "x" * 1001, "half \ud800 character"])
def test_passwords_that_cannot_be(password: str) -> None:
    with pytest.raises(ConfigError, match="password"):
        hash_password(password)


@given(st.text())
def test_a_tidy_name_is_tidy(name: str) -> None:
    assert tidy_name(tidy_name(name)) == tidy_name(name)
    assert tidy_name(f"  {name}\t ") == tidy_name(name)


# Readers in memory


class Counted:
    """In the place of a store."""

    def __init__(self, store: Store) -> None:
        self.store, self.asked = store, 0

    def readers(self) -> list[Reader]:
        self.asked += 1
        return self.store.readers()


def test_readers_are_asked_for_once_a_second(site: Site) -> None:
    clock = Clock(0.0)
    counted: Any = Counted(site.store)
    roster = Roster(counted, 1.0, clock)
    site.store.add_reader("ada")
    for _ in range(100):
        assert [reader.name for reader in roster.readers().values()] == ["ada"]
    assert counted.asked == 1
    site.store.add_reader("ben")
    assert roster.named("ben") is None
    clock.now = 1.0
    assert roster.named("ben") is not None
    roster.forget()
    roster.readers()
    assert counted.asked == 3


def test_ended_sessions_are_bounded() -> None:
    ended = Ended(at_most=3)
    for name in "abcd":
        ended.add(name)
    assert [name in ended for name in "abcd"] == [False, True, True, True]


# The command


@pytest.fixture(name="command")
def fixture_command(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str, str]]:
    """`overread reader` on the study: exit code, output, errors."""

    def run(*arguments: str, typed: str = "") -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["overread", "reader", str(study), *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, *capsys.readouterr()

    return run


def test_readers_by_command(study: Path, command: Callable[..., tuple[object, str, str]]) -> None:
    assert command() == (0, "there are no readers yet\n", "")
    assert command("Dr.  A", "--owner", "--password-stdin", typed=f"{ADA}\n")[:2] == (
        0,
        "Dr. A: owner, with a password\n",
    )
    assert command("Ben", "--no-password")[0] == 0
    # Another password, the same role.
    assert command("Dr. A", "--password-stdin", typed=BEN)[0] == 0
    assert command("Ben", "--remove")[:2] == (0, "Ben is removed; the reads stay\n")
    listed = "Dr. A: owner, with a password\nBen: reader, without a password, removed\n"
    assert command()[1] == listed
    with Store.open(study / "project.db") as store:
        dr = find_reader(store, "Dr. A")
    assert dr is not None
    assert Checks().is_right(BEN, dr.password_hash)
    assert not Checks().is_right(ADA, dr.password_hash)
    assert command("Ben", "--no-password", "--owner")[1].endswith("Ben: owner, without a password\n")
    assert command("Dr. A", "--no-password", "--no-owner")[1].startswith("Dr. A: reader, with a password\n")


@pytest.mark.parametrize(
    ("arguments", "typed", "word"),
    [
        (("Ada", "--password-stdin"), "short\n", "10 to 1000"),
        (("Ada",), "", "--password-stdin"),
        (("Nobody", "--remove"), "", "no reader 'Nobody'"),
        (("--owner",), "", "do not go together"),
        (("--remove",), "", "do not go together"),
        (("Ada", "--remove", "--owner"), "", "do not go together"),
        (("Ada", "--no-password", "--password-stdin"), "", "do not go together"),
        ((" ", "--no-password"), "", "1 to 200"),
        (("x" * 201, "--no-password"), "", "1 to 200"),
    ],
)
def test_what_the_command_refuses(
    arguments: tuple[str, ...], typed: str, word: str, study: Path, command: Callable[..., tuple[object, str, str]]
) -> None:
    code, out, err = command(*arguments, typed=typed)
    assert (code, out) == (2, "")
    assert word in err
    assert err.count("\n") == 1
    with Store.open(study / "project.db") as store:
        assert store.readers() == []


def test_what_was_not_looked_at_is_no_failure() -> None:
    attempts = Attempts(Clock())
    for _ in range(100):
        assert attempts.begin("ada", "192.0.2.1") == 0
        attempts.unchecked("ada", "192.0.2.1")
