"""Twenty readers at once on the database of reads, by itself and behind the server: from an answer to the next item."""

import atexit
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from measure import Benchmark, Seconds, Step

from overread.store import Lease, Read, Reader, Store

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from postgresql_server import Server, binaries
from served import Served, asked, bare_project

N_READERS = 20
QUEUE = 10_000
# A quick reader: half a second an image.
PAUSE = (0.25, 0.75)
LEASE = 600.0

Answer = Callable[[int], object]
"""Reader, counted from 0 -> stores his answer and finds his next item."""

Door = Callable[[int, Sequence[Reader]], Answer]
"""Number of a round that has just been opened, readers -> how they answer in it."""


@dataclass
class Inputs:
    """Sizes, a folder for the databases, and what was found out beside the time that counts."""

    n_items: int
    n_answers: int
    pause: tuple[float, float]
    folder: Any
    notes: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def queue(self) -> range:
        return range(min(QUEUE, self.n_items))


def inputs(size: int, quick: bool) -> Inputs:
    n_answers, pause = (3, (0.0, 0.01)) if quick else (50, PAUSE)
    return Inputs(size, n_answers, pause, tempfile.TemporaryDirectory(ignore_cleanup_errors=True))


def load(data: Inputs, way: str, answer: Answer, pause: tuple[float, float]) -> Seconds:
    """The 99th percentile of all answers of all readers, and the CPU seconds of one answer, in this process."""

    def read(reader: int) -> list[float]:
        rng, times = random.Random(reader), []
        for _ in range(data.n_answers):
            time.sleep(rng.uniform(*pause))
            before = time.perf_counter()
            answer(reader)
            times.append(time.perf_counter() - before)
        return times

    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(N_READERS) as threads:
        times = [seconds for own in threads.map(read, range(N_READERS)) for seconds in own]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    percentiles = statistics.quantiles(times, n=100, method="inclusive")
    data.notes[way] = {"p50": percentiles[49], "p99": percentiles[98], "reads_per_second": len(times) / wall}
    return Seconds(percentiles[98], cpu / len(times))


def of_store(way: str, place: Callable[[Inputs], str], pauses: bool, served: bool = False) -> Callable[[Inputs], Step]:
    """A way by the product, in the database that `place` names.  served: through the server of a project, over HTTP."""

    def prepare(data: Inputs) -> Step:
        where = place(data)
        started = time.perf_counter()
        folder = bare_project(Path(data.folder.name) / f"project-{uuid4()}", data.n_items, where)
        added = time.perf_counter() - started
        store = Store.open(where)
        readers = [store.add_reader(f"reader {number}") for number in range(N_READERS)]
        door = by_server(folder) if served else by_hand(store)

        def step() -> Seconds:
            # A round of its own, so that no step finds the queue as another one left it.
            number = store.open_round("random", data.queue).number
            before = sum(1 for _ in store.reads_since(0))
            took = load(data, way, door(number, readers), data.pause if pauses else (0.0, 0.0))
            read = [(read.item, read.round) for read in store.reads_since(0)][before:]
            assert len(read) == len(set(read)) == N_READERS * data.n_answers, "a read is lost or doubled"
            data.notes[way]["seconds_to_add_items"] = added
            store.close_round(number)
            return took

        return step

    return prepare


def by_hand(store: Store) -> Door:
    """Readers who call the database themselves."""

    def door(number: int, readers: Sequence[Reader]) -> Answer:
        held: list[Lease | None] = [store.next_item(number, reader.id, LEASE) for reader in readers]

        def answer(reader: int) -> None:
            lease = held[reader]
            assert lease, "the queue is too short for this benchmark"
            read = Read(str(uuid4()), lease.item, lease.reader, "label", 1, number, "", {}, 0.5)
            held[reader] = store.record_and_next(read, LEASE)[1]

        return answer

    return door


