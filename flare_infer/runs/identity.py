"""What decides a label map besides the scan, as hashes; and what else a report says about a run."""

import hashlib
import json
import os
import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the field's own alias
import torch

from flare_infer.files.record import fields_to_write
from flare_infer.segment.segmenter import Segmenter
from flare_infer.version import __version__

LABELS_FORMAT: Final = 2
"""Raised when the same version of the program begins to give other labels, so that earlier ones are done again."""

_BYTES_PER_RESIDENT_UNIT: Final = 1 if sys.platform == "darwin" else 1024
_MIB: Final = 1024**2


@dataclass(frozen=True, kw_only=True)
class SegmentationRecipe:
    """How label maps are made: two of the same recipe and scan are the same, but for rounding.

    Attributes:
        weights_sha256: SHA-256 of the weights file; empty if the model came from none, and then nothing counts as done.
        options: all else that changes labels, by name.
    """

    weights_sha256: str
    options: dict[str, Any]

    @property
    def options_sha256(self) -> str:
        """The hash of the options."""
        return hashlib.sha256(json.dumps(self.options, sort_keys=True).encode()).hexdigest()


def recipe_of(segmenter: Segmenter) -> SegmentationRecipe:
    """The recipe of a model that is ready to run.

    Device and budgets are not in it: they move roundings only, and a run that is continued on another machine should
    not begin anew.
    """
    spec = json.dumps(fields_to_write(segmenter.spec), sort_keys=True, default=str)
    return SegmentationRecipe(
        weights_sha256=segmenter.weights_sha256,
        options={
            "model_sha256": hashlib.sha256(spec.encode()).hexdigest(),
            "precision": segmenter.compute.precision,
            "backend": segmenter.compute.backend,
            "skipping": segmenter.skipping,
            "program": __version__,
            "labels_format": LABELS_FORMAT,
        },
    )


def facts_of(segmenter: Segmenter) -> dict[str, Any]:
    """What a report says about a whole run: model, device, options, versions, machine."""
    itk: Any = sitk
    recipe, device = recipe_of(segmenter), segmenter.compute.device
    budget = segmenter.budget
    return {
        "model": segmenter.spec.name,
        "weights_sha256": recipe.weights_sha256,
        "options": recipe.options,
        "options_sha256": recipe.options_sha256,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "gpu_budget_mib": None if budget.gpu_bytes is None else budget.gpu_bytes // _MIB,
        "ram_budget_mib": None if budget.ram_bytes is None else budget.ram_bytes // _MIB,
        "versions": {
            "flare_infer": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "SimpleITK": itk.__version__,
            "Python": platform.python_version(),
        },
        "platform": platform.platform(),
        "host": os.uname().nodename,
        "process": os.getpid(),
    }


_OF_THE_MACHINE: Final = ("threads", "gpu_budget_mib", "ram_budget_mib", "platform", "host", "process")


def made_with(segmenter: Segmenter) -> dict[str, Any]:
    """Of these facts those that say how a label map was made, for what leaves the machine: its name is not in them."""
    return {name: value for name, value in facts_of(segmenter).items() if name not in _OF_THE_MACHINE}


def peak_memory_mib() -> float:
    """The most memory that this process ever held, by the operating system's count."""
    try:
        # Linux says it of the program alone; the other count begins with what the process held that started it.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)
    except (OSError, ValueError, IndexError):
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_RESIDENT_UNIT / _MIB, 1)


def peak_gpu_memory_mib(device: torch.device) -> float:
    """The most memory that torch ever held on a GPU, its context not included; 0 on a CPU."""
    return round(torch.cuda.max_memory_reserved(device) / _MIB, 1) if device.type == "cuda" else 0.0
