"""Phase 1 in words, by those settings alone that its method reads."""

from collections.abc import Mapping
from typing import Any

from overread.learn.methods import get_method

__all__ = ["phase1_words"]

OF_NOISE_MODELS = {
    "noise_matrix": "noise matrix",
    "reader_error": "reader error",
    "prior_adjustment": "prior adjustment",
}


def phase1_words(lnl: Mapping[str, Any], forget_rate: str | None, *, has_networks: bool) -> str:
    """The method and what it reads, such as `co-teaching-vog, 50 epochs, forget rate 0.31, VOG share 0.2`.

    lnl: `method` and `epochs`, and of the other keys of this section those that are known.  forget_rate: in words,
    where it is known.  has_networks: whether a noise model has networks beside it, which learn in epochs; all other
    methods do anyway.
    Errors: ConfigError for a method that is not registered.
    """
    method, words = get_method(lnl["method"]), [str(lnl["method"])]
    if method.models_noise:
        words += [f"{lnl['epochs']} epochs of its networks"] if has_networks else []
        words += [f"{name} {_plain(lnl[key])}" for key, name in OF_NOISE_MODELS.items() if key in lnl]
        return ", ".join(words)
    words.append(f"{lnl['epochs']} epochs")
    if method.splits and forget_rate is not None:
        words.append(f"forget rate {forget_rate}")
    if method.uses_vog:
        words.append(f"VOG share {_plain(lnl['mix_ratio'])}")
    return ", ".join(words)


def _plain(value: float | str) -> str:
    return {"estimate": "estimated"}.get(value, value) if isinstance(value, str) else f"{value:g}"
