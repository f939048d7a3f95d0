import base64
import io
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from overread.arrays import BoolArray, FloatArray, IntArray
from overread.arrays.metrics import classification_metrics, label_accuracy, label_quality, selection_metrics
from overread.errors import RunError
from overread.files import write_json
from overread.report import headline, held, label_sources, write_report
from overread.results import read_results, write_gallery, write_scores

HOSTILE = '<script>alert("1")</script>&amp;$x^'
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of a page: elements, attributes and visible text; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def change(run: Path, **values: Any) -> None:
    """Overwrite entries of results.json."""
    write_json(run / "results.json", {**json.loads((run / "results.json").read_text()), **values})


def make_run(run: Path, names: list[str], n_rounds: int = 3, budget: int = 30, leak: bool = False) -> Path:
    """A run folder as `overread simulate` leaves it, made from real digits and a logistic regression."""
    rng = np.random.default_rng(7)
    n = len(names)
    images, digits = load_digits(return_X_y=True)
    reference = (digits if n == 10 else rng.integers(n, size=len(digits))).astype(np.int64)
    if n == 10:  # a long tail
        keep = np.array([rng.random() < 0.75 ** int(digit) for digit in digits])
        images, reference = images[keep], reference[keep]
    test = np.arange(len(images)) % 3 == 0
    x, y, x_test, y_test = images[~test], reference[~test], images[test], reference[test]
    given = np.where(rng.random(len(y)) < 0.4, (y + rng.integers(1, n, size=len(y))) % n, y)
    injected = np.stack([np.bincount(given[y == c], minlength=n) / max(1, (y == c).sum()) for c in range(n)])
    ids = np.array([f"digit-{index:04d}" for index in range(len(y))])
    labels, bought, reads = given.copy(), np.zeros(len(y), dtype=bool), []
    clean: BoolArray = np.zeros(len(y), dtype=bool)
    rounds: list[dict[str, Any]] = []
    probs: FloatArray = np.zeros((0, n))
    suggested: IntArray = given
    for number in range(n_rounds + 1):
        if number == 1 and leak:
            reads += [(int(p), int(y[p]), 1, "leak") for p in np.flatnonzero(clean)]
            labels[clean] = y[clean]
        if number:
            pool = np.flatnonzero(~clean & ~bought)
            chosen = pool[np.argsort(-np.sort(probs[pool], axis=1)[:, -1], kind="stable")[::-1][:budget]]
            reads += [(int(p), int(y[p]), number, "bought") for p in chosen]
            labels[chosen], bought[chosen] = y[chosen], True
        use = (clean | bought) if number else np.ones(len(y), dtype=bool)
        model = LogisticRegression(C=0.1, max_iter=100 if n == 10 else 5, tol=0.1).fit(x[use] / 16, labels[use])
        probs = np.zeros((len(y), n))
        test_probs = np.zeros((len(y_test), n))
        probs[:, model.classes_] = model.predict_proba(x / 16)
        test_probs[:, model.classes_] = model.predict_proba(x_test / 16)
        suggested = probs.argmax(axis=1)
        if not number:
            clean = suggested == given
        exported = np.where(clean | bought, labels, suggested)
        write_scores(
            run / "scores" / f"round-{number:03d}.parquet",
            {"id": ids, "given": given, "reference": y, "exported": exported, "suggested": suggested,
             "presumed_clean": clean, "bought": bought, "loss": -np.log(label_quality(probs, given) + 1e-9),
             "vog": np.full(len(y), np.nan), "label_quality": label_quality(probs, given)},
            probs,
        )  # fmt: skip
        write_scores(
            run / "test" / f"round-{number:03d}.parquet",
            {"id": np.flatnonzero(test).astype(str), "reference": y_test},
            test_probs,
        )
        purposes = Counter(read[3] for read in reads)
        rounds.append({
            "round": number, "oracle_reads": len(reads), "bought": purposes["bought"], "leaked": purposes["leak"],
            "pool": int((~clean & ~bought).sum()), "test": classification_metrics(y_test, test_probs, names),
            "selection": selection_metrics(clean | bought, labels == y, y, names),
            "label_accuracy": label_accuracy(exported, y), "seconds": 71.5,
        })  # fmt: skip
    rows = [{"id": ids[p], "position": p, "label": c, "round": r, "purpose": why} for p, c, r, why in reads]
    pq.write_table(pa.Table.from_pylist(rows), run / "reads.parquet")
    rate = float(np.mean(given != y))
    estimated = 0.9 * injected + 0.1 / n
    write_json(run / "noise.json", {"class_names": names, "injected": injected.tolist(), "true_rate": rate,
                                    "estimated": estimated.tolist(), "estimated_rate": rate - 0.03})  # fmt: skip
    worst = np.flatnonzero(~bought)[np.argsort(label_quality(probs, given)[~bought], kind="stable")[:24]]
    pixels = np.repeat((x[worst].reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8), 3, axis=3)
    write_gallery(run, ids=ids[worst], images=pixels, given=given[worst], suggested=suggested[worst],
                  reference=y[worst], label_quality=label_quality(probs, given)[worst])  # fmt: skip
    (run / "config.yaml").write_text(f"preset: paper\nactive:\n  rounds: {n_rounds}\n  budget: {budget}\n")
    counts = np.bincount(y, minlength=n)
    leaked = [label != int(given[position]) for position, label, _, purpose in reads if purpose == "leak"]
    write_json(run / "results.json", {
        "schema": 1, "preset": "paper", "seed": 0, "sampler": "entropy", "complete": True, "label_leak": leak,
        "dataset": {"name": "digits", "classes": names, "n_train": len(y), "n_test": len(y_test),
                    "imbalance": float(counts.max() / max(1, counts.min())), "train_counts": counts.tolist()},
        "noise": {"kind": "symmetric", "rate": rate, "column": None, "estimated_rate": rate - 0.03, "warnings": []},
        "lnl": {"method": "co-teaching-vog", "epochs": 50, "mix_ratio": 0.2,
                "forget_rate_source": "estimate", "forget_rate": rate - 0.03},
        "model": {"name": "tf_efficientnet_lite0", "mode": "frozen", "weights": "packaged"},
        "leak": {"revealed": len(leaked), "changed": sum(leaked)} if leak else None,
        "evaluated_weights": "first network, last epoch of each step", "config_id": "0123456789abcdef",
        "data_digest": "feedfacecafebeef", "code": "0.1.0+0123456789ab", "threads": 2, "device": "cpu",
        "oracle_reads": len(reads), "wall_seconds": 285.0, "peak_rss_mb": 812.4, "rounds": rounds,
    })  # fmt: skip
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("finished"), [f"digit {digit}" for digit in range(10)])


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_page_stands_alone(run: Path) -> None:
    path = write_report(run)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert path == run / "report.html"
    assert sorted(entry.name for entry in run.iterdir() if "report" in entry.name) == ["report.html"]
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert page.tags["img"] == 24
    assert page.tags["svg"] == 4  # curves, confusion, injected and estimated noise
    addresses = page.values("src") + page.values("href") + page.values("xlink:href")
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert len(text.encode()) < 1_500_000
    assert "{{" not in text
    assert "prefers-color-scheme: dark" in text


