"""One label from several reads: the two rules, and what the second one is for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from read_builders import Reads, reads, renamed, said_by

from overread.arrays import IntArray
from overread.arrays.agreed import RULES, agreed_labels
from overread.arrays.consensus import CANNOT_TELL, count_votes, majority
from overread.arrays.dawid_skene import dawid_skene
from overread.errors import ConfigError


def agreed(drawn: Reads, rule: str) -> IntArray:
    return agreed_labels(*drawn, rule)


@given(reads())
def test_the_plain_rule_is_the_majority(drawn: Reads) -> None:
    votes = count_votes(drawn.item, drawn.label, drawn.n_items, drawn.n_classes)
    np.testing.assert_array_equal(agreed(drawn, "majority"), majority(votes))


@settings(deadline=None)
@given(reads())
def test_the_other_rule_takes_what_is_more_probable_than_all_else(drawn: Reads) -> None:
    posterior = dawid_skene(*drawn).posterior
    named = [set(drawn.label[drawn.item == i].tolist()) - {CANNOT_TELL} for i in range(drawn.n_items)]
    expected = [
        best if posterior[i].max() > 0.5 and (best := int(posterior[i].argmax())) in named[i] else -1
        for i in range(drawn.n_items)
    ]
    assert agreed(drawn, "dawid-skene").tolist() == expected


@settings(deadline=None)
@given(reads(), st.sampled_from(RULES))
def test_names_of_items_and_readers_mean_nothing(drawn: Reads, rule: str) -> None:
    rng = np.random.default_rng(drawn.n_items)
    items, readers = rng.permutation(drawn.n_items), rng.permutation(drawn.n_readers)
    other = renamed(drawn, items, readers, np.arange(drawn.n_classes))
    np.testing.assert_array_equal(agreed(other, rule)[items], agreed(drawn, rule))


def test_whom_to_believe_is_found_out_from_what_readers_share() -> None:
    gains = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        true = rng.integers(3, size=300)
        # One knows, two often guess.
        right = np.array([0.95, 0.6, 0.6])
        confusion = np.stack([(1 - share) / 2 + (share - (1 - share) / 2) * np.eye(3) for share in right])
        said = said_by(rng, true, confusion, 3)
        gains.append([(agreed(said, rule) == true).mean() for rule in RULES])
    plain, other = np.mean(gains, axis=0)
    assert other > plain + 0.05


def test_another_rule_is_refused() -> None:
    nothing = np.empty(0, dtype=np.int64)
    with pytest.raises(ConfigError, match="known are majority, dawid-skene"):
        agreed_labels(nothing, nothing, nothing, 1, 1, 2, "mean")
    assert agreed_labels(nothing, nothing, nothing, 1, 1, 2, "dawid-skene").tolist() == [-1]
