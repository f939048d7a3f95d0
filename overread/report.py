"""The page of a run: everything that a run folder says, in one self-contained `report.html`.

The page is made from the files of the folder alone, so it can be made again at any time, of a run that is not finished
too.  It needs no script and no network, and names of classes and items are escaped wherever they appear.
"""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from markupsafe import Markup
from PIL import Image

from overread.arrays import FloatArray, IntArray
from overread.errors import RunError
from overread.files import write_text
from overread.learn.methods import get_method
from overread.oracle import load_reads
from overread.phase1_words import phase1_words
from overread.plots import Curve, budget_curves, heat_map
from overread.results import GALLERY, NOISE, READS, read_results, round_file

__all__ = ["write_report"]

REPORT = "report.html"
CONFIG = "config.yaml"
GALLERY_PIXELS = 128
# True of what a run makes again where it is lost.
AGAIN = "remove it and run the same command again"
ABSENT = Markup('<span class="none" title="not defined or not measured here">–</span>')
FORGET_RATES = {"estimate": "estimated from the noisy labels", "true": "the true rate", "number": "as configured"}
LINE_METRICS = {"macro_f1": "macro-F1", "balanced_accuracy": "balanced accuracy"}
NOISE_WORDS = {
    "symmetric": "symmetric label noise",
    "class-dependent": "class-dependent label noise",
    "instance-dependent": "instance-dependent label noise",
    "given": "the label noise that the data came with",
}


class Tile(NamedTuple):
    """One number at the top of the page."""

    label: str
    value: Markup
    note: str


def write_report(run: Path) -> Path:
    """Path of the `report.html` written, atomically, into the run folder `run`; the same files give the same bytes.

    A run without a complete round, and missing files other than results.json, leave sections out and say so.
    Errors: RunError for a folder that is no run, or that holds a damaged file.
    """
    results = read_results(run)
    config = config_text(run)
    method = get_method(results["lnl"]["method"])
    context: dict[str, Any] = {
        "results": {**results, "notes": [*results.get("notes", []), *code_notes(results)]},
        "rounds": results["rounds"],
        "noise_words": noise_words(results["noise"]),
        "noise": noise_matrices(run),
        "gallery": gallery(run, results["dataset"]["classes"]),
        "config": config,
        "planned_rounds": planned_rounds(config),
        "phase1": phase1(results, config),
        "preparing": results.get("preparing_seconds", 0.0),
        "was_told_the_rate": results["lnl"].get("forget_rate_source") == "true" and method.splits,
    }
    if results["rounds"]:
        last = results["rounds"][-1]["round"]
        context |= {
            "headline": headline(results),
            "tiles": tiles(results),
            "standing": standing(results),
            "held": held(results),
            "curves": curves(results),
            "classes": class_rows(results),
            "sources": label_sources(run, last),
            "confusion": confusion(run, last, results["dataset"]["classes"]),
        }
    path = run / REPORT
    write_text(path, _environment().get_template(REPORT).render(context))
    return path


def headline(results: Mapping[str, Any]) -> str:
    """What came of the run, in two or three sentences of plain language."""
    first, last = results["rounds"][0], results["rounds"][-1]
    before, after = first["test"]["macro_f1"], last["test"]["macro_f1"]
    if last is first:
        text = f"Macro-F1 on the test set is {_plain(after)} after phase 1; no read has been bought yet."
    else:
        reads = _counted(_bought(last), "expert read")
        free = f" and {_counted(last.get('leaked', 0), 'label')} that nobody paid for" if last.get("leaked") else ""
        text = f"Macro-F1 on the test set {_moved(before, after)} with {reads}{free}."
    wrong = results["noise"].get("rate")
    labels = [] if wrong is None else [f"{_percent(1 - wrong)} as given"]
    labels.append(f"{_percent(first['label_accuracy'])} after phase 1")
    if last is not first:
        labels.append(f"{_percent(last['label_accuracy'])} after round {last['round']}")
    return f"{text} The share of right training labels was {_joined(labels)}."