def test_ids_are_unique_and_references_meet_them(run: Path) -> None:
    page = page_of(run)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    labelled = page.values("aria-labelledby")
    used = [value[1:] for value in page.values("xlink:href") if value.startswith("#")]
    clips = [value[5:-1] for value in page.values("clip-path")]
    assert labelled
    assert clips
    assert set(labelled + used + clips) <= set(ids)


def test_same_files_give_the_same_bytes(run: Path) -> None:
    before = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == before


def test_headline_is_computed_from_the_numbers(run: Path) -> None:
    results = read_results(run)
    first, last = results["rounds"][0], results["rounds"][-1]
    text = headline(results)
    assert f"from {first['test']['macro_f1']:.3f} after phase 1 to {last['test']['macro_f1']:.3f}" in text
    assert "with 90 expert reads." in text
    assert f"{100 * (1 - results['noise']['rate']):.1f}\N{NO-BREAK SPACE}% as given" in text
    assert f"{100 * last['label_accuracy']:.1f}\N{NO-BREAK SPACE}% after round 3" in text
    assert text in page_of(run).text


@pytest.mark.parametrize(
    ("after", "words"),
    [(0.4, "fell from 0.500"), (0.5001, "stayed at 0.500"), (0.6, "rose from 0.500"), (None, "went from 0.500")],
)
def test_headline_says_which_way_it_went(run: Path, after: float | None, words: str) -> None:
    results = read_results(run)
    results["rounds"][0]["test"]["macro_f1"] = 0.5
    results["rounds"][-1]["test"]["macro_f1"] = after
    assert words in headline(results)


