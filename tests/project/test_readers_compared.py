"""How readers compare: against scikit-learn, and as the terminal shows it."""

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from statsmodels.stats.inter_rater import fleiss_kappa

from overread.project.agreement import compare_readers, describe_compared, opinions_in
from overread.store import Read, Store

CLASSES = ("disc", "line", "a long name")
# Of items far apart, so that a table by position would be large; -1 = cannot tell, None = did not read.
SAID = {
    5: (0, 0, 0),
    900: (1, 1, 0),
    17: (2, 2, 2),
    40: (0, 1, 1),
    41: (1, 1, 1),
    77: (2, -1, 0),
    78: (0, 0, None),
    79: (1, None, None),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "project.db", CLASSES)
    made.add_items((str(i), 0) for i in range(1000))
    # Readers who read nothing, before and between the others.
    ids = [made.add_reader(name).id for name in ("Nobody", "Ada", "Ben", "No one", "Cem")]
    readers = [ids[1], ids[2], ids[4]]
    for item, said in SAID.items():
        for reader, label in zip(readers, said, strict=True):
            if label is not None:
                kind, named = ("cannot-tell", None) if label == -1 else ("label", label)
                made.record(Read(str(uuid4()), item, reader, kind, named))  # type: ignore[arg-type]
    # A decision is nobody's opinion.
    made.record(Read(str(uuid4()), 79, readers[1], "adjudication", 2))
    return made


def test_kappas_and_confusions_are_those_of_other_libraries(store: Store) -> None:
    with store:
        found = compare_readers(opinions_in(store))
    assert found is not None
    assert found.names == ["Ada", "Ben", "Cem"]
    pairs = {(pair.first, pair.second): pair.kappa for pair in found.pairs}
    assert list(pairs) == [("Ada", "Ben"), ("Ada", "Cem"), ("Ben", "Cem")]
    rows = np.array([[-1 if label is None else label for label in said] for said in SAID.values()])
    for (a, b), kappa in zip(((0, 1), (0, 2), (1, 2)), pairs.values(), strict=True):
        both = rows[(rows[:, [a, b]] >= 0).all(axis=1)]
        assert kappa.value == pytest.approx(cohen_kappa_score(both[:, a], both[:, b]))
        assert kappa.n_items == len(both)
        assert kappa.low <= kappa.value <= kappa.high
    for reader in range(3):
        true, said = [], []
        for row in rows:
            others = np.bincount([label for i, label in enumerate(row) if i != reader and label >= 0], minlength=3)
            if row[reader] >= 0 and (others == others.max()).sum() == 1:
                true.append(int(others.argmax()))
                said.append(row[reader])
        assert found.confusions[reader].tolist() == confusion_matrix(true, said, labels=[0, 1, 2]).tolist()


def test_fleiss_kappa_is_of_items_with_several_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((30, 3)) < 0.7, rng.integers(3, size=(30, 1)), rng.integers(3, size=(30, 3)))
    with Store.create(tmp_path / "project.db", CLASSES) as store:
        store.add_items((str(i), 0) for i in range(30))
        readers = [store.add_reader(name).id for name in ("Ada", "Ben", "Cem")]
        for item, said in enumerate(rows.tolist()):
            for reader, label in zip(readers, said, strict=True):
                store.record(Read(str(uuid4()), item, reader, "label", label))
        found = compare_readers(opinions_in(store))
        assert str(found) == str(compare_readers(opinions_in(store)))
    assert found is not None
    assert found.fleiss is not None
    counts = np.stack([np.bincount(row, minlength=3) for row in rows])
    assert found.fleiss.value == pytest.approx(fleiss_kappa(counts))


def test_the_terminal_shows_who_calls_what_by_which_name(store: Store) -> None:
    with store:
        found = compare_readers(opinions_in(store))
    assert found is not None
    lines = list(describe_compared(found, CLASSES))
    assert lines[0].startswith("Ada and Ben, Cohen's kappa: 0.")
    assert lines[0].endswith(", 6 items")
    assert lines[3].startswith("All of them, Fleiss' kappa: ")
    start = lines.index("Cem said (columns), where the majority of the others says (rows):")
    assert lines[start + 1 : start + 5] == [
        "               disc  line  a long name",
        "  disc            1     0            0",
        "  line            1     1            0",
        "  a long name     1     0            1",
    ]


def test_where_nobody_shares_an_item_there_is_nothing(tmp_path: Path) -> None:
    with Store.create(tmp_path / "project.db", CLASSES) as store:
        store.add_items((str(i), 0) for i in range(3))
        assert compare_readers(opinions_in(store)) is None
        for item, name in enumerate(("Ada", "Ben")):
            store.record(Read(str(uuid4()), item, store.add_reader(name).id, "label", 0))
        assert compare_readers(opinions_in(store)) is None
