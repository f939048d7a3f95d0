"""What `results.json` says of a run before its first round: data, noise, settings, code, and what is unusual."""

from pathlib import Path
from typing import Any

import numpy as np

from overread.config import Config
from overread.data.dataset import Dataset
from overread.errors import RunError
from overread.learn.device import resolve_device
from overread.learn.methods import get_method
from overread.learn.noise_head import Trial
from overread.mode import Settled
from overread.progress import Reporter
from overread.results import RESULTS, read_results
from overread.run import code_id
from overread.simulation import NoisyLabels

__all__ = ["begin_results", "choice_of", "evaluated_weights", "model_of"]


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
        "model": None,
        "sampler": config.active.sampler,
        "complete": False,
        "oracle_reads": 0,
        "label_leak": config.active.label_leak,
        "leak": None,
        "stopped": None,
        "choice": None,
        "notes": _notes(config),
        "evaluated_weights": None,
        "config_id": config.identity(),
        "data_digest": dataset.digest,
        "code": code_id(),
        "code_changes": [],
        "threads": threads,
        "device": str(resolve_device(config.device)),
        # Weights without labels and embeddings, where they were not in the cache; the rounds are in wall_seconds.
        "preparing_seconds": 0.0,
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


def model_of(config: Config) -> dict[str, Any]:
    """The model of a run, `config` being what phase 1 left of its configuration."""
    model = config.model
    mode = "finetune" if model.mode == "auto" else model.mode
    return {"name": model.name, "mode": mode, "weights": model.weights, "beside": model.beside}


def evaluated_weights(config: Config) -> str:
    """What the scores of a round are scores of."""
    if not get_method(config.lnl.method).models_noise:
        return "first network, last epoch of each step"
    if config.model.mode == "frozen":
        return "the noise model, after each of its fits"
    return "the noise model and its networks together, last epoch of each step"


def choice_of(settled: Settled, kept: Config, trial: Trial | None) -> str | None:
    """What the preset `default` took, and why; None for the others, which say it by their name.

    kept: what phase 1 left of the settled configuration.  trial: what networks beside the noise model were found to
    add, None where there are none.
    """
    config = settled.config
    if config.preset != "default":
        return None
    if not get_method(config.lnl.method).models_noise:
        return (
            f"The method {config.lnl.method}, because it was asked for or because the noise model cannot be fitted "
            "here: that needs a linear head and no label leak."
        )
    every = "No label is left out, and reads tell how far the given ones are to be believed."
    if trial is None:
        return f"The noise model on {settled.reason or 'frozen embeddings, because they were asked for'}. {every}"
    verdict = "more probable" if trial.helps else "no more probable"
    found = (
        f"given labels of {trial.items} images that the networks had not learnt from are {verdict} with them "
        f"({trial.alone + trial.gain:.3f} nats against {trial.alone:.3f} without, standard error {trial.error:.3f})"
    )
    if kept.model.mode == "frozen":
        return (
            f"The noise model on frozen embeddings, and no networks ({config.model.name}) beside it: {found}. {every}"
        )
    asked = "finetune mode was asked for, and " if config.model.mode == "finetune" else ""
    learnt = {"self": "weights learnt from the images without labels", "none": "random weights"}
    begun = learnt.get(config.model.weights, f"weights {config.model.weights}")
    return f"The noise model and two networks ({config.model.name}, from {begun}) together: {asked}{found}. {every}"


def _notes(config: Config) -> list[str]:
    """What a reader of the results should know of an unusual configuration."""
    lnl = config.lnl
    if get_method(lnl.method).uses_vog and lnl.epochs <= lnl.warmup_epochs:
        return [f"VOG was never used: lnl.epochs={lnl.epochs} ends within lnl.warmup_epochs={lnl.warmup_epochs}"]
    return []