def test_every_round_and_class_has_its_row(run: Path) -> None:
    page = page_of(run)
    for entry in read_results(run)["rounds"]:
        assert f"{entry['test']['macro_f1']:.3f}" in page.text
        assert f"{entry['test']['mcc']:.3f}" in page.text
    for entry in read_results(run)["rounds"][-1]["test"]["per_class"]:
        assert entry["class"] in page.text
        assert f"{entry['recall']:.3f}" in page.text
    assert page.tags["tr"] == (1 + 4) + (2 + 10) + (2 + 1 + 10) + (1 + 3)


def test_label_sources_count_every_item_once(run: Path) -> None:
    table = pq.read_table(run / "scores" / "round-003.parquet").to_pylist()
    rows = {row["source"]: row for row in label_sources(run, 3)}
    assert sum(row["count"] for row in rows.values()) == len(table)
    assert rows["read by the expert"] == {"source": "read by the expert", "count": 90, "right": 1.0}
    clean = [row for row in table if row["presumed_clean"] and not row["bought"]]
    assert rows["given label, presumed clean"]["count"] == len(clean)
    right = np.mean([row["given"] == row["reference"] for row in clean])
    assert rows["given label, presumed clean"]["right"] == pytest.approx(right)


def test_reads_of_an_unfinished_round_are_no_source_yet(run: Path) -> None:
    rows = {row["source"]: row["count"] for row in label_sources(run, 1)}
    assert rows["read by the expert"] == 30


def test_hostile_names_are_text_only(tmp_path: Path) -> None:
    run = make_run(tmp_path, [HOSTILE, "</title><b onload=x>", "名前\n\x00", *"3456789"], n_rounds=1)
    change(run, dataset={**read_results(run)["dataset"], "name": HOSTILE})
    page = page_of(run)
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert HOSTILE in page.text
    assert HOSTILE in page.values("title")


def test_thirty_classes(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, [f"class {index}" for index in range(30)], n_rounds=1, budget=5))
    assert page.text.count("class 29") >= 4
    assert len(re.findall(r"deeper colour", page.text)) == 2


def test_leak_has_a_banner_with_its_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path, list("0123456789"), n_rounds=1, leak=True)
    leak = read_results(run)["leak"]
    page = page_of(run)
    assert "leak" in page.values("id")
    assert f"reveals {leak['revealed']} true labels that nobody paid for, and {leak['changed']} of them" in page.text
    assert f"The {leak['revealed']} leaked labels are not on the axis" in page.text
    assert f"with 30 expert reads and {leak['revealed']} labels that nobody paid for" in page.text
    assert f"30 bought by the sampler and {leak['revealed']} by the label leak" in page.text
    assert {row["source"]: row["count"] for row in label_sources(run, 1)}["revealed by the label leak"] == leak[
        "revealed"
    ]


def test_no_banner_without_a_reason(run: Path) -> None:
    page = page_of(run)
    assert not {"leak", "true-rate", "incomplete"} & set(page.values("id"))
    assert "nobody paid for" not in page.text


def test_true_forget_rate_and_warnings_have_banners(run: Path) -> None:
    results = read_results(run)
    change(
        run,
        lnl={**results["lnl"], "forget_rate_source": "true"},
        noise={**results["noise"], "warnings": ["digit 9 & digit 8 cannot be told apart"]},
        notes=["Two items were left out."],
    )
    page = page_of(run)
    assert "true-rate" in page.values("id")
    assert "digit 9 & digit 8 cannot be told apart" in page.text
    assert "Two items were left out." in page.text


def test_unfinished_run(run: Path) -> None:
    rounds = read_results(run)["rounds"]
    change(run, complete=False, rounds=rounds[:2])
    (run / "gallery.npz").unlink()
    page = page_of(run)
    assert "This run is not finished. It stands after round 1 of 3." in page.text
    assert "The gallery is made at the end of the run." in page.text


def test_run_after_phase_1_alone(run: Path) -> None:
    change(run, complete=False, rounds=read_results(run)["rounds"][:1])
    (run / "reads.parquet").unlink()
    page = page_of(run)
    assert "no read has been bought yet" in page.text
    assert "Trusted after" not in page.text
    assert page.tags["svg"] == 3  # one point is no curve


