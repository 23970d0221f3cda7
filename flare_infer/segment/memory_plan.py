"""How much memory a scan is segmented with."""

from dataclasses import dataclass

import torch

from flare_infer.backends.device import Compute
from flare_infer.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The sizes that decide the memory of one scan; `budget` chooses them.

    Attributes:
        batch: windows that run at once.
        ring_type: type of the blended logits that are held.
        slab_bytes: bound on what the decoder interpolates at once.
    """

    batch: int = 1
    ring_type: torch.dtype = torch.float32
    slab_bytes: int = 64 * 1024**2

    def __post_init__(self) -> None:
        if self.batch < 1 or self.slab_bytes < 1 or not self.ring_type.is_floating_point:
            raise SpecError(f"a plan needs a batch, bytes for the decoder and a floating-point ring, found {self}")


def plan_in_words(plan: Plan, compute: Compute) -> str:
    """Where, how and with which sizes a scan is segmented, for people."""
    ring = str(plan.ring_type).removeprefix("torch.")
    return (
        f"{compute.device}, {compute.precision} by {compute.backend}, {plan.batch} window(s) at once, ring in {ring}, "
        f"decoder slabs of {plan.slab_bytes / 2**20:g} MiB"
    )
