"""The processes that train one network together: one by default, several under `torchrun` or `accelerate launch`.

Hugging Face Accelerate starts the group and wraps the networks.  What is ours: a batch is shared out by position, what
its samples say is brought together again, and the choice is made once, over the whole batch.  So picks do not depend
on how many processes there are, but for ties within rounding.
"""

import atexit
import os
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import broadcast, broadcast_object_list
from numpy.typing import NDArray
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from overread.errors import ModelError
from overread.learn.device import resolve_device

__all__ = ["Part", "Processes", "launched_processes", "number_launched", "with_shared_batch_norm"]

# How long a process waits for the others: the first one may embed millions of images, or wait for a reader, meanwhile.
PATIENCE = timedelta(days=30)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Part(NamedTuple):
    """The rows of a batch that one process works on."""

    start: int
    stop: int
    total: int
    """Rows of the whole batch."""

    @property
    def rows(self) -> slice:
        """The part as an index into arrays of the whole batch."""
        return slice(self.start, self.stop)


class Processes:
    """One process on `device`; the verbs below do nothing that a single process would not do."""

    rank = 0
    count = 1

    def __init__(self, device: torch.device | None = None, bfloat16: bool = False) -> None:
        self.device = device or torch.device("cpu")
        self._bfloat16 = bfloat16
        self.busy = False
        """Whether all processes are within a common step."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads and writes the run folder."""
        return self.rank == 0

    def part(self, total: int) -> Part:
        """The part of `total` rows of this process: contiguous, in the order of the processes, equal within one."""
        return Part(total * self.rank // self.count, total * (self.rank + 1) // self.count, total)

    def autocast(self) -> AbstractContextManager[Any]:
        """A block whose matrix products are in bfloat16 where that was asked for."""
        return torch.autocast(self.device.type, torch.bfloat16) if self._bfloat16 else nullcontext()

    def trainable(self, network: nn.Module) -> nn.Module:
        """`network` itself, or a wrapper whose backward pass averages the gradients over the processes."""
        return network

    def gather(self, values: torch.Tensor, part: Part) -> torch.Tensor:
        """Rows (total, ...) of all processes from the rows (stop - start, ...) of each, without padded duplicates."""
        return values

    def gather_array(self, values: NDArray[Any], part: Part) -> NDArray[Any]:
        """As `gather`, for arrays on the CPU."""
        together = self.gather(torch.from_numpy(np.ascontiguousarray(values)).to(self.device), part)
        return together.cpu().numpy()

    def from_first(self, value: Any) -> Any:
        """What the first process gives for `value`, a plain value or array of its own making."""
        return value

    def wait(self) -> None:
        """Go on when all processes are here."""

    def share(self, *modules: nn.Module) -> None:
        """Give every process the parameters and buffers that the first one has in `modules`."""

    def share_tensors(self, tensors: list[torch.Tensor]) -> None:
        """Overwrite `tensors`, of equal shapes everywhere, by those of the first process."""


class LaunchedProcesses(Processes):
    """One of several processes; every verb must be called by all of them, in the same order."""

    def __init__(self, accelerator: Accelerator, bfloat16: bool) -> None:
        super().__init__(accelerator.device, bfloat16)
        self.rank = accelerator.process_index
        self.count = accelerator.num_processes
        self._accelerator = accelerator

    def trainable(self, network: nn.Module) -> nn.Module:
        """A wrapper whose backward pass averages the gradients; batch norm then looks at the whole batch.

        Errors: ModelError for batch norm on CPUs, where torch has no shared one.
        """
        if self.device.type == "cpu" and any(isinstance(part, BATCH_NORMS) for part in network.modules()):
            raise ModelError(
                "this network has batch norm, which several CPU processes cannot share: "
                "use one process with more threads, GPUs, or a model with layer norm such as convnext"
            )
        # Not by Accelerate, which keeps every network that it ever prepared.
        devices = None if self.device.type == "cpu" else [self.device]
        return DistributedDataParallel(with_shared_batch_norm(network), device_ids=devices)

    def gather(self, values: torch.Tensor, part: Part) -> torch.Tensor:
        """Rows (total, ...) of all processes from the rows (stop - start, ...) of each, without padded duplicates."""
        longest = -(-part.total // self.count)
        padded = values.new_zeros((longest, *values.shape[1:]))
        padded[: len(values)] = values
        together = cast(torch.Tensor, self._accelerator.gather(padded)).view(self.count, longest, *values.shape[1:])
        lengths = [
            part.total * (rank + 1) // self.count - part.total * rank // self.count for rank in range(self.count)
        ]
        return torch.cat([rows[:length] for rows, length in zip(together, lengths, strict=True)])

    def from_first(self, value: Any) -> Any:
        """What the first process gives for `value`, a plain value or array of its own making."""
        return broadcast_object_list([value])[0]

    def wait(self) -> None:
        """Go on when all processes are here."""
        self._accelerator.wait_for_everyone()

    def share(self, *modules: nn.Module) -> None:
        """Give every process the parameters and buffers that the first one has in `modules`."""
        self.share_tensors([tensor for module in modules for tensor in module.state_dict().values()])

    def share_tensors(self, tensors: list[torch.Tensor]) -> None:
        """Overwrite `tensors`, of equal shapes everywhere, by those of the first process."""
        with torch.no_grad():
            for tensor in tensors:
                # A tensor in another memory format than the usual one cannot be sent as it is.
                tensor.copy_(cast(torch.Tensor, broadcast(tensor.detach().contiguous())))


def number_launched() -> int:
    """How many processes this one was launched with, itself included."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_processes(device: str, bfloat16: bool = False) -> Processes:
    """The processes that this one was launched with, by `torchrun` or `accelerate launch`; itself where alone.

    device: as in `resolve_device`; under a launcher, its type alone counts, and each process takes a device of its own.
    """
    if number_launched() == 1:
        return Processes(resolve_device(device), bfloat16)
    cpu = resolve_device(device.partition(":")[0]).type == "cpu"
    # Threads of the group that are still there when Python is gone abort the process, now and then.
    atexit.register(_leave)
    accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
    return LaunchedProcesses(accelerator, bfloat16)


def _leave() -> None:
    """Leave the group of processes, if it is still there."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def with_shared_batch_norm(network: nn.Module) -> nn.Module:
    """`network` with every batch norm, those of timm with an activation too, replaced by one over all processes."""
    return cast(nn.Module, convert_sync_batchnorm(network))