def standing(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry per round with estimates: each as text with its interval, and the truth of the simulation beside it."""
    n = results["dataset"]["n_train"]
    return [
        {
            "round": entry["round"],
            "reads": _bought(entry),
            "wrong": _with_interval(estimates["wrong_labels_left"], "{:,.0f}"),
            "true_wrong": f"{round((1 - entry['label_accuracy']) * n):,}",
            "macro_f1": _with_interval(estimates["macro_f1"], "{:.3f}"),
            "true_macro_f1": entry["test"]["macro_f1"],
            "next": estimates["next_100_reads"],
        }
        for entry in results["rounds"]
        if (estimates := entry.get("estimates"))
    ]


def held(results: Mapping[str, Any]) -> str:
    """How many of the intervals of the rounds held the truth, in one sentence; empty where there are none."""
    n = results["dataset"]["n_train"]
    wrong, scores = [], []
    for entry in results["rounds"]:
        estimates, score = entry.get("estimates"), entry["test"]["macro_f1"]
        if estimates:
            wrong.append(_holds(estimates["wrong_labels_left"], (1 - entry["label_accuracy"]) * n))
        if estimates and score is not None:
            scores.append(_holds(estimates["macro_f1"], score))
    if not wrong:
        return ""
    of_scores = f", and {sum(scores)} of {len(scores)} of the macro-F1 that of the test set" if scores else ""
    return f"{sum(wrong)} of {_counted(len(wrong), 'interval')} of the wrong labels held the truth{of_scores}."


def _holds(interval: Mapping[str, float], truth: float) -> bool:
    # The truth was a share before, so that a count is whole but for rounding.
    return interval["low"] - 1e-6 <= truth <= interval["high"] + 1e-6


def _with_interval(interval: Mapping[str, float], form: str) -> str:
    """An estimate and its ends, such as `120 (90–150)`."""
    value, low, high = (form.format(interval[key]) for key in ("estimate", "low", "high"))
    return f"{value} ({low}–{high})"


def noise_words(noise: Mapping[str, Any]) -> str:
    """The noise of the run in words, such as `symmetric label noise, 50 % of the training labels wrong`."""
    words = NOISE_WORDS.get(noise["kind"], f"{noise['kind']} label noise")
    column = f" (column {noise['column']})" if noise.get("column") else ""
    rate = noise.get("rate")
    return words + column + (f", {_percent(rate)} of the training labels wrong" if rate is not None else "")


def code_notes(results: Mapping[str, Any]) -> list[str]:
    """A sentence for every time that other code went on with the run."""
    return [
        f"From round {change['round']} on this run was made by other code, {change['code']}."
        for change in results.get("code_changes", [])
    ]


def tiles(results: Mapping[str, Any]) -> list[Tile]:
    """The numbers at the top of the page."""
    first, last, noise = results["rounds"][0], results["rounds"][-1], results["noise"]
    entries = [
        Tile(_capital(name), _score(last["test"][key]), f"{_plain(first['test'][key])} after phase 1")
        for key, name in LINE_METRICS.items()
    ]
    rate, share = noise.get("rate"), _bought(last) / max(1, results["dataset"]["n_train"])
    return [
        *entries,
        Tile("Right labels", _share(last["label_accuracy"]), "" if rate is None else f"{_percent(1 - rate)} as given"),
        Tile("Reads bought", Markup(f"{_bought(last):,}"), f"{_percent(share)} of the training items"),
        Tile(
            "Estimated noise",
            _share(last.get("estimated_rate", noise.get("estimated_rate"))),
            "" if rate is None else f"{_percent(rate)} in truth",
        ),
    ]


def curves(results: Mapping[str, Any]) -> str:
    """SVG of the two main metrics against reads bought."""
    rounds = results["rounds"]
    reads = [float(_bought(entry)) for entry in rounds]
    unknown = [math.nan] * len(rounds)
    lines = {
        name: Curve(reads, [_number(entry["test"][key]) for entry in rounds], unknown, unknown)
        for key, name in LINE_METRICS.items()
    }
    return budget_curves(lines, "expert reads bought", "Macro-F1 and balanced accuracy against expert reads bought")


def class_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry per class: its scores on the test set and in the trusted labels, after phase 1 and the last round."""
    first, last = results["rounds"][0], results["rounds"][-1]
    names = results["dataset"]["classes"]
    counts = results["dataset"].get("train_counts") or [None] * len(names)
    return [
        {
            "name": name,
            "train": counts[index],
            "before": first["test"]["per_class"][index],
            "after": last["test"]["per_class"][index],
            "change": _number(last["test"]["per_class"][index]["f1"])
            - _number(first["test"]["per_class"][index]["f1"]),
            "clean": first["selection"]["per_class"][index],
            "trusted": last["selection"]["per_class"][index],
        }
        for index, name in enumerate(names)
    ]


def label_sources(run: Path, number: int) -> list[dict[str, Any]]:
    """Where the exported labels of round `number` come from: per source its count and the share that is right."""
    table = _columns(round_file(run, "scores", number), ["reference", "exported", "presumed_clean"])
    if table is None:
        return []
    reads = load_reads(run / READS, number) if (run / READS).exists() else []
    purposes = {read.position: read.purpose for read in reads}
    purpose = np.array([purposes.get(position, "") for position in range(len(table["reference"]))], dtype=object)
    purpose[purpose == "audit"] = "bought"
    unread, clean = purpose == "", table["presumed_clean"].astype(bool)
    right = table["exported"] == table["reference"]
    rows = {
        "read by the expert": purpose == "bought",
        "revealed by the label leak": purpose == "leak",
        "given label, presumed clean": unread & clean,
        "the model’s suggestion": unread & ~clean,
    }
    return [
        {"source": name, "count": int(rows[name].sum()), "right": float(right[rows[name]].mean())}
        for name in rows
        if rows[name].any()
    ]


def confusion(run: Path, number: int, names: Sequence[str]) -> str:
    """SVG of the confusion matrix of the test set after round `number`; empty where the folder has no such scores."""
    probs = [f"prob_{index}" for index in range(len(names))]
    table = _columns(round_file(run, "test", number), ["reference", *probs])
    if table is None:
        return ""
    predicted = np.stack([table[column] for column in probs], axis=1).argmax(axis=1)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (table["reference"], predicted), 1)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    return heat_map(shares, names, "predicted", "reference", "Confusion matrix of the test set", counts)


