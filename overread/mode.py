"""What `model.mode=auto` tries on a set: a small network beside the noise model, where that is a matter of minutes.

Whether the network is kept is decided later, by given labels that it did not learn from (`overread.learn.phase1`).
"""

from typing import NamedTuple

from overread.config import Config, ModelConfig
from overread.data.dataset import Dataset
from overread.learn.methods import get_method

__all__ = ["FEWEST_FOR_WEIGHTS", "LARGEST_SIDE", "SMALLEST_SIDE", "Settled", "settle", "settle_for"]

# Pixels a side that `small_resnet` is made for; it sees larger images at the second size.
SMALLEST_SIDE, LARGEST_SIDE = 24, 64
SEEN_SIDE = 32
# Pixels that are passed through `small_resnet` in all of phase 1 and the rounds: some ten minutes of two CPU cores.
MOST_PIXELS = {"cpu": 1.5e9}
MOST_PIXELS_ELSEWHERE = 1e11
# Images from which on weights are learnt without labels: no fewer were tried.
FEWEST_FOR_WEIGHTS = 300


class Settled(NamedTuple):
    """What a configuration means for a data set.  Mode auto is left where networks are tried, which may be dropped."""

    config: Config
    reason: str
    """Why no network is tried; empty where one is, or where the mode was asked for."""


def settle_for(config: Config, dataset: Dataset, device: str, processes: int = 1) -> Settled:
    """What `config` means for the training items of `dataset`; see `settle`."""
    side = max(dataset.images.shape[1:3])
    return settle(config, len(dataset.positions("train")), side, device, processes)


def settle(config: Config, n_train: int, side: int, device: str, processes: int = 1) -> Settled:
    """What `config` means for `n_train` images of `side` pixels on devices of the type `device`.

    A mode that was asked for stays.  Weights that are to be learnt without labels are left out where networks are
    tried, but these weights would take too long, or there are too few images to learn any from.
    """
    model = config.model
    if model.mode != "auto":
        return Settled(config, "")
    seen = model.input_size or min(side, SEEN_SIDE)
    passes = get_method(config.lnl.method).networks * (config.lnl.epochs + config.active.rounds * config.active.epochs)
    each = float(n_train) * seen**2
    pixels, most = each * passes, MOST_PIXELS.get(device, MOST_PIXELS_ELSEWHERE)
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        reason = (
            f"frozen embeddings, because a small network is for images of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels and "
            f"these have {side}; model.mode=finetune trains a larger one, for which you want a GPU"
        )
    elif processes > 1:
        reason = (
            f"frozen embeddings, because {processes} processes were launched, and a small network wants one; "
            "model.mode=finetune trains it in all of them"
        )
    elif pixels > most:
        reason = (
            f"frozen embeddings, because a network beside them would see {pixels:.1e} pixels, and {most:.1e} are what "
            f"this device ({device}) does in some minutes; model.mode=finetune trains it all the same"
        )
    else:
        tried = model.model_copy(update={"input_size": seen})
        # Of two views an epoch.
        learnt = pixels + each * 2 * model.self_epochs
        if model.weights == "self" and (n_train < FEWEST_FOR_WEIGHTS or learnt > most):
            tried = tried.model_copy(update={"weights": "none"})
        return Settled(config.model_copy(update={"model": tried}), "")
    packaged = ModelConfig(mode="frozen", dropout=model.dropout)
    return Settled(config.model_copy(update={"model": packaged}), reason)
