"""Which device computes, and with how many threads."""

import torch
from threadpoolctl import threadpool_limits

from overread.errors import ModelError

__all__ = ["resolve_device", "set_threads"]


def resolve_device(name: str) -> torch.device:
    """The device that `name` means; `auto` is the first of CUDA, MPS and CPU that is there.

    Errors: ModelError where the name is none, or where this machine has no such device.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"device {name!r} is unknown: use auto, cpu, cuda, cuda:1 or mps") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise ModelError(f"device {name!r} is not supported: use auto, cpu, cuda, cuda:1 or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device {name!r} is not there, {torch.cuda.device_count()} CUDA devices are: use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device 'mps' is not there: use auto or cpu")
    return device


def set_threads(threads: int | None) -> int:
    """The number of CPU threads in force, for torch and BLAS, after setting it to `threads`; None changes nothing."""
    if threads is not None:
        torch.set_num_threads(threads)
        threadpool_limits(limits=threads, user_api="blas")
    return torch.get_num_threads()
