"""Many threads and processes at once, and processes that are killed."""

import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from answers import answer, new_id
from clocks import Clock

from overread.errors import Conflict
from overread.store import Read, Recorded, Store
from overread.store.turns import Turns

WRITER = Path(__file__).with_name("writer.py")
N_READERS = 20


def start(place: str, reader: int, number: int = 1) -> "subprocess.Popen[str]":
    command = [sys.executable, str(WRITER), place, str(reader), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def said(output: str, word: str) -> list[str]:
    """The ids behind a word; a line that was cut off by the end of the process does not count."""
    lines = [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]
    return [line[1] for line in lines if line[0] == word and len(line) == 2]


@pytest.fixture
def crowd(place: str) -> Store:
    """A store with 60 items and 20 readers, in the time of this world."""
    with Store.create(place, ["a", "b", "c"]) as store:
        store.add_items((f"image-{number}", None) for number in range(60))
        for number in range(N_READERS):
            store.add_reader(f"reader {number}")
    return Store.open(place, timeout=60)


@pytest.mark.parametrize("wanted", [1, 3])
def test_twenty_readers_at_once_read_every_item_as_often_as_wanted(crowd: Store, wanted: int) -> None:
    crowd.open_round("random", range(60), wanted)

    def read_all(reader: int) -> list[tuple[str, Recorded]]:
        receipts = []
        lease = crowd.next_item(1, reader, 60)
        while lease is not None:
            if (lease.item + reader) % 7 == 0:
                assert crowd.record(answer(lease.item, reader, kind="cannot-tell"))
                assert crowd.undo(reader, new_id(), 60)
            read = answer(lease.item, reader, reader % 3)
            recorded, lease = crowd.record_and_next(read, 60)
            assert crowd.record(read) == recorded
            receipts.append((read.client_id, recorded))
        return receipts

    with crowd, ThreadPoolExecutor(N_READERS) as threads:
        receipts = [receipt for own in threads.map(read_all, range(1, N_READERS + 1)) for receipt in own]
        current = list(crowd.current_reads())
        assert {read.client_id: read.sequence for read in current} == {c: r.sequence for c, r in receipts}
        assert Counter(read.item for read in current) == dict.fromkeys(range(60), wanted)
        assert len({(read.item, read.reader) for read in current}) == 60 * wanted
        assert crowd.progress(1) == (60, 60, 60 * wanted, 60 * wanted)


def test_the_same_answer_from_many_threads_is_one_read(crowd: Store) -> None:
    crowd.open_round("random", [0])
    read = answer(0, 1)
    with crowd, ThreadPoolExecutor(N_READERS) as threads:
        receipts = set(threads.map(lambda _: crowd.record(read), range(100)))
        assert len(receipts) == 1
        assert len(crowd.history(0)) == 1


def test_one_write_that_fails_takes_none_with_it(crowd: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = answer(0, 1, round_number=None)
    together: list[int] = []
    attempt = Turns._attempt

    def slow_attempt(turns: Turns, jobs: list[object]) -> None:
        together.append(len(jobs))
        time.sleep(0.05)
        attempt(turns, jobs)  # type: ignore[arg-type]

    def send(number: int) -> str:
        bad = number % 5 == 0
        read = (
            Read(taken.client_id, 3, 1, "label", 2) if bad else answer(number % 60, 1 + number % 20, 1, "label", None)
        )
        try:
            crowd.record(read)
        except Conflict:
            return "conflict"
        return read.client_id

    with crowd, ThreadPoolExecutor(N_READERS) as threads:
        crowd.record(taken)
        monkeypatch.setattr(Turns, "_attempt", slow_attempt)
        outcomes = list(threads.map(send, range(40)))
        assert max(together) > 1
        assert [outcome == "conflict" for outcome in outcomes] == [number % 5 == 0 for number in range(40)]
        stored = [read.client_id for read in crowd.reads_since(0)]
        assert sorted(stored) == sorted([taken.client_id, *(o for o in outcomes if o != "conflict")])


def test_two_processes_share_a_round(crowd: Store, place: str) -> None:
    crowd.open_round("random", range(60))
    writers = [start(place, reader) for reader in (1, 2)]
    outputs = [writer.communicate(timeout=120)[0] for writer in writers]
    with crowd:
        current = list(crowd.current_reads())
        assert [read.item for read in current] == list(range(60))
        assert {read.client_id for read in current} == {i for output in outputs for i in said(output, "accepted")}
        assert all(output.endswith("done\n") for output in outputs)


@pytest.mark.parametrize("lines", [1, 2, 3, 8, 9])
def test_every_accepted_read_outlives_kill_9(crowd: Store, place: str, lines: int) -> None:
    """Killed after so many lines, which is between two writes or during one."""
    # More than a writer gets through before it is killed, however late that is.
    n_items = 60 + crowd.add_items((f"more-{number}", None) for number in range(20_000))
    crowd.open_round("random", range(n_items), wanted=2)
    writers = [start(place, reader) for reader in (1, 2)]
    heard = []
    for index, writer in enumerate(writers):
        assert writer.stdout
        first = [writer.stdout.readline() for _ in range(lines)]
        time.sleep(0.003 * index)
        writer.kill()
        heard.append("".join(first) + writer.stdout.read())
        writer.stdout.close()
        assert writer.wait() == -9
    crowd.close()
    with Store.open(place) as again:
        stored = [read.client_id for read in again.reads_since(0)]
        accepted = {i for output in heard for i in said(output, "accepted")}
        sent = {i for output in heard for i in said(output, "sent")}
        assert len(stored) == len(set(stored))
        assert accepted <= set(stored) <= sent
        # An answer whose acceptance was not heard is sent again, and is one read.
        for read in list(again.reads_since(0)):
            again.record(Read(read.client_id, read.item, read.reader, "label", 0, 1))
        assert again.progress(1).answered == len(stored)


def test_what_a_killed_reader_held_comes_back_with_time(store: Store, clock: Clock) -> None:
    store.open_round("random", [0])
    assert store.next_item(1, 1, 60)
    assert store.next_item(1, 2, 60) is None
    clock.pass_seconds(61)
    assert store.next_item(1, 2, 60)
