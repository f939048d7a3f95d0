"""What `model.mode=auto` tries on a set: a small network beside the noise model, where that is a matter of minutes.

Whether the network is kept is decided later, by given labels that it did not learn from (`overread.learn.phase1`).
"""

from typing import NamedTuple

from overread.config import Config, ModelConfig

__all__ = ["LARGEST_SIDE", "SMALLEST_SIDE", "Settled", "settle"]

# Pixels a side that `small_resnet` is made for; it sees larger images at the second size.
SMALLEST_SIDE, LARGEST_SIDE = 24, 64
SEEN_SIDE = 32
# Pixels that are passed through the networks in all of phase 1 and the rounds: some ten minutes of two CPU cores.
MOST_PIXELS = {"cpu": 1.5e9}
MOST_PIXELS_ELSEWHERE = 1e11
NETWORKS = 2


class Settled(NamedTuple):
    """A configuration whose mode is known, and why; auto = a network is tried, and may be dropped."""

    config: Config
    reason: str


def settle(config: Config, n_train: int, side: int, device: str) -> Settled:
    """What `config` means for `n_train` images of `side` pixels on a device of the type `device`.

    A mode that was asked for stays, and has no reason.
    """
    model = config.model
    if model.mode != "auto":
        return Settled(config, "")
    seen = model.input_size or min(side, SEEN_SIDE)
    passes = NETWORKS * (config.lnl.epochs + config.active.rounds * config.active.epochs)
    if model.weights == "self":
        # Of two views an epoch.
        passes += 2 * model.self_epochs
    pixels = float(n_train) * seen**2 * passes
    most = MOST_PIXELS.get(device, MOST_PIXELS_ELSEWHERE)
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        reason = (
            f"frozen embeddings, because a small network is for images of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels and "
            f"these have {side}; model.mode=finetune trains a larger one, for which you want a GPU"
        )
    elif pixels > most:
        reason = (
            f"frozen embeddings, because a network beside them would see {pixels:.1e} pixels, and {most:.1e} are what "
            f"this device ({device}) does in some minutes; model.mode=finetune trains it all the same"
        )
    else:
        tried = model.model_copy(update={"input_size": seen})
        return Settled(config.model_copy(update={"model": tried}), "")
    frozen = ModelConfig(mode="frozen", dropout=model.dropout)
    return Settled(config.model_copy(update={"model": frozen}), reason)
