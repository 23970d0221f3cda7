"""How much memory a scan may take: plans from the fastest to the smallest that fit, chosen before anything runs."""

import math
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from flare_infer.errors import ImageError, SpecError
from flare_infer.geometry import Shape, resampled_shape
from flare_infer.model.spec import ModelSpec
from flare_infer.segment.memory_plan import Plan
from flare_infer.segment.windows import padded_shape
from flare_infer.volume.volume import Volume

MIB: Final = 1024**2

_ON_GPU: Final = (
    Plan(batch=4, ring_type=torch.float16),
    Plan(batch=2, ring_type=torch.float16),
    Plan(batch=1, ring_type=torch.float16),
    Plan(batch=1, ring_type=torch.float16, slab_bytes=8 * MIB),
    Plan(batch=1, ring_type=torch.float16, slab_bytes=MIB),
)
_ON_CPU: Final = (
    Plan(batch=1, ring_type=torch.float32),
    Plan(batch=1, ring_type=torch.float32, slab_bytes=8 * MIB),
    Plan(batch=1, ring_type=torch.float16, slab_bytes=8 * MIB),
    Plan(batch=1, ring_type=torch.float16, slab_bytes=MIB),
)
"""A CPU gains nothing from batches, and computes in half precision only to save memory."""

_GPU_CONTEXT_BYTES: Final = 600 * MIB
"""What a CUDA context and its libraries take before any tensor; of the driver's count it is a part."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one scan asks for, in bytes, besides what a plan decides.

    Attributes:
        spec: the model.
        image_shape: shape (z, y, x) of the scan on the model's grid.
        label_bytes: the labels at full size, which lie in RAM.
        weights_bytes: the network's parameters.
        number_bytes: bytes of one number inside the network.
    """

    spec: ModelSpec
    image_shape: Shape
    label_bytes: int
    weights_bytes: int = 0
    number_bytes: int = 4

    @property
    def image_bytes(self) -> int:
        """The image on the model's grid, in float32."""
        return 4 * int(np.prod(padded_shape(self.image_shape, self.spec.patch)))

    def network_bytes(self, batch: int) -> int:
        """What a batch of windows takes inside the network at its widest point.

        That is the last stage of the decoder: its two inputs, joined, and the output of the convolution before and
        after normalization, about seven times its features with what a convolution library reorders; then the logits.
        """
        voxels = int(np.prod(self.spec.patch))
        inside = 7 * self.spec.network.features[0] * self.number_bytes
        return batch * voxels * (inside + 4 * self.spec.classes)

    def ring_bytes(self, ring_type: torch.dtype) -> int:
        """Blended logits and their weights, one patch deep."""
        _, height, width = padded_shape(self.image_shape, self.spec.patch)
        voxels = self.spec.patch[0] * height * width
        return voxels * (len(self.spec.predicted) * ring_type.itemsize + 4)

    def bytes_of(self, plan: Plan) -> int:
        """All that is held on the compute device while windows run."""
        return self.network_bytes(plan.batch) + self.ring_bytes(plan.ring_type) + plan.slab_bytes + self.image_bytes


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bounds on memory, in bytes; None is no bound.

    Attributes:
        gpu_bytes: bound on GPU memory by the driver's count, the CUDA context included.
        ram_bytes: bound on the memory of the process by the operating system's count.
    """

    gpu_bytes: int | None = None
    ram_bytes: int | None = None

    def plans(self, demand: Demand, device: torch.device) -> list[Plan]:
        """Plans that fit on a device, the fastest first; never none.

        Raises:
            ImageError: if even the smallest does not fit.
        """
        on_gpu = device.type == "cuda"
        bound, option = (self.gpu_bytes, "--gpu-budget") if on_gpu else (self.ram_bytes, "--ram-budget")
        every = _ON_GPU if on_gpu else _ON_CPU
        held = _GPU_CONTEXT_BYTES + demand.weights_bytes if on_gpu else resident_bytes() + demand.label_bytes
        if bound is None:
            bound = held + torch.cuda.mem_get_info(device)[0] if on_gpu else sys.maxsize
        fitting = [plan for plan in every if held + demand.bytes_of(plan) <= bound]
        if not fitting:
            needed = math.ceil((held + demand.bytes_of(every[-1])) / MIB)
            raise ImageError(
                f"needs about {needed} MiB at least, and {option} allows {bound // MIB}; raise it"
                f"{', or use --device cpu' if on_gpu else ''}"
            )
        return fitting


UNBOUNDED: Final = Budget()
"""No bounds."""


def budget_of_mib(gpu_mib: int | None, ram_mib: int | None) -> Budget:
    """A budget in MiB, as people give it."""
    gpu_bytes, ram_bytes = (None if mib is None else mib * MIB for mib in (gpu_mib, ram_mib))
    return Budget(gpu_bytes=gpu_bytes, ram_bytes=ram_bytes)


def refuse_giant_windows(spec: ModelSpec) -> None:
    """Make sure that one window of a model could be in this machine's memory; nothing is allocated.

    Counted are, where they are largest, the two inputs of a decoder stage and its output, in float32.

    Raises:
        SpecError: if it could not.
    """
    voxels, needed = math.prod(spec.patch), 0
    for features, stride in zip(spec.network.features, spec.network.strides, strict=True):
        voxels //= math.prod(stride)
        needed = max(needed, 3 * 4 * features * voxels)
    installed = installed_bytes()
    if needed > installed:
        raise SpecError(
            f"{spec.name}: a window takes at least {needed // MIB} MiB inside the network, and this machine has "
            f"{installed // MIB}; are patch and features in model.json right?"
        )


def refuse_giant_scan(turned: Volume, spec: ModelSpec) -> None:
    """Make sure that a turned scan on a model's grid is no larger than this machine's memory; nothing is allocated.

    A header may make a small file a large scan: 512 x 512 x 500 voxels of 20 mm would be 655 billion of
    2.5 x 0.8 x 0.8 mm.

    Raises:
        ImageError: if it is larger.
    """
    shape = resampled_shape(turned.shape, turned.placement.spacing_mm, spec.spacing_mm)
    needed, installed = 4 * math.prod(shape), installed_bytes()
    if needed > installed:
        size, spacing = (" x ".join(f"{value:g}" for value in values) for values in (shape, spec.spacing_mm))
        raise ImageError(
            f"is {size} voxels at the model's {spacing} mm, which takes {needed // MIB} MiB, and this machine has "
            f"{installed // MIB}; is the spacing in its header right?"
        )


def installed_bytes() -> int:
    """How much memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()


def resident_bytes() -> int:
    """What this process holds in RAM now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()
