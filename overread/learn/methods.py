"""LNL methods: how many networks learn together, and which samples of a batch each of them believes.

A method is one decorated function.  The training loop knows no method by name.
"""

from collections.abc import Callable
from typing import NamedTuple

from overread.arrays import FloatArray, IntArray
from overread.arrays.selection import small_loss, small_loss_and_vog
from overread.config import did_you_mean
from overread.errors import ConfigError

__all__ = ["Method", "get_method", "list_methods", "lnl_method"]

Pick = Callable[[FloatArray, FloatArray, int, float], IntArray]


class Method(NamedTuple):
    """One way of learning with noisy labels."""

    name: str
    networks: int
    uses_vog: bool
    splits: bool
    """Whether presumed-noisy items are left out of training, and they alone are bought; else nothing is left out."""
    models_noise: bool
    """Whether labels are seen through a noise matrix; then every label counts for what it is worth."""
    pick: Pick
    """(loss, vog, keep, mix_ratio) of one batch or of the whole set -> positions believed, all arrays (B,)."""


_METHODS: dict[str, Method] = {}


def lnl_method(
    name: str, networks: int, uses_vog: bool = False, splits: bool = True, models_noise: bool = False
) -> Callable[[Pick], Pick]:
    """Register the decorated pick function as the method `name`."""

    def register(pick: Pick) -> Pick:
        _METHODS[name] = Method(name, networks, uses_vog, splits, models_noise, pick)
        return pick

    return register


def get_method(name: str) -> Method:
    """The registered method `name`; ConfigError with the nearest name where there is none."""
    if name not in _METHODS:
        raise ConfigError(f"lnl.method={name} is unknown: {did_you_mean(name, _METHODS)}")
    return _METHODS[name]


def list_methods() -> list[str]:
    """Names of all registered methods, sorted."""
    return sorted(_METHODS)


@lnl_method("cross-entropy", networks=1, splits=False)
@lnl_method("noise-model", networks=2, splits=False, models_noise=True)
def _everything(loss: FloatArray, vog: FloatArray, keep: int, mix_ratio: float) -> IntArray:
    return small_loss(loss, len(loss))


@lnl_method("co-teaching", networks=2)
def _by_loss(loss: FloatArray, vog: FloatArray, keep: int, mix_ratio: float) -> IntArray:
    return small_loss(loss, keep)


@lnl_method("co-teaching-vog", networks=2, uses_vog=True)
def _by_loss_and_vog(loss: FloatArray, vog: FloatArray, keep: int, mix_ratio: float) -> IntArray:
    return small_loss_and_vog(loss, vog, keep, mix_ratio)