def test_run_before_any_round(run: Path) -> None:
    change(run, complete=False, rounds=[])
    for name in ("noise.json", "gallery.npz", "reads.parquet", "config.yaml"):
        (run / name).unlink()
    page = page_of(run)
    assert "Phase 1 has not ended, so there are no numbers yet." in page.text
    assert "The noise matrix is not in the run folder." in page.text
    assert page.tags["svg"] == page.tags["table"] == 0


def test_missing_scores_leave_sections_out(run: Path) -> None:
    shutil.rmtree(run / "scores")
    shutil.rmtree(run / "test")
    page = page_of(run)
    assert "The scores of the test set are not in the run folder." in page.text
    assert "Where the exported labels come from" not in page.text


def test_no_noise_estimate(run: Path) -> None:
    noise = json.loads((run / "noise.json").read_text())
    write_json(run / "noise.json", {**noise, "estimated": None, "estimated_rate": None})
    change(run, noise={**read_results(run)["noise"], "estimated_rate": None})
    page = page_of(run)
    assert "This run did not estimate the noise matrix." in page.text
    assert "mean absolute error" not in page.text


def test_error_of_the_noise_estimate(run: Path) -> None:
    noise = json.loads((run / "noise.json").read_text())
    noise["estimated"] = (np.array(noise["injected"]) + 0.125).tolist()
    write_json(run / "noise.json", noise)
    assert "off by 0.125 on average (mean absolute error)" in page_of(run).text


def test_nan_is_a_dash_that_explains_itself(run: Path) -> None:
    rounds = read_results(run)["rounds"]
    before = page_of(run).text.count("–")
    rounds[-1]["test"].update(auroc=None, macro_f1=None)
    rounds[-1]["test"]["per_class"][9].update(precision=None, recall=None, f1=None)
    rounds[-1]["selection"].update(precision=None)
    change(run, rounds=rounds)
    page = page_of(run)
    # headline, tile, round table twice, class table four times, trusted labels once
    assert page.text.count("–") == before + 1 + 1 + 2 + 4 + 1
    assert page.values("title").count("not defined or not measured here") == page.text.count("–") - 1
    assert not re.search(r"\bnan\b|\bNone\b", page.text)


def test_gallery_says_what_the_truth_says(run: Path) -> None:
    names = read_results(run)["dataset"]["classes"]
    write_gallery(
        run,
        ids=np.array(["a", "b", "c", "d"]),
        images=np.full((4, 300, 200, 3), 90, dtype=np.uint8),
        given=np.array([0, 1, 2, 3]),
        suggested=np.array([5, 1, 6, 6]),
        reference=np.array([5, 1, 7, -1]),
        label_quality=np.array([0.0, 0.1, 0.2, 0.3]),
    )
    page = page_of(run)
    assert names == [f"digit {digit}" for digit in range(10)]
    assert "Of the 3 whose truth is known, 2 are mislabelled indeed, and for 1 the suggestion is right." in page.text
    assert [
        page.text.count(f"{words}") for words in ("✓ suggestion right", "✗ given label right", "✗ truth: digit 7")
    ] == [1, 1, 1]
    assert "digit 0 → digit 5" in page.text
    assert "digit 1 → no other" in page.text
    pictures = page.values("src")
    assert all(picture.startswith("data:image/jpeg") and len(picture) < 20_000 for picture in pictures)


def test_small_images_are_exact(run: Path) -> None:
    with np.load(run / "gallery.npz", allow_pickle=False) as archive:
        expected = archive["images"]
    page = page_of(run)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(src.split(",")[1])))) for src in page.values("src")]
    np.testing.assert_array_equal(shown, expected)


def test_other_code_that_went_on_is_named(run: Path) -> None:
    assert "other code" not in page_of(run).text
    change(run, code_changes=[{"round": 2, "code": "0.2.0+abc"}], notes=["VOG was never used."])
    text = page_of(run).text
    assert "VOG was never used." in text
    assert "From round 2 on this run was made by other code, 0.2.0+abc." in text


def test_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "results.json",
        "noise.json",
        "gallery.npz",
        "scores/round-003.parquet",
        "test/round-003.parquet",
        "reads.parquet",
        "config.yaml",
    ],
)
def test_damaged_file_is_named(run: Path, name: str) -> None:
    (run / name).write_bytes(b"{half a \xff file")
    with pytest.raises(RunError, match=re.escape(Path(name).name)):
        write_report(run)
    assert not (run / "report.html").exists()


