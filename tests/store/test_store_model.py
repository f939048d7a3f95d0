"""Any sequence of what readers may do, against a plain model that looks at everything each time."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from answers import new_id
from clocks import Clock
from hypothesis import given, settings
from hypothesis import strategies as st
from postgresql_server import Server

from overread.store import Part, Read, Store

N_ITEMS, N_READERS, LEASE = 4, 3, 10.0

READER = st.integers(0, N_READERS - 1)
ITEM = st.integers(0, N_ITEMS - 1)
NEXT = st.tuples(st.just("next"), READER)
ACTIONS = st.one_of(
    # What hands out is what is judged, so it happens as often as all that frees places.
    NEXT,
    NEXT,
    NEXT,
    st.tuples(st.just("answer next"), READER, st.integers(0, 2)),
    st.tuples(st.just("skip next"), READER, st.just("skip")),
    st.tuples(st.just("skipped"), READER),
    st.tuples(st.just("answer skipped"), READER, st.integers(0, 2)),
    st.tuples(st.just("skip skipped"), READER, st.just("skip")),
    st.tuples(st.just("give back"), READER, ITEM),
    st.tuples(st.just("answer"), READER, ITEM, st.sampled_from([0, 1, "cannot-tell", "skip"])),
    st.tuples(st.just("again"), READER),
    st.tuples(st.just("undo"), READER, st.none() | ITEM),
    st.tuples(st.just("release"), READER, ITEM),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 4.0, LEASE])),
)


class Model:
    """A round as lists: slow, and short enough to be seen to be right."""

    def __init__(self, order: list[int], wanted: int, at_most: int) -> None:
        self.order, self.wanted, self.at_most = order, wanted, at_most
        self.now = 0.0
        self.leases: dict[tuple[int, int], float] = {}
        self.log: list[tuple[int, int, object]] = []

    def events(self, item: int) -> dict[int, object]:
        return {reader: said for reader, other, said in self.log if other == item}

    def wants(self, item: int) -> int:
        answers = [said for said in self.events(item).values() if said != "skip"]
        votes = sorted(Counter(said for said in answers if said != "cannot-tell").values(), reverse=True)
        leads = bool(votes) and (len(votes) == 1 or votes[0] > votes[1])
        places = self.wanted
        if len(answers) >= self.wanted and not leads:
            places = max(places, min(self.at_most, len(answers) + 1))
        return places - len(answers)

    def free(self, item: int) -> int:
        return self.wants(item) - sum(other == item for _, other in self.live())

    def live(self) -> list[tuple[int, int]]:
        return [key for key, until in self.leases.items() if until > self.now]

    def next(self, reader: int) -> int | None:
        for item in self.order:
            seen = reader in self.events(item) or (reader, item) in self.live()
            if self.free(item) > 0 and not seen:
                self.leases[reader, item] = self.now + LEASE
                return item
        return None

    def skipped(self, reader: int) -> list[int]:
        skips = [item for who, item, said in self.log if who == reader and said == "skip"]
        return [item for item in skips if self.free(item) > 0 and (reader, item) not in self.live()]

    def next_skipped(self, reader: int) -> int | None:
        for item in self.skipped(reader)[:1]:
            self.leases[reader, item] = self.now + LEASE
            return item
        return None

    def part(self, reader: int) -> Part:
        seen = {item for who, item, _ in self.log if who == reader}
        held = {item for who, item in self.live() if who == reader}
        new = {item for item in self.order if item not in seen and self.free(item) > 0}
        answers = [item for who, item, said in self.log if who == reader and said != "skip"]
        others = {item for who, item in self.live() if self.wants(item) > 0} - seen - held
        return Part(len(answers), len(new | held), len(self.skipped(reader)), len(others))

    def say(self, reader: int, item: int, said: object) -> None:
        self.leases.pop((reader, item), None)
        # One reader says one thing of an item: a correction takes the place of what he said, and is his last event.
        self.log = [entry for entry in self.log if entry[:2] != (reader, item)]
        self.log.append((reader, item, said))

    def undo(self, reader: int, item: int | None) -> int | None:
        mine = [entry for entry in self.log if entry[0] == reader and item in (None, entry[1])]
        if not mine:
            return None
        self.log.remove(mine[-1])
        self.leases[reader, mine[-1][1]] = self.now + LEASE
        return mine[-1][1]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Clock]]:
    if request.param == "sqlite":
        place: str | Path = tmp_path_factory.mktemp("model") / "project.db"
    else:
        server: Server = request.getfixturevalue("server")
        place = server.new_database()
    clock = Clock()
    with Store.create(place, ["a", "b", "c"], clock=clock) as store:
        yield store, clock


@settings(max_examples=100, deadline=None)
@given(
    order=st.permutations(range(N_ITEMS)),
    wanted=st.integers(1, 3),
    more=st.integers(0, 2),
    actions=st.lists(ACTIONS, min_size=10, max_size=60),
)
def test_whatever_readers_do_the_store_and_the_model_agree(
    shared: tuple[Store, Clock], order: list[int], wanted: int, more: int, actions: list[tuple[Any, ...]]
) -> None:
    store, clock = shared
    first = store.count_items()
    before = max((read.sequence for read in store.reads_since(0)), default=0)
    store.add_items((f"{uuid4()}", None) for _ in range(N_ITEMS))
    readers = [store.add_reader(f"{uuid4()}").id for _ in range(N_READERS)]
    number = store.open_round("any", [first + item for item in order], wanted, wanted + more).number
    model = Model(list(order), wanted, wanted + more)
    sent: list[Read] = []

    def say(reader: int, item: int, said: object) -> None:
        kind: Any = said if isinstance(said, str) else "label"
        label = said if isinstance(said, int) else None
        sent.append(Read(new_id(), first + item, readers[reader], kind, label, number))
        store.record(sent[-1])
        model.say(reader, item, said)

    try:
        for name, *arguments in actions:
            if name == "wait":
                model.now += arguments[0]
                clock.pass_seconds(arguments[0])
            elif name == "answer":
                # An answer is followed by a skip in no page; what that would mean is tested by name.
                if arguments[2] != "skip" or arguments[0] not in model.events(arguments[1]):
                    say(*arguments)
            elif name == "undo":
                meant = None if arguments[1] is None else first + arguments[1]
                undone = store.undo(readers[arguments[0]], new_id(), LEASE, meant)
                assert (undone and undone.item - first) == model.undo(*arguments)
            elif name == "release":
                store.release(readers[arguments[0]], first + arguments[1])
                model.leases.pop(tuple(arguments), None)
            elif name == "give back":
                held = sorted(item for reader, item in model.live() if reader == arguments[0])
                for item in held[arguments[1] : arguments[1] + 1]:
                    store.release(readers[arguments[0]], first + item)
                    del model.leases[arguments[0], item]
            elif name == "again":
                for read in [read for read in sent if read.reader == readers[arguments[0]]][-1:]:
                    store.record(read)
            else:
                again = name.endswith("skipped")
                lease = store.next_item(number, readers[arguments[0]], LEASE, skipped=again)
                expected = model.next_skipped(arguments[0]) if again else model.next(arguments[0])
                assert (lease and lease.item - first) == expected
                # Nobody's lease that ran out counts here: they were ended a moment ago.
                assert store.part(number, readers[arguments[0]]) == model.part(arguments[0])
                if expected is not None and len(arguments) > 1:
                    say(arguments[0], expected, arguments[1])
        now_read = {(r, lease.item - first) for r in range(N_READERS) for lease in store.leases(number, readers[r])}
        assert now_read == set(model.live())
        everything = list(store.reads_since(before))
        assert Counter(read.client_id for read in everything if read.kind != "undo") == Counter(
            r.client_id for r in sent
        )
        opinions = {
            (read.reader, read.item): read.kind if read.label is None else read.label
            for read in store.current_reads()
            if read.item >= first
        }
        assert opinions == {(readers[reader], first + item): said for reader, item, said in model.log if said != "skip"}
    finally:
        store.close_round(number)