def by_server(folder: Path) -> Door:
    """Readers with browsers: the server is a process of its own, and each of them keeps his connection."""
    served = Served(folder)
    atexit.register(served.stop)

    def door(number: int, readers: Sequence[Reader]) -> Answer:
        clients, held = [], []
        for reader in readers:
            client = served.browser(reader.name)
            held.append(asked(client, "work", {"images": 1})["tasks"][0])
            clients.append(client)

        def answer(reader: int) -> None:
            task = held[reader]
            said = {"client_id": str(uuid4()), "round": number, "item": task["item"], "kind": "label", "label": 1}
            held[reader] = asked(clients[reader], "reads", {**said, "seconds": 0.5})["next"]
            assert held[reader], "the queue is too short for this benchmark"

        return answer

    return door


def new_file(data: Inputs) -> str:
    """A file for SQLite."""
    return str(Path(data.folder.name) / f"{uuid4()}.db")


_servers: list[Server] = []


def new_database(data: Inputs) -> str:
    """A database of a server that runs as long as the folder of the inputs is there."""
    programs = binaries()
    assert programs
    if not _servers:
        _servers.append(Server(programs, durable=True))
        atexit.register(_servers[0].remove)
    return _servers[0].new_database()


def naive(data: Inputs) -> Step:
    """A connection for each answer, SQLite as it comes, and the whole queue counted for what is still to be read."""
    place = new_file(data)
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("CREATE TABLE reads (item INTEGER, reader INTEGER, label INTEGER)")
        connection.execute("CREATE TABLE queue (item INTEGER, rank INTEGER)")
        connection.execute("CREATE INDEX by_item ON reads (item)")
        connection.executemany("INSERT INTO queue VALUES (?, ?)", [(item, item) for item in data.queue])

    def answer(reader: int) -> None:
        with closing(sqlite3.connect(place, timeout=60, isolation_level="IMMEDIATE")) as connection, connection:
            connection.execute("INSERT INTO reads VALUES (?, ?, 1)", (random.choice(data.queue), reader))
            query = (
                "SELECT item FROM queue LEFT JOIN reads USING (item) GROUP BY item, rank "
                "HAVING COUNT(reader) < 1 ORDER BY rank LIMIT 1"
            )
            connection.execute(query).fetchone()

    return lambda: load(data, "naive", answer, data.pause)


def limit(data: Inputs) -> Step:
    """One row, flushed to the disk."""
    connection = sqlite3.connect(new_file(data), check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE reads (item INTEGER, reader INTEGER, label INTEGER)")
    turn = threading.Lock()

    def answer(reader: int) -> None:
        with turn:
            connection.execute("INSERT INTO reads VALUES (0, ?, 1)", (reader,))

    return lambda: load(data, "limit", answer, data.pause)


def facts(data: Inputs) -> dict[str, Any]:
    return {
        "readers": N_READERS,
        "queue": len(data.queue),
        "answers": N_READERS * data.n_answers,
        "pause": data.pause,
        "goal_p99": 0.05,
        "ways": data.notes,
        "naive_is": "a connection for each answer, the rollback journal, the queue counted",
    }


ALSO = {
    "SQLite, no pauses": of_store("SQLite, no pauses", new_file, False),
    "SQLite, served": of_store("SQLite, served", new_file, True, served=True),
}
if binaries():
    ALSO |= {
        "PostgreSQL, served": of_store("PostgreSQL, served", new_database, True, served=True),
        "PostgreSQL": of_store("PostgreSQL", new_database, True),
        "PostgreSQL, no pauses": of_store("PostgreSQL, no pauses", new_database, False),
    }

BENCHMARK = Benchmark(
    what="20 readers at once, each half a second an image: from an answer to the next item",
    unit="s, the 99th percentile",
    sizes=(1_000_000,),
    size_is="items, a queue of 10,000",
    quick_size=300,
    inputs=inputs,
    naive=naive,
    value=of_store("value", new_file, True),
    limit=limit,
    limit_is="one row flushed to the disk",
    facts=facts,
    also=ALSO,
    warm_up=False,
)
