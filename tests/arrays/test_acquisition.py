"""One template test over every registered sampler; each sampler against brute force."""

import math

import numpy as np
import pytest
from cleanlab.rank import get_label_quality_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from overread.arrays import BoolArray, FloatArray, IntArray, acquisition
from overread.arrays import coreset as coreset_module
from overread.arrays import rows as rows_module
from overread.arrays.acquisition import (
    FIRST_READS,
    Pool,
    evenly_over_given,
    expected_macro_f1_gain,
    list_samplers,
    sampler,
    sampler_needs,
    select,
)
from overread.errors import ConfigError, DataError

quick = settings(deadline=None, max_examples=30)
every_sampler = pytest.mark.parametrize("name", list_samplers())


def make_pool(seed: int, n: int, n_classes: int = 3, open_share: float = 0.6, equal: bool = False) -> Pool:
    """A pool with all arrays; few distinct feature values, so that duplicates and ties are common."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(n_classes, 0.3), n)
    draws = rng.dirichlet(np.full(n_classes, 0.3), (4, n))
    features = rng.integers(0, 3, (n, 2)).astype(np.float32)
    labels, is_open = rng.integers(0, n_classes, n), rng.random(n) < open_share
    posterior = rng.dirichlet(np.full(n_classes, 0.3), n)
    if equal:
        probs[:], draws[:], features[:], posterior[:] = 1 / n_classes, 1 / n_classes, 2.5, 1 / n_classes
    return Pool(probs, draws, features, labels, is_open, posterior)


def only(pool: Pool, needs: frozenset[str]) -> Pool:
    return Pool(
        probs=pool.probs if "probs" in needs else None,
        draws=pool.draws if "draws" in needs else None,
        features=pool.features if "features" in needs else None,
        given=pool.given,
        open=pool.open,
        posterior=pool.posterior if "posterior" in needs else None,
    )


def best(score: FloatArray, pool: Pool, k: int) -> list[int]:
    return sorted(np.flatnonzero(pool.open).tolist(), key=lambda i: (-score[i], i))[:k]


@every_sampler
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(0, 25),
    k=st.integers(0, 30),
    n_classes=st.integers(1, 4),
    open_share=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    equal=st.booleans(),
)
@quick
def test_every_sampler_gives_distinct_open_positions(
    name: str, seed: int, n: int, k: int, n_classes: int, open_share: float, equal: bool
) -> None:
    pool = only(make_pool(seed, n, n_classes, open_share, equal), sampler_needs(name))
    positions = select(name, pool, k, np.random.default_rng(seed))
    assert positions.dtype == np.int64
    assert len(positions) == len(set(positions.tolist())) == min(k, int(pool.open.sum()))
    assert pool.open[positions].all()
    again = select(name, pool, k, np.random.default_rng(seed))
    np.testing.assert_array_equal(positions, again)
    fewer = select(name, pool, k // 2, np.random.default_rng(seed))
    np.testing.assert_array_equal(positions[: len(fewer)], fewer)  # best first: a smaller budget is a prefix
    if name not in {"disagreement", "label-quality"}:
        other_labels = pool._replace(given=(pool.given + 1) % n_classes)
        np.testing.assert_array_equal(positions, select(name, other_labels, k, np.random.default_rng(seed)))
    draws = name in {"random", "coreset"} or (name == "macro-f1" and (~pool.open).sum() < FIRST_READS * n_classes)
    if equal and not draws:
        np.testing.assert_array_equal(positions, np.flatnonzero(pool.open)[:k])


@every_sampler
def test_samplers_clip_k_by_themselves_and_take_one_open_item(name: str) -> None:
    pool = make_pool(0, 5)._replace(open=np.array([False, False, True, False, False]))
    function: acquisition.Sampler = acquisition._REGISTRY[name].function
    assert function(pool, 9, np.random.default_rng(0)).tolist() == [2]
    assert select(name, pool, 9, np.random.default_rng(0)).tolist() == [2]


@every_sampler
def test_a_missing_need_is_named(name: str) -> None:
    pool = make_pool(0, 5)
    for need in sampler_needs(name):
        with pytest.raises(DataError, match=f'"{name}" needs pool.{need}'):
            select(name, only(pool, sampler_needs(name) - {need}), 1, np.random.default_rng(0))


def test_all_published_samplers_are_there() -> None:
    published = {"random", "entropy", "least-confidence", "margin", "bald", "coreset", "disagreement", "label-quality"}
    assert published | {"posterior-entropy", "posterior-least-confidence", "macro-f1"} <= set(list_samplers())


@given(seed=st.integers(0, 100_000), k=st.integers(0, 20), n_classes=st.integers(2, 5))
@quick
def test_uncertainty_samplers_are_their_formulas(seed: int, k: int, n_classes: int) -> None:
    pool = make_pool(seed, 20, n_classes)
    rng = np.random.default_rng(seed)
    assert pool.probs is not None
    assert select("entropy", pool, k, rng).tolist() == best(stats.entropy(pool.probs, axis=1), pool, k)
    assert select("least-confidence", pool, k, rng).tolist() == best(-pool.probs.max(axis=1), pool, k)
    ordered = np.sort(pool.probs, axis=1)
    assert select("margin", pool, k, rng).tolist() == best(ordered[:, -2] - ordered[:, -1], pool, k)


@given(seed=st.integers(0, 100_000), k=st.integers(0, 20), n_draws=st.integers(1, 5))
@quick
def test_bald_is_the_mutual_information(seed: int, k: int, n_draws: int) -> None:
    rng = np.random.default_rng(seed)
    draws = rng.dirichlet(np.full(3, 0.1), (n_draws, 20))
    draws[0, :5] = np.eye(3)[rng.integers(0, 3, 5)]  # p = 0, where p log p has no value
    pool = make_pool(seed, 20)._replace(draws=draws)
    score = stats.entropy(draws.mean(axis=0), axis=1) - stats.entropy(draws, axis=2).mean(axis=0)
    assert select("bald", pool, k, rng).tolist() == best(np.round(score, 12), pool, k)


def test_bald_prefers_disagreement_to_uncertainty() -> None:
    unsure, torn, sure = [[0.5, 0.5]] * 2, [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0]] * 2
    draws = np.array([unsure, torn, sure]).transpose(1, 0, 2)
    pool = Pool(None, draws, None, np.zeros(3, np.int64), np.ones(3, bool))
    assert select("bald", pool, 3, np.random.default_rng(0)).tolist() == [1, 0, 2]


def test_random_is_uniform_and_follows_its_generator() -> None:
    pool = make_pool(0, 6)._replace(open=np.array([True, False, True, True, False, True]))
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([select("random", pool, 2, rng) for _ in range(2000)]), minlength=6)
    assert counts[~pool.open].sum() == 0
    assert stats.chisquare(counts[pool.open]).pvalue > 0.001


def naive_k_centre_greedy(features: FloatArray, is_open: BoolArray, k: int) -> IntArray:
    """Exact and slow: all distances by differences in float64, one pick at a time."""
    rows = features.astype(np.float64)
    between = np.array([((rows - row) ** 2).sum(axis=1) for row in rows])
    to_mean = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1)
    left = np.flatnonzero(is_open)
    centres = np.flatnonzero(~is_open).tolist()
    picks: list[int] = []
    while len(picks) < k and len(left):
        away = between[left][:, centres].min(axis=1) if centres else to_mean[left]
        pick = int(left[np.argmax(away)])
        picks.append(pick)
        centres.append(pick)
        left = left[left != pick]
    return np.array(picks, dtype=np.int64)


@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 40),
    n_values=st.sampled_from([1, 2, 5, 1000]),
    n_dimensions=st.integers(1, 6),
    open_share=st.sampled_from([0.3, 0.8, 1.0]),
    offset=st.sampled_from([0, 4096]),
)
@settings(deadline=None, max_examples=60)
def test_coreset_is_exact_k_centre_greedy(
    seed: int, n: int, n_values: int, n_dimensions: int, open_share: float, offset: int
) -> None:
    rng = np.random.default_rng(seed)
    features = (offset + rng.integers(0, n_values, (n, n_dimensions))).astype(np.float32)
    is_open = rng.random(n) < open_share
    pool = Pool(None, None, features, np.zeros(n, np.int64), is_open)
    with pytest.MonkeyPatch.context() as patch:  # so small that the few items fill many blocks and hot sets
        sizes = {"HOT": 3, "HOT_LIMIT": 6, "ROWS": 4, "CENTRES": 2, "PAIRS": 2}
        for size, value in sizes.items():
            patch.setattr(coreset_module, f"_{size}", value)
        found = select("coreset", pool, n, rng)
    # Without a labelled item the mean decides the first pick: its rounding must not decide between ties.
    if is_open.all() and n_values < 1000:
        assert len(set(found.tolist())) == n
        is_open[found[0]] = False
        found = found[1:]
    np.testing.assert_array_equal(found, naive_k_centre_greedy(features, is_open, n))


@pytest.mark.parametrize("n_labelled", [0, 1, 350])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_coreset_is_exact_across_blocks(n_labelled: int, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreset_module, "_HOT", 16)
    monkeypatch.setattr(coreset_module, "_HOT_LIMIT", 64)
    monkeypatch.setattr(coreset_module, "_ROWS", 100)
    monkeypatch.setattr(coreset_module, "_CENTRES", 30)
    rng = np.random.default_rng(n_labelled)
    features = rng.standard_normal((500, 5)) + 3 * rng.integers(0, 4, (500, 1))
    features[100:160] = features[40:100]  # exact duplicates
    features = (features * scale).astype(np.float64)
    is_open = np.ones(500, bool)
    is_open[rng.permutation(500)[:n_labelled]] = False
    pool = Pool(None, None, features, np.zeros(500, np.int64), is_open)
    found = select("coreset", pool, 60, rng)
    np.testing.assert_array_equal(found, naive_k_centre_greedy(features, is_open, 60))


def test_coreset_is_exact_where_float32_products_are_not() -> None:
    """Far groups of near duplicates: within a group, squared distances are below the rounding of the norms."""
    rng = np.random.default_rng(0)
    features = 10.0 * rng.integers(0, 3, (120, 1)) + 1e-3 * rng.standard_normal((120, 8))
    is_open = np.arange(120) >= 10
    pool = Pool(None, None, features, np.zeros(120, np.int64), is_open)
    found = select("coreset", pool, 110, rng)
    np.testing.assert_array_equal(found, naive_k_centre_greedy(features, is_open, 110))


class Lazy:
    """Rows that are not an array: they can be read by slice and by position, and count how many at once."""

    def __init__(self, rows: FloatArray) -> None:
        self._rows = rows
        self.shape = rows.shape
        self.dtype = rows.dtype
        self.most = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | IntArray, /) -> FloatArray:
        found = self._rows[rows].copy()
        self.most = max(self.most, len(found))
        return found


def test_coreset_reads_rows_in_parts_and_picks_what_it_picks_from_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 1000)
    for size, value in {"HOT": 8, "HOT_LIMIT": 16, "ROWS": 50, "CENTRES": 20}.items():
        monkeypatch.setattr(coreset_module, f"_{size}", value)
    features = np.random.default_rng(0).standard_normal((600, 5)).astype(np.float32)
    is_open = np.arange(600) % 3 > 0
    lazy = Lazy(features)
    pools = [Pool(None, None, rows, np.zeros(600, np.int64), is_open) for rows in (features, lazy)]
    found = [select("coreset", pool, 40, np.random.default_rng(0)) for pool in pools]
    np.testing.assert_array_equal(found[0], found[1])
    assert lazy.most == 50


def test_coreset_covers_better_than_random() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(c, 0.1, (size, 2)) for c, size in [(0, 180), (5, 15), (9, 5)]])
    pool = Pool(None, None, features, np.zeros(200, np.int64), np.arange(200) != 0)
    found = features[select("coreset", pool, 2, rng)].mean(axis=1).round()
    assert sorted(found.tolist()) == [5.0, 9.0]


def test_coreset_leaves_duplicates_to_the_end_and_takes_each_once() -> None:
    """The published code returns the same index twice here."""
    features = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [3.0]])
    pool = Pool(None, None, features, np.zeros(6, np.int64), np.array([False] + [True] * 5))
    assert select("coreset", pool, 6, np.random.default_rng(0)).tolist() == [5, 3, 1, 2, 4]


def with_certain_rows(probs: FloatArray, rng: np.random.Generator) -> FloatArray:
    """`probs` (N, C) with about a third of the rows one-hot and a third a copy of the first row: zeros and ties."""
    kind = rng.integers(0, 3, len(probs))
    found: FloatArray = np.where((kind == 1)[:, None], np.eye(probs.shape[1])[probs.argmax(axis=1)], probs)
    found[kind == 2] = probs[:1]
    return found


def pool_with_certain_rows(seed: int, n_classes: int, rng: np.random.Generator) -> tuple[Pool, FloatArray, FloatArray]:
    """A pool of 20 items, its probabilities and its posterior, both with certain rows."""
    pool = make_pool(seed, 20, n_classes)
    assert pool.probs is not None
    assert pool.posterior is not None
    probs, posterior = (with_certain_rows(values, rng) for values in (pool.probs, pool.posterior))
    return pool._replace(probs=probs, posterior=posterior), probs, posterior


@given(seed=st.integers(0, 100_000), k=st.integers(0, 20), n_classes=st.integers(2, 5))
@quick
def test_uncertainty_of_the_posterior_is_its_formulas(seed: int, k: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    pool, _, posterior = pool_with_certain_rows(seed, n_classes, rng)
    assert select("posterior-entropy", pool, k, rng).tolist() == best(stats.entropy(posterior, axis=1), pool, k)
    unsure = 1 - posterior.max(axis=1)
    chosen = select("posterior-least-confidence", pool, k, rng)
    # Compared by value: 1 - p rounds, and p does not.
    np.testing.assert_allclose(unsure[chosen], np.sort(unsure[pool.open])[::-1][:k], atol=1e-12)


@given(seed=st.integers(0, 100_000), k=st.integers(0, 20), n_classes=st.integers(1, 5))
@quick
def test_disagreement_is_cross_entropy_minus_entropy(seed: int, k: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    pool, probs, _ = pool_with_certain_rows(seed, n_classes, rng)
    score = np.zeros(20)
    for i, row in enumerate(probs.tolist()):
        score[i] = -math.log(max(row[pool.given[i]], 2.0**-1022)) + sum(p * math.log(p) for p in row if p > 0)
    assert select("disagreement", pool, k, rng).tolist() == best(score, pool, k)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_disagreement_takes_sure_contradictions_first_and_ambiguous_images_last(dtype: type[np.floating]) -> None:
    agrees, ambiguous, improbable, impossible = [0.9, 0.05, 0.05], [0.35, 0.3, 0.35], [0.05, 0.9, 0.05], [0.0, 1.0, 0.0]
    probs = np.array([ambiguous, agrees, improbable, impossible, impossible], dtype)
    pool = Pool(probs, None, None, np.zeros(5, np.int64), np.ones(5, bool))
    assert select("disagreement", pool, 5, np.random.default_rng(0)).tolist() == [3, 4, 2, 0, 1]


@given(seed=st.integers(0, 100_000), k=st.integers(0, 20), n_classes=st.integers(2, 5))
@quick
def test_label_quality_is_the_ranking_of_cleanlab(seed: int, k: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    pool, probs, _ = pool_with_certain_rows(seed, n_classes, rng)
    quality = get_label_quality_scores(pool.given, probs, method="self_confidence")
    assert select("label-quality", pool, k, rng).tolist() == best(-quality, pool, k)


@pytest.mark.parametrize("name", ["disagreement", "label-quality"])
@pytest.mark.parametrize("label", [-1, 3])
def test_a_given_label_outside_the_classes_is_refused(name: str, label: int) -> None:
    pool = make_pool(0, 4)._replace(given=np.array([0, 1, label, 2]))
    with pytest.raises(DataError, match=f"given labels must lie in 0 .. 2 .*the first is {label}"):
        select(name, pool, 1, np.random.default_rng(0))


def naive_macro_f1(labels: IntArray, truth: FloatArray) -> float:
    """Macro-F1 of `labels` (N,) by expected counts, P(true) given in `truth` (N, C); 0/0 is 0."""
    scores = []
    for c in range(truth.shape[1]):
        hits, size = truth[labels == c, c].sum(), truth[:, c].sum() + (labels == c).sum()
        scores.append(2 * hits / size if size > 0 else 0.0)
    return float(np.mean(scores))


def naive_macro_f1_gain(posterior: FloatArray) -> FloatArray:
    """Every item read, with every outcome, and macro-F1 counted anew each time with the old and with the new label."""
    labels, gain = posterior.argmax(axis=1), np.zeros(len(posterior))
    for i in range(len(posterior)):
        for c in range(posterior.shape[1]):
            truth, corrected = posterior.copy(), labels.copy()
            truth[i], corrected[i] = np.eye(posterior.shape[1])[c], c
            gain[i] += posterior[i, c] * (naive_macro_f1(corrected, truth) - naive_macro_f1(labels, truth))
    return gain


@given(
    seed=st.integers(0, 100_000),
    n=st.integers(0, 15),
    k=st.integers(0, 15),
    n_classes=st.integers(1, 5),
    concentration=st.sampled_from([0.05, 0.3, 3.0]),
)
@settings(deadline=None, max_examples=60)
def test_macro_f1_is_the_recomputed_gain(seed: int, n: int, k: int, n_classes: int, concentration: float) -> None:
    rng = np.random.default_rng(seed)
    concentrations = np.linspace(1, 0.1, n_classes) * concentration
    read = FIRST_READS * n_classes
    posterior = with_certain_rows(rng.dirichlet(concentrations, read + n), rng)
    gain = expected_macro_f1_gain(posterior)
    np.testing.assert_allclose(gain, naive_macro_f1_gain(posterior), atol=1e-12)
    assert ((gain >= 0) & (gain <= 1)).all()
    pool = make_pool(seed, read + n, n_classes)._replace(posterior=posterior)
    pool.open[:read] = False
    assert select("macro-f1", pool, k, rng).tolist() == best(gain, pool, k)


@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 60),
    read=st.integers(0, 12),
    k=st.integers(0, 60),
    n_classes=st.integers(1, 4),
)
@settings(deadline=None, max_examples=80)
def test_the_first_reads_are_spread_over_given_labels_whoever_began(
    seed: int, n: int, read: int, k: int, n_classes: int
) -> None:
    pool = make_pool(seed, n, n_classes, open_share=1.0)
    pool.open[:read] = False
    chosen = select("macro-f1", pool, k, np.random.default_rng(seed))
    drawn, rest = np.split(chosen, [max(0, min(k, n - read, FIRST_READS * n_classes - min(read, n)))])
    before = np.bincount(pool.given[~pool.open], minlength=n_classes)
    after = before + np.bincount(pool.given[drawn], minlength=n_classes)
    there = np.bincount(pool.given, minlength=n_classes)
    # Of no label more are drawn while there is another that has fewer reads and items left.
    for a in np.flatnonzero(after > before):
        assert all(after[a] <= after[b] + 1 for b in range(n_classes) if after[b] < there[b])
    assert pool.posterior is not None
    left = pool.open.copy()
    left[drawn] = False
    assert rest.tolist() == best(expected_macro_f1_gain(pool.posterior), pool._replace(open=left), k - len(drawn))


def test_reads_that_are_spread_over_given_labels_are_drawn_at_random_within_one() -> None:
    pool = Pool(None, None, None, np.repeat([0, 1], [90, 10]), np.ones(100, dtype=bool))
    draws = [evenly_over_given(pool, 10, np.random.default_rng(seed)) for seed in range(400)]
    assert all((pool.given[drawn] == 0).sum() == 5 for drawn in draws)
    often = np.bincount(np.concatenate(draws), minlength=100) / len(draws)
    assert np.abs(often[90:] - 0.5).max() < 0.12
    assert often[:90].max() < 0.15


def test_macro_f1_prefers_the_rare_class_where_entropy_ties() -> None:
    certain = np.eye(3)[[0] * 50 + [1] * 50 + [2] * 3]
    unsure = np.array([[0.7, 0.3, 0.0], [0.7, 0.0, 0.3], [0.0, 0.3, 0.7]])
    pool = Pool(None, None, None, np.zeros(106, np.int64), np.arange(106) >= 103, np.concatenate([certain, unsure]))
    assert select("posterior-entropy", pool, 3, np.random.default_rng(0)).tolist() == [103, 104, 105]
    assert select("macro-f1", pool, 3, np.random.default_rng(0)).tolist()[-1] == 103


@pytest.mark.parametrize("name", ["posterior-entropy", "posterior-least-confidence", "macro-f1"])
@pytest.mark.parametrize("n_classes", [1, 4])
def test_certain_items_tie(name: str, n_classes: int) -> None:
    rng = np.random.default_rng(0)
    pool = make_pool(0, 50, n_classes)._replace(posterior=np.eye(n_classes)[rng.integers(0, n_classes, 50)])
    pool.open[: FIRST_READS * n_classes] = False
    assert select(name, pool, 9, rng).tolist() == np.flatnonzero(pool.open)[:9].tolist()


@every_sampler
def test_an_empty_pool_and_no_budget_give_nothing(name: str) -> None:
    for pool, k in [(make_pool(0, 0), 3), (make_pool(0, 8, open_share=0.0), 3), (make_pool(0, 8), 0)]:
        assert select(name, pool, k, np.random.default_rng(0)).tolist() == []


def test_unknown_names_are_met_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match='unknown sampler "entrpy": did you mean "entropy"'):
        select("entrpy", make_pool(0, 3), 1, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"there is none like it\. Known: bald, coreset"):
        sampler_needs("zzz")


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot select -1 items"):
        select("random", make_pool(0, 3), -1, np.random.default_rng(0))


BAD_POOLS = {
    "pool.given has shape .2,. but pool.open has 3 rows": {"given": np.zeros(2, np.int64)},
    "pool.open is int64": {"open": np.ones(3, np.int64)},
    "pool.probs has 4 rows but pool.open has 3": {"probs": np.full((4, 2), 0.5)},
    "pool.draws has 2 rows but pool.open has 3": {"draws": np.full((4, 2, 2), 0.5)},
    "pool.draws has shape .0, 3, 2.": {"draws": np.zeros((0, 3, 2))},
    "pool.features has 1 rows but pool.open has 3": {"features": np.zeros((1, 2))},
    "pool.features has shape .3,.": {"features": np.zeros(3)},
    "pool.features holds numbers that are not finite": {"features": np.full((3, 2), np.nan)},
    "rows of pool.probs are no probabilities": {"probs": np.full((3, 2), 0.4)},
    "smallest -0.5": {"probs": np.array([[1.5, -0.5]] * 3)},
    "pool.posterior has 2 rows but pool.open has 3": {"posterior": np.full((2, 2), 0.5)},
    "pool.posterior has shape .3,.": {"posterior": np.ones(3)},
    "pool.posterior has shape .3, 0.": {"posterior": np.ones((3, 0))},
    "pool.posterior holds numbers that are not finite": {"posterior": np.full((3, 2), np.nan)},
    "rows of pool.posterior are no probabilities": {"posterior": np.full((3, 2), 0.4)},
    "pool.draws holds numbers that are not finite": {"draws": np.full((2, 3, 2), np.inf)},
}


@pytest.mark.parametrize("message", BAD_POOLS)
def test_bad_pools_are_named_with_both_sizes(message: str) -> None:
    pool = make_pool(0, 3)._replace(**BAD_POOLS[message])  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        select("random", pool, 1, np.random.default_rng(0))


@pytest.mark.parametrize("returned", [[0, 0], [0, 1], [0], [0, 2, 3]])
def test_a_sampler_that_breaks_its_contract_is_caught(returned: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquisition, "_REGISTRY", {})
    sampler("broken")(lambda pool, k, rng: np.array(returned))
    pool = make_pool(0, 4)._replace(open=np.array([True, False, True, True]))
    with pytest.raises(ConfigError, match='"broken" did not return 2 distinct open positions'):
        select("broken", pool, 2, np.random.default_rng(0))


def test_registering_twice_or_with_an_unknown_need_is_refused() -> None:
    with pytest.raises(ConfigError, match='"margin" is already registered'):
        sampler("margin")
    with pytest.raises(ConfigError, match=r"needs unknown \['prob'\]"):
        sampler("new", needs={"prob"})