def noise_matrices(run: Path) -> dict[str, Any]:
    """SVG of the injected and of the estimated noise matrix, and the mean absolute difference of their entries."""
    if not (run / NOISE).exists():
        return {"injected": "", "estimated": "", "distance": None}
    try:
        noise = json.loads((run / NOISE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{run / NOISE} is damaged ({error}); {AGAIN}") from None
    names = noise["class_names"]
    matrices: dict[str, FloatArray | None] = {
        kind: None if noise.get(kind) is None else _matrix(noise[kind]) for kind in ("injected", "estimated")
    }
    injected, estimated = matrices["injected"], matrices["estimated"]
    distance = None if injected is None or estimated is None else float(np.nanmean(np.abs(injected - estimated)))
    drawn = {
        kind: "" if matrix is None else heat_map(matrix, names, "given", "reference", f"{_capital(kind)} noise matrix")
        for kind, matrix in matrices.items()
    }
    return {**drawn, "distance": distance}


def gallery(run: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per image: picture, labels by name, and what the truth, where it is known, says of the suggestion."""
    path = run / GALLERY
    if not path.exists():
        return []
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        rows = zip(
            *(arrays[key] for key in ("ids", "images", "given", "suggested", "reference", "label_quality")), strict=True
        )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RunError(f"{path} cannot be read ({error}); {AGAIN}") from None
    entries = []
    for identity, image, given, suggested, reference, quality in rows:
        if reference < 0:
            verdict = ""
        elif given == reference:
            verdict = "kept"
        else:
            verdict = "mended" if suggested == reference else "other"
        entries.append(
            {
                "id": str(identity),
                "image": _data_address(image),
                "small": max(image.shape[:2]) < GALLERY_PIXELS // 2,
                "given": names[given],
                "suggested": names[suggested],
                "reference": names[reference] if reference >= 0 else "",
                "quality": float(quality),
                "verdict": verdict,
            }
        )
    return entries


def config_text(run: Path) -> str:
    """The configuration file of the run as it stands; empty where there is none."""
    path = run / CONFIG
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read ({error}); the run needs it as it was written") from None


def planned_rounds(config: str) -> int | None:
    """How many rounds of reads the configuration asks for; None where it does not say."""
    try:
        values = yaml.safe_load(config)
    except yaml.YAMLError:
        raise RunError(f"{CONFIG} in the run folder is no YAML any more; the run needs it as it was written") from None
    active = values.get("active") if isinstance(values, dict) else None
    return active.get("rounds") if isinstance(active, dict) else None


def phase1(results: Mapping[str, Any], config: str) -> str:
    """Phase 1 in words: what its method read, by the results and, of what these lack, by the configuration."""
    lnl = results["lnl"]
    values = yaml.safe_load(config)
    configured = values.get("lnl") if isinstance(values, dict) else None
    rate, source = lnl.get("forget_rate"), FORGET_RATES.get(lnl.get("forget_rate_source"), "source not recorded")
    return phase1_words(
        {**(configured if isinstance(configured, dict) else {}), **lnl},
        None if rate is None else f"{rate:.3f} ({source})",
        has_networks=(results.get("model") or {}).get("mode") == "finetune",
    )


def _columns(path: Path, names: Sequence[str]) -> dict[str, Any] | None:
    """The named columns of a Parquet file as arrays; None where there is no file."""
    if not path.exists():
        return None
    try:
        table = pq.read_table(path, columns=list(names))
        return {name: table[name].to_numpy() for name in names}
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise RunError(f"{path} cannot be read ({error}); {AGAIN}") from None


def _matrix(rows: Sequence[Sequence[float | None]]) -> FloatArray:
    return np.array([[_number(entry) for entry in row] for row in rows])


def _data_address(image: IntArray) -> str:
    """`image` (H, W, 3) uint8 as a data address: exact where it is small, else reduced to keep the page light."""
    picture = Image.fromarray(image)
    buffer = io.BytesIO()
    if max(picture.size) <= GALLERY_PIXELS // 2:
        kind = "png"
        picture.save(buffer, "PNG", optimize=True)
    else:
        kind = "jpeg"
        picture.thumbnail((GALLERY_PIXELS, GALLERY_PIXELS), Image.Resampling.LANCZOS)
        picture.save(buffer, "JPEG", quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("overread"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _score, "share": _share, "signed": _signed, "duration": _duration}
    return environment


def _number(value: float | None) -> float:
    """`value`, with the null of a JSON file turned back into NaN."""
    return math.nan if value is None else float(value)


def _bought(entry: Mapping[str, Any]) -> int:
    """Reads paid for until the end of a round; older runs count all reads alone."""
    return int(entry.get("bought", entry["oracle_reads"]))


def _cell(value: float | None, text: str) -> Markup:
    return ABSENT if math.isnan(_number(value)) else Markup(text)


def _score(value: float | None) -> Markup:
    return _cell(value, _plain(value))


def _share(value: float | None) -> Markup:
    return _cell(value, _percent(value))


def _signed(value: float | None) -> Markup:
    return _cell(value, f"{_number(value):+.3f}".replace("-", "−"))


def _plain(value: float | None) -> str:
    return "–" if math.isnan(_number(value)) else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return "–" if math.isnan(_number(share)) else f"{100 * _number(share):.1f}\N{NO-BREAK SPACE}%"


def _moved(before: float | None, after: float | None) -> str:
    """How a score changed, in words."""
    if _plain(before) == _plain(after):
        return f"stayed at {_plain(after)}"
    verb = "rose" if _number(after) > _number(before) else "fell" if _number(after) < _number(before) else "went"
    return f"{verb} from {_plain(before)} after phase 1 to {_plain(after)}"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(", ".join(parts).rsplit(", ", 1))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _duration(seconds: float | None) -> Markup:
    """Seconds in the two largest units that fit, such as `2 min 5 s`."""
    value = _number(seconds)
    if math.isnan(value):
        return ABSENT
    if value < 60:
        return Markup(f"{value:.1f}\N{NO-BREAK SPACE}s")
    minutes, rest = divmod(round(value), 60)
    hours, minutes_left = divmod(minutes, 60)
    return Markup(f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s")
