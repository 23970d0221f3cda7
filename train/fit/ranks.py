"""The processes that train one model together, as `torchrun` starts them: one for each GPU.

Every rank draws its own share of each batch; gradients are averaged. Conditions that end a run (a request to stop, a
loss that is not finite) are combined over all ranks, so that all of them act alike at the same step.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from flare_infer.backends.device import AUTO, autocast_type, choose_device
from flare_infer.errors import UsageError
from train.fit.processes import is_one_of_several

_LONGEST_WAIT: Final = timedelta(hours=2)
"""Longest time that a rank waits for the others, for example while they read a store for the first time."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among all training processes; a single process is the case `count` = 1.

    Attributes:
        device: where this process computes.
        rank: number of this process, from 0.
        count: number of processes.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """Indices of the samples of a batch that this process draws; `batch` is the number of all samples.

        Raises:
            UsageError: if the batch cannot be divided evenly.
        """
        if batch % self.count:
            raise UsageError(
                f"a batch of {batch} patches cannot be divided among {self.count} processes; start a number that "
                f"divides it, or set batch in a --config"
            )
        size = batch // self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def totals(self, values: Sequence[float]) -> list[float]:
        """The sum over all processes of each value."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return [float(value) for value in sums]

    def any(self, here: bool) -> bool:
        """Whether `here` is true in any process."""
        return self.totals([float(here)])[0] > 0

    def first_then_others(self, work: Callable[[], _Item]) -> _Item:
        """Call `work` in the first process, which may do a part for the others, then in these; returns its result."""
        if self.first:
            done = work()
        self.any(False)
        return done if self.first else work()

    def gather(self, items: Sequence[_Item]) -> list[_Item]:
        """The items of all processes in order of their ranks; every process gets all."""
        if self.count == 1:
            return list(items)
        everyone: list[Any] = [None] * self.count
        distributed.all_gather_object(everyone, list(items))
        return [item for theirs in everyone for item in theirs]

    def averaging(self, model: nn.Module) -> nn.Module:
        """The model, wrapped so that its gradients are averaged over all processes if there are several."""
        if self.count == 1:
            return model
        on_gpu = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=on_gpu)


def device_in_words(device: torch.device, count: int = 1) -> str:
    """Name of a device and the type of numbers it trains in, for people; `count` is the number of processes."""
    half = autocast_type(device)
    numbers = "float32" if half is None else str(half).removeprefix("torch.")
    if device.type == "cuda":
        name = f"{device}, {torch.cuda.get_device_name(device)}"
    else:
        name = f"the {device.type.upper()}, {torch.get_num_threads()} threads"
    return f"{name}, {numbers}" + (f", {count} processes" if count > 1 else "")


def present_ranks(device: torch.device) -> Ranks:
    """This process among those that `torchrun_ranks` has joined; a single process if it has joined none."""
    if not distributed.is_available() or not distributed.is_initialized():
        return Ranks(device=device)
    return Ranks(device=device, rank=distributed.get_rank(), count=distributed.get_world_size())


@contextmanager
def torchrun_ranks(name: str = AUTO) -> Iterator[Ranks]:
    """Connect the processes that `torchrun` started; a process that was started otherwise stays alone.

    GPUs communicate by NCCL, CPUs by Gloo.

    Args:
        name: name of the device, as for `choose_device`; with several processes `auto`, `cpu` or `cuda`, and every
            process takes the GPU with its own number on its machine.

    Raises:
        UsageError: if the device does not exist.
    """
    if not is_one_of_several():
        yield Ranks(device=choose_device(name))
        return
    if name not in {AUTO, "cpu", "cuda"}:
        raise UsageError(f"device {name!r} is one device for several processes; use auto, cpu or cuda")
    device = choose_device(name)
    if device.type == "cuda":
        device = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield present_ranks(device)
    finally:
        distributed.destroy_process_group()
