"""What `results.json` says of a run before its first round: data, noise, settings, code, and what is unusual."""

from pathlib import Path
from typing import Any

import numpy as np

from overread.config import Config
from overread.data.dataset import Dataset
from overread.errors import RunError
from overread.learn.device import resolve_device
from overread.learn.methods import get_method
from overread.progress import Reporter
from overread.results import RESULTS, read_results
from overread.run import code_id
from overread.simulation import NoisyLabels

__all__ = ["begin_results"]


def begin_results(
    run: Path, config: Config, dataset: Dataset, noisy: NoisyLabels, threads: int, reporter: Reporter
) -> dict[str, Any]:
    """The results so far of this run folder, or those of a run that is about to begin."""
    if (run / RESULTS).exists():
        results = read_results(run)
        if results.get("data_digest") != dataset.digest:
            raise RunError(f"the data of the run in {run} has changed since it began; start again in another folder")
        if not results["complete"]:
            _note_code(results, reporter)
        return results
    train = dataset.positions("train")
    counts = np.bincount(dataset.reference[train], minlength=len(dataset.class_names))
    return {
        "schema": 1,
        "preset": config.preset,
        "dataset": {
            "name": dataset.name,
            "classes": list(dataset.class_names),
            "n_train": len(train),
            "n_test": len(dataset.positions("test")),
            "imbalance": float(counts.max() / max(1, counts.min())),
            "train_counts": counts.tolist(),
            "skipped": [list(entry) for entry in dataset.skipped],
        },
        "seed": config.seed,
        "noise": {
            "kind": config.noise.kind,
            "rate": noisy.rate,
            "column": noisy.column,
            "estimated_rate": None,
            "warnings": list(noisy.warnings),
        },
        "lnl": {
            "method": config.lnl.method,
            "epochs": config.lnl.epochs,
            "mix_ratio": config.lnl.mix_ratio,
            "forget_rate_source": "number" if isinstance(config.lnl.forget_rate, float) else config.lnl.forget_rate,
            "forget_rate": None,
        },
        "model": {"name": config.model.name, "mode": config.model.mode, "weights": config.model.weights},
        "sampler": config.active.sampler,
        "complete": False,
        "oracle_reads": 0,
        "label_leak": config.active.label_leak,
        "leak": None,
        "stopped": None,
        "choice": _choice(config),
        "notes": _notes(config),
        "evaluated_weights": "first network, last epoch of each step",
        "config_id": config.identity(),
        "data_digest": dataset.digest,
        "code": code_id(),
        "code_changes": [],
        "threads": threads,
        "device": str(resolve_device(config.device)),
        "wall_seconds": 0.0,
        "peak_rss_mb": 0.0,
        "rounds": [],
    }


def _note_code(results: dict[str, Any], reporter: Reporter) -> None:
    """Record and say that other code goes on than the one that came so far."""
    changes = results.setdefault("code_changes", [])
    before = changes[-1]["code"] if changes else results.get("code")
    if before != code_id():
        changes.append({"round": len(results["rounds"]), "code": code_id()})
        reporter.note(f"the code has changed since this run began; {RESULTS} will name both")


def _choice(config: Config) -> str | None:
    """What the preset `default` took, and why; None for the others, which say it by their name."""
    if config.preset != "default":
        return None
    if get_method(config.lnl.method).models_noise:
        return (
            "The noise model, because the embeddings are frozen: no label is left out, and reads tell how far the "
            "given ones are to be believed."
        )
    return (
        f"The method {config.lnl.method}, because it was asked for or because the noise model cannot be fitted here: "
        "that needs frozen embeddings, a linear head and no label leak."
    )


def _notes(config: Config) -> list[str]:
    """What a reader of the results should know of an unusual configuration."""
    lnl = config.lnl
    if get_method(lnl.method).uses_vog and lnl.epochs <= lnl.warmup_epochs:
        return [f"VOG was never used: lnl.epochs={lnl.epochs} ends within lnl.warmup_epochs={lnl.warmup_epochs}"]
    return []