def test_configuration_that_is_no_yaml_is_named(run: Path) -> None:
    (run / "config.yaml").write_text("active: [")
    with pytest.raises(RunError, match=r"config\.yaml in the run folder is no YAML"):
        write_report(run)


@pytest.mark.parametrize(
    ("lnl", "config", "mode", "words"),
    [
        (
            {"method": "co-teaching-vog", "forget_rate": 0.3},
            "",
            "frozen",
            "co-teaching-vog, 14 epochs, forget rate 0.300 (estimated from the noisy labels), VOG share 0.2",
        ),
        ({"method": "cross-entropy", "forget_rate": 0.3}, "", "finetune", "cross-entropy, 14 epochs"),
        (
            {"method": "noise-model", "forget_rate": 0.0},
            "lnl: {noise_matrix: free, reader_error: 0.1, epochs: 99}",
            "finetune",
            "noise-model, 14 epochs of its networks, noise matrix free, reader error 0.1",
        ),
        ({"method": "noise-model", "forget_rate": 0.0}, "lnl: {prior_adjustment: 0.5}", "frozen",
         "noise-model, prior adjustment 0.5"),
    ],
)  # fmt: skip
def test_phase_1_is_told_by_what_its_method_read(
    run: Path, lnl: dict[str, Any], config: str, mode: str, words: str
) -> None:
    results = read_results(run)
    lnl = {"epochs": 14, "mix_ratio": 0.2, "forget_rate_source": "estimate", **lnl}
    change(run, lnl=lnl, model={**results["model"], "mode": mode})
    (run / "config.yaml").write_text(config)
    assert f"Phase 1{words}\n" in page_of(run).text


def test_a_rate_that_is_not_read_has_no_banner(run: Path) -> None:
    lnl = {**read_results(run)["lnl"], "forget_rate_source": "true", "method": "noise-model"}
    change(run, lnl=lnl)
    assert "true-rate" not in page_of(run).values("id")


def test_time_counts_what_came_before_phase_1(run: Path) -> None:
    assert "Time, memory4 min 45 s; 812" in page_of(run).text
    change(run, preparing_seconds=120.0)
    text = page_of(run).text
    assert "Time, memory6 min 45 s, 2 min 0 s of it before phase 1, for weights and embeddings" in text


def estimated(entry: dict[str, Any], wrong: tuple[float, float], score: tuple[float, float]) -> dict[str, Any]:
    ends = [{"estimate": (low + high) / 2, "low": low, "high": high} for low, high in (wrong, score)]
    gain = {"label_accuracy": 0.01, "macro_f1": 0.02}
    return {**entry, "estimates": {"wrong_labels_left": ends[0], "macro_f1": ends[1], "next_100_reads": gain}}


def test_the_report_says_how_many_intervals_held_the_truth(run: Path) -> None:
    assert held(read_results(run)) == ""
    assert "held" not in page_of(run).values("id")
    results = read_results(run)
    n = results["dataset"]["n_train"]
    wrong = [round((1 - entry["label_accuracy"]) * n) for entry in results["rounds"]]
    scores = [entry["test"]["macro_f1"] for entry in results["rounds"]]
    intervals = [
        ((wrong[0], wrong[0] + 9), (scores[0] - 0.1, scores[0] + 0.1)),
        ((wrong[1] - 9, wrong[1]), (scores[1] - 0.2, scores[1] - 0.1)),
        ((wrong[2] + 1, wrong[2] + 9), (scores[2] + 0.1, scores[2] + 0.2)),
    ]
    rounds = [estimated(entry, *ends) for entry, ends in zip(results["rounds"], intervals, strict=False)]
    change(run, rounds=[*rounds, results["rounds"][-1]])
    words = "2 of 3 intervals of the wrong labels held the truth, and 1 of 3 of the macro-F1 that of the test set."
    assert held(read_results(run)) == words
    page = page_of(run)
    assert "held" in page.values("id")
    assert words in page.text
    unknown = {**rounds[0], "test": {**rounds[0]["test"], "macro_f1": None}}
    assert held({**results, "rounds": [unknown]}) == "1 of 1 interval of the wrong labels held the truth."
